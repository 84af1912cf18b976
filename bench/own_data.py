"""What data and a target of one's own cost over a built-in problem: the same points trained, as many runs expanded."""

import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pinned import interleaved, pin, ratio, spread

from relusweep.sweep import own_code, trust
from relusweep.sweep.data import dataset
from relusweep.sweep.execute import execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure, Spec

SHARED = {"d": 2, "n": 128, "n_test": 256, "width": 64, "max_steps": 2000, "tolerance": 0.0}
AXES = "grid = { lr = { log = [0.01, 1.0, 100] }, seed = { range = [0, 1000] } }"
RUNS = 32
CODE = """import numpy as np
def bump(x, bandwidth): return np.exp(-(x**2).sum(1) / (2 * bandwidth**2))
"""


def main() -> None:
    print(pin())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bump.py").write_text(CODE)
        built_in = {"problem": "bump"}
        python = {"problem": "python", "target": f"{folder}/bump.py:bump", "target_arguments": '{"bandwidth":0.5}'}
        points = {"problem": "file", "file": f"{folder}/points.npz"}
        data = dataset(runs(built_in)[0].model_dump())
        np.savez(points["file"], x=data.x, y=data.y, x_test=data.x_test, y_test=data.y_test)
        for what, given in (("data", points), ("target", python)):
            mine, theirs = runs(given), runs(built_in)
            trust.permit(own_code.named_by(run.__dict__ for run in mine))
            assert train(mine) == train(theirs), "the same points, the same kernel: the same bits"
            seconds = interleaved({"built in": lambda a=theirs: train(a), "own": lambda a=mine: train(a)}, 9)
            report(f"training on own {what}", seconds)
            texts = {"built in": spec(built_in), "own": spec(given)}
            seconds = interleaved({name: expander(text) for name, text in texts.items()}, 5)
            report(f"expanding 100,000 runs on own {what}", seconds)


def runs(given: dict[str, str]) -> list[Run]:
    own_sizes = ("d", "n", "n_test") if given["problem"] == "file" else ()
    shared = {key: value for key, value in SHARED.items() if key not in own_sizes}
    return [Run.model_validate(shared | given | {"lr": 0.1, "seed": seed}) for seed in range(RUNS)]


def spec(given: dict[str, str]) -> str:
    fixed = ", ".join(f"{key} = '{value}'" for key, value in given.items())
    return f"name = 'x'\nfixed = {{ {fixed} }}\n[[block]]\n{AXES}"


def train(runs: list[Run]) -> list[float]:
    return (
        execute(Pack(tuple(runs)), Measure(), torch.device("cpu"), "bench")["runs"].sort_by("seed")["loss"].to_pylist()
    )


def expander(text: str):
    return lambda: sum(1 for _ in Spec.parse(text, "bench").expand())


def report(what: str, seconds: dict[str, list[float]]) -> None:
    times = ", ".join(f"{name} {median(each):.3f} s ({spread(each)})" for name, each in seconds.items())
    print(f"{what}: {times}; speed of own over built in: {ratio(seconds['built in'], seconds['own']):.3f}")


if __name__ == "__main__":
    main()
