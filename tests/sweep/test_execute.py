"""Execute: records of a pack; interruptions leave no trace in them."""

import math
import random

import numpy as np
import pytest
import torch

from relusweep.sweep.checkpoint import load_checkpoint
from relusweep.sweep.data import dataset
from relusweep.sweep.execute import Interrupted, execute
from relusweep.sweep.pack import Pack
from relusweep.sweep.record import MOMENT_MEASURES, RESULTS
from relusweep.sweep.run import PARAMETERS, Run
from relusweep.sweep.spec import Measure
from relusweep.sweep.store.atomic import replacing
from relusweep.sweep.train import Training

CPU = torch.device("cpu")
CIRCUMSTANCES = {"seconds", "pack_id", "pack_size"}


def runs(count=6, **parameters):
    base = {"problem": "sine", "n": 8, "width": 6, "max_steps": 1500, "tolerance": 1e-4, "n_test": 20}
    return tuple(
        Run.model_validate(base | {"lr": 0.3 if s % 2 else 0.05, "seed": s} | parameters) for s in range(count)
    )


def rows_of(*given, **options):
    return {name: table.to_pylist() for name, table in execute(*given, **options).items()}


def table(rows):
    return {(row["run_id"], row.get("step")): row for row in rows}


def same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    for run_id in one:
        for name in one[run_id].keys() - CIRCUMSTANCES:
            a, b = one[run_id][name], other[run_id][name]
            if isinstance(a, float) and tolerance:
                assert a == pytest.approx(b, rel=tolerance, abs=1e-12), name
            else:
                assert a == b, name


def test_every_run_gets_one_row_with_known_columns():
    tables = rows_of(Pack(runs()), Measure(), CPU, "test")
    assert len(table(tables["runs"])) == len(tables["runs"]) == 6
    for row in tables["runs"]:
        assert row.keys() <= {*PARAMETERS, *RESULTS}
        assert row["status"] in ("converged", "budget")
        assert row["steps"] <= 1500
        assert row["eos_ratio"] == pytest.approx(row["lr"] * row["sharpness"] / 2, rel=1e-15)
        assert row["train_rmse"] == pytest.approx(math.sqrt(2 * row["loss"]))
        assert row["unexplained_fraction"] == pytest.approx(row["loss"] / (np.var(dataset(row).y) / 2), rel=1e-12)
        assert row["test_sup"] >= row["test_rmse"]
    assert tables["trajectories"] == tables["weights"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        {}, {"dtype": "float32"}, {"batch_size": 3, "optimizer": "sgd"}, {"depth": 2, "width": 5, "width2": 4},
        {"d": 20, "n": 5},
    ],
    ids=str,
)  # fmt: skip
def test_a_row_does_not_depend_on_its_pack(case, tmp_path):
    """In packs of 1, 7 and 1000, in any order, with any number of threads, interrupted at random: bit for bit."""
    chance = random.Random(8)
    measure = Measure(every="log:3", save_weights=True)
    every = runs(1000, max_steps=400, **case)
    whole = rows_of(Pack(every), measure, CPU, "test")
    orders = [chance.sample(every, 1), chance.sample(every, 7), chance.sample(every, 1000)]
    for part in orders:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            again = interrupted_at_random(Pack(tuple(part)), measure, tmp_path / "state.pt", chance)
            for name in ("runs", "weights", "trajectories"):
                all_rows, rows = table(whole[name]), table(again[name])
                same({key: all_rows[key] for key in rows}, rows)
    torch.set_num_threads(1)


def interrupted_at_random(pack, measure, state, chance):
    while True:
        try:
            tables = rows_of(pack, measure, CPU, "test", checkpoint=state, heartbeat=Stopper(chance.randrange(12)))
        except Interrupted:
            continue
        state.unlink(missing_ok=True)
        return tables


@pytest.mark.slow
def test_a_row_of_the_reference_kernel_depends_on_its_pack_by_rounding_alone():
    whole = table(rows_of(Pack(runs(optimizer="adam")), Measure(), CPU, "test")["runs"])
    for run in runs(optimizer="adam"):
        alone = table(rows_of(Pack((run,)), Measure(), CPU, "test")["runs"])
        same({(run.id, None): whole[run.id, None]}, alone, tolerance=1e-12)


def test_converged_runs_are_below_the_tolerance_and_end_early():
    rows = rows_of(Pack(runs(max_steps=20_000, n=3, tolerance=1e-3)), Measure(), CPU, "test")["runs"]
    ended = [row for row in rows if row["status"] == "converged"]
    assert ended
    assert all(row["loss"] <= 1e-3 and row["steps"] < 20_000 and row["steps"] % 200 == 0 for row in ended)


def test_divergence_is_a_row_without_measures():
    rows = rows_of(Pack(runs(lr=60.0)), Measure(), CPU, "test")["runs"]
    diverged = [row for row in rows if row["status"] == "diverged"]
    assert diverged
    for row in diverged:
        assert row.get("loss") is None
        assert row.get("sharpness") is None
        assert row["steps"] >= 1


