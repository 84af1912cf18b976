"""Memory: the least that the machine and the control groups around a process leave."""

from pathlib import Path

import psutil
import pytest

from relusweep.cluster.host.memory import available, kills

GIB = 2**30


def group(folder: Path, unified: bool, limit: object, use: int, kept: int = 0) -> None:
    """Write the files of a control group, as the kernel shows them."""
    names = (
        ("memory.max", "memory.current", "")
        if unified
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{use}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]}inactive_file {kept}\n")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """The file that names our groups, of both versions."""
    path = tmp_path / "cgroup"
    path.write_text("9:name=systemd:/\n7:cpu,cpuacct:/job\n5:memory:/slurm/job_7/step_0\n0::/slurm/job_7/step_0\n")
    return path


@pytest.mark.parametrize("unified", [True, False])
def test_the_tightest_group_counts_and_file_cache_is_free(tmp_path: Path, ours: Path, unified: bool) -> None:
    mount = tmp_path / "mount"
    root = mount if unified else mount / "memory"
    group(root / "slurm" / "job_7" / "step_0", unified, "max" if unified else 2**63 - 4096, GIB // 2)
    group(root / "slurm" / "job_7", unified, GIB, GIB // 2, GIB // 8)
    group(root / "slurm", unified, 3 * GIB, GIB // 2)
    assert available(mount, ours) == min(GIB // 2 + GIB // 8, psutil.virtual_memory().available)


def test_a_container_that_sees_its_group_at_the_root_is_bounded_by_it(tmp_path: Path, ours: Path) -> None:
    group(tmp_path / "mount", True, GIB // 4, GIB // 8)
    assert available(tmp_path / "mount", ours) == GIB // 8


def test_a_group_that_is_used_up_leaves_nothing(tmp_path: Path, ours: Path) -> None:
    group(tmp_path / "mount", True, GIB // 4, GIB)
    assert available(tmp_path / "mount", ours) == 0


@pytest.mark.parametrize("limit", ["max", "", "plenty"])
def test_without_a_limit_the_machine_counts(tmp_path: Path, ours: Path, limit: str) -> None:
    group(tmp_path / "mount", True, limit, 5)
    for groups in (ours, tmp_path / "none"):
        assert available(tmp_path / "mount", groups) == pytest.approx(psutil.virtual_memory().available, rel=0.1)


@pytest.mark.parametrize(
    ("content", "count"), [("pgpgin 5\noom_kill 3\n", 3), ("pgpgin 5\n", 0), ("oom_kill\n", 0), (None, 0)]
)
def test_processes_that_were_killed_for_want_of_memory_are_counted(
    tmp_path: Path, content: str | None, count: int
) -> None:
    if content is not None:
        (tmp_path / "vmstat").write_text(content)
    assert kills(tmp_path / "vmstat") == count
