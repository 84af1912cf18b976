"""`relusweep export`."""

from pathlib import Path
from typing import Annotated

import typer

from relusweep.cli.arguments import DataOption, RunArgument, StoreArgument, TrustOption, check_that_it_fits, use_data
from relusweep.cli.terminal import err, out


def export(
    store: StoreArgument,
    run_id: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.npz")],
    data: DataOption = None,
    trust: TrustOption = False,
) -> None:
    """Write a run's data, weights and record into one .npz file."""
    from relusweep.sweep.replay import take_code, write_npz
    from relusweep.sweep.spec import Measure
    from relusweep.sweep.store.store import Store

    use_data(data)
    opened = Store.open(store)
    if trust:
        take_code(opened, run_id, Measure())
    check_that_it_fits(opened, run_id, Measure(save_weights=True))
    retrained = write_npz(opened, run_id, file, err.print)
    out.print(f"wrote {file}" + (" (weights were not saved; this run was trained again for them)" if retrained else ""))
