"""Allocation: a job uses its cores and insists on its GPUs."""

import os
from pathlib import Path

import pytest
import torch

from relusweep.cluster.backend import BackendError
from relusweep.cluster.slurm.allocation import workers_here


def test_job_without_gpus_uses_its_cores_and_no_gpu_that_it_happens_to_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert workers_here({"gpus_per_job": 0, "cpus_per_task": 1}) == 1
    assert workers_here({"gpus_per_job": 0, "cpus_per_task": 999}) == len(os.sched_getaffinity(0))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("visible", [None, "", "0", "0,1,2"])
def test_job_that_did_not_get_its_gpus_says_so(monkeypatch, visible):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURMD_NODENAME", "node3")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(
        BackendError, match=r"job 12 on node3: asked for 2 GPU\(s\), got CUDA_VISIBLE_DEVICES=.*; expected"
    ):
        workers_here({"gpus_per_job": 2})


def test_torch_that_finds_fewer_gpus_than_slurm_gave_is_an_error_where_it_could_use_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert workers_here({"gpus_per_job": 2}) == 2  # a torch without CUDA: the launcher has said so
    with monkeypatch.context() as driver:
        driver.setattr("relusweep.cluster.slurm.allocation._DRIVER", Path(os.devnull))
        with pytest.raises(
            BackendError, match=r"SLURM gave 2 GPU\(s\), and torch .* cannot use any; expected a build wi"
        ):
            workers_here({"gpus_per_job": 2})
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BackendError, match=r"SLURM gave 2 GPU\(s\), torch .* finds 1; expected as many"):
        workers_here({"gpus_per_job": 2})
