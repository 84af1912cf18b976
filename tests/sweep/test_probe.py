"""Probe: a cost that is positive, grows with the work, and leaves the run's identity alone."""

import torch

from relusweep.sweep.probe import probe
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure


def test_larger_networks_cost_more():
    small, large = (
        probe([Run.model_validate({"problem": "sine", "lr": 0.1, "width": w, "n": w})], torch.device("cpu"))
        for w in (8, 256)
    )
    assert 0 < small.step < large.step
    run = Run.model_validate({"problem": "sine", "lr": 0.1, "max_steps": 1000})
    assert small.at_most(run, Measure()) == 1000 * small.step + small.moment
    assert small.at_most(run, Measure(every="log:5")) > small.at_most(run, Measure())
