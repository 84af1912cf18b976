"""Own data: which points of a file a run is trained on, and how they are scaled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from relusweep.sweep.data import dataset
from relusweep.sweep.dataset import DataError, Dataset
from relusweep.sweep.run import Run

RNG = np.random.default_rng(0)
X, Y, X_TEST, Y_TEST = RNG.normal(2, 3, (20, 3)), RNG.normal(size=20), RNG.normal(size=(9, 3)), RNG.normal(size=9)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Dataset]:
    """Draw the data of a run on a file of 20 points in three dimensions, with 9 to test on or none."""

    def call(test: bool = True, **parameters: Any) -> Dataset:
        arrays = {"x": X, "y": Y, **({"x_test": X_TEST, "y_test": Y_TEST} if test else {})}
        np.savez(tmp_path / "points.npz", **arrays)
        file = str(tmp_path / "points.npz")
        return dataset(Run.model_validate({"problem": "file", "file": file, "lr": 0.1} | parameters).model_dump())

    return call


def rows(part: np.ndarray, whole: np.ndarray) -> list[int]:
    """Return where the rows of an array stand in another one."""
    return [int(np.flatnonzero((whole == row).all(1))[0]) for row in part]


def test_all_points_are_taken_in_the_order_of_the_file_whatever_the_seed(draw: Callable[..., Dataset]) -> None:
    for seed in (0, 1):
        data = draw(data_seed=seed)
        for found, expected in ((data.x, X), (data.y, Y), (data.x_test, X_TEST), (data.y_test, Y_TEST)):
            np.testing.assert_array_equal(found, expected)


def test_fewer_points_are_a_subset_by_the_data_seed(draw: Callable[..., Dataset]) -> None:
    chosen = [rows(draw(n=7, data_seed=seed).x, X) for seed in range(5)]
    assert all(len(set(each)) == 7 and each == sorted(each) for each in chosen)
    assert len(set(map(tuple, chosen))) > 1
    assert chosen[2] == rows(draw(n=7, data_seed=2, n_test=3, standardize=False).x, X)
    data = draw(n=7)
    np.testing.assert_array_equal(data.y, Y[rows(data.x, X)])


def test_test_points_are_the_files_own_or_those_that_are_not_trained_on(draw: Callable[..., Dataset]) -> None:
    assert set(rows(draw(n_test=4).x_test, X_TEST)) < set(range(9))
    assert len(draw(test=False).x_test) == 0
    data = draw(test=False, n=12, n_test=8)
    assert sorted(rows(data.x, X) + rows(data.x_test, X)) == list(range(20))
    np.testing.assert_array_equal(data.y_test, Y[rows(data.x_test, X)])


def test_standardized_features_have_mean_0_and_variance_1_over_the_training_set(draw: Callable[..., Dataset]) -> None:
    raw, data = draw(n=15), draw(n=15, standardize=True)
    np.testing.assert_allclose(data.x.mean(0), 0, atol=1e-14)
    np.testing.assert_allclose(data.x.std(0), 1)
    np.testing.assert_array_equal(data.y, raw.y)
    np.testing.assert_allclose(data.x_test * raw.x.std(0) + raw.x.mean(0), raw.x_test)


def test_constant_feature_is_shifted_and_huge_ones_are_refused(tmp_path: Path) -> None:
    given = {"problem": "file", "file": str(tmp_path / "a.npz"), "lr": 0.1, "standardize": True}
    np.savez(tmp_path / "a.npz", x=[[0.1, 1], [0.1, 3], [0.1, 5]], y=[1, 2, 3])
    assert dataset(Run.model_validate(given).model_dump()).x[:, 0].tolist() == [0, 0, 0]
    np.savez(tmp_path / "a.npz", x=[[1e300, 1], [-1e300, 3]], y=[1, 2])
    with pytest.raises(DataError, match=r"a.npz: features too large to be standardized; expected less than 1e150"):
        dataset(Run.model_validate(given).model_dump())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n": 21}, "points.npz: has 20 points, got n = 21; expected at most 20. Lower n"),
        ({"n_test": 10}, "points.npz: has 9 points to test on, got n_test = 10. Lower n_test"),
        ({"test": False, "n": 15, "n_test": 6}, "beside n = 15 it has 5 points to test on, got n_test = 6. Lower n_test or n"),
        ({"d": 2}, "points.npz: has d = 3, got d = 2. Leave d out"),
    ],
)  # fmt: skip
def test_what_a_file_does_not_have_is_refused(
    draw: Callable[..., Dataset], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        draw(**parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "file is missing; expected the name of your data"),
        ({"file": 3}, "file = 3; expected a text"),
        ({"file": ""}, "file = ''; expected a text"),
        ({"file": "a.csv", "x_columns": ["a,b"]}, "= 'a,b'; expected no comma in the name of a column"),
        ({"file": "a.csv", "x_columns": 3}, "x_columns = 3; expected a text"),
        ({"file": "a.csv", "content": "abc", "d": 1, "n": 1, "n_test": 0}, "String should match"),
        ({"problem": "sine", "file": "a.csv"}, "file = 'a.csv'; problem sine ignores it. Leave it out"),
        ({"problem": "sine", "standardize": True}, "standardize = True; problem sine ignores it"),
    ],
)
def test_what_no_run_can_have_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Run.model_validate({"problem": "file", "lr": 0.1} | parameters)


def test_run_is_named_by_what_its_file_holds_and_not_by_what_it_is_called(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    np.savez_compressed(tmp_path / "b.npz", y=Y, x=X)
    (tmp_path / "c.csv").write_text(
        "t,u,v,w\n" + "".join(",".join(map(repr, [y, *x])) + "\n" for x, y in zip(X.tolist(), Y.tolist(), strict=True))
    )
    columns = {"x_columns": ["u", "v", "w"], "y_column": "t"}
    names = [{"file": "a.npz"}, {"file": "b.npz"}, {"file": "c.csv", **columns}]
    runs = [
        Run.model_validate({"problem": "file", "lr": 0.1} | each | {"file": str(tmp_path / each["file"])})
        for each in names
    ]
    assert len({run.id for run in runs}) == 1
    assert runs[2].x_columns == "u,v,w"
    assert all(Run.model_validate(run.model_dump(exclude_defaults=True)) == run for run in runs)  # as jobs name it
    other = runs[0].model_dump() | {"file": "elsewhere.npz"}
    assert Run.model_validate(other).id == runs[0].id
    for change in ({"standardize": True}, {"content": "0" * 32}, {"n": 3}):
        assert Run.model_validate(other | change).id != runs[0].id
