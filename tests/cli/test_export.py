"""`relusweep export`"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relusweep.sweep.run import Run
from relusweep.sweep.store.part import write_part
from relusweep.sweep.store.store import Store


@pytest.mark.parametrize("saved", [True, False])
def test_export_holds_data_weights_and_record(
    ids: Callable[..., list[str]], cli: Callable[..., Any], store: Path, saved: bool
) -> None:
    run_id = ids()[0]
    if not saved:
        Store(store).parts("weights")[0].unlink()
    said = cli("export", store, run_id, "run.npz")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("wrote run.npz")
    assert ("trained again" in said.out) is not saved
    with np.load("run.npz", allow_pickle=False) as file:
        record = json.loads(str(file["record"]))
        x, y, w1, b1, w2, b2 = (file[name] for name in ("x", "y", "w1", "b1", "w2", "b2"))
        assert set(file.files) == {"x", "y", "x_test", "y_test", "w1", "b1", "w2", "b2", "record"}
    assert record["run_id"] == run_id
    residual = np.maximum(x @ w1.T + b1, 0) @ w2 + b2 - y
    assert (residual**2).mean() / 2 == pytest.approx(record["loss"], rel=1e-9)


def test_export_to_a_name_without_npz_is_refused(
    ids: Callable[..., list[str]], refused: Callable[..., str], store: Path
) -> None:
    assert "run.npy: expected a name that ends in .npz" in refused("export", store, ids()[0], "run.npy")


def test_export_into_no_folder_is_refused(
    ids: Callable[..., list[str]], refused: Callable[..., str], store: Path
) -> None:
    assert "nowhere/run.npz: " in refused("export", store, ids()[0], "nowhere/run.npz")


def test_export_of_a_diverged_run_is_refused(
    ids: Callable[..., list[str]], refused: Callable[..., str], store: Path
) -> None:
    run_id = ids("diverged")[0]
    line = refused("export", store, run_id, "run.npz")
    assert f"run {run_id}: it diverged after " in line
    assert "there are no weights to export" in line


def test_infinite_parameter_is_text_in_an_exported_record(
    cli: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "store"
    spec = tiny(grid="lr = [0.1]", max_steps=1, lr_ratio="inf")
    assert cli("run", spec, "--out", out, "--workers", 1).code == 0
    (run_id,) = Store.open(out).recorded()
    assert cli("export", out, run_id, tmp_path / "net.npz").code == 0
    record = json.loads(str(np.load(tmp_path / "net.npz")["record"]), parse_constant=pytest.fail)
    assert record["lr_ratio"] == "inf"


@pytest.mark.parametrize(("name", "value"), [("w1", []), ("b1", [1.0]), ("w3", [1.0]), ("b2", [1.0, 2.0])])
def test_weights_of_another_network_are_refused(
    ids: Callable[..., list[str]], refused: Callable[..., str], store: Path, name: str, value: list[float]
) -> None:
    part = Store(store).parts("weights")[0]
    rows = pq.read_table(part)
    given = pa.array([value] * len(rows), rows.schema.field(name).type)
    write_part(part, rows.set_column(rows.schema.names.index(name), name, given))
    assert "its weights are not those of its network" in refused("export", store, ids()[0], "run.npz")


def test_link_is_replaced_and_what_it_leads_to_is_not(
    ids: Callable[..., list[str]], cli: Callable[..., Any], store: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run.npz").symlink_to(tmp_path / "mine")
    assert cli("export", store, ids()[0], "run.npz").code == 0
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "run.npz").is_symlink()


def test_record_with_numbers_that_are_none_is_exported(
    ids: Callable[..., list[str]], cli: Callable[..., Any], store: Path, tmp_path: Path
) -> None:
    part = Store(store).parts("runs")[0]
    rows = pq.read_table(part)
    write_part(part, rows.set_column(rows.schema.names.index("loss"), "loss", pa.array([float("nan")] * len(rows))))
    assert cli("export", store, ids()[0], "run.npz").code == 0
    assert json.loads(str(np.load(tmp_path / "run.npz")["record"]))["loss"] == "nan"


@pytest.mark.parametrize("command", ["export", "replay"])
def test_run_that_does_not_fit_the_memory_is_refused_before_anything_is_made(
    refused: Callable[..., str], store: Path, command: str
) -> None:
    run = Run.model_validate({"problem": "sine", "lr": 0.1, "n": 2**31 - 1, "width": 2**31 - 1})
    row = run.model_dump() | {"run_id": run.id, "status": "budget", "steps": 1}
    Store(store).write("large", {"runs": [row]}, {})
    file = ["run.npz"] if command == "export" else []
    assert "width = 2147483647 takes " in refused(command, store, run.id, *file)
