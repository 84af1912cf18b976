"""Planted pairs, and what the study says of them."""

from dataclasses import replace

import numpy as np
import pytest

from relusweep.analysis.studies.compare.study import STUDY
from relusweep.analysis.table import load


@pytest.fixture
def compared(store):
    """Return the study's result on rows, for a parameter."""

    def make(rows, parameter="optimizer"):
        return STUDY(replace(load([store(rows)]), compare=parameter))

    return make


@pytest.fixture
def planted(row):
    """Return a function that plants pairs of which the second is sharper by a factor, but for noise of each seed."""

    def make(factor, seeds=8, noise=0.05):
        rng = np.random.default_rng(0)
        effect = np.exp(np.log(factor) + noise * rng.normal(size=seeds))
        return [
            row(lr, seed, eos=0.3 * (effect[seed] if rule == "momentum" else 1), share=0.5, optimizer=rule)
            for rule in ("gd", "momentum")
            for lr in (0.1, 0.2)
            for seed in range(seeds)
        ]

    return make
