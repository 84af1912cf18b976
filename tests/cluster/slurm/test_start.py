"""Start: a job that is told to stop before it has loaded anything comes back."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from relusweep.cluster.backend import Job
from relusweep.cluster.slurm.submission import Draft, Element
from relusweep.sweep.pack import Pack
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.store.store import Store

LOADS_SLOWLY = """
import os, signal, sys

class Slow:
    def find_spec(self, name, *_):
        if name == "relusweep.cluster.slurm.array_task":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Slow())
from relusweep.cluster.slurm.start import main
main(sys.argv[1], "0")
"""


def test_signal_that_comes_while_the_element_is_loaded_is_heeded(tiny: Callable[..., Path], tmp_path: Path) -> None:
    draft = Draft(Store.create(tmp_path / "store"))
    draft.take([(Pack(tuple(Spec.read(tiny()).expand())), 1.0)])
    told = {"time": time.time(), "machine": {"gpus_per_job": 0, "cpus_per_task": 1, "time": "60"}}
    job = Job(tmp_path / "store", Measure(), "slurm", 60.0)
    submission = draft.publish([Element((0,), 4, 1.0)], [range(1)], job, told)
    for name, line in {"squeue": "echo RUNNING", "scontrol": f"echo $* >> {tmp_path}/asked"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o700)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "12"}
    done = subprocess.run(
        [sys.executable, "-c", LOADS_SLOWLY, submission.path],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "The states are written.\nQueued again.\n"), done.stderr
    assert (tmp_path / "asked").read_text() == "requeue 12\n"
    assert submission.account_of(0)["starts"] == 1
    assert not submission.store.recorded()
