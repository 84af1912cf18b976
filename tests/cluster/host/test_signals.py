"""Signals: answered for a while, then as before; what is blocked never comes to a child."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from relusweep.cluster.host.signals import STOP_SIGNALS, answer, answered, blocked, restored


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stop_signals_are_answered_for_a_while(number: int) -> None:
    before, came = signal.signal(number, signal.SIG_DFL), list[int]()
    try:
        with answered(lambda number, _: came.append(number)):
            os.kill(os.getpid(), number)
        assert came == [number]
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_handlers_that_others_replace_meanwhile_are_put_back() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with restored():
        answer(lambda *_: None)
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_blocked_signal_never_comes_to_a_child() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with blocked([signal.SIGUSR1]):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    child.send_signal(signal.SIGUSR1)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.5)
    child.terminate()
    assert child.wait() == -signal.SIGTERM


def test_closing_the_terminal_is_no_matter_to_who_goes_on_without_one() -> None:
    """As below nohup, which has the signal ignored."""
    before, came = signal.signal(signal.SIGHUP, signal.SIG_IGN), list[int]()
    try:
        with answered(lambda number, _: came.append(number)):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


AT_ONCE = """
import os, signal, sys
for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    signal.signal(number, handler)  # ignored where the tests run below nohup, or in the background of a shell
import relusweep.cluster.host.safe_path as first
secure = first.secure
def hook():
    secure()
    signalled = __import__("threading").Timer({seconds}, lambda: os.kill(os.getpid(), signal.{name}))
    signalled.daemon = True
    signalled.start()
import relusweep.__main__ as entry
entry.secure = hook
sys.argv = ["relusweep", "plan", "demo", "--out", "no-such-store"]
sys.exit(entry.main())
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT"])
def test_stop_signal_while_everything_is_still_being_loaded_is_answered_in_one_line(name: str) -> None:
    command = [sys.executable, "-c", AT_ONCE.format(seconds=0.3, name=name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr in (
        "relusweep: stopped before anything was begun.\n",
        "relusweep: stopped; what was in training is kept. The same command goes on from there.\n",
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_stop_signal_is_answered_though_a_module_catches_everything_while_it_is_imported(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "greedy.py").write_text("import time\ntry:\n    time.sleep(1)\nexcept BaseException:\n    pass\n")
    code = (
        f"import os, signal, sys, threading, time; sys.path.insert(0, {str(tmp_path)!r})\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from relusweep.cluster.host.signals import answer_first; answer_first()\n"
        f"threading.Timer(0.3, os.kill, (os.getpid(), signal.{name})).start()\n"
        "try:\n    import greedy; time.sleep(20)\nexcept KeyboardInterrupt:\n    print('stopped', end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=15)
    assert (done.stdout, done.stderr) == ("stopped", "")


def test_signals_that_come_while_a_process_is_leaving_change_nothing() -> None:
    code = (
        "import os, signal\n"
        "from relusweep.cluster.host.signals import answer_first\n"
        "answer_first()\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "except KeyboardInterrupt:\n"
        "    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):\n"
        "        os.kill(os.getpid(), number)\n"
        "    print('left')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


@pytest.mark.slow
def test_signal_that_comes_while_python_itself_ends_changes_nothing() -> None:
    code = (
        "import os, signal, sys\n"
        "class Late:\n"
        "    def __del__(self):\n"
        "        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):\n"
        "            os.kill(os.getpid(), number)\n"
        "import relusweep.__main__ as entry\n"
        "sys.late = Late()\n"
        "sys.argv = ['relusweep', 'doctor']\n"
        "sys.exit(entry.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
