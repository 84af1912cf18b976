"""One core, one thread, and timings that share the machine's moods: what every benchmark here begins with."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from statistics import median

import threadpoolctl
import torch

Seconds = dict[str, list[float]]  # of each contender, repetition by repetition


def pin() -> str:
    """Keep this process on one core and one thread, and say which machine this is.

    Import JAX only afterwards: XLA takes as many threads as it sees cores.
    """
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    load = os.getloadavg()[0]
    return f"{name}, core {core} alone, torch {torch.__version__}, {date.today()}, load before the start {load:.1f}"


def interleaved(contenders: Mapping[str, Callable[[], object]], repetitions: int) -> Seconds:
    """Time the contenders in turn, A B C A B C …, after one unmeasured round.

    The clock is the processor time of this process, all threads included: on one core and undisturbed it is the time on
    the wall, and a busy neighbour adds little to it.
    """
    seconds: Seconds = {name: [] for name in contenders}
    for repetition in range(repetitions + 1):
        for name, work in contenders.items():
            start = time.process_time()
            work()
            if repetition:
                seconds[name].append(time.process_time() - start)
    return seconds


def spread(seconds: list[float]) -> str:
    """Return the lowest and the highest, as parts of the median."""
    return f"{min(seconds) / median(seconds):.2f}–{max(seconds) / median(seconds):.2f}"


def ratio(slower: list[float], faster: list[float]) -> float:
    """Return the median ratio of two contenders, taken repetition by repetition: a noisy minute slows both."""
    return median(a / b for a, b in zip(slower, faster, strict=True))
