"""Rows and stores as `relusweep run` would write them, without training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from relusweep.sweep.record import SCHEMAS
from relusweep.sweep.run import Run
from relusweep.sweep.store.store import Store

Row = dict[str, Any]
MEASURES = (
    "loss", "train_rmse", "test_rmse", "sharpness", "gn_sharpness", "gn_sharpness_min", "residual_correction", "eos_ratio", "stability_norm",
    "oriented_stability_norm", "mean_gradient_bound", "variation_norm", "parameter_norm", "dead_fraction",
    "knot_points",
)  # fmt: skip


@pytest.fixture
def row() -> Callable[..., Row]:
    """One recorded run: `eos` is λη/2, `share` is (1+2S̃)/λ; parameters and results can be overridden by name."""

    def make(lr: float = 0.1, seed: int = 0, eos: float = 0.9, share: float = 0.6, **given: Any) -> Row:
        parameters = {k: v for k, v in given.items() if k in Run.model_fields}
        run = Run.model_validate({"problem": "digits", "lr": lr, "seed": seed} | parameters)
        sharpness = 2 * eos / lr
        one = 1.0 if run.bias else 0.0
        lower = max(one, share * sharpness)
        results: Row = {
            "run_id": run.id, "status": "converged", "steps": 5000, "loss": 5e-9, "train_rmse": 1e-4,
            "test_rmse": 0.2 + 0.01 * seed, "sharpness": sharpness, "sharpness_residual": 1e-12,
            "gn_sharpness": sharpness, "residual_correction": 1e-6, "gn_sharpness_min": sharpness, "eos_ratio": eos,
            "stability_norm": (lower - one) / 4, "oriented_stability_norm": (lower - one) / 2,
            "mean_gradient_bound": lower, "variation_norm": 9.0, "parameter_norm": 5.0, "dead_fraction": 0.0,
            "knot_points": 0, "seconds": 0.1, "pack_id": "p", "pack_size": 8, "device": "cpu", "backend": "local",
            "kernel": "torch", "code_version": "0.1.0", "schema_version": 2,
        }  # fmt: skip
        if given.get("status") == "diverged":
            results |= dict.fromkeys(MEASURES)
        return run.model_dump() | results | {k: v for k, v in given.items() if k in results}

    return make


@pytest.fixture
def frame() -> Callable[[list[Row]], pl.DataFrame]:
    """Rows as the data frame that `table.load` would give."""

    def make(rows: list[Row]) -> pl.DataFrame:
        import pyarrow as pa

        return pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=SCHEMAS["runs"])))

    return make


@pytest.fixture
def sweep(row: Callable[..., Row]) -> list[Row]:
    """8 step sizes × 4 seeds, all converged, at the edge from lr = 0.1 on."""
    rates = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4)
    return [
        row(lr, seed, eos=min(0.99, (9 + 0.3 * seed) * lr), share=0.5 + 0.02 * seed + 0.1 * lr)
        for lr in rates
        for seed in range(4)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """A store of the given rows, under a name."""

    def make(rows: list[Row], name: str = "store", trajectories: list[Row] | None = None, spec: str = "") -> Path:
        made = Store.create(tmp_path / name)
        made.write("pack", {"runs": rows, "trajectories": trajectories or []}, {})
        if spec:
            made.write_spec(spec)
        return made.path

    return make
