"""Run: validation, defaults that depend on other parameters, and ids."""

import pickle
import subprocess
import sys

import pytest
from pydantic import ValidationError

from relusweep.sweep.run import PARAMETERS, Run


def run(**parameters):
    return Run.model_validate({"problem": "sine", "lr": 0.1} | parameters)


def test_run_id_ignores_key_order_and_spelt_out_defaults():
    a = Run.model_validate({"problem": "sine", "lr": 0.1, "seed": 3})
    b = Run.model_validate({"seed": 3, "lr": 0.1, "problem": "sine", "depth": 1, "d": 2, "frequency": 2.0})
    assert a.id == b.id


def test_run_id_takes_whole_numbers_for_floats():
    assert run(lr=1).id == run(lr=1.0).id


@pytest.mark.slow
def test_run_id_is_the_same_in_every_process():
    code = "from relusweep.sweep.run import Run; print(Run.model_validate({'problem': 'digits', 'lr': 0.1}).id)"
    ids = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert ids == {Run.model_validate({"problem": "digits", "lr": 0.1}).id}


@pytest.mark.parametrize("change", [{"lr": 0.2}, {"seed": 1}, {"width": 65}, {"bias": False}, {"init": "kaiming"}])
def test_run_id_changes_with_every_parameter(change):
    assert run(**change).id != run().id


def test_run_survives_pickling_with_its_id():
    original = run(depth=2)
    assert pickle.loads(pickle.dumps(original)).id == original.id


def test_defaults_follow_the_problem_the_depth_and_the_optimizer():
    digits = Run.model_validate({"problem": "digits", "lr": 0.1})
    assert (digits.d, digits.classes, digits.radius) == (64, "0,1", None)
    pyramid = Run.model_validate({"problem": "pyramid", "d": 3, "lr": 0.1, "depth": 2, "optimizer": "sgd"})
    assert (pyramid.domain, pyramid.width2, pyramid.batch_size) == ("l1_ball", 16, 16)
    assert pyramid.radius == pytest.approx(0.3 ** (-1 / 3), rel=1e-5)
    assert run(activation="leaky_relu").negative_slope == 0.01


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"problem": "digitz"}, "'digitz' is unknown; expected one of .* Did you mean 'digits'"),
        ({"classes": "0,1"}, "classes = '0,1'; problem sine ignores it"),
        ({"problem": "digits", "d": 3}, "d = 3; digits has d = 64"),
        ({"width2": 3}, "width2 = 3; it needs depth = 2"),
        ({"negative_slope": 0.1}, "it needs activation = 'leaky_relu'"),
        ({"momentum": 0.9}, "it needs optimizer = 'momentum' or 'nesterov'"),
        ({"beta1": 0.8}, "it needs optimizer = 'adam' or 'adamw'"),
        ({"optimizer": "adam", "beta2": 1.0}, "less than 1"),
        ({"sampling": "epoch"}, "sampling = 'epoch'; it needs a batch_size"),
        ({"schedule": "step"}, "it needs schedule_every, the steps after which"),
        ({"schedule": "cosine", "schedule_every": 5}, "it needs schedule = 'step'"),
        ({"init": "balanced", "depth": 2}, "init = 'balanced' with depth = 2; it is a law of one hidden layer"),
        ({"clip": 0.0}, "greater than 0"),
        ({"batch_size": 8}, "gd takes all samples. Use optimizer = 'sgd'"),
        ({"optimizer": "sgd", "batch_size": 0}, "sgd takes at least 1 sample"),
        ({"optimizer": "sgd", "batch_size": 65}, "expected at most n = 64"),
        ({"problem": "digits", "classes": "3,3"}, "expected two different digits"),
        ({"lr": 0.0}, "greater than 0"),
        ({"lr": float("nan")}, "finite number"),
        ({"lr_ratio": -1.0}, "greater than or equal to 0"),
        ({"depth": 3}, "1 or 2"),
        ({"bias": 1}, "valid boolean"),
        ({"seed": 2**31}, "less than"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_impossible_parameters_are_refused_with_the_cure(parameters, message):
    with pytest.raises(ValidationError, match=message):
        run(**parameters)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_with_its_usual_numbers_is_the_run_that_does_not_name_them(optimizer):
    plain, named = run(optimizer=optimizer), run(optimizer=optimizer, beta1=0.9, beta2=0.999, epsilon=1e-8)
    assert (named, named.id) == (plain, plain.id)
    assert len({run(optimizer=optimizer, **{key: 0.5}).id for key in ("beta1", "beta2", "epsilon")} | {plain.id}) == 4


def test_lr_ratio_may_be_infinite():
    assert run(lr_ratio=float("inf")).lr_ratio == float("inf")


def test_every_parameter_says_what_it_means():
    assert all(Run.model_fields[name].description for name in PARAMETERS)


@pytest.mark.parametrize(
    "rule",
    [{}, {"depth": 2}, {"optimizer": "momentum"}, {"optimizer": "sgd"}, {"activation": "leaky_relu"},
     {"optimizer": "nesterov", "clip": 1.0}, {"optimizer": "adamw", "beta1": 0.5}, {"schedule": "step", "schedule_every": 5},
     {"problem": "digits", "d": 64}, {"problem": "teacher", "d": 3}],
    ids=str,
)  # fmt: skip
def test_run_is_the_same_without_its_defaults_as_jobs_of_earlier_versions_name_it(rule):
    run = Run.model_validate({"problem": "sine", "lr": 0.1} | rule)
    assert Run.model_validate(run.model_dump(exclude_defaults=True)) == run
    assert Run.model_validate(run.model_dump(exclude_defaults=True)).id == run.id
