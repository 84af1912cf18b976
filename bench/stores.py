"""Seconds and memory of the commands on a finished store of many runs, or of many parts.

    python bench/stores.py               100,000 runs in parts of 4,096, then in 10,000 parts of 10
    python bench/stores.py 1000000       a million in parts of 4,096: 141 MiB on disk, and some two minutes
    python bench/stores.py 100000 10     the 10,000 parts alone

The runs are those of a real spec; their measures are made up, since training them is not what is measured. Of every
tenth part there are trajectories and weights too.
"""

import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

PACK = 4096
FEW = 10  # runs a part
SPEC = """
name = "finished"
study = "stability"
[fixed]
problem = "pyramid"
[[block]]
grid = {{ lr = {{ log = [0.01, 1.0, 1000] }}, seed = {{ range = [0, {seeds}] }} }}
"""


def main() -> None:
    given = [int(argument) for argument in sys.argv[1:]]
    tables = [(given[0], given[1] if given[1:] else PACK)] if given else [(100_000, PACK), (100_000, FEW)]
    for runs, size in tables:
        measure(runs, size)


def measure(runs: int, size: int) -> None:
    """Print a table for a store of so many runs, so many a part."""
    relusweep = [sys.executable, "-m", "relusweep"]
    with tempfile.TemporaryDirectory() as folder:
        spec, store = Path(folder, "finished.toml"), Path(folder, "store")
        spec.write_text(SPEC.format(seeds=runs // 1000), encoding="utf-8")
        _, seconds, _ = child(sys.executable, __file__, "write", str(spec), str(store), str(size))
        parts = [part.stat().st_size for part in store.glob("*/*.parquet")]
        print(
            f"{runs:,} runs: {len(parts):,} parts of {sum(parts) / 2**20:.0f} MiB, written in {seconds:.0f} s; "
            f"load {os.getloadavg()[0]:.1f}"
        )
        print(f"{'':20}{'on the wall':>12}{'processor':>12}{'memory':>12}")
        for name, arguments in {
            "nothing (--help)": ("--help",),
            "plan, no store yet": ("plan", spec, "--out", Path(folder, "none")),
            "status": ("status", store),
            "verify": ("verify", store),
            "plan": ("plan", spec, "--out", store),
            "run, first time": ("run", spec, "--out", store),
            "run, all recorded": ("run", spec, "--out", store),
            "status again": ("status", store),
            "verify again": ("verify", store),
            "plan again": ("plan", spec, "--out", store),
            "report": ("report", store),
            "compact": ("compact", store),
        }.items():
            wall, processor, mebibytes = child(*relusweep, *map(str, arguments))
            print(f"{name:20}{wall:10.1f} s{processor:10.1f} s{mebibytes:8.0f} MiB", flush=True)


def child(*command: str) -> tuple[float, float, float]:
    """Run a command in a process of its own; return the seconds on the wall, of processors, and its peak memory in MiB.

    The kernel counts the memory of the process that starts it as the child's until its program is loaded: hence this
    file imports nothing large, and writes the store in a child too.
    """
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def write(spec_path: str, store_path: str, size: str) -> None:
    """Record all runs of a spec, so many a part, as if they had been trained."""
    from relusweep.sweep.spec import Spec
    from relusweep.sweep.store.store import Store

    spec, store = Spec.read(spec_path), Store.create(store_path)
    store.write_spec(spec.text)
    runs, number = iter(spec.expand()), 0
    while pack := list(islice(runs, int(size))):
        tables = {"runs": list(rows(pack))}
        if number % 10 == 0 and int(size) < PACK:
            tables = with_more(tables["runs"])
        store.write(pack[0].id[:16], tables, {"device": "cpu", "backend": "local"})
        number += 1


def with_more(runs: list[dict]) -> dict[str, list[dict]]:
    """Add 20 moments and the weights of each run."""
    from relusweep.sweep.record import MOMENT_MEASURES

    chance = random.Random(runs[0]["run_id"])
    return {
        "runs": [run | {"moments": 20, "weights_saved": True} for run in runs],
        "trajectories": [
            {"run_id": run["run_id"], "step": step} | {name: chance.random() for name in MOMENT_MEASURES}
            for run in runs
            for step in range(20)
        ],
        "weights": [
            {"run_id": run["run_id"], "w1": [chance.random() for _ in range(128)], "b1": [0.1] * 64} for run in runs
        ],
    }


def rows(pack: list) -> Iterator[dict]:
    """Make up what is recorded of a pack: progressive sharpening to the edge, scatter over seeds, some divergence."""
    from relusweep.sweep.record import SCHEMA_VERSION, code_version

    shared = {
        "backend": "local", "code_version": code_version(), "device": "cpu", "kernel": "torch", "moments": 0,
        "pack_id": pack[0].id[:16], "pack_size": len(pack), "schema_version": SCHEMA_VERSION, "seconds": 0.012,
        "weights_saved": False,
    }  # fmt: skip
    for run in pack:
        row = run.model_dump() | {"run_id": run.id} | shared
        chance = random.Random(run.id)
        if run.lr > 0.5 and chance.random() < run.lr:
            yield row | {"status": "diverged", "steps": 10 * chance.randrange(1, 30)}
            continue
        eos = min(1 - 0.01 * chance.random(), run.lr * (8 + 2 * chance.random()))
        sharpness = 2 * eos / run.lr
        least = 1 + (sharpness - 1) * chance.uniform(0.3, 0.8)
        loss = 1e-8 * chance.random()
        yield row | {
            "status": "converged" if chance.random() < 0.98 else "budget",
            "steps": chance.randrange(500, 20_000),
            "loss": loss,
            "train_rmse": math.sqrt(2 * loss),
            "test_rmse": chance.uniform(0.01, 0.1),
            "test_sup": chance.uniform(0.1, 0.5),
            "sharpness": sharpness,
            "sharpness_residual": 1e-12 * chance.random(),
            "gn_sharpness": sharpness,
            "gn_sharpness_min": sharpness,
            "eos_ratio": eos,
            "stability_norm": (least - 1) / 3,
            "oriented_stability_norm": (least - 1) / 2,
            "mean_gradient_bound": least * 1.01,
            "variation_norm": chance.uniform(5, 20),
            "parameter_norm": chance.uniform(5, 10),
            "dead_fraction": chance.randrange(64) / 64,
            "knot_points": 0,
            "residual_correction": 1e-6 * chance.random(),
        }


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(*sys.argv[2:])
    else:
        main()
