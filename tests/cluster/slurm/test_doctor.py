"""`relusweep doctor` where SLURM is."""

from collections.abc import Callable
from typing import Any


def test_cluster_that_answers_lacks_only_accounting(cli: Callable[..., Any]) -> None:
    said = cli("doctor", "--on", "slurm")
    assert (said.code, said.err) == (0, "")
    assert "\nok       SLURM: answers\n" in said.out
    assert "\nabsent   SLURM: no accounting; how jobs ended that left the queue stays unknown.\n" in said.out
