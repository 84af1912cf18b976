"""Run-steps per second on other shapes of network: our kernel, the reference, and JAX's `jit(vmap(scan))`.

JAX gets what is best for it among all runs at once and 16 at a time. Mini-batches are drawn anew at every step, by
`jax.random.choice` without replacement there. Full-batch weights after 20 steps in float64 agree to 1e-9.
"""

import importlib.util
import sys
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from pinned import interleaved, pin, ratio, spread
from rates import product_rate
from rich import box
from rich.console import Console
from rich.table import Table
from throughput import Contender, Relusweep

from relusweep.sweep.data import dataset
from relusweep.sweep.kernels.training import plain
from relusweep.sweep.model import Architecture, initial_parameters
from relusweep.sweep.run import Run

REPETITIONS = 5
SHAPES = {  # name: (parameters, runs, steps)
    "two hidden layers 16-8, d = 2, n = 128": ({"depth": 2, "width": 16, "width2": 8, "n": 128}, 256, 50),
    "mini-batches of 16, width 64, d = 2, n = 128": (
        {"width": 64, "n": 128, "optimizer": "sgd", "batch_size": 16},
        256,
        100,
    ),
    "width 128, d = 64, n = 512": ({"width": 128, "n": 512, "d": 64}, 32, 20),
    "width 64, d = 8, n = 128": ({"width": 64, "n": 128, "d": 8}, 256, 50),
    "width 64, d = 32, n = 128": ({"width": 64, "n": 128, "d": 32}, 64, 50),
    "width 8, d = 2, n = 128": ({"width": 8, "n": 128}, 256, 100),
    "width 64, d = 2, n = 16": ({"width": 64, "n": 16}, 256, 200),
}
CHECK_STEPS, AGREEMENT = 20, 1e-9


def make_runs(parameters: dict, count: int, dtype: str) -> tuple[Run, ...]:
    rates = np.geomspace(1e-3, 0.1, count).tolist()
    fixed = {"problem": "pyramid", "d": 2, "dtype": dtype, "max_steps": 10**6, "tolerance": 0.0} | parameters
    return tuple(Run.model_validate(fixed | {"lr": lr, "seed": seed}) for seed, lr in enumerate(rates))


class Jax:
    """All runs by `vmap`, `together` of them in a program."""

    def __init__(self, runs: Sequence[Run], steps: int, together: int) -> None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)  # float32 inputs stay float32
        self.runs, run = runs, runs[0]
        architecture = Architecture.of(run)
        data = dataset(run.model_dump())
        x, y = (jnp.asarray(a.astype(run.dtype)) for a in (data.x, data.y))

        def loss(weights, x, y):
            h = x
            for index in range(1, run.depth + 1):
                h = jax.nn.relu(h @ weights[f"w{index}"].T + weights[f"b{index}"])
            last = run.depth + 1
            return 0.5 * jnp.mean((h @ weights[f"w{last}"] + weights[f"b{last}"] - y) ** 2)

        def train(weights, lr, key):
            def step(carry, _):
                weights, key = carry
                inputs, targets = x, y
                if run.batch_size:
                    key, used = jax.random.split(key)
                    rows = jax.random.choice(used, run.n, (run.batch_size,), replace=False)
                    inputs, targets = x[rows], y[rows]
                slope = jax.grad(loss)(weights, inputs, targets)
                return (jax.tree.map(lambda w, g: w - lr * g, weights, slope), key), None

            return jax.lax.scan(step, (weights, key), None, length=steps)[0][0]

        self.tiles = [runs[first : first + together] for first in range(0, len(runs), together)]
        self.states, self.rest = [], []
        for tile in self.tiles:
            theta = torch.stack([torch.from_numpy(initial_parameters(run)) for run in tile])
            named = architecture.named(theta)
            self.states.append({name: jnp.asarray(w.numpy().astype(run.dtype)) for name, w in named.items()})
            keys = jax.random.split(jax.random.key(0), len(tile))
            self.rest.append((jnp.asarray(np.array([run.lr for run in tile], run.dtype)), keys))
        self.train = jax.jit(jax.vmap(train)).lower(self.states[0], *self.rest[0]).compile()

    def advance(self) -> None:
        states = [self.train(state, *rest) for state, rest in zip(self.states, self.rest, strict=True)]
        self.states = [{name: w.block_until_ready() for name, w in state.items()} for state in states]

    def weights(self) -> list[np.ndarray]:
        return [np.concatenate([state[name] for state in self.states]) for name in sorted(self.states[0])]


def contenders(parameters: dict, count: int, steps: int, dtype: str, has_jax: bool) -> dict[str, Contender]:
    runs = make_runs(parameters, count, dtype)
    chosen = Relusweep(runs, steps)
    found: dict[str, Contender] = {chosen.training.kernel.NAME: chosen, "torch": Relusweep(runs, steps, plain)}
    if has_jax:
        found |= {"JAX": Jax(runs, steps, count), "JAX, 16 at a time": Jax(runs, steps, 16)}
    return found


def check(found: dict[str, Contender], runs: int, steps: int) -> None:
    """Demand that all contenders compute the same training of so many runs, `steps` in a call."""
    flat = {}
    for name, contender in found.items():
        contender.advance()
        if isinstance(contender, Relusweep):
            order = np.argsort([run.seed for run in contender.training.runs])
            named = contender.training.architecture.named(contender.training.state["theta"])
            weights = [named[part].numpy()[order] for part in sorted(named)]
        else:
            weights = contender.weights()
        flat[name] = np.concatenate([np.asarray(w).reshape(runs, -1) for w in weights], 1)
    for name, theta in flat.items():
        off = np.abs(theta - flat["torch"]).max() / np.abs(theta).max()
        if not off <= AGREEMENT:
            sys.exit(f"{name} trains something else: weights differ by {off:.1e} after {steps} steps")


def main() -> None:
    out = Console(width=110, highlight=False)
    out.print(pin())
    has_jax = importlib.util.find_spec("jax") is not None
    if not has_jax:
        out.print("jax is not installed (make bench installs it): going on without that peer")
    for name, (parameters, count, steps) in SHAPES.items():
        if "batch_size" not in parameters:
            check(contenders(parameters, 16, CHECK_STEPS, "float64", has_jax), 16, CHECK_STEPS)
        for dtype in ("float32", "float64"):
            found = contenders(parameters, count, steps, dtype, has_jax)
            seconds = interleaved({who: contender.advance for who, contender in found.items()}, REPETITIONS)
            each = {who: [s / steps / count for s in times] for who, times in seconds.items()}
            ours = next(iter(each))
            table = Table("", "µs a run-step", "spread", f"takes × {ours}", box=box.SIMPLE)
            for who, times in each.items():
                table.add_row(who, f"{1e6 * median(times):.2f}", spread(times), f"{ratio(times, each[ours]):.2f}")
            out.print(f"{name}, {dtype}, {count} runs", table)
            if ours == "blas":
                n, d, width = (parameters[key] for key in ("n", "d", "width"))
                reached, rate = 4 * n * d * width / median(each[ours]), product_rate(n, d, width, dtype)
                shares = f"{reached / 1e9:.0f} of {rate / 1e9:.0f} GFlop/s that these products alone reach"
                out.print(f"blas: {shares}, {reached / rate:.0%}\n")


if __name__ == "__main__":
    main()
