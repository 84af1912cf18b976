"""Run-steps per second of relusweep, of the loop that one writes today, and of JAX; cost against the number of runs.

The task: shallow networks, d = 2, n = 128, width 64, full batch, each run with its own step size and initial weights.
All contenders do the same arithmetic, which is checked first: after 50 steps in float64 their weights agree to 1e-9.

    torch modules   one `torch.nn` module a run, autograd, `optim.SGD`; timed on few runs, its cost is linear
    JAX             `jit(vmap(scan))` over all runs, compile time excluded; and the same program on 16 runs at a time,
                    which keeps activations in the core's cache as relusweep does
"""

import importlib.util
import sys
from collections.abc import Sequence
from statistics import median
from typing import Protocol

import numpy as np
import torch
from pinned import interleaved, pin, ratio, spread
from rates import fma_peak
from rich import box
from rich.console import Console
from rich.table import Table

from relusweep.sweep.data import dataset
from relusweep.sweep.kernels.training import plain
from relusweep.sweep.kernels.training.kernel import Kernel
from relusweep.sweep.model import Architecture, initial_parameters
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.train import Training

RUNS, STEPS, REPETITIONS = 256, 100, 7
MODULES = 4  # runs that the torch modules are timed on, spread over all step sizes
JAX_TILE = 16
LADDER, LADDER_STEPS = (256, 1024, 4096), 25
CHECK_STEPS, AGREEMENT = 50, 1e-9
OPERATIONS = 11  # a unit and sample: two inputs and the output weight forth, two inputs back, and a sum for the bias


def make_runs(count: int, dtype: str) -> tuple[Run, ...]:
    rates = np.geomspace(1e-3, 0.3, count).tolist()
    fixed = {"problem": "pyramid", "d": 2, "n": 128, "width": 64, "dtype": dtype, "max_steps": 10**6, "tolerance": 0.0}
    return tuple(Run.model_validate(fixed | {"lr": lr, "seed": seed}) for seed, lr in enumerate(rates))


class Contender(Protocol):
    """Trains runs by a fixed number of steps a call."""

    def advance(self) -> None: ...

    def weights(self) -> list[np.ndarray]:
        """Return w1 (B, width, d), b1 (B, width), w2 (B, width), b2 (B,)."""
        ...


class Relusweep:
    """What `relusweep run` does between two convergence checks; with `kernel`, by that one."""

    def __init__(self, runs: Sequence[Run], steps: int, kernel: Kernel | None = None) -> None:
        self.training, self.steps = Training(Pack(tuple(runs)), torch.device("cpu")), steps
        self.training.kernel = kernel or self.training.kernel

    def advance(self) -> None:
        self.training.advance(self.training.step + self.steps, lambda: None)

    def weights(self) -> list[np.ndarray]:
        order = np.argsort([run.seed for run in self.training.runs])  # a pack is sorted by data and id
        named = self.training.architecture.named(self.training.state["theta"])
        return [named[name].numpy()[order] for name in ("w1", "b1", "w2", "b2")]


def start(runs: Sequence[Run]) -> list[np.ndarray]:
    """Return the initial weights, stacked."""
    theta = torch.stack([torch.from_numpy(initial_parameters(run)) for run in runs])
    return [weight.numpy().astype(runs[0].dtype) for weight in Architecture.of(runs[0]).named(theta).values()]


class TorchModules:
    def __init__(self, runs: Sequence[Run], steps: int) -> None:
        dtype, data = getattr(torch, runs[0].dtype), dataset(runs[0].model_dump())
        self.x, self.y = torch.from_numpy(data.x).to(dtype), torch.from_numpy(data.y).to(dtype)[:, None]
        self.steps, self.modules, self.lrs = steps, [], [run.lr for run in runs]
        for w1, b1, w2, b2 in zip(*start(runs), strict=True):
            hidden, output = torch.nn.Linear(runs[0].d, runs[0].width), torch.nn.Linear(runs[0].width, 1)
            module = torch.nn.Sequential(hidden, torch.nn.ReLU(), output).to(dtype)
            given = (w1, b1, w2[None], b2[None])
            torch.nn.utils.vector_to_parameters(
                torch.from_numpy(np.concatenate([w.ravel() for w in given])), module.parameters()
            )
            self.modules.append(module)

    def advance(self) -> None:
        for module, lr in zip(self.modules, self.lrs, strict=True):
            optimizer = torch.optim.SGD(module.parameters(), lr=lr)
            for _ in range(self.steps):
                optimizer.zero_grad()
                loss = 0.5 * (module(self.x) - self.y).square().mean()
                loss.backward()
                optimizer.step()

    def weights(self) -> list[np.ndarray]:
        w1, b1, w2, b2 = (
            np.stack([p.detach().numpy() for p in column])
            for column in zip(*(module.parameters() for module in self.modules), strict=True)
        )
        return [w1, b1, w2[:, 0], b2[:, 0]]


