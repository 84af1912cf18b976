"""Work on a store that is killed between any two of its steps."""

import subprocess
import sys

from relusweep.sweep.store.store import Store

KILLED = """
import os, shutil, signal, sys
from relusweep.sweep.store import prune, repair
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.store.store import Store

store, copies, what, refuses_links, *ids = sys.argv[1:]
steps = 0

def audit(event, arguments):  # each change to the file system, before it is made
    global steps
    changes = event in ("os.link", "os.rename", "os.remove", "os.mkdir", "shutil.copyfile")
    if changes or (event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

def link(*_, **__):
    raise PermissionError(1, "links are not known here")

for last in range(1, 60):
    copy = f"{copies}/{last}"
    shutil.copytree(store, copy)
    if not (child := os.fork()):
        if refuses_links == "yes":
            os.link = link
        sys.addaudithook(audit)
        if what == "forget":
            repair.forget(Store.open(copy), RunIds(ids))
        elif what == "prune":
            prune.prune(Store.open(copy), RunIds(ids))
        else:
            repair.repair(Store.open(copy))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code)
    if code != -signal.SIGKILL:
        break
"""


def killed(store, folder, what, *ids, refuses_links="no"):
    """Work on copies of a store in processes, each killed one change to the files later than the one before.

    Returns the copies; the process of the last one came to its end.
    """
    command = [sys.executable, "-c", KILLED, store.path, folder, what, refuses_links, *ids]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    codes = done.stdout.split()
    assert codes == ["-9"] * (len(codes) - 1) + ["0"], done.stderr
    return [Store(folder / str(number)) for number, _ in enumerate(codes, 1)]
