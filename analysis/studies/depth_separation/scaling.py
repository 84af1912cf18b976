"""Sizes of the depth study: what was reached at one step size against sample size, dimension and width."""

import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from relusweep.analysis.plotting import legend, log_axes, styled
from relusweep.analysis.studies.depth_separation.arms import Arms, largest
from relusweep.analysis.studies.depth_separation.claim import Claim

AT = 1.2  # the step size nearest to this is shown: well inside the window where shallow and deep part
LOOKS = {"shallow": ("s", "--"), "deep": ("o", "-")}


def against_size(found: Arms) -> dict[str, Figure]:
    """Draw the median loss of the claim's runs against n, d and the width of shallow networks, where these vary."""
    claim = found.runs.filter(Claim.of(found.runs).but(), pl.col("arm").is_in(list(LOOKS)))
    common = claim.group_by("lr").agg(pl.len()).sort((pl.col("lr") / AT).log().abs(), "lr")
    shallow, deep = claim.filter(arm="shallow"), largest(claim)
    if common.is_empty() or shallow.is_empty() or deep.is_empty():
        return {}
    lr = common["lr"][0]
    at = pl.concat([shallow, deep]).filter(lr=lr)
    width, n = (_most(shallow, name) for name in ("width", "n"))
    narrow = (pl.col("arm") == "deep") | (pl.col("width") == width)
    panels = {
        f"{width} shallow units, by dimension": ("n", "d", at.filter(narrow)),
        f"{width} shallow units, by sample size": ("d", "n", at.filter(narrow)),
        f"n = {n}, by dimension": ("width", "d", at.filter(pl.col("arm") == "shallow", n=n)),
    }
    panels = {title: panel for title, panel in panels.items() if panel[2][panel[0]].n_unique() > 1}
    if not panels:
        return {}
    with styled():
        figure = Figure(figsize=(3.6 * len(panels), 3.8), layout="constrained")
        for place, (title, (axis, lines, runs)) in enumerate(panels.items()):
            axes = figure.add_subplot(1, len(panels), place + 1)
            axes.axhline(1, color="black", linestyle=":", linewidth=1)
            _lines(axes, axis, lines, runs)
            log_axes(axes, title, "training loss / that of the best constant" if place == 0 else "")
            axes.set_xlabel(rf"{axis}, at $\eta$ = {lr:g}")
            if axis == "d":
                axes.set_xticks(sorted(runs["d"].unique()), [str(d) for d in sorted(runs["d"].unique())])
        legend(figure)
        return {"scaling": figure}


def _most(runs: pl.DataFrame, name: str) -> int:
    return int(runs[name].mode().max())  # pyright: ignore[reportArgumentType] - a column of whole numbers


def _lines(axes: Axes, axis: str, lines: str, runs: pl.DataFrame) -> None:
    """Draw a line a value of `lines` and arm: medians over seeds of both kinds."""
    values = sorted(runs[lines].unique())
    medians = runs.group_by("arm", lines, axis).agg(pl.col("relative_loss").median()).drop_nulls().sort(axis)
    for rank, value in enumerate(values):
        colour = to_hex(colormaps["viridis"](0.9 * rank / max(1, len(values) - 1)))
        for arm, (marker, style) in LOOKS.items():
            part = medians.filter(pl.col("relative_loss") > 0, pl.col(lines) == value, arm=arm)
            label = f"{lines} = {value}" if arm == "shallow" else None
            axes.plot(part[axis], part["relative_loss"], color=colour, marker=marker, linestyle=style, label=label)
