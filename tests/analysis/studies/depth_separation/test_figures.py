"""Figures of the depth study: what is drawn, and functions from saved weights."""

import numpy as np
import polars as pl
import pytest
import torch

from relusweep.analysis.studies.depth_separation.figures import output
from relusweep.analysis.studies.depth_separation.study import STUDY
from relusweep.analysis.table import load
from relusweep.sweep.data import dataset
from relusweep.sweep.execute import execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.store import Store


@pytest.mark.slow
def test_figures_are_drawn_against_the_step_size(studied, both):
    result = studied(both(0.9))
    against_step = {"separation", "test", "sup", "curvature", "norms", "plain_norms", "variation", "active"}
    assert against_step | {"critical"} == set(result.figures)


@pytest.mark.slow
def test_saved_weights_become_pictures_of_the_function_that_was_trained(tmp_path):
    common = {"problem": "pyramid", "n": 20, "n_test": 8, "max_steps": 40, "tolerance": 0.0}
    runs = [
        Run.model_validate(common | shape | {"lr": lr})
        for shape in ({"width": 8}, {"depth": 2, "width": 4, "width2": 4})
        for lr in (0.3, 0.6)
    ]
    measure = Measure(every="tail:4", save_weights=True)
    store = Store.create(tmp_path / "store")
    tables = [execute(Pack(tuple(runs[i : i + 2])), measure, torch.device("cpu"), "test") for i in (0, 2)]
    for index, found in enumerate(tables):
        store.write(f"pack{index}", found, {})
    result = STUDY(load([store.path]))
    assert "functions" in result.figures
    assert (result.tables["summary"]["tail_moments"] == 4).all()
    for rows, records in (
        (found["weights"].to_pylist(), pl.DataFrame(pl.from_arrow(found["runs"]))) for found in tables
    ):
        for saved in rows:
            run = records.filter(run_id=saved["run_id"]).row(0, named=True)
            data = dataset(run)
            error = np.sqrt(((output(saved, data.x) - data.y) ** 2).mean())
            assert error == pytest.approx(run["train_rmse"], rel=1e-9)


@pytest.mark.slow
def test_drawn_floor_is_the_least_of_the_data_sets_and_none_where_one_has_none(studied, both, network):
    many = [*both(0.9, rates=(1.5,), data_seed=0), *both(0.9, rates=(1.5,), data_seed=1)]
    result = studied(many)
    shares = result.tables["floors"].select(pl.col("floor_rmse").pow(2) / pl.col("constant_rmse").pow(2)).to_series()
    summary = result.tables["summary"].filter(arm="shallow")
    assert shares.n_unique() == 2
    assert summary["relative_floor"].item() == pytest.approx(shares.min())
    lacking = studied([*many, *both(0.9, rates=(1.5,), n=20, data_seed=2, optimizer="momentum", momentum=0.1)])
    momentum = lacking.tables["summary"].filter(pl.col("label").str.contains("momentum"), arm="shallow")
    assert momentum["relative_floor"].to_list() == [None]
