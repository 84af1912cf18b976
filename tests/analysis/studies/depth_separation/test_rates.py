"""Rates of the depth study: planted exponents, and what their intervals are over."""

import pytest


def test_planted_exponent_in_the_sample_size_is_recovered(studied, network):
    rows = [network(0.9, s, 16, loss=(1 + 0.1 * s) * 0.1 / n, n=n) for n in (131, 200, 300) for s in range(4)]
    fit = studied(rows).tables["rates"].filter(against="n", measure="tail_loss").row(0, named=True)
    assert fit["slope"] == pytest.approx(-1)
    assert (fit["n"], fit["clusters"]) == (12, 4)


def test_intervals_of_rates_are_over_data_seeds_where_there_are_enough(studied, network):
    def rates(data_seeds):
        runs = [
            network(0.1, seed, loss=1e-3 * n**-1.0 * (1 + 0.2 * data_seed + 0.01 * seed), n=n, data_seed=data_seed)
            for n in (10, 20, 40) for seed in range(4) for data_seed in range(data_seeds)
        ]  # fmt: skip
        return studied(runs).tables["rates"].filter(measure="tail_loss").row(0, named=True)

    assert [rates(count)["clusters"] for count in (1, 2, 3)] == [4, 8, 3]
    assert (rates(2)["seeds"], rates(2)["data_seeds"]) == (4, 2)
    assert rates(3)["slope"] == pytest.approx(-1)
