"""Signals: answered for a while, then as before; what is blocked never comes to a child."""

import os
import signal
import subprocess
import sys

import pytest

from relusweep.cluster.signals import STOP_SIGNALS, answer, answered, blocked, restored


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