class Jax:
    def __init__(self, runs: Sequence[Run], steps: int, together: int) -> None:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)  # float32 inputs stay float32
        data = dataset(runs[0].model_dump())
        x, y = (jnp.asarray(a.astype(runs[0].dtype)) for a in (data.x, data.y))

        def loss(weights):
            w1, b1, w2, b2 = weights
            return 0.5 * jnp.mean((jax.nn.relu(x @ w1.T + b1) @ w2 + b2 - y) ** 2)

        def train(weights, lr):
            def step(weights, _):
                return jax.tree.map(lambda w, g: w - lr * g, weights, jax.grad(loss)(weights)), None

            return jax.lax.scan(step, weights, None, length=steps)[0]

        tiles = [runs[first : first + together] for first in range(0, len(runs), together)]
        self.states = [[jnp.asarray(w) for w in start(tile)] for tile in tiles]
        self.lrs = [jnp.asarray(np.array([run.lr for run in tile], runs[0].dtype)) for tile in tiles]
        self.train = jax.jit(jax.vmap(train)).lower(self.states[0], self.lrs[0]).compile()

    def advance(self) -> None:
        states = (self.train(state, lrs) for state, lrs in zip(self.states, self.lrs, strict=True))
        self.states = [[w.block_until_ready() for w in state] for state in states]

    def weights(self) -> list[np.ndarray]:
        return [np.concatenate(column) for column in zip(*self.states, strict=True)]


def contenders(dtype: str, steps: int, has_jax: bool) -> dict[str, tuple[Contender, int]]:
    """Name every contender, with the number of its runs. Fused kernels join the reference when there are some."""
    runs = make_runs(RUNS, dtype)
    chosen = Relusweep(runs, steps)
    found: dict[str, tuple[Contender, int]] = {"relusweep (torch)": (Relusweep(runs, steps, plain), RUNS)}
    if chosen.training.kernel is not plain:
        found[f"relusweep ({chosen.training.kernel.NAME})"] = (chosen, RUNS)
    found["torch modules"] = (TorchModules(runs[:: RUNS // MODULES], steps), MODULES)
    if has_jax:
        found["JAX vmap+scan"] = (Jax(runs, steps, RUNS), RUNS)
        found[f"JAX, {JAX_TILE} at a time"] = (Jax(runs, steps, JAX_TILE), RUNS)
    return found


def check(has_jax: bool) -> str:
    """Demand that all contenders compute the same training."""
    weights = {}
    for name, (contender, count) in contenders("float64", CHECK_STEPS, has_jax).items():
        contender.advance()
        weights[name] = np.concatenate([w.reshape(count, -1) for w in contender.weights()], 1)
    reference = weights["relusweep (torch)"]
    moved = np.concatenate([w.reshape(RUNS, -1) for w in start(make_runs(RUNS, "float64"))], 1) - reference
    assert np.linalg.norm(moved, axis=1).min() > 1e-4, "nothing has been trained"
    found = []
    for name, theta in weights.items():
        off = np.linalg.norm(theta - reference[:: RUNS // len(theta)], axis=1) / np.linalg.norm(theta, axis=1)
        if not off.max() <= AGREEMENT:
            sys.exit(f"{name} trains something else: weights differ by {off.max():.1e} after {CHECK_STEPS} steps")
        found.append(f"{name} {off.max():.0e}")
    return f"float64 weights after {CHECK_STEPS} steps, off the reference by: {'; '.join(found[1:])}"


def main() -> None:
    out = Console(width=110, highlight=False)
    out.print(pin())
    has_jax = importlib.util.find_spec("jax") is not None
    if not has_jax:
        out.print("jax is not installed (make bench installs it): going on without that peer")
    out.print(check(has_jax))

    for dtype in ("float32", "float64"):
        found = contenders(dtype, STEPS, has_jax)
        seconds = interleaved({name: contender.advance for name, (contender, _) in found.items()}, REPETITIONS)
        each = {name: [s / STEPS / found[name][1] for s in times] for name, times in seconds.items()}
        ours = [name for name in each if name.startswith("relusweep")]
        out.print(f"\n{dtype}: medians of {REPETITIONS} repetitions of {STEPS} steps")
        table = Table("", "runs", "µs a run-step", "run-steps/s", "spread", box=box.SIMPLE)
        for name in ours:
            table.add_column(f"takes × {name}")
        for name, times in each.items():
            pace = (f"{1e6 * median(times):.2f}", f"{1 / median(times):,.0f}", spread(times))
            table.add_row(name, str(found[name][1]), *pace, *(f"{ratio(times, each[our]):.1f}" for our in ours))
        out.print(table)
        peak, run = fma_peak(dtype), make_runs(1, dtype)[0]
        reached = OPERATIONS * run.n * run.width / median(each[ours[-1]])
        shares = f"{reached / 1e9:.0f} of {peak / 1e9:.0f} GFlop/s that this core's multiply-adds reach"
        out.print(f"{ours[-1]}: {shares}, {reached / peak:.0%}")

    for dtype in ("float32", "float64"):
        works = {str(count): Relusweep(make_runs(count, dtype), LADDER_STEPS) for count in LADDER}
        seconds = interleaved({name: work.advance for name, work in works.items()}, REPETITIONS)
        each = {name: [s / LADDER_STEPS / int(name) for s in times] for name, times in seconds.items()}
        kernel = works[str(LADDER[0])].training.kernel.NAME
        out.print(f"\n{dtype}: cost against the number of runs ({kernel}), {LADDER_STEPS} steps")
        table = Table("runs", "µs a run-step", "spread", f"over that of {LADDER[0]}", box=box.SIMPLE)
        for name, times in each.items():
            over = f"{ratio(times, each[str(LADDER[0])]):.2f}"
            table.add_row(name, f"{1e6 * median(times):.2f}", spread(times), over)
        out.print(table)


if __name__ == "__main__":
    main()
