"""Extra: names of measures, and their columns."""

import pytest

from relusweep.sweep import extra
from relusweep.sweep.extra import columns, eigenvalues, is_own, validated
from relusweep.sweep.record import SCHEMAS
from relusweep.sweep.spec import Measure, Spec
from relusweep.sweep.spec_error import SpecError


def test_columns_are_called_after_the_measures() -> None:
    assert columns("spectrum:3") == ("spectrum_1", "spectrum_2", "spectrum_3")
    assert columns("lib/my_measures.py:knots") == ("knots",)
    assert columns("trace") == ("trace",)
    every = [column for name in extra.BUILT_IN for column in columns(name)]
    assert len({*every}) == len(every)
    assert not {*every} & {*SCHEMAS["runs"].names}
    assert validated(tuple(extra.BUILT_IN)) == tuple(extra.BUILT_IN)


def test_own_measures_and_numbers_of_eigenvalues_are_known_by_their_form() -> None:
    assert [name for name in ("a.py:f", "a.py", "a:f", ":f", "a.py:1f", "trace") if is_own(name)] == ["a.py:f"]
    assert [eigenvalues(f"spectrum{text}") for text in (":5", ":64", ":65", ":0", ":05", ":", "", ":x")] == [
        5,
        64,
    ] + 6 * [0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ('["trase"]', "measure.extra = 'trase'; expected one of trace, spectrum, .* Did you mean 'trace'"),
        ('["spectrum:0"]', "expected one of .* spectrum:K with K from 1 to 64, or 'FILE.py:FUNCTION'"),
        ('["trace", "trace"]', "= 'trace'; its column trace is one of 'trace' too. Rename or remove one"),
        ('["spectrum:2", "spectrum:3"]', "its column spectrum_1 is one of 'spectrum:2' too"),
        ('["my.py:loss"]', "its column loss is one of every row too"),
        ('["my.py:store"]', "its column store is one of every report too"),
        ('["my.py:distance"]', "distance is a measure of relusweep's. Rename the function"),
        ('["my.py:spectrum_9"]', "spectrum_9 is a measure of relusweep's. Rename the function"),
        ("[3]", "measure.extra.0.? = 3; expected"),
        ('"trace"', "measure.extra = 'trace'; expected"),
    ],
)
def test_wrong_names_are_refused_in_one_line(names: str, message: str) -> None:
    text = f"name = 'x'\n[measure]\nextra = {names}\n[[block]]\nfixed = {{ problem = 'sine', lr = 0.1 }}"
    with pytest.raises(SpecError, match=message) as caught:
        Spec.parse(text, "x.toml")
    assert "\n" not in str(caught.value)


def test_sources_are_found_and_not_given() -> None:
    text = "name = 'x'\n[measure]\nsources = {}\n[[block]]\nfixed = { problem = 'sine', lr = 0.1 }"
    with pytest.raises(SpecError, match="measure.sources: unknown key"):
        Spec.parse(text, "x.toml")


def test_states_of_an_earlier_version_measure_the_same() -> None:
    assert Measure(every="log:3").is_of({"every": "log:3", "save_weights": False})
    assert Measure().is_of(Measure().model_dump())
    assert not Measure(extra=("trace",)).is_of({"every": "end", "save_weights": False})
    assert not Measure().is_of(None)
