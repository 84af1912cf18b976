"""What back-ends prepare: named as they are, and loaded by a command before it loads anything else."""

import importlib
import subprocess
import sys

from relusweep.cluster.ahead import PREPARATIONS, prepare
from relusweep.cluster.backend import BACKENDS


def test_only_backends_prepare_and_what_they_name_is_there() -> None:
    assert PREPARATIONS.keys() <= BACKENDS.keys()
    for place in PREPARATIONS.values():
        module, function = place.split(":")
        assert callable(getattr(importlib.import_module(module), function))
    prepare("slurm", 2)  # has nothing to prepare


def test_one_worker_needs_no_process_of_its_own_and_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from relusweep.cluster.ahead import prepare; prepare('local', 1)\n"
        "from multiprocessing import forkserver; assert forkserver._forkserver._forkserver_pid is None\n"
        "assert not {'torch', 'ray', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
