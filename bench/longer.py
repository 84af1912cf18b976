"""What it costs to go on: 1,000 runs from 8,000 to 60,000 steps, over as many runs of just the 52,000 steps.

Both as `relusweep run --workers 1` does it, all in this process: states read, checkpoints written, rows recorded.
"""

import shutil
import tempfile
from pathlib import Path
from statistics import median

from pinned import interleaved, pin, ratio, spread

from relusweep.cluster.backend import backend
from relusweep.cluster.launch import launch
from relusweep.sweep.spec import Spec

FEW, MANY, REPETITIONS = 8_000, 60_000, 5
SPEC = """name = "longer"
fixed = { problem = "sine", d = 2, n = 16, width = 8, n_test = 0, tolerance = 0.0, max_steps = %d }
[[block]]
grid = { lr = { log = [0.01, 0.1, 10] }, seed = { range = [0, 100] } }
"""


def main() -> None:
    print(pin())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder / "few", FEW)
        stores = [folder / f"more-{number}" for number in range(REPETITIONS + 2)]
        for store in stores:
            shutil.copytree(folder / "few", store)

        def go_on() -> None:
            train(stores.pop(), MANY)

        def at_once() -> None:
            train(Path(tempfile.mkdtemp(dir=folder)), MANY - FEW)

        seconds = interleaved({"going on": go_on, "as many steps at once": at_once}, REPETITIONS)
    for what, times in seconds.items():
        print(f"{what}: {median(times):.2f} s ({spread(times)})")
    print(f"ratio: {ratio(seconds['going on'], seconds['as many steps at once']):.3f}")


def train(store: Path, max_steps: int) -> None:
    spec = Spec.parse(SPEC % max_steps, "longer")
    launch(spec, store, backend("local", 1), "bench")


if __name__ == "__main__":
    main()
