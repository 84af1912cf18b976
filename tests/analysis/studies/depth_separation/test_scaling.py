"""Sizes of the depth study: one figure against sample size, dimension and width."""

import pytest


@pytest.mark.slow
def test_losses_are_drawn_against_size_dimension_and_width(studied, both, network):
    more = [network(0.9, seed, n=n, d=d, width=w) for n in (10, 20) for d in (2, 3) for w in (8, 32) for seed in (0, 1)]
    deep = [network(0.9, seed, 16, n=n, d=d) for n in (10, 20) for d in (2, 3) for seed in (0, 1)]
    figure = studied([*more, *deep]).figures["scaling"]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["32 shallow units, by dimension", "32 shallow units, by sample size", "n = 20, by dimension"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [1 + 4, 1 + 4, 1 + 4]
    assert "scaling" not in studied(both(0.9)).figures
