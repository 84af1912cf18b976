"""Template: what it makes is what validation makes, and what it takes for free is free."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from relusweep.sweep.run import PARAMETERS, Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.store.run_ids import RunIds
from relusweep.sweep.template import FREE, Template

POSITIVE = st.floats(1e-6, 1e6)
VALUES = {
    "data_seed": st.integers(0, 2**31 - 1),
    "decay_bias": st.booleans(),
    "dtype": st.sampled_from(["float64", "float32"]),
    "lr": POSITIVE,
    "lr_ratio": st.floats(0, 1e6) | st.just(float("inf")),
    "max_steps": st.integers(1, 2**31 - 1),
    "noise": st.floats(0, 1e6),
    "seed": st.integers(0, 2**31 - 1),
    "tolerance": st.floats(0, 1e6),
    "warmup_steps": st.integers(0, 2**31 - 1),
    "weight_decay": st.floats(0, 1e6),
}
BOUND = st.fixed_dictionaries(
    {"problem": st.sampled_from(["digits", "pyramid", "sine", "bump", "teacher", "affine", "noise"])},
    optional={
        "d": st.integers(1, 64),
        "n": st.integers(1, 64),
        "width": st.integers(1, 64),
        "depth": st.sampled_from([1, 2]),
        "width2": st.integers(1, 64),
        "bias": st.booleans(),
        "activation": st.sampled_from(["relu", "leaky_relu"]),
        "negative_slope": st.floats(0, 0.9),
        "init": st.sampled_from(["pytorch", "normal", "witness"]),
        "init_scale": POSITIVE,
        "output_scale": st.floats(0, 10),
        "optimizer": st.sampled_from(["gd", "sgd", "momentum", "adam"]),
        "momentum": st.floats(0, 0.9),
        "batch_size": st.integers(0, 64),
        "domain": st.sampled_from(["cube", "ball", "gaussian"]),
        "radius": POSITIVE,
        "frequency": POSITIVE,
    },
)


def test_every_free_parameter_is_varied_here():
    assert set(VALUES) == FREE


@pytest.mark.slow
@given(BOUND, st.fixed_dictionaries(VALUES), st.fixed_dictionaries(VALUES), st.sets(st.sampled_from(sorted(FREE))))
@settings(max_examples=500, deadline=None)
def test_a_run_with_other_free_values_is_what_validation_makes_of_them(bound, some, others, free):
    """So no default and no rule of the others depends on them, and a run is wrong with all of them or with none."""
    first = {**bound, **some}
    second = first | {key: others[key] for key in free}
    try:
        run = Run.model_validate(first)
    except ValidationError:
        with pytest.raises(ValidationError):
            Run.model_validate(second)
        return
    made, expected = Template(run, free).run({key: others[key] for key in free}), Run.model_validate(second)
    assert made == expected
    assert made.id == expected.id
    assert made.model_dump() == expected.model_dump()
    assert hash(made) == hash(expected)
    assert made.model_fields_set == expected.model_fields_set
    assert {name: type(made.__dict__[name]) for name in PARAMETERS} == {
        name: type(expected.__dict__[name]) for name in PARAMETERS
    }
    assert pickle.loads(pickle.dumps(made)) == expected
    assert made.model_copy() == expected


def test_ids_of_all_combinations_are_those_of_their_runs():
    run = Run.model_validate({"problem": "sine", "lr": 0.1, "width": 3})
    factors = [(("seed",), range(3)), (("lr", "tolerance"), [(0.5, 1e-8), (1.0, 0.0)]), (("warmup_steps",), [0, 7])]
    template = Template(run, ["seed", "lr", "tolerance", "warmup_steps"])
    expected = [
        Run.model_validate(
            {"problem": "sine", "width": 3, "lr": lr, "tolerance": tolerance, "seed": s, "warmup_steps": warmup}
        ).id
        for s in range(3) for lr, tolerance in [(0.5, 1e-8), (1.0, 0.0)] for warmup in (0, 7)
    ]  # fmt: skip
    assert [name.hex() for name in template.ids(factors)] == expected


TEXT = """
name = "x"
fixed = { problem = "sine", lr = 0.1 }
[[block]]
grid = { seed = { range = [0, 3] }, width = [2, 3], lr = [0.5, 1, 2.0], lr_ratio = { range = [1, 3] } }
zip = { max_steps = [5, 6], d = [1, 2] }
random = { count = 2, noise = { uniform = [0.0, 1.0] }, data_seed = { integers = [0, 99] } }
[[block]]
grid = { optimizer = ["sgd", "adam"], seed = { range = [0, 4] }, weight_decay = [0, 0.1] }
"""


def test_expansion_is_that_of_validating_every_run_in_the_same_order():
    spec = Spec.parse(TEXT, "x.toml")
    expanded = list(spec.expand())
    one_by_one = [block.run(position) for block in spec.blocks for position in range(len(block))]
    assert len(expanded) == 3 * 2 * 3 * 2 * 2 * 2 + 2 * 4 * 2
    assert expanded == one_by_one
    assert [run.id for run in expanded] == [run.id for run in one_by_one]
    again = [Run.model_validate(run.model_dump()) for run in expanded]
    assert [run.id for run in again] == [run.id for run in expanded]


@pytest.mark.parametrize("free", [FREE, FREE - {"max_steps", "noise"}, frozenset()])
def test_families_name_every_run_and_differ_from_their_example_in_what_is_free_alone(free):
    spec = Spec.parse(TEXT, "x.toml")
    runs = {run.id: run for run in spec.expand()}
    named = []
    for run, keys in (family for block in spec.blocks for family in block.families(free)):
        for run_id in RunIds.of(keys):
            named.append(run_id)
            differ = {key for key in PARAMETERS if getattr(runs[run_id], key) != getattr(run, key)}
            assert differ <= free
    assert sorted(named) == sorted(run.id for block in spec.blocks for run in block.expand())
