"""`relusweep report`."""

from pathlib import Path
from typing import Annotated

import typer

from relusweep.cli.terminal import out


def report(
    stores: Annotated[list[Path], typer.Argument(metavar="DIR...", help="One or several stores.")],
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder; default report/ in the first store.")] = None,
    study: Annotated[str | None, typer.Option(help="Study; default the one that the spec names.")] = None,
    every_run: Annotated[bool, typer.Option("--all", help="Take runs of earlier specs too.")] = False,
    compare: Annotated[str | None, typer.Option(metavar="PARAMETER", help="Pair its values, all else equal.")] = None,
) -> None:
    """Turn stores into tables, figures and verdicts: report/index.html. Offline; trains nothing."""
    from relusweep.analysis.report import write
    from relusweep.sweep import contents

    for store in stores:
        contents.look_in(store)
    out.print(f"wrote {write(stores, study, out_dir, every_run=every_run, compare=compare)}")
