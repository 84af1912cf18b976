"""The reference kernel: how many runs it takes at once; what it computes is tested in test_model and test_optimize."""

import torch

from relusweep.sweep.kernels.training import plain
from relusweep.sweep.run import Run

CPU = torch.device("cpu")


def make(**parameters):
    return Run.model_validate({"problem": "sine", "n": 8, "width": 5, "lr": 0.05} | parameters)


def test_tiles_fit_a_cache_and_hold_at_least_one_run():
    assert plain.tile_size(make(width=4096, n=4096), CPU) == 1
    assert plain.tile_size(make(), CPU) == 512
    single, double = (make(dtype=dtype, width=64, n=128) for dtype in ("float32", "float64"))
    assert plain.tile_size(single, CPU) == 2 * plain.tile_size(double, CPU)
    gpu = torch.device("meta")
    assert plain.tile_size(make(), gpu) == 2**20
    assert plain.tile_size(make(width=4096, n=4096), gpu) * 4096 * 4096 * 8 == 2**31
    assert plain.tile_size(make(width=2**20, n=4096), gpu) == 1
