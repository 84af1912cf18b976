"""Queue: SLURM is asked rarely."""

import itertools

from relusweep.cluster.slurm import queue as queues
from relusweep.cluster.slurm.queue import Queue


def test_queue_is_asked_ever_more_rarely_while_nothing_changes(slurm, submission, calls, monkeypatch, until):
    monkeypatch.setattr(queues, "LEAST_SECONDS", 0.3)
    monkeypatch.setattr(queues, "MOST_SECONDS", 1.2)
    job = slurm.sbatch("true", "--hold", f"--job-name={submission.job_name(0)}", "--output=/dev/null")
    queue = Queue()
    until(lambda: queue.look([submission]) or len(calls) == 6)
    gaps = [later - sooner for sooner, later in itertools.pairwise(calls)]
    assert all(gap > least for gap, least in zip(gaps, [0.29, 0.59, 1.19, 1.19, 1.19], strict=True))
    task = queue.tasks[submission.id, 0]
    assert (task.job, task.state, task.reason) == (job, "PENDING", "JobHeldUser")
