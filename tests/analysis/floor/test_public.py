"""The public face of the floor: its names, and the examples in its docstrings."""

import doctest

from relusweep.analysis import floor
from relusweep.analysis.floor import floors


def test_everything_public_is_there_and_documented():
    for name in floor.__all__:
        public = getattr(floor, name)
        assert name in ("ErrorMeasure", "Norm") or public.__doc__


def test_examples_of_the_docstrings_hold():
    for module in (floor, floors):
        tried = doctest.testmod(module)
        assert tried.attempted > 0
        assert tried.failed == 0
