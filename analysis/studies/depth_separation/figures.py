"""Panels of the depth study: what was reached against η, where shallow leaves deep, and the functions learnt."""

from collections.abc import Callable

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from relusweep.analysis.group import Grouping
from relusweep.analysis.plotting import BLUE, GREY, RED, band, layout, legend, log_axes, styled
from relusweep.analysis.studies.depth_separation.arms import FITS, Arms
from relusweep.analysis.studies.depth_separation.claim import LARGE, Claim
from relusweep.analysis.table import Table, weights
from relusweep.sweep.data import Array

MOST_PANELS = 8
_LOOKS = {"shallow": ("YlOrRd", "s"), "deep": ("GnBu", "o"), "frozen": ("Greys", "^")}  # the larger, the darker
Reference = Callable[[Axes, pl.DataFrame], None]
_SIDE = 101  # points a side of a picture


def shown(grouping: Grouping) -> list[int]:
    """Return the settings that figures show: with shallow and deep runs, the pyramid by gd first, most runs first."""
    sizes = (
        grouping.runs.group_by("group")
        .agg(
            claim=((pl.col("problem") == "pyramid") & (pl.col("optimizer") == "gd")).first(),
            arms=pl.col("arm").n_unique(),
            rates=pl.col("lr").n_unique(),
            runs=pl.len(),
        )
        .filter(pl.col("arms") > 1, pl.col("rates") > 1)
        .sort("claim", "runs", "group", descending=[True, True, False])
    )
    return sorted(sizes["group"].head(MOST_PANELS).to_list())


def draw(found: Arms, summary: pl.DataFrame, critical: pl.DataFrame, table: Table) -> dict[str, Figure]:
    """Draw the figures that the data allow."""
    # refined step sizes belong to some seeds only: their medians would be those of other runs
    summary = summary.filter(pl.col("runs") == pl.col("runs").max().over("group", "shape"))
    panels = {found.grouping.label(index): summary.filter(group=index) for index in shown(found.grouping)}
    drawn: dict[str, Figure] = {}
    if panels:
        drawn["separation"] = _against_step(
            panels, "relative_loss", "training loss / that of the best constant", _separation
        )
        drawn["test"] = _against_step(panels, "relative_test", "test error / that of the best constant", _constant)
        drawn["sup"] = _against_step(panels, "test_sup", r"$\max\,|f-p|$ on test data")
        drawn["curvature"] = _against_step(panels, "eos_ratio", r"$\lambda_{\max}\,\eta/2$", _constant)
        if any(panel["oriented_stability_norm_median"].drop_nulls().len() for panel in panels.values()):
            drawn["norms"] = _against_step(panels, "oriented_stability_norm", r"$\tilde{S}$", _limit)
            drawn["plain_norms"] = _against_step(panels, "stability_norm", r"$S$", _limit)
            drawn["variation"] = _against_step(panels, "variation_norm", r"$\sum|a|\,\|w\|$")
        drawn["active"] = _against_step(panels, "active_fraction", "share of units that are active")
    if critical["high"].drop_nulls().len():
        drawn["critical"] = _critical(critical)
    picture = _functions(found, table)
    return drawn | ({"functions": picture} if picture else {})


def _against_step(
    panels: dict[str, pl.DataFrame], measure: str, ylabel: str, reference: Reference | None = None
) -> Figure:
    common = set.intersection(*(set(data["shape"]) for data in panels.values()))
    names = {shape: shape for shape in common}
    with styled():
        figure, cells = layout(panels, height=3.6)
        for title, data, cell in cells:
            axes = figure.add_subplot(cell)
            if reference:
                reference(axes, data.sort("lr"))
            for arm, (colours, marker) in _LOOKS.items():
                shapes = data.filter(arm=arm).sort("parameters").partition_by("shape", maintain_order=True)
                for rank, part in enumerate(shapes):
                    colour = to_hex(colormaps[colours](0.4 + 0.5 * (rank + 1) / len(shapes)))
                    band(axes, part.sort("lr"), measure, colour, marker, names.get(part["shape"][0], _place(arm, rank)))
            log_axes(axes, title, ylabel=ylabel)
            axes.set_xlabel(r"step size $\eta$")
        legend(figure)
        return figure


def _place(arm: str, rank: int) -> str:
    """Name an arm in a legend of panels that have other shapes: by its place in size."""
    return f"{arm} {rank + 1}" if rank else arm


def _constant(axes: Axes, data: pl.DataFrame) -> None:
    axes.axhline(1, color="black", linestyle=":", linewidth=1)


def _separation(axes: Axes, data: pl.DataFrame) -> None:
    _constant(axes, data)
    axes.axhline(FITS, color=GREY, linestyle="--", linewidth=1, label=f"fits: at most {FITS:g}")
    floors = data.filter(arm="shallow").group_by("lr").agg(pl.col("relative_floor").min())
    floors = floors.filter(pl.col("relative_floor") > 0).sort("lr")
    if len(floors):
        axes.plot(  # a dash where there is one step size only
            floors["lr"], floors["relative_floor"], color="black", linewidth=2, marker="_", markersize=12,
            markeredgewidth=2, label="certified floor of shallow",
        )  # fmt: skip


