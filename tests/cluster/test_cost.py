"""Cost: what was recorded is believed, else what was probed, else the nearest shape is scaled."""

import pytest
import torch

from relusweep.cluster import cost
from relusweep.cluster.cost import Costs, recorded_costs
from relusweep.sweep.probe import Cost
from relusweep.sweep.run import Run
from relusweep.sweep.shape import shape_key
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.store import Store


def run(width, **more):
    return Run(problem="sine", lr=0.1, d=2, n=8, width=width, max_steps=100, **more)


@pytest.fixture
def probed(monkeypatch):
    asked = []
    monkeypatch.setattr(cost, "probe", lambda runs, device: asked.append(runs[0].width) or Cost(0.01, 0.5))
    return asked


def test_first_shapes_are_probed_once_and_the_others_scaled(probed):
    costs = Costs(Measure(), torch.device("cpu"))
    widths = [4, 8, 16, 32, 64, 128, 256, 8, 2]
    assert [costs.of(run(width)) for width in widths] == [1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 3.0, 1.5, 0.75]
    assert probed == [4, 8, 16, 32, 64, 128]


def test_recorded_seconds_are_believed_and_stand_for_their_neighbours(probed, tmp_path):
    store = Store.create(tmp_path / "store")
    for name, device, seconds in (("a", "cpu", 1.0), ("b", "cpu", 3.0), ("c", "NVIDIA H200", 0.125)):
        one = run(4, seed=ord(name))
        row = one.model_dump() | {"run_id": one.id, "status": "budget", "seconds": seconds, "device": device}
        store.write(name, {"runs": [row]}, {})
    assert recorded_costs(store, on_gpu=False) == {shape_key(run(4)): 2.0}
    assert recorded_costs(store, on_gpu=True) == {shape_key(run(4)): 0.125}
    costs = Costs(Measure(), torch.device("cpu"), recorded_costs(store, on_gpu=True))
    assert (costs.of(run(4)), costs.of(run(8))) == (0.125, 0.25)
    assert probed == []


def test_empty_store_has_no_costs(tmp_path):
    assert recorded_costs(Store.create(tmp_path / "store"), on_gpu=False) == {}
