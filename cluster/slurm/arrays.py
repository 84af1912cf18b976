"""Array: packs into elements that last long enough and end in time, elements into arrays that the site allows."""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from relusweep.cluster.slurm.machine import Machine
from relusweep.cluster.slurm.submission import Bundle, Element

LEAST_SECONDS = 600  # of an element: shorter jobs cost the scheduler more than they are worth
_SHARE_OF_LIMIT = 0.8  # of the time limit, for what costs are not known exactly
_WAVES = 4  # elements for each that runs at one time; one that is done early goes on with packs of the others
_AT_ONE_TIME = 64  # elements that are taken to run at one time where the machine file does not say …
_MOST_AT_ONE_TIME = 1000  # … and may: with fewer elements GPUs would be idle, while the last of too many just end


@dataclass(frozen=True)
class Lengths:
    """How long packs and elements should last, in seconds."""

    least: float
    most: float
    at_one_time: int
    may_run: int  # at one time

    @staticmethod
    def on(machine: Machine) -> "Lengths":
        """Give what the time limit allows."""
        most = max(_SHARE_OF_LIMIT * machine.sure_seconds, 1.0)
        given = machine.max_array_tasks
        return Lengths(min(LEAST_SECONDS, most), most, given or _AT_ONE_TIME, given or _MOST_AT_ONE_TIME)

    def aim(self, total: float) -> float:
        """Give how long an element should last where all of them together last `total`."""
        return min(max(total / (_WAVES * self.may_run), self.least), self.most)


def make_elements(bundles: Sequence[Bundle], lengths: Lengths, workers: int) -> list[Element]:
    """Deal packs out to elements that last alike, the dearest packs first; gives the longest elements first.

    Each pack goes to the element that has least so far, or to a new one where that would last too long. Packs that are
    equally dear come in the order of their ids, which has nothing to do with their parameters: neighbours in a grid
    converge early alike, and an element of such packs would end long before the others.

    Args:
        bundles: The packs, by their row groups.
        lengths: How long an element should last.
        workers: Packs that an element trains at one time.
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
    elements = [_element(bundles, mine, workers) for mine in packs if mine]
    return sorted(elements, key=lambda element: -element.seconds)


def make_arrays(elements: Sequence[Element], largest: int) -> tuple[list[Element], list[range]]:
    """Deal elements out to as few arrays as possible, in turn, so that all arrays end at about the same time.

    Each array has a share of the cluster to itself, which is idle when the array has ended.

    Returns:
        The elements in the order of their arrays, and which of them each array has.
    """
    count = -(-len(elements) // largest)
    hands = [elements[index::count] for index in range(count)]
    bounds = [0, *itertools.accumulate(map(len, hands))]
    return [*itertools.chain.from_iterable(hands)], [range(first, end) for first, end in itertools.pairwise(bounds)]


def throttles(arrays: int, at_one_time: int | None) -> list[int | None]:
    """Share what may run at one time among arrays that run side by side; None where there is no limit.

    Arrays beyond that number have to wait for an earlier one: array `k` for array `k - at_one_time`.
    """
    if at_one_time is None:
        return [None] * arrays
    side_by_side = min(arrays, at_one_time)
    return [
        at_one_time // side_by_side + (array % side_by_side < at_one_time % side_by_side) for array in range(arrays)
    ]


def _element(bundles: Sequence[Bundle], packs: list[int], workers: int) -> Element:
    seconds = [bundles[number].seconds for number in packs]
    return Element(tuple(packs), sum(bundles[number].runs for number in packs), max(sum(seconds) / workers, *seconds))
