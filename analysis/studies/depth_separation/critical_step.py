"""Critical step sizes of the depth study: between which steps a shallow network leaves the deep one."""

import polars as pl

from relusweep.analysis.group import Grouping
from relusweep.analysis.studies.depth_separation.arms import largest


def critical(runs: pl.DataFrame, grouping: Grouping) -> pl.DataFrame:
    """Find between which step sizes shallow leaves deep, seed by seed.

    `low` is the largest step size at which the shallow network fits, `high` the smallest one above it at which it does
    not though the deep one does: the critical step size lies between them. Failures at smaller steps than `low` do not
    count, being no matter of the step size. There is no critical one where the shallow network fits up to the largest
    step that the deep one stands; nor where it fits at none, since then it may as well lack units or steps. Where no
    deep run has the same step size, as when step sizes were refined, that with the next larger one speaks for it.
    Settings with a single step size are left out.

    Returns:
        A row a setting and shallow arm: `group, label, shape, deep_shape, pairs` (of seed and data seed), `separated`
        (those with a critical step size), `never` (the deep network fits somewhere, the shallow one nowhere), the
        medians `low, high`, the 10 and 90 % quantiles `low_q10, high_q90`, and `ratio`, the median of a seed's
        high/low: how well it is known.
    """
    pair = ["group", "seed", "data_seed"]
    one = ["group", "shape", "deep_shape", "seed", "data_seed"]
    runs = runs.filter(pl.col("lr").n_unique().over("group") > 1)
    deep = largest(runs).select(*pair, "lr", deep_shape="shape", deep_fits="fits").sort("lr")
    shallow = (
        runs.filter(arm="shallow")
        .select(*pair, "shape", "lr", "fits")
        .with_columns(low=pl.col("lr").filter(pl.col("fits")).max().over(*pair, "shape"))
        .sort("lr")
        .join_asof(deep, on="lr", by=pair, strategy="forward", check_sortedness=False)
        .drop_nulls("deep_fits")
    )
    leaves = pl.col("deep_fits") & ~pl.col("fits") & (pl.col("lr") > pl.col("low"))
    each = shallow.group_by(one).agg(
        pl.col("low").first(), pl.col("deep_fits").any(), high=pl.col("lr").filter(leaves).min()
    )
    split = pl.col("high").is_not_null()
    low, high = pl.col("low").filter(split), pl.col("high").filter(split)
    table = each.group_by("group", "shape", "deep_shape").agg(
        pairs=pl.len().cast(pl.Int64),
        separated=split.sum().cast(pl.Int64),
        never=(pl.col("deep_fits") & pl.col("low").is_null()).sum().cast(pl.Int64),
        low=low.quantile(0.5, "lower"),
        high=high.quantile(0.5, "higher"),
        low_q10=low.quantile(0.1, "lower"),
        high_q90=high.quantile(0.9, "higher"),
        ratio=(high / low).median(),
    )
    return grouping.groups.select("group", "label").join(table, on="group").sort("group", "shape")
