"""One GPU: µs a run-step of the persistent kernel, of the reference and of JAX, and the share of the card's peak.

The task is that of `throughput.py`; then large networks, whose steps are replayed as a CUDA graph. It is checked first
that all kernels compute the same, and that a run of the persistent one is the same bit for bit in any pack. The peak is
measured: products and sums in registers, of which none waits for another. Times are on the wall, the device waited for;
medians of the repetitions.
"""

import importlib.util
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from statistics import median

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from throughput import Jax, make_runs

from relusweep.sweep.kernels.training import graphed, persistent, plain
from relusweep.sweep.kernels.training.kernel import Kernel
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.train import CHECK_STEPS, Training

RUNS, STEPS, REPETITIONS = 10_000, 200, 5
MANY, MANY_STEPS = 100_000, 10_000
LARGE, LARGE_RUNS = {"d": 64, "n": 512, "width": 128}, 1000
COMPARED_STEPS, AGREEMENT = 50, 1e-9
OPERATIONS = 16  # a unit and sample, as bench/README.md counts them


class Relusweep:
    """Runs on the card, trained by one kernel."""

    def __init__(self, runs: Sequence[Run], steps: int, kernel: Kernel) -> None:
        self.training, self.steps = Training(Pack(tuple(runs)), torch.device("cuda")), steps
        self.training.kernel = kernel

    def advance(self) -> None:
        self.training.advance(self.training.step + self.steps, lambda: None)
        torch.cuda.synchronize()

    def weights(self) -> dict[str, torch.Tensor]:
        places = self.training.state["position"].tolist()
        return {self.training.runs[p].id: row for p, row in zip(places, self.training.state["theta"], strict=True)}


def check() -> str:
    """Demand the weights of the reference, and the same ones in any pack."""
    runs = make_runs(1000, "float64")
    found = {}
    for kernel in (persistent, graphed, plain):
        contender = Relusweep(runs, COMPARED_STEPS, kernel)
        contender.advance()
        found[kernel] = contender.weights()
    for kernel in (graphed, persistent):
        off = max(float((row - found[plain][run]).norm() / row.norm()) for run, row in found[kernel].items())
        if not off <= AGREEMENT:
            sys.exit(
                f"kernel {kernel.NAME} trains something else: weights differ by {off:.1e} after {COMPARED_STEPS} steps"
            )
    for dtype in ("float32", "float64"):
        runs = make_runs(1000, dtype)
        whole = Relusweep(runs, COMPARED_STEPS, persistent)
        whole.advance()
        expected = whole.weights()
        for part in (runs[:1], runs[500:507], runs[::-1]):
            pieces = Relusweep(part, 0, persistent)
            for stop in (*sorted(random.sample(range(1, COMPARED_STEPS), 3)), COMPARED_STEPS):
                pieces.training.advance(stop, lambda: None)
            for run, row in pieces.weights().items():
                if not torch.equal(row, expected[run]):
                    sys.exit(f"{dtype}: run {run} is another one in a pack of {len(part)}")
    return f"weights after {COMPARED_STEPS} steps: off the reference by {off:.0e}, the same bit for bit in any pack"


def timed(work: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    """Return the median seconds of a call, after one that is not counted."""
    seconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def peak(dtype: torch.dtype) -> float:
    """Return the operations a second of products and sums in registers."""
    from multiply_add import CHAINS, SIZE, UNROLLED, multiply_add

    rounds, programs = 5_000, 32 * torch.cuda.get_device_properties(0).multi_processor_count
    numbers = torch.rand(SIZE + 2, dtype=dtype, device="cuda")

    def work() -> None:
        multiply_add[(programs,)](numbers, rounds, SIZE, CHAINS, UNROLLED, num_warps=4, enable_fp_fusion=True)
        torch.cuda.synchronize()

    return 2 * CHAINS * UNROLLED * SIZE * rounds * programs / timed(work)


def has_jax() -> bool:
    """Return whether JAX is here and sees the card."""
    if importlib.util.find_spec("jax") is None:
        return False
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # or it takes three quarters of the memory
    import jax

    return jax.default_backend() == "gpu"


def main() -> None:
    out = Console(width=110, highlight=False)
    if not torch.cuda.is_available():
        out.print("not measured: no GPU")
        return
    if not persistent.supports(make_runs(1, "float32")[0], torch.device("cuda")):
        out.print("not measured: Triton does not run on this GPU")
        return
    out.print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {date.today()}")
    out.print(check())
    with_jax = has_jax()
    if not with_jax:
        out.print("JAX with CUDA is not installed: going on without that peer")
    for dtype in ("float32", "float64"):
        runs, most = make_runs(RUNS, dtype), peak(getattr(torch, dtype))
        works = {kernel.NAME: Relusweep(runs, STEPS, kernel).advance for kernel in (persistent, plain)}
        if with_jax:
            works["JAX vmap+scan"] = Jax(runs, STEPS, RUNS).advance
        seconds = {name: timed(work) / STEPS / RUNS for name, work in works.items()}
        table = Table(
            "", "µs a run-step", f"takes × {persistent.NAME}", "TFLOP/s", f"of {most / 1e12:.1f} measured",
            box=box.SIMPLE,
        )  # fmt: skip
        for name, each in seconds.items():
            rate = OPERATIONS * runs[0].n * runs[0].width / each
            ratio = each / seconds[persistent.NAME]
            table.add_row(name, f"{1e6 * each:.4f}", f"{ratio:.1f}", f"{rate / 1e12:.1f}", f"{rate / most:.0%}")
        out.print(f"\n{dtype}: {RUNS} runs, medians of {REPETITIONS} repetitions of {STEPS} steps", table)

        large = [run.model_copy(update=LARGE) for run in runs[:LARGE_RUNS]]
        times = {kernel: timed(Relusweep(large, STEPS, kernel).advance) for kernel in (graphed, plain)}
        each = {kernel.NAME: f"{1e6 * time / STEPS / LARGE_RUNS:.3f}" for kernel, time in times.items()}
        out.print(f"{dtype}: {LARGE_RUNS} runs of {LARGE}, µs a run-step: {each}")

    many = Relusweep(make_runs(MANY, "float32"), CHECK_STEPS, persistent)
    start = time.perf_counter()
    for _ in range(MANY_STEPS // CHECK_STEPS):
        many.advance()
        many.training.check_convergence()
    torch.cuda.synchronize()
    out.print(f"float32: {MANY} runs of {MANY_STEPS} steps, with checks: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
