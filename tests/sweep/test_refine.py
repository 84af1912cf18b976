"""Refine: the table is checked, its arithmetic is exact, and its outcomes are those of the rows."""

import numpy as np
import pyarrow as pa
import pytest

from relusweep.sweep.refine import COLUMNS, REFINABLE, Refine, middle
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError

HEAD = 'name = "x"\n[fixed]\nproblem = "sine"\n[[block]]\ngrid = { lr = [0.1, 0.4], seed = [0, 1] }\n[refine]\n'
RMSE = "parameter = 'lr'\ncolumn = 'train_rmse'\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "x.toml: refine.parameter: missing; expected it here.$"),
        ("parameter = 'lr'", "x.toml: refine.column: missing; expected it here.$"),
        (RMSE, "x.toml: refine: threshold is missing; expected the train_rmse that a run has to stay at or below."),
        ("parameter = 'lr'\ncolumn = 'status'\nthreshold = 1", "refine: threshold = 1.0; a status is met by converging. Leave it out."),
        ("parameter = 'lr_rate'\ncolumn = 'status'", "refine.parameter = 'lr_rate'; expected one of noise, .* Did you mean 'lr_ratio'?"),
        ("parameter = 'width'\ncolumn = 'status'", "refine.parameter = 'width'; expected one of noise, "),
        ("parameter = 'lr'\ncolumn = 'train_rms'", "refine.column = 'train_rms'; expected one of status, .* Did you mean 'train_rmse'?"),
        ("parameter = 'lr'\ncolumn = 'seconds'", "refine.column = 'seconds'; expected one of status, steps, loss, "),
        ("parameter = 3\ncolumn = 'status'", "refine.parameter = 3; expected a valid string"),
        (RMSE + "threshold = inf", "refine.threshold = inf; expected a finite number"),
        (RMSE + "threshold = '0.1'", "refine.threshold = '0.1'; expected a valid number"),
        (RMSE + "threshold = 0.1\nratio = 1.0", "refine.ratio = 1.0; expected greater than or equal to 1.0001"),
        (RMSE + "threshold = 0.1\nrounds = 0", "refine.rounds = 0; expected greater than or equal to 1"),
        (RMSE + "threshold = 0.1\nrounds = 2.5", "refine.rounds = 2.5; expected a valid integer"),
        ("parameter = 'lr'\ncolum = 'loss'", "x.toml: refine.colum: unknown key; did you mean `column`?"),
        (RMSE + "treshold = 0.1", "refine.treshold: unknown key; did you mean `threshold`?"),
    ],
)  # fmt: skip
def test_wrong_table_is_refused_with_place_and_cure(table, message):
    with pytest.raises(SpecError, match=message) as caught:
        Spec.parse(HEAD + table, "x.toml")
    assert "\n" not in str(caught.value)


def test_spec_without_the_table_refines_nothing():
    assert Spec.parse(HEAD.removesuffix("[refine]\n"), "x.toml").refine is None


def test_numbers_of_a_run_can_be_refined_and_all_measures_be_asked():
    assert {"lr", "init_scale", "noise", "tolerance"} <= set(REFINABLE)
    assert not {"width", "seed", "dtype", "bias"} & set(REFINABLE)
    assert {"status", "steps", "test_sup", "eos_ratio"} <= set(COLUMNS)
    assert not {"run_id", "seconds", "pack_size", "device", "moments"} & set(COLUMNS)


@pytest.mark.parametrize(
    ("column", "values", "threshold", "met"),
    [
        ("train_rmse", [0.1, 0.2, 0.3, None], 0.2, [True, True, False, False]),  # undefined: above every threshold
        ("steps", [5, 6, None], 5, [True, False, False]),
        ("status", ["converged", "budget", "diverged"], None, [True, False, False]),
    ],
)
def test_row_meets_the_threshold_up_to_equality_and_not_where_it_is_undefined(column, values, threshold, met):
    table = Refine(parameter="lr", column=column, threshold=threshold)
    assert table.met(pa.table({column: values})).tolist() == met
    assert table.met(pa.table({column: pa.array([], pa.table({column: values})[column].type)})).tolist() == []


def test_middle_is_the_geometric_mean_in_six_digits():
    assert middle(0.1, 0.4) == 0.2
    assert middle(0.1, 0.2) == 0.141421
    assert middle(1e-300, 1e-200) == 1e-250
    assert middle(1e200, 1e300) == 1e250


def test_most_counts_the_halvings_that_reach_the_ratio():
    table = Refine(parameter="lr", column="status", ratio=1.1, rounds=5)
    lows, highs = np.array([1.0, 1.0, 1.0, 1.0]), np.array([1.05, 1.2, 1.21 * 1.21 + 0.01, 1e9])
    assert table.most(lows, highs, np.zeros(4, int)).tolist() == [0, 1, 3, 5]
    assert table.most(lows, highs, np.full(4, 5)).tolist() == [0, 0, 0, 0]
