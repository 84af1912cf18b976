"""What each setting of the training costs: run-steps per second of our kernel, of the reference, and of JAX.

The task is that of `throughput.py`, d = 2, n = 128, width 64, with one setting at a time. JAX is `jit(vmap(scan))`, on
all runs at once or on 16 at a time, whichever is faster; samples, label noise and factors of the step size are made for
it beforehand. After 50 steps in float64 all weights agree to 1e-9.
"""

import importlib.util
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from pinned import interleaved, pin, ratio
from rich import box
from rich.console import Console
from rich.table import Table
from shapes import check
from throughput import Contender, Relusweep

from relusweep.sweep.data import dataset
from relusweep.sweep.kernels.training import plain
from relusweep.sweep.model import Architecture, initial_parameters
from relusweep.sweep.optimize import Rates
from relusweep.sweep.run import Run
from relusweep.sweep.sampling import draw_batches, label_noise

RUNS, STEPS, REPETITIONS = 256, 100, 5
SETTINGS = {
    "none": {},
    "nesterov": {"optimizer": "nesterov", "momentum": 0.9},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.01, "beta2": 0.99},
    "clip": {"clip": 0.05},
    "cosine, warm-up": {"schedule": "cosine", "warmup_steps": 20, "max_steps": 2 * STEPS},
    "linear": {"schedule": "linear", "max_steps": 2 * STEPS},
    "step": {"schedule": "step", "schedule_every": 30, "max_steps": 2 * STEPS},
    "label noise": {"label_noise": 0.1},
    "sampling with replacement, 16": {"optimizer": "sgd", "batch_size": 16, "sampling": "replacement"},
    "sampling by epoch, 16": {"optimizer": "sgd", "batch_size": 16, "sampling": "epoch"},
    "balanced": {"init": "balanced"},
    "dominated": {"init": "dominated"},
    "bias = 'hidden'": {"bias": "hidden"},
}
CHECK_STEPS = 50


def make_runs(setting: dict, count: int, dtype: str) -> tuple[Run, ...]:
    fixed = {"problem": "pyramid", "d": 2, "n": 128, "width": 64, "max_steps": 10**6, "tolerance": 0.0, "dtype": dtype}
    rates = np.geomspace(1e-3, 0.1, count).tolist()
    return tuple(Run.model_validate(fixed | setting | {"lr": lr, "seed": seed}) for seed, lr in enumerate(rates))


