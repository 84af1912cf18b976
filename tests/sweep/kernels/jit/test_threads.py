"""BLAS on one thread, whatever the machine has."""

import subprocess
import sys

CODE = """
from threadpoolctl import threadpool_info
from relusweep.sweep.kernels.jit.threads import one_thread
one_thread()
print({library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"})
"""


def test_blas_that_compiled_programs_call_has_one_thread():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"