def test_depth_two_and_missing_test_set_leave_their_columns_out():
    row = rows_of(Pack(runs(1, depth=2, n_test=0, max_steps=5)), Measure(), CPU, "test")["runs"][0]
    for name in ("stability_norm", "oriented_stability_norm", "variation_norm", "test_rmse", "test_sup"):
        assert row.get(name) is None
    assert row["sharpness"] > 0
    assert 0 <= row["dead_fraction"] <= 1


def test_of_equal_labels_no_fraction_is_unexplained():
    run = Run.model_validate({"problem": "noise", "noise": 0.0, "n": 6, "width": 4, "lr": 0.1, "max_steps": 5})
    row = rows_of(Pack((run,)), Measure(), CPU, "test")["runs"][0]
    assert (row["unexplained_fraction"], row["loss"] > 0) == (None, True)


def test_trajectory_has_its_moments_and_ends_like_the_row():
    measure = Measure(every="log:7", save_weights=True)
    tables = rows_of(Pack(runs(2, tolerance=0.0)), measure, CPU, "test")
    for row in tables["runs"]:
        moments = [m for m in tables["trajectories"] if m["run_id"] == row["run_id"]]
        assert [m["step"] for m in moments] == list(measure.moments(1500))
        assert moments[-1]["sharpness"] == row["sharpness"]
        assert moments[0].keys() == {"run_id", "step", *MOMENT_MEASURES}
    weights = table(tables["weights"])
    assert len(weights) == 2
    assert {len(weights[i]["w1"]) for i in weights} == {12}
    assert {len(weights[i]["b2"]) for i in weights} == {1}


def test_trajectory_of_a_pack_with_divergence_goes_on_for_the_others():
    mixed = (*runs(1, tolerance=0.0), *runs(1, lr=60.0, tolerance=0.0))
    tables = rows_of(Pack(mixed), Measure(every="log:9"), CPU, "test")
    status = {row["run_id"]: row["status"] for row in tables["runs"]}
    last = {m["run_id"]: m["step"] for m in tables["trajectories"]}
    assert sorted(status.values()) == ["budget", "diverged"]
    assert last[next(i for i, s in status.items() if s == "budget")] == 1500


class Stopper:
    """Interrupts at the k-th heartbeat."""

    def __init__(self, after):
        self.left = after

    def __call__(self, progress):
        self.left -= 1
        if self.left < 0:
            raise Interrupted


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{}, {"optimizer": "adam", "batch_size": 4}], ids=str)
def test_interrupted_pack_gives_the_rows_of_an_undisturbed_one(tmp_path, rule):
    measure = Measure(every="log:6", save_weights=True)
    pack = Pack(runs(**rule))
    whole = rows_of(pack, measure, CPU, "test")
    path = tmp_path / "pack.pt"
    after, resumed = 1, 0
    while True:  # stopped after 1 heartbeat, then 2 more, then 3 more, … until the end
        try:
            pieces = rows_of(pack, measure, CPU, "test", checkpoint=path, heartbeat=Stopper(after))
            break
        except Interrupted:
            saved = load_checkpoint(path)
            assert saved is not None
            resumed += 1
            after += 1
    assert resumed >= 3
    for name in ("runs", "weights"):
        same(table(whole[name]), table(pieces[name]))
    key = lambda row: (row["run_id"], row["step"])  # noqa: E731
    assert sorted(whole["trajectories"], key=key) == sorted(pieces["trajectories"], key=key)


def test_state_is_written_at_intervals(tmp_path, monkeypatch):
    monkeypatch.setattr("relusweep.sweep.execute._SAVING_SHARE", 1.0)
    path = tmp_path / "pack.pt"
    steps = []

    def look(progress):
        if path.exists():
            steps.append(load_checkpoint(path)["training"]["step"])

    rows_of(Pack(runs(tolerance=0.0)), Measure(), CPU, "test", checkpoint=path, checkpoint_seconds=0.0, heartbeat=look)
    assert len(set(steps)) > 2


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 half a zip"])
def test_damaged_checkpoint_means_starting_afresh(tmp_path, content):
    path = tmp_path / "pack.pt"
    path.write_bytes(content)
    assert load_checkpoint(path) is None
    pack = Pack(runs(1, max_steps=50))
    same(
        table(rows_of(pack, Measure(), CPU, "t", checkpoint=path)["runs"]),
        table(rows_of(pack, Measure(), CPU, "t")["runs"]),
    )


def test_checkpoint_of_another_pack_or_measure_is_not_used(tmp_path):
    path = tmp_path / "pack.pt"
    with pytest.raises(Interrupted):
        rows_of(Pack(runs()), Measure(), CPU, "test", checkpoint=path, heartbeat=Stopper(1))
    for pack, measure in ((Pack(runs(3)), Measure()), (Pack(runs()), Measure(save_weights=True))):
        rows = rows_of(pack, measure, CPU, "test", checkpoint=path)
        same(table(rows["runs"]), table(rows_of(pack, measure, CPU, "test")["runs"]))
        assert len(rows["weights"]) == (len(pack.runs) if measure.save_weights else 0)


