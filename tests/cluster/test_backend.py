"""Back-ends: what is known of one before it is built."""

from pathlib import Path

from relusweep.cluster.backend import QueueingBackend, backend, submits_jobs


def test_only_a_queueing_back_end_submits_jobs(tmp_path: Path) -> None:
    machine = tmp_path / "machine.toml"
    machine.write_text("time = '60'", encoding="utf-8")
    places = {"local": backend("local", 1), "slurm": backend("slurm", None, machine)}
    assert {name: submits_jobs(name) for name in places} == {"local": False, "slurm": True}
    assert [isinstance(place, QueueingBackend) for place in places.values()] == [False, True]