def _limit(axes: Axes, data: pl.DataFrame) -> None:
    rates = data.filter(pl.col("lr") < 2)["lr"].unique().sort()
    axes.plot(rates, 1 / rates - 0.5, "--", color="black", linewidth=1.2, label=r"limit $1/\eta-\frac{1}{2}$")


def _critical(critical: pl.DataFrame) -> Figure:
    """Draw the critical step sizes as intervals, a row a setting and shallow arm; thin lines hold 80 % of the seeds."""
    units = pl.col("shape").str.extract(r"(\d+)").cast(pl.Int64)
    rows = critical.drop_nulls("high").sort("group", units, descending=True).tail(40)
    with styled():
        figure = Figure(figsize=(10.5, 1 + 0.28 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(rows.iter_rows(named=True)):
            axes.plot((row["low_q10"], row["high_q90"]), (place, place), color=GREY, linewidth=1)
            axes.plot((row["low"], row["high"]), (place, place), color=RED, linewidth=4, solid_capstyle="butt")
        axes.set_yticks(
            range(len(rows)), [f"{label}: {shape}" for label, shape in rows.select("label", "shape").rows()]
        )
        axes.tick_params(axis="y", labelsize=8)
        axes.set_xlabel(r"critical step size $\eta$")
        axes.grid(axis="x")
        return figure


# Learnt functions -----------------------------------------------------------------------------------------------------


def _functions(found: Arms, table: Table) -> Figure | None:
    """Draw the pyramid and what a shallow and a deep network made of it in d = 2: maps, and a section through 0.

    Of the claim's runs whose weights were saved take the largest step size at which the deep one fits and the shallow
    one does not, else the largest; and of these the pair with the smallest seeds, most samples and most units.
    """
    runs = found.runs.filter(Claim.of(found.runs).but(), pl.col("weights_saved"), d=2)
    runs = runs.filter(pl.col("arm").is_in(["shallow", "deep"]))
    keys = ["group", "lr", "seed", "data_seed"]
    columns = [*keys, "run_id", "fits", "width", "width2", "radius", "n"]
    shallow, deep = (runs.filter(arm=arm).select(columns) for arm in ("shallow", "deep"))
    both = shallow.join(deep, on=keys, suffix="_deep").with_columns(
        separated=pl.col("fits_deep") & ~pl.col("fits"), large=pl.col("lr") >= LARGE
    )
    if both.is_empty():
        return None
    order = ["separated", "lr", "seed", "data_seed", "n", "width", "width_deep"]
    pair = both.sort(order, descending=[True, True, False, False, True, True, True]).row(0, named=True)
    saved = {row["run_id"]: row for row in weights(table, [pair["run_id"], pair["run_id_deep"]]).iter_rows(named=True)}
    if len(saved) < 2:
        return None
    side = np.linspace(-pair["radius"], pair["radius"], _SIDE)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    functions = {
        "target": lambda x: np.maximum(1 - np.abs(x).sum(1), 0),
        f"shallow, {pair['width']} units": lambda x: output(saved[pair["run_id"]], x),
        f"deep, {pair['width_deep']}-{pair['width2_deep']} units": lambda x: output(saved[pair["run_id_deep"]], x),
    }
    outside = np.abs(grid).sum(1) > pair["radius"]
    with styled():
        figure = Figure(figsize=(10.5, 6.4), layout="constrained")
        cells = figure.add_gridspec(2, 3, height_ratios=(1.25, 1))
        below = figure.add_subplot(cells[1, :])
        for place, (name, function) in enumerate(functions.items()):
            values = np.where(outside, np.nan, function(grid)).reshape(_SIDE, _SIDE)
            axes = figure.add_subplot(cells[0, place])
            image = axes.imshow(
                values,
                extent=(side[0], side[-1], side[0], side[-1]),
                origin="lower",
                vmin=-0.2,
                vmax=1.0,
                cmap="viridis",
            )
            axes.set_title(name)
            colour, style = (("black", ":"), (RED, "-"), (BLUE, "-"))[place]
            section = np.column_stack([side, np.zeros(_SIDE)])
            below.plot(side, function(section), color=colour, linestyle=style, label=name)
            if place == 2:
                figure.colorbar(image, ax=figure.axes[1:], shrink=0.8)
        below.set_xlabel("$x_1$, with $x_2 = 0$")
        below.set_title(rf"step size $\eta$ = {pair['lr']:g}, n = {pair['n']}, seed {pair['seed']}", loc="left")
        below.grid()
        below.legend()
        return figure


def output(saved: dict[str, list[float]], x: Array) -> Array:
    """Compute a saved ReLU network with biases at x (m, d)."""
    layers = [(np.array(saved[f"w{i}"]), np.array(saved[f"b{i}"])) for i in (1, 2, 3) if saved[f"w{i}"] is not None]
    h = x
    for index, (w, b) in enumerate(layers):
        h = h @ w.reshape(len(b), -1).T + b
        if index < len(layers) - 1:
            h = np.maximum(h, 0)
    return h[:, 0]