class Jax:
    """All runs by `vmap`, `together` of them in a program."""

    def __init__(self, runs: Sequence[Run], steps: int, together: int) -> None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)  # float32 inputs stay float32
        run, architecture = runs[0], Architecture.of(runs[0])
        data = dataset(run.model_dump())
        x, y = (jnp.asarray(a.astype(run.dtype)) for a in (data.x, data.y))
        mu = run.momentum or 0.0

        def loss(weights, x, y):
            h = jax.nn.relu(x @ weights["w1"].T + weights["b1"]) @ weights["w2"]
            return 0.5 * jnp.mean((h + weights.get("b2", 0.0) - y) ** 2)

        def adam(memory, g, t):
            (beta1, beta2), count = (run.beta1 or 0.9, run.beta2 or 0.999), t + 1
            first = jax.tree.map(lambda m, w: beta1 * m + (1 - beta1) * w, memory[0], g)
            second = jax.tree.map(lambda m, w: beta2 * m + (1 - beta2) * w * w, memory[1], g)

            def direction(m, v):
                return m / (1 - beta1**count) / (jnp.sqrt(v / (1 - beta2**count)) + (run.epsilon or 1e-8))

            return (first, second), jax.tree.map(direction, first, second)

        def train(weights, memory, lr, rows, factors, noise):
            def step(carry, given):
                (weights, memory), (batch, factor, normal, t) = carry, given
                inputs, targets = (x[batch], y[batch]) if run.batch_size else (x, y)
                if run.label_noise:
                    targets = targets + run.label_noise * normal
                g = jax.grad(loss)(weights, inputs, targets)
                if run.clip:
                    norm = jnp.sqrt(sum(jnp.vdot(w, w) for w in jax.tree.leaves(g)))
                    g = jax.tree.map(lambda w: w * jnp.minimum(1.0, run.clip / norm), g)
                if run.optimizer == "nesterov":
                    memory = jax.tree.map(lambda m, w: mu * m + w, memory, g)
                    g = jax.tree.map(lambda m, w: w + mu * m, memory, g)
                if run.optimizer == "adamw":
                    memory, g = adam(memory, g, t)
                    g = {k: s + run.weight_decay * weights[k] if k.startswith("w") else s for k, s in g.items()}
                return (jax.tree.map(lambda w, s: w - factor * lr * s, weights, g), memory), None

            given = rows, factors, noise, jnp.arange(steps, dtype=lr.dtype)
            return jax.lax.scan(step, (weights, memory), given, length=steps)[0]

        self.states, self.rest = [], []
        for first in range(0, len(runs), together):
            tile = runs[first : first + together]
            theta = torch.stack([torch.from_numpy(initial_parameters(run)) for run in tile])
            weights = {name: jnp.asarray(w.numpy().astype(run.dtype)) for name, w in architecture.named(theta).items()}
            rates = Rates.of(tile, architecture, getattr(torch, run.dtype), torch.device("cpu"))
            factors = rates.factors(torch.arange(steps, dtype=rates.lr.dtype))
            factors = torch.ones(len(tile), steps, dtype=rates.lr.dtype) if factors is None else factors
            rows = torch.zeros(len(tile), steps, 1, dtype=torch.int64)
            if run.batch_size:
                rows = draw_batches(rates.seed, 0, steps, run.n, run.batch_size, run.sampling).transpose(0, 1)
            noise = torch.zeros(len(tile), steps, 1, dtype=rates.lr.dtype)
            if run.label_noise:
                every = torch.arange(run.n).expand(len(tile), -1)
                normal = [label_noise(rates.seed, step, every, run.n).to(noise.dtype) for step in range(steps)]
                noise = torch.stack(normal, dim=1)
            memory = {name: jnp.zeros_like(w) for name, w in weights.items()}
            self.states.append((weights, (memory, memory) if run.optimizer == "adamw" else memory))
            lrs = np.array([run.lr for run in tile], run.dtype)
            given = lrs, rows.numpy().astype(np.int32), factors.numpy(), noise.numpy()
            self.rest.append(tuple(map(jnp.asarray, given)))
        self.train = jax.jit(jax.vmap(train)).lower(*self.states[0], *self.rest[0]).compile()

    def advance(self) -> None:
        self.states = [self.train(*state, *rest) for state, rest in zip(self.states, self.rest, strict=True)]
        for weights, _ in self.states:
            weights["w1"].block_until_ready()

    def weights(self) -> list[np.ndarray]:
        return [np.concatenate([state[0][name] for state in self.states]) for name in sorted(self.states[0][0])]


def contenders(setting: dict, count: int, steps: int, dtype: str, has_jax: bool) -> dict[str, Contender]:
    runs = make_runs(setting, count, dtype)
    found: dict[str, Contender] = {"ours": Relusweep(runs, steps), "torch": Relusweep(runs, steps, plain)}
    if has_jax:
        found |= {"JAX": Jax(runs, steps, count), "JAX, 16": Jax(runs, steps, 16)}
    return found


def main() -> None:
    out = Console(width=110, highlight=False)
    out.print(pin())
    has_jax = importlib.util.find_spec("jax") is not None
    if not has_jax:
        out.print("jax is not installed (make bench installs it): going on without that peer")
    for setting in SETTINGS.values():
        check(contenders(setting, 16, CHECK_STEPS, "float64", has_jax), 16, CHECK_STEPS)
    for dtype in ("float32", "float64"):
        table = Table("", "kernel", *("ours", "torch", "JAX", "JAX, 16")[: 4 if has_jax else 2], box=box.SIMPLE)
        table.add_column("JAX over ours")
        table.add_column("ours over none")
        none: list[float] = []
        for name, setting in SETTINGS.items():
            found = contenders(setting, RUNS, STEPS, dtype, has_jax)
            seconds = interleaved({who: contender.advance for who, contender in found.items()}, REPETITIONS)
            none = none or seconds["ours"]
            paces = [f"{1e6 * median(times) / STEPS / RUNS:.2f}" for times in seconds.values()]
            peers = [ratio(times, seconds["ours"]) for who, times in seconds.items() if who.startswith("JAX")]
            kernel = Relusweep(make_runs(setting, 1, dtype), 1).training.kernel.NAME
            best = f"{min(peers):.1f}" if peers else "-"
            table.add_row(name, kernel, *paces, best, f"{ratio(seconds['ours'], none):.2f}")
        out.print(f"{dtype}: µs a run-step, {RUNS} runs, {STEPS} steps", table)


if __name__ == "__main__":
    main()
