"""Start: a job that gets a signal before it has loaded anything comes back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from relusweep.cluster.slurm.submission import Submission

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


@pytest.mark.slow
def test_signal_that_comes_while_the_task_is_loaded_is_answered(submission: Submission, tmp_path: Path) -> None:
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
    assert submission.history(0)["starts"] == 1
    assert not submission.store.recorded()
