"""Parts: a pack is halved once for each of its workers that was killed for want of memory."""

from pathlib import Path

import pytest

from relusweep.cluster.ray import parts
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the kernel says: how many processes it has killed for want of memory."""
    counter = {"kills": 7}
    monkeypatch.setattr(parts, "kills", lambda: counter["kills"])
    return counter


def test_kills_between_two_attempts_on_a_node_halve_the_pack(tmp_path: Path, kernel: dict[str, int]) -> None:
    assert parts.begun(tmp_path, 3, 5) == 0
    assert parts.begun(tmp_path, 3, 5) == 0, "it died of something else"
    kernel["kills"] += 1
    assert [parts.begun(tmp_path, 3, 5), parts.begun(tmp_path, 3, 5)] == [1, 1]
    kernel["kills"] += 2
    assert [parts.begun(tmp_path, 3, 5), parts.begun(tmp_path, 2, 5)] == [2, 0]


def test_runs_that_are_alone_are_not_halved(tmp_path: Path, kernel: dict[str, int]) -> None:
    found = []
    for _ in range(6):
        found.append(parts.begun(tmp_path, 0, 5))
        kernel["kills"] += 1
    assert found == [0, 1, 2, 3, 3, 3]


def test_kills_on_another_node_say_nothing(
    tmp_path: Path, kernel: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.begun(tmp_path, 0, 5)
    kernel["kills"] += 1
    monkeypatch.setattr("platform.node", lambda: "another")
    assert parts.begun(tmp_path, 0, 5) == 0


def test_kills_by_ray_halve_the_pack_wherever_it_goes_on(tmp_path: Path, kernel: dict[str, int]) -> None:
    parts.begun(tmp_path, 0, 5)
    assert not parts.starved(tmp_path, 0, "The actor died unexpectedly before finishing this task.")
    assert parts.starved(tmp_path, 0, "Worker exit detail: Task was killed due to the node running low on memory.")
    assert [parts.begun(tmp_path, 0, 5), parts.begun(tmp_path, 0, 5)] == [1, 1]


def test_parts_are_nested_and_end_with_single_runs() -> None:
    pack = Pack(tuple(Run(problem="sine", lr=0.1, seed=seed) for seed in range(5)))
    seeds = [[[run.seed for run in part.runs] for part in parts.parts(pack, times)] for times in range(4)]
    assert seeds == [[[0, 1, 2, 3, 4]], [[0, 1], [2, 3, 4]], [[0], [1], [2], [3, 4]], [[0], [1], [2], [3], [4]]]
