"""Seconds and memory of the commands on a finished store of many runs.

    python bench/stores.py            100,000 runs
    python bench/stores.py 1000000    a million: 141 MiB on disk, and several minutes

The runs are those of a real spec; their measures are made up, since training them is not what is measured.
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
SPEC = """
name = "finished"
study = "stability"
[fixed]
problem = "pyramid"
[[block]]
grid = {{ lr = {{ log = [0.01, 1.0, 1000] }}, seed = {{ range = [0, {seeds}] }} }}
"""


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    relusweep = [sys.executable, "-m", "relusweep"]
    with tempfile.TemporaryDirectory() as folder:
        spec, store = Path(folder, "finished.toml"), Path(folder, "store")
        spec.write_text(SPEC.format(seeds=runs // 1000), encoding="utf-8")
        _, seconds, _ = child(sys.executable, __file__, "write", str(spec), str(store))
        size = sum(part.stat().st_size for part in store.glob("runs/*.parquet"))
        load = os.getloadavg()[0]
        print(f"{runs:,} runs: {size / 2**20:.0f} MiB of Parquet, written in {seconds:.0f} s; load {load:.1f}")
        print(f"{'':20}{'on the wall':>12}{'processor':>12}{'memory':>12}")
        for name, arguments in {
            "nothing (--help)": ("--help",),
            "status": ("status", store),
            "verify": ("verify", store),
            "plan": ("plan", spec, "--out", store),
            "run, all recorded": ("run", spec, "--out", store),
            "report": ("report", store),
            "compact": ("compact", store),
        }.items():
            wall, processor, mebibytes = child(*relusweep, *map(str, arguments))
            print(f"{name:20}{wall:10.1f} s{processor:10.1f} s{mebibytes:8.0f} MiB")


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


def write(spec_path: str, store_path: str) -> None:
    """Record all runs of a spec, 4096 a part, as if they had been trained."""
    from relusweep.sweep.spec import Spec
    from relusweep.sweep.store.store import Store

    spec, store = Spec.read(spec_path), Store.create(store_path)
    store.write_spec(spec.text)
    runs = iter(spec.expand())
    while pack := list(islice(runs, PACK)):
        store.write(pack[0].id[:16], {"runs": list(rows(pack))}, {"device": "cpu", "backend": "local"})


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
        floor = 1 + (sharpness - 1) * chance.uniform(0.3, 0.8)
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
            "stability_norm": (floor - 1) / 3,
            "oriented_stability_norm": (floor - 1) / 2,
            "mean_gradient_bound": floor * 1.01,
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
