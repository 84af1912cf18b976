"""Figures of comparisons: what converged is filled, what did not is hollow, and axes are shared."""

from relusweep.analysis.studies.compare.figures import draw
from relusweep.analysis.studies.compare.pairs import BOTH_CONVERGED, Pairs
from relusweep.analysis.studies.compare.study import differences_of


def drawn(rows, frame):
    pairs = Pairs.of(frame(rows), "optimizer")
    return draw(pairs, differences_of(pairs, pairs.rows.filter(BOTH_CONVERGED), ["lr"]))


def test_pairs_at_budget_are_hollow_and_both_axes_have_one_scale(row, frame):
    rows = [
        row(lr, s, eos=0.3 + 0.1 * s, optimizer=rule)
        for rule in ("gd", "momentum")
        for lr in (0.1, 0.2)
        for s in range(4)
    ]
    rows[0]["status"] = "budget"
    figures = drawn(rows, frame)
    axes = figures["paired"].axes[0]
    assert axes.get_xlim() == axes.get_ylim()
    filled, hollow = axes.lines[1:3]
    assert (len(filled.get_xdata()), len(hollow.get_xdata())) == (7, 1)
    assert filled.get_markerfacecolor() != "none"
    assert hollow.get_markerfacecolor() == "none"
    labels = [text.get_text() for text in figures["paired"].legends[0].get_texts()]
    assert labels == ["equal", "optimizer momentum, momentum 0.9", "optimizer momentum, momentum 0.9, not converged"]


def test_panels_of_ratios_share_their_axes(row, frame):
    rows = [
        row(lr, s, eos=0.3 + 0.1 * s, optimizer=rule)
        for rule in ("gd", "momentum")
        for lr in (0.1, 0.2)
        for s in range(4)
    ]
    first, *others = drawn(rows, frame)["ratios"].axes
    assert others
    assert all((each.get_xlim(), each.get_ylim()) == (first.get_xlim(), first.get_ylim()) for each in others)


def test_diverged_pairs_are_not_drawn_and_nothing_is_drawn_of_nothing(row, frame):
    rows = [row(0.1, 0, optimizer="gd"), row(0.1, 0, optimizer="momentum", status="diverged")]
    assert draw(Pairs.of(frame(rows), "optimizer"), None) == {}