def test_checkpoint_as_earlier_versions_wrote_it_is_gone_on_from(tmp_path):
    """Key by key as on disk since format 2: what the code calls them may change, the file may not."""
    pack, measure, path = Pack(runs(tolerance=0.0, max_steps=400)), Measure(save_weights=True), tmp_path / "pack.pt"
    training = Training(pack, CPU)
    training.advance(200, lambda: None)
    first, rest = training.state["position"][:1], torch.arange(1, 6)
    ended = dict.fromkeys(RESULTS) | pack.runs[0].model_dump()
    ended |= training.runs[int(first)].model_dump()
    ended |= {"run_id": training.runs[int(first)].id, "status": "budget", "steps": 200, "loss": 0.25}
    state = {
        name: tensor[rest]
        for name, tensor in training.state.items()
        if name in ("position", "theta", "peak", "limit", "passes")
    }
    assert state.keys() == training.state.keys()
    saved = {
        "format": 2,
        "runs": [run.model_dump() for run in pack.runs],
        "measure": {"every": "end", "save_weights": True},
        "training": {"step": 200, "cursor": 0, "ids": [run.id for run in training.runs], "state": state},
        "handled": 200,
        "harvest": {"runs": [ended], "moments": [], "weights": [(first, training.state["theta"][:1].double())]},
        "seconds": 1e6,
        "ended": {"converged": 0, "budget": 1, "diverged": 0},
    }
    torch.save(saved, path)
    tables, whole = rows_of(pack, measure, CPU, "test", checkpoint=path), rows_of(pack, measure, CPU, "test")
    rows, expected = table(tables["runs"]), table(whole["runs"])
    assert rows.keys() == expected.keys()
    assert rows.pop((ended["run_id"], None))["loss"] == 0.25, "the row of the file"
    same({key: expected[key] for key in rows}, rows)
    assert len(tables["weights"]) == 6
    assert all(row["seconds"] > 1e6 / 6 for row in rows.values())

    with pytest.raises(Interrupted):
        rows_of(pack, measure, CPU, "test", checkpoint=path, heartbeat=Stopper(0))
    again = load_checkpoint(path)
    assert again is not None
    for written, of_old in (
        (again, saved),
        (again["harvest"], saved["harvest"]),
        (again["training"], saved["training"]),
    ):
        assert list(written) == list(of_old)
    assert again["measure"] == saved["measure"]


def test_slow_checkpoints_are_written_rarely(tmp_path, monkeypatch):
    """A state that takes a second to write may cost a twentieth of the time, whatever the interval asked for."""
    written = []
    monkeypatch.setattr("relusweep.sweep.checkpoint.replacing", lambda path: written.append(path) or replacing(path))
    monkeypatch.setattr("relusweep.sweep.execute._SAVING_SHARE", 1e-9)
    rows_of(Pack(runs(tolerance=0.0)), Measure(), CPU, "test", checkpoint=tmp_path / "p.pt", checkpoint_seconds=0.0)
    assert len(written) == 1


@pytest.mark.slow
def test_long_trajectories_are_kept_in_columns(tmp_path):
    """Hundreds of bytes a moment as Python's rows, under 120 in the state on disk."""
    path, pack, measure = tmp_path / "pack.pt", Pack(runs(16, tolerance=0.0)), Measure(every="log:250")
    with pytest.raises(Interrupted):
        rows_of(pack, measure, CPU, "test", checkpoint=path, heartbeat=AtStep(1400))
    long = path.stat().st_size
    with pytest.raises(Interrupted):
        rows_of(pack, Measure(), CPU, "test", checkpoint=path, heartbeat=AtStep(1400))
    moments = 16 * sum(step <= 1400 for step in measure.moments(1500))
    assert moments > 2_000
    assert (long - path.stat().st_size) / moments < 120


class AtStep:
    """Interrupts once the pack has come to a step."""

    def __init__(self, step):
        self.step = step

    def __call__(self, progress):
        if progress.step >= self.step:
            raise Interrupted


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_weights_of_moments_are_those_of_runs_that_end_there(tmp_path, dtype):
    def of(max_steps):
        return Pack(runs(tolerance=0.0, max_steps=max_steps, dtype=dtype))

    names, measure, path = ("w1", "b1", "w2", "b2"), Measure(every="log:5", save_weights="moments"), tmp_path / "a.pt"
    seeds = {run.id: run.seed for run in of(600).runs}
    tables = rows_of(of(600), measure, CPU, "test")
    found = {(row["step"], seeds[row["run_id"]]): [row[name] for name in names] for row in tables["trajectories"]}
    expected = {}
    for step in measure.moments(600):
        seeds = {run.id: run.seed for run in of(step).runs}
        ends = rows_of(of(step), Measure(save_weights=True), CPU, "test")["weights"]
        expected |= {(step, seeds[row["run_id"]]): [row[name] for name in names] for row in ends}
    assert found == expected
    with pytest.raises(Interrupted):
        rows_of(of(600), measure, CPU, "test", checkpoint=path, heartbeat=Stopper(3))
    assert rows_of(of(600), measure, CPU, "test", checkpoint=path)["trajectories"] == tables["trajectories"]
