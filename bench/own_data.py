"""What a file of one's own costs over a built-in problem: the same points trained, and as many runs expanded."""

import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pinned import interleaved, pin, ratio, spread

from relusweep.sweep.data import dataset
from relusweep.sweep.execute import execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure, Spec

SHARED = {"problem": "bump", "d": 2, "n": 128, "n_test": 256, "width": 64, "max_steps": 2000, "tolerance": 0.0}
AXES = "grid = { lr = { log = [0.01, 1.0, 100] }, seed = { range = [0, 1000] } }"
RUNS = 32


def main() -> None:
    print(pin())
    built_in = [Run.model_validate(SHARED | {"lr": 0.1, "seed": seed}) for seed in range(RUNS)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "points.npz")
        data = dataset(built_in[0].model_dump())
        np.savez(file, x=data.x, y=data.y, x_test=data.x_test, y_test=data.y_test)
        same = {key: SHARED[key] for key in ("width", "max_steps", "tolerance")} | {"problem": "file"}
        own = [Run.model_validate(same | {"file": str(file), "lr": 0.1, "seed": seed}) for seed in range(RUNS)]
        losses = [train(runs) for runs in (built_in, own)]
        assert losses[0] == losses[1], "the same points, the same kernel: the same bits"
        report("training", interleaved({"built in": lambda: train(built_in), "own": lambda: train(own)}, 9))
        head = f"name = 'x'\nfixed = {{ problem = 'file', file = '{file}' }}\n[[block]]\n{AXES}"
        texts = {"built in": head.replace(f"'file', file = '{file}'", "'bump'"), "own": head}
        report("expanding 100,000 runs", interleaved({name: expander(text) for name, text in texts.items()}, 5))


def train(runs: list[Run]) -> list[float]:
    return (
        execute(Pack(tuple(runs)), Measure(), torch.device("cpu"), "bench")["runs"].sort_by("seed")["loss"].to_pylist()
    )


def expander(text: str):
    return lambda: sum(1 for _ in Spec.parse(text, "bench").expand())


def report(what: str, seconds: dict[str, list[float]]) -> None:
    times = ", ".join(f"{name} {median(each):.3f} s ({spread(each)})" for name, each in seconds.items())
    print(f"{what}: {times}; speed of own data over built in: {ratio(seconds['built in'], seconds['own']):.3f}")


if __name__ == "__main__":
    main()
