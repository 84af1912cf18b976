"""Branch: what weights are called at which a run begins, and what they have to be."""

from typing import Any

import numpy as np
import pytest

from relusweep.sweep import branch, contents
from relusweep.sweep.dataset import DataError
from relusweep.sweep.model import initial_parameters
from relusweep.sweep.run import Run
from relusweep.sweep.weights_file import WEIGHTS, Weights


def run(**given: Any) -> Run:
    return Run.model_validate({"problem": "sine", "lr": 0.1, "width": 2, "d": 1, "from_step": 5} | given)


def test_key_is_of_the_source_and_the_step_however_long_either_training_is() -> None:
    assert branch.key(run()) == branch.key(run(max_steps=7)) == branch.key(run(lr=0.3, from_parameters='{"lr":0.1}'))
    assert len({branch.key(each) for each in (run(), run(from_step=6), run(seed=1), run(lr=0.3))}) == 4
    source = Run.model_validate({"problem": "sine", "lr": 0.1, "width": 2, "d": 1, "max_steps": 40})
    assert branch.source_ids(run(), [40, 41])[0] == source.id


def test_what_depends_on_another_setting_has_its_default_in_the_source() -> None:
    branched = run(optimizer="sgd", batch_size=2, from_parameters='{"optimizer":"gd"}')
    assert (branched.source(3).optimizer, branched.source(3).batch_size) == ("gd", 0)
    branched = run(optimizer="adam", from_parameters='{"optimizer":"momentum"}')
    assert branched.source(3).momentum == 0.9


def test_run_begins_at_the_weights_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_branches", {})
    arrays = {
        "w1": np.array([[1.0], [2.0]]),
        "b1": np.array([3.0, 4.0]),
        "w2": np.array([5.0, 6.0]),
        "b2": np.array(7.0),
    }
    branched = run(init_scale=9.0)
    with pytest.raises(DataError, match="its weights are not there; expected a store that keeps them"):
        initial_parameters(branched)
    contents.remember_branches({branch.key(branched): WEIGHTS.remember(Weights(arrays))})
    assert initial_parameters(branched).tolist() == [1.0, 3.0, 2.0, 4.0, 5.0, 6.0, 7.0]
    contents.remember_branches({branch.key(run(width=3)): WEIGHTS.remember(Weights(arrays))})
    with pytest.raises(DataError, match="the weights are another network's"):
        initial_parameters(run(width=3))


def test_parameters_of_a_source_need_a_step() -> None:
    with pytest.raises(ValueError, match="without from_step"):
        run(from_step=None, from_parameters='{"lr":0.1}')
