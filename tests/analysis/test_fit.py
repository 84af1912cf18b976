import numpy as np
import pytest
from scipy import stats

from relusweep.analysis.fit import Fit, Mean, NoFit, clustered_mean, fit_power


def simulated(rng, slope=0.7, clusters=20, points=10, shared=0.3, own=0.1):
    """log y = 1 + slope · log x + an effect of the cluster on level and slope + noise."""
    x = np.tile(np.geomspace(0.01, 1, points), clusters)
    cluster = np.repeat(np.arange(clusters), points)
    level, tilt = rng.normal(0, shared, (2, clusters))
    noise = rng.normal(0, own, x.size)
    return x, np.exp(1 + (slope + 0.2 * tilt[cluster]) * np.log(x) + level[cluster] + noise), cluster


def oracle(x, y, cluster, level):
    """Sandwich of matrices, a cluster at a time, uncentred."""
    X, z = np.stack([np.ones(len(x)), np.log(x)], 1), np.log(y)
    bread = np.linalg.inv(X.T @ X)
    beta = bread @ X.T @ z
    meat = np.zeros((2, 2))
    groups = sorted(set(cluster))
    for g in groups:
        inside = [i for i in range(len(x)) if cluster[i] == g]
        score = sum((X[i] * (z[i] - X[i] @ beta) for i in inside), np.zeros(2))
        meat += np.outer(score, score)
    G, n = len(groups), len(x)
    variance = bread @ meat @ bread * G / (G - 1) * (n - 1) / (n - 2)
    half = stats.t(G - 1).ppf((1 + level) / 2) * np.sqrt(variance[1, 1])
    return beta[1], beta[1] - half, beta[1] + half, beta[0]


def test_fit_is_exact_on_noiseless_data():
    x = np.array([1.0, 2, 4, 8, 1, 2, 4, 8, 3])
    fit = fit_power(x, 5 * x**-1.5, [0, 0, 0, 0, 1, 1, 1, 1, 2])
    assert isinstance(fit, Fit)
    assert (fit.slope, fit.low, fit.high) == pytest.approx((-1.5, -1.5, -1.5), abs=1e-12)
    assert np.exp(fit.intercept) == pytest.approx(5)
    assert fit.r2 == pytest.approx(1)
    assert (fit.n, fit.clusters, fit.dropped) == (9, 3, 0)


def test_fit_recovers_a_known_exponent():
    fit = fit_power(*simulated(np.random.default_rng(1)))
    assert isinstance(fit, Fit)
    assert fit.low < 0.7 < fit.high
    assert fit.slope == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_fit_equals_the_sandwich_of_matrices(seed):
    rng = np.random.default_rng(seed)
    x, y, cluster = simulated(rng, clusters=7)
    kept = rng.random(x.size) < 0.7  # unequal clusters
    x, y, cluster = x[kept], y[kept], cluster[kept]
    fit = fit_power(x, y, cluster, level=0.9)
    assert isinstance(fit, Fit)
    assert (fit.slope, fit.low, fit.high, fit.intercept) == pytest.approx(oracle(x, y, cluster, 0.9), rel=1e-9)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    fits = [fit_power(*simulated(rng, clusters=12)) for _ in range(300)]
    covered = np.mean([fit.low < 0.7 < fit.high for fit in fits if isinstance(fit, Fit)])
    assert len(fits) == 300
    assert 0.90 < covered < 0.99


def test_interval_does_not_shrink_when_runs_of_a_cluster_repeat_each_other():
    x, y, cluster = simulated(np.random.default_rng(0))
    once, ten = fit_power(x, y, cluster), fit_power(np.tile(x, 10), np.tile(y, 10), np.tile(cluster, 10))
    naive = fit_power(np.tile(x, 10), np.tile(y, 10), np.arange(10 * x.size))
    assert isinstance(once, Fit)
    assert isinstance(ten, Fit)
    assert isinstance(naive, Fit)
    assert ten.high - ten.low == pytest.approx(once.high - once.low, rel=0.01)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_fit_does_not_depend_on_the_names_of_clusters_or_the_order():
    x, y, cluster = simulated(np.random.default_rng(0), clusters=5)
    shuffled = np.random.default_rng(1).permutation(x.size)
    first, second = fit_power(x, y, cluster), fit_power(x[shuffled], y[shuffled], 100 - 7 * cluster[shuffled])
    assert isinstance(first, Fit)
    assert isinstance(second, Fit)
    assert (first.slope, first.low) == pytest.approx((second.slope, second.low))


def test_fit_drops_and_counts_what_has_no_logarithm():
    x = np.array([1.0, 2, 4, 8, -1, 2, 3, np.nan])
    y = np.array([1.0, 2, 4, 8, 1, 0, np.inf, 1])
    fit = fit_power(x, y, [0, 1, 2, 0, 1, 2, 3, 4])
    assert isinstance(fit, Fit)
    assert (fit.n, fit.clusters, fit.dropped) == (4, 3, 4)


def test_r2_of_a_constant_is_undefined():
    fit = fit_power([1.0, 2, 3], [2.0, 2, 2], [0, 1, 2])
    assert isinstance(fit, Fit)
    assert fit.slope == 0
    assert fit.r2 is None


@pytest.mark.parametrize(
    ("x", "cluster", "reason"),
    [
        ([1.0, 2, 3, 4], [0, 0, 1, 1], "2 independent seeds, at least 3 needed"),
        ([1.0, 1, 2, 2], [0, 1, 2, 3], "2 distinct values of x, at least 3 needed"),
        ([], [], "0 independent seeds"),
    ],
)
def test_fit_is_refused_on_too_little_evidence(x, cluster, reason):
    fit = fit_power(x, x, cluster)
    assert isinstance(fit, NoFit)
    assert reason in fit.reason


def test_mean_of_one_number_a_cluster_has_the_interval_of_students_paired_test():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 9))
    found = clustered_mean(a - b, range(9))
    assert isinstance(found, Mean)
    expected = stats.ttest_rel(a, b)
    assert found.value == pytest.approx((a - b).mean())
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert (found.n, found.clusters) == (9, 9)


def test_mean_of_clusters_equals_the_regression_on_a_constant():
    """The sandwich, a cluster at a time; and numbers that are repeated in a cluster are no more evidence."""
    rng = np.random.default_rng(4)
    cluster = rng.integers(0, 6, 50)
    v = rng.normal(size=50) + cluster
    found = clustered_mean(v, cluster)
    meat = sum((v - v.mean())[cluster == g].sum() ** 2 for g in range(6))
    half = stats.t(5).ppf(0.975) * np.sqrt(meat / 50**2 * 6 / 5)
    assert (found.low, found.high) == pytest.approx((v.mean() - half, v.mean() + half))
    few, many = clustered_mean([1.0, 2, 4], [0, 1, 2]), clustered_mean([1.0, 2, 4] * 7, [0, 1, 2] * 7)
    assert (few.low, few.high) == pytest.approx((many.low, many.high))


def test_mean_covers_what_it_should():
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(10), 4)
    draws = (clustered_mean(rng.normal(size=10)[cluster] + rng.normal(size=40), cluster) for _ in range(1000))
    covered = sum(found.low < 0 < found.high for found in draws) / 1000
    assert 0.92 < covered < 0.98


def test_mean_of_two_seeds_is_no_evidence():
    assert clustered_mean([1.0, 2.0, 3.0], [0, 0, 1]) == NoFit("2 independent seeds, at least 3 needed")
