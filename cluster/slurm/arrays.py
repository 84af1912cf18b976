"""Arrays: packs into tasks that last long enough and end in time, tasks into arrays that the site allows."""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from relusweep.cluster.slurm.machine import Machine

LEAST_SECONDS = 600  # of a task: shorter jobs cost the scheduler more than they are worth
_SHARE_OF_LIMIT = 0.8  # of the time limit, for what costs are not known exactly
_WAVES = 4  # tasks for each that runs at one time; one that is done early goes on with packs of the others
_AT_ONE_TIME = 64  # tasks that are taken to run at one time where the machine file does not say …
_MOST_AT_ONE_TIME = 1000  # … and may: with fewer tasks GPUs would be idle, while the last of too many just end


@dataclass(frozen=True)
class Bundle:
    """What is known of a pack without reading its runs."""

    pack_id: str
    runs: int
    seconds: float  # at most, on one worker


@dataclass(frozen=True)
class ArrayTask:
    """A task of an array: the numbers of its packs, and how long they take at most with all workers of a job."""

    packs: tuple[int, ...]
    runs: int
    seconds: float


@dataclass(frozen=True)
class Lengths:
    """How long packs and tasks should last, in seconds."""

    least: float
    most: float
    at_one_time: int
    may_run: int  # at one time

    @staticmethod
    def on(machine: Machine) -> "Lengths":
        """Return what the time limit allows."""
        most = max(_SHARE_OF_LIMIT * machine.sure_seconds, 1.0)
        given = machine.max_array_tasks
        return Lengths(min(LEAST_SECONDS, most), most, given or _AT_ONE_TIME, given or _MOST_AT_ONE_TIME)

    def aim(self, total: float) -> float:
        """Return how long a task should last where all of them together last `total`."""
        return min(max(total / (_WAVES * self.may_run), self.least), self.most)


def make_tasks(bundles: Sequence[Bundle], lengths: Lengths, workers: int) -> list[ArrayTask]:
    """Deal packs out to tasks that last alike, the dearest packs first.

    Each pack goes to the task that has least so far, or to a new one where that would last too long. Packs that are
    equally dear come in the order of their ids, which has nothing to do with their parameters: neighbours in a grid
    converge early alike, and a task of such packs would end long before the others.

    Args:
        bundles: The packs, by their numbers.
        lengths: How long a task should last.
        workers: Packs that a task trains at one time.

    Returns:
        The tasks, the longest first.
    """
    total = sum(bundle.seconds for bundle in bundles) / workers
    enough = math.floor(total / lengths.aim(total) + 1e-9)  # of four waves, four, whatever the rounding
    hands = [(0.0, hand) for hand in range(max(1, enough, math.ceil(total / lengths.most - 1e-9)))]
    packs: list[list[int]] = [[] for _ in hands]
    for number in sorted(range(len(bundles)), key=lambda number: (-bundles[number].seconds, bundles[number].pack_id)):
        seconds, hand = hands[0]
        if packs[hand] and (seconds + bundles[number].seconds) / workers > lengths.most:
            seconds, hand = 0.0, len(packs)
            packs.append([])
            heapq.heappush(hands, (seconds, hand))
        packs[hand].append(number)
        heapq.heapreplace(hands, (seconds + bundles[number].seconds, hand))
    tasks = [_task(bundles, mine, workers) for mine in packs if mine]
    return sorted(tasks, key=lambda task: -task.seconds)


def make_arrays(tasks: Sequence[ArrayTask], largest: int) -> tuple[list[ArrayTask], list[range]]:
    """Deal tasks out to as few arrays as possible, in turn, so that all arrays end at about the same time.

    Each array has a share of the cluster to itself, which is idle when the array has ended.

    Returns:
        The tasks in the order of their arrays, and which of them each array has.
    """
    count = -(-len(tasks) // largest)
    hands = [tasks[index::count] for index in range(count)]
    bounds = [0, *itertools.accumulate(map(len, hands))]
    return [*itertools.chain.from_iterable(hands)], [range(first, end) for first, end in itertools.pairwise(bounds)]


def throttles(arrays: int, at_one_time: int | None) -> list[int | None]:
    """Return the shares of what may run at one time for arrays that run side by side; None where there is no limit.

    Arrays beyond that number have to wait for an earlier one: array `k` for array `k - at_one_time`.
    """
    if at_one_time is None:
        return [None] * arrays
    side_by_side = min(arrays, at_one_time)
    return [
        at_one_time // side_by_side + (array % side_by_side < at_one_time % side_by_side) for array in range(arrays)
    ]


def _task(bundles: Sequence[Bundle], packs: list[int], workers: int) -> ArrayTask:
    seconds = [bundles[number].seconds for number in packs]
    return ArrayTask(tuple(packs), sum(bundles[number].runs for number in packs), max(sum(seconds) / workers, *seconds))
