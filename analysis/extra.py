"""Extra: the measures that `[measure] extra` asked for, summed up over the converged runs: a table of every report."""

import polars as pl

from relusweep.analysis.study import Shown
from relusweep.analysis.table import extra_columns

KEY = "extra_measures"
SHOWN = Shown(
    "Extra measures",
    "What `[measure] extra` asked for, over the converged runs: how many have a number, and its quantiles. Runs that "
    "were recorded before it was asked for have none. Lists, such as whole spectra, stand in the table `runs` alone.",
)
_QUANTILES = {"least": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "largest": 1.0}


def extra_table(runs: pl.DataFrame) -> pl.DataFrame | None:
    """Return a row a measure: `measure`, `runs` that have a number, and quantiles; None if there is no such measure."""
    converged = runs.filter(status="converged")
    names = [name for name in extra_columns(runs) if runs.schema[name] == pl.Float64]
    rows = [
        {"measure": name, "runs": converged[name].count()}
        | {label: converged[name].quantile(share, "linear") for label, share in _QUANTILES.items()}
        for name in names
    ]
    schema = {"measure": pl.String(), "runs": pl.Int64()} | dict.fromkeys(_QUANTILES, pl.Float64())
    return pl.DataFrame(rows, schema=schema) if rows else None
