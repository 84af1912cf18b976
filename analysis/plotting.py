"""Plotting: what all figures share: style, colours, layout, the axes that most of them draw, and files.

Studies hand in panels (title → data frame), aggregated; nothing here computes. Colours are those of Okabe and Ito
(2008), which colour-blind readers tell apart; every line also has a marker or a dash of its own.
"""

import io
import math
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import matplotlib as mpl
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

Panels = Mapping[str, pl.DataFrame]
"""The data of a figure's axes, by title."""

BLUE, ORANGE, GREEN, RED, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#7F7F7F"
SEQUENCE = ("#440154", "#414487", "#2A788E", "#22A884", "#7AD151", "#D0B800")  # dark to light: small to large
MOST_POINTS = 3000  # of a scatter plot; more only make the file heavy
STYLE: dict[str, str | float | bool] = {
    "font.family": "STIXGeneral",  # ships with matplotlib, hence the same file everywhere
    "mathtext.fontset": "stix",
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # glyphs travel with the file: no font to fetch
    "svg.hashsalt": "relusweep",  # same data, same bytes
    "path.simplify": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style, to what is made inside only; nothing of a user's own style comes along."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def layout(panels: Panels, height: float) -> tuple[Figure, list[tuple[str, pl.DataFrame, SubplotSpec]]]:
    """Make a figure with a cell for each panel, in one column or two.

    Args:
        panels: At least one.
        height: Of a row, in inches.

    Returns:
        The empty figure, and for each panel its title, its data and its cell.
    """
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    engine = ConstrainedLayoutEngine(h_pad=0.02, hspace=0.01)
    figure = Figure(figsize=((7.2, 10.5)[columns - 1], height * rows + 0.5), layout=engine)
    grid = figure.add_gridspec(rows, columns)
    return figure, [(title, data, grid[divmod(i, columns)]) for i, (title, data) in enumerate(panels.items())]


def band(axes: Axes, data: pl.DataFrame, measure: str, colour: str, marker: str, label: str) -> None:
    """Draw median and 10–90 % band of a measure against `lr`; nothing where it was never recorded.

    Args:
        axes: Where to draw.
        data: Sorted rows with `lr` and the quantiles `*_q10, *_median, *_q90` of the measure.
        measure: Its name.
        colour: Of line and band.
        marker: Of the medians.
        label: In the legend.
    """
    if data[f"{measure}_median"].null_count() == len(data):
        return
    low, middle, high = (data[f"{measure}_{q}"].to_numpy() for q in ("q10", "median", "q90"))
    axes.fill_between(data["lr"], low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(data["lr"], middle, color=colour, marker=marker, label=label)


def log_axes(axes: Axes, title: str, ylabel: str, y: Literal["log", "linear"] = "log") -> None:
    """Scale, title and ticks: a logarithmic step size, and plain numbers rather than powers of ten."""
    axes.set_xscale("log")
    axes.set_yscale(y)
    axes.set_title("" if title == "all runs" else plain(textwrap.fill(title, 56)), loc="left")
    axes.set_ylabel(ylabel)
    axes.grid(which="major")
    axes.margins(x=0.02)
    for axis, scale in ((axes.xaxis, "log"), (axes.yaxis, y)):
        if scale == "log":
            low, high = axis.get_view_interval()
            digits = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)  # a narrow range needs more than powers of ten
            axis.set_major_locator(LogLocator(subs=digits))
            axis.set_major_formatter(_plain)
            axis.set_minor_formatter(NullFormatter())


def plain(text: str) -> str:
    """Return a text that holds names of the user's as matplotlib shows it: what lies between dollars is no formula."""
    return text.replace("$", r"\$")


def _plain(value: float, _: float) -> str:
    return f"{value:g}" if 1e-4 <= value < 1e5 else f"$10^{{{math.log10(value):.0f}}}$"


def legend(figure: Figure) -> None:
    """One legend for all panels, above them, each text once."""
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    lines = math.ceil(len(entries) / 6) or 1
    figure.legend(
        list(entries.values()), list(entries), loc="outside upper center", ncols=math.ceil(len(entries) / lines) or 1,
        handlelength=1.5, handletextpad=0.5, columnspacing=1.2,
    )  # fmt: skip


def thin(data: pl.DataFrame) -> pl.DataFrame:
    """Keep every k-th point of very many, the same ones each time."""
    return data.gather_every(max(1, math.ceil(len(data) / MOST_POINTS)))


def heavy(points: pl.DataFrame) -> bool:
    """Return whether so many points are better an embedded image than markers."""
    return len(points) > 500


def save(figure: Figure, form: Literal["svg", "png"]) -> bytes:
    """Return a figure as a file; the same figure gives the same bytes, without date or program name."""
    buffer = io.BytesIO()
    nothing = {"svg": dict.fromkeys(("Date", "Creator", "Format", "Type")), "png": {"Software": None}}[form]
    with styled():
        figure.savefig(buffer, format=form, dpi=200, metadata=nothing)
    return buffer.getvalue()
