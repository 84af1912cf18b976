"""`relusweep doctor`."""

from pathlib import Path

import typer

from relusweep.cli.arguments import OnOption, OutOption
from relusweep.cli.terminal import out


def doctor(on: OnOption = "local", out_dir: OutOption = None) -> None:
    """Look for what a back-end needs on this machine, and say what is missing, each with its cure."""
    from relusweep.cluster.doctor import examine

    missing = False
    for finding in examine(on, out_dir or Path("results")):
        out.print(f"{finding.state:9}{finding.text}")
        missing |= finding.state == "missing"
    raise typer.Exit(missing)
