"""Data: problems drawn from seeds."""

import numpy as np
import pytest
from scipy import stats

from relusweep.sweep.data import PROBLEMS, dataset, inputs, teacher
from relusweep.sweep.run import Run

DRAWN = [name for name in PROBLEMS if name not in ("mnist", "file", "python")]  # of no file


def draw(problem: str, **parameters):
    return dataset(Run.model_validate({"problem": problem, "lr": 0.1} | parameters).model_dump())


@pytest.mark.parametrize("problem", DRAWN)
def test_data_are_a_function_of_the_data_seed_alone(problem):
    one, same, other = (
        draw(problem, data_seed=5),
        draw(problem, data_seed=5, lr=0.5, seed=9),
        draw(problem, data_seed=6),
    )
    for name in ("x", "y", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.x, other.x)
    assert one.x.dtype == one.y.dtype == np.float64


@pytest.mark.parametrize("problem", DRAWN)
def test_shapes_are_those_of_the_run(problem):
    run = Run.model_validate({"problem": problem, "lr": 0.1, "n": 21, "n_test": 34})
    data = dataset(run.model_dump())
    assert data.x.shape == (21, run.d)
    assert data.y.shape == (21,)
    assert data.x_test.shape == (34, run.d)
    assert data.y_test.shape == (34,)


def test_more_samples_begin_with_the_fewer_ones():
    np.testing.assert_array_equal(draw("sine", n=8).x, draw("sine", n=16).x[:8])


def test_noise_touches_training_labels_only():
    clean, noisy = draw("sine", n=4000), draw("sine", n=4000, noise=0.5)
    assert np.std(noisy.y - clean.y) == pytest.approx(0.5, rel=0.05)
    np.testing.assert_array_equal(clean.y_test, noisy.y_test)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize(("domain", "order"), [("ball", 2), ("l1_ball", 1), ("cube", np.inf)])
def test_points_are_uniform_in_their_ball(domain, order, d):
    points = inputs(domain, 1.7, d, 4000, np.random.default_rng(1))
    norms = np.linalg.norm(points, ord=order, axis=1) / 1.7
    assert stats.kstest(norms**d, "uniform").pvalue > 1e-3  # the volume below a radius is its power d
    assert np.abs(points.mean(0)).max() < 5 * 1.7 / np.sqrt(4000)


def test_gaussian_points_have_the_stated_deviation():
    assert inputs("gaussian", 2.0, 3, 4000, np.random.default_rng(1)).std() == pytest.approx(2, rel=0.03)


def test_pyramid_fills_three_tenths_of_its_ball_in_every_dimension():
    for d in (2, 5, 8):
        assert np.mean(draw("pyramid", d=d, n=4000).y > 0) == pytest.approx(0.3, abs=0.03)


def test_targets_have_their_closed_forms():
    data = draw("sine", frequency=3.0, d=3)
    np.testing.assert_allclose(data.y, np.sin(3 * data.x[:, 0]) + (data.x[:, 1] + data.x[:, 2]) / 4)
    data = draw("sine", d=1)
    np.testing.assert_allclose(data.y, np.sin(2 * data.x[:, 0]))
    data = draw("bump", bandwidth=0.3)
    np.testing.assert_allclose(data.y, np.exp(-np.sum(data.x**2, 1) / 0.18))
    data = draw("pyramid")
    np.testing.assert_allclose(data.y, np.maximum(1 - np.abs(data.x).sum(1), 0))
    assert np.linalg.matrix_rank(np.column_stack([(d := draw("affine", d=3)).x, np.ones(64), d.y])) == 4
    assert np.all(draw("noise").y_test == 0)


def test_teacher_is_piecewise_linear_with_a_kink_a_unit():
    run = Run.model_validate({"problem": "teacher", "lr": 0.1, "teacher_width": 3, "radius": 5.0})
    line = np.linspace(-20, 20, 4001)[:, None] * np.array([[0.6, 0.8]])
    bends = np.abs(np.diff(teacher(line, run.model_dump()), 2)) > 1e-9
    assert 1 <= np.count_nonzero(np.diff(bends.astype(int)) == 1) <= 3
