"""Scheduler: what SLURM 22.05 printed, word for word, is understood; without SLURM there is one line."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relusweep.cluster.slurm.scheduler import (
    MOST_TASKS,
    SchedulerError,
    ends,
    largest_array,
    read_largest_array,
    read_squeue,
    squeue,
    this_job,
)

ARRAY = """\
12|0|relusweep-5f3a9c2e1b07.0|PENDING|JobArrayTaskLimit|
12|1|relusweep-5f3a9c2e1b07.0|RUNNING|None|node1
12|2|relusweep-5f3a9c2e1b07.0|COMPLETING|None|node2
12|3|relusweep-5f3a9c2e1b07.0|CANCELLED|None|node1
13|N/A|relusweep-5f3a9c2e1b07.1|PENDING|Nodes required for job are DOWN, DRAINED or reserved|
14|4|relusweep-5f3a9c2e1b07.2|FAILED|NonZeroExitCode|node1
"""


def test_lines_of_squeue_become_tasks():
    tasks = read_squeue(ARRAY)
    assert [task.id for task in tasks] == ["12_0", "12_1", "12_2", "12_3", "13_0", "14_4"]
    assert [task.is_live for task in tasks] == [True, True, True, False, True, False]
    assert (tasks[1].name, tasks[1].node) == ("relusweep-5f3a9c2e1b07.0", "node1")
    assert tasks[4].reason == "Nodes required for job are DOWN, DRAINED or reserved"
    assert read_squeue("") == []
    wrapped = f"Loading slurm/23.11 | see the wiki\n{ARRAY}\nYour project has 3 hours left.\n"
    assert read_squeue(wrapped) == tasks


def test_largest_array_is_that_of_the_configuration():
    text = "KillWait                = 30 sec\nMaxArraySize            = 40000\nMaxBatchRequeue         = 5\n"
    assert read_largest_array(text) == 40000
    for asked, largest in {"max_array_tasks=1000,bf_interval=1": 1000, "defer,max_array_tasks=50000": 40000}.items():
        assert read_largest_array(f"{text}SchedulerParameters     = {asked}\n") == largest
    assert read_largest_array("KillWait = 30 sec\n") == MOST_TASKS
    assert read_largest_array(f"MaxArraySize = {'9' * 5000}\n") == MOST_TASKS


def test_task_of_an_array_is_never_called_by_the_number_that_means_them_all(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert this_job() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")  # that of the last task is the array's own
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert this_job() == "12_3"


def test_machine_without_slurm_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SchedulerError, match=r"^squeue: not found on this machine; expected SLURM\. Use a login node\.$"
    ):
        squeue(["a"])
    assert ends(["12_0"]) == {}
    assert largest_array() == MOST_TASKS


@given(st.lists(st.text(max_size=30) | st.lists(st.text(max_size=9), min_size=6, max_size=6).map("|".join)))
@settings(deadline=None)
def test_whatever_squeue_prints_becomes_tasks_or_nothing(lines):
    for task in read_squeue("\n".join(lines)):
        assert task.job.isdigit()
        assert int(task.job) >= 0 <= task.index


@pytest.mark.parametrize("index", ["²", "１", "9" * 5000, "-1", "[0-4]", ""])
def test_strange_numbers_of_tasks_and_jobs_are_no_numbers(index):
    assert [task.index for task in read_squeue(f"12|{index}|name|RUNNING|None|node1")] in ([0], [1])
    assert read_squeue(f"{index}|0|name|RUNNING|None|node1") == []


def wrapper(folder, name, script):
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("printf '\\377\\376 \\033[31m\\n12|0|a|RUNNING|None|node\\377\\n'", 1),
        ("exit 0", 0),
        ("head -c 20000000 /dev/zero", 0),
        ("yes 'a line of a wrapper' | head -n 1000000; echo '12|0|a|RUNNING|None|n'", 1),
        ("cat; echo '12|0|a|RUNNING|None|n'", 1),
    ],
    ids=["no text", "nothing", "zeros", "a million lines", "asks"],
)
def test_wrapper_may_print_what_it_likes(monkeypatch, tmp_path, script, found):
    wrapper(tmp_path, "squeue", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert len(squeue(["a"])) == found


@pytest.mark.parametrize("script", ["printf '\\377\\n' >&2; exit 3", "exit 3", "kill -9 $$"])
def test_wrapper_that_fails_is_one_line(monkeypatch, tmp_path, script):
    for name in ("squeue", "sacct", "scontrol"):
        wrapper(tmp_path, name, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SchedulerError) as caught:
        squeue(["a"])
    assert "\n" not in str(caught.value)
    assert ends(["12_0"]) == {}
    assert largest_array() == MOST_TASKS


def test_command_that_cannot_be_started_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "squeue").write_bytes(b"\x7fELF")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match=r"^squeue: Exec format error; expected SLURM"):
        squeue(["a"])
