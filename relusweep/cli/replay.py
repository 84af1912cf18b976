"""`relusweep replay`."""

from relusweep.cli.arguments import (
    DataOption,
    RunArgument,
    StoreArgument,
    TrustOption,
    check_that_it_fits,
    open_store,
    use_data,
)
from relusweep.cli.terminal import err, out


def replay(store: StoreArgument, run_id: RunArgument, data: DataOption = None, trust: TrustOption = False) -> None:
    """Train one run again, alone, and print the difference to its recorded row."""
    from relusweep.sweep.replay import difference, find, take_code, train_alone

    use_data(data)
    opened, sweep = open_store(store)
    if trust:
        take_code(opened, run_id, sweep.measure)
    check_that_it_fits(opened, run_id, sweep.measure)
    row = find(opened, run_id)
    again = train_alone(opened, row, sweep.measure, err.print)["runs"].to_pylist()[0]
    out.print(f"run {row['run_id']}, recorded in a pack of {row['pack_size']} on {row['device']}")
    out.print(f"{'measure':26}{'recorded':>16}{'replayed':>16}  relative difference")
    for name, old, new, gap in difference(row, again):
        shown = [_shown(value) for value in (old, new)]
        out.print(f"{name:26}{shown[0]:>16}{shown[1]:>16}  {'' if gap is None else f'{gap:.1e}'}".rstrip())


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} numbers"
    return f"{value:.9g}" if isinstance(value, float) else str(value)
