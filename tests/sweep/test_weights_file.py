"""Weights file: where `init = "file"` starts; what is no network is one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relusweep.sweep import contents
from relusweep.sweep.dataset import DataError
from relusweep.sweep.kept import broken, keep_data
from relusweep.sweep.model import initial_parameters
from relusweep.sweep.run import Run
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError
from relusweep.sweep.store.store import Store
from relusweep.sweep.weights_file import read

RNG = np.random.default_rng(0)
SHALLOW = {"w1": RNG.normal(size=(5, 3)), "b1": RNG.normal(size=5), "w2": RNG.normal(size=5), "b2": np.float64(0.5)}
DEEP = SHALLOW | {
    "w2": RNG.normal(size=(4, 5)),
    "b2": RNG.normal(size=4),
    "w3": RNG.normal(size=4),
    "b3": np.array(2.0),
}


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Path]:
    """Write weights to a file."""

    def write(arrays: dict[str, Any], name: str = "start.npz") -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return write


def refusal(path: Path) -> str:
    try:
        read(path)
    except DataError as error:
        return str(error)
    return ""


def run_from(path: Path, **more: Any) -> Run:
    return Run.model_validate({"problem": "sine", "lr": 0.1, "init": "file", "init_file": str(path)} | more)


@pytest.mark.parametrize(
    ("arrays", "network"),
    [
        (SHALLOW, {"depth": 1, "width2": None, "bias": True, "output_bias": None}),
        ({name: SHALLOW[name] for name in ("w1", "b1", "w2")}, {"bias": True, "output_bias": False}),
        ({name: SHALLOW[name] for name in ("w1", "w2")}, {"bias": False, "output_bias": None}),
        (SHALLOW | {"w2": SHALLOW["w2"][None], "b2": np.ones(1)}, {"depth": 1}),  # as torch.nn.Linear has them
        (DEEP, {"depth": 2, "width2": 4, "bias": True, "output_bias": None}),
        ({name: DEEP[name] for name in DEEP if name != "b3"}, {"bias": True, "output_bias": False}),
    ],
)  # fmt: skip
def test_network_and_start_are_those_of_the_file(
    arrays: dict[str, Any], network: dict[str, Any], start: Callable[..., Path]
) -> None:
    run = run_from(start(arrays))
    assert (run.d, run.width) == (3, 5)
    assert {key: getattr(run, key) for key in network} == network
    layers = [(np.atleast_2d(arrays[name]), arrays.get(name.replace("w", "b"))) for name in arrays if name[0] == "w"]
    rows = [w if b is None else np.column_stack([w, np.reshape(b, -1)]) for w, b in layers]
    assert np.array_equal(initial_parameters(run), np.concatenate([each.ravel() for each in rows]))
    assert np.array_equal(initial_parameters(run.model_copy(update={"seed": 7})), initial_parameters(run))


def test_scales_multiply_what_they_multiply_elsewhere(start: Callable[..., Path]) -> None:
    run = run_from(start(SHALLOW), init_scale=2.0, output_scale=3.0)
    w1, b1, w2, b2 = SHALLOW.values()
    expected = np.concatenate([2 * np.column_stack([w1, b1]).ravel(), 6 * w2, [2 * b2]])
    assert np.allclose(initial_parameters(run), expected, rtol=1e-15, atol=0)


def test_run_is_named_by_what_the_file_holds(start: Callable[..., Path]) -> None:
    run = run_from(start(SHALLOW))
    assert run_from(start(SHALLOW | {"x": np.ones(3)}, "same.npz")).id == run.id, "other arrays are ignored"
    assert run_from(start(SHALLOW | {"b2": np.float64(0.75)}, "other.npz")).id != run.id
    for each in (run, run_from(start({name: SHALLOW[name] for name in ("w1", "b1", "w2")}, "hidden.npz"))):
        for values in (each.model_dump(), each.model_dump(exclude_defaults=True)):  # rows have all, pack files the rest
            assert Run.model_validate(values).id == each.id


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"width": 6}, r"width = 6; .*start.npz has width = 5. Leave width out"),
        ({"d": 2}, r"d = 2; .*start.npz has d = 3. Leave d out"),
        ({"bias": False}, r"bias = False; .*start.npz has bias = True"),
        ({"bias": "hidden"}, r"bias = 'hidden'; .*start.npz has bias = True"),
        ({"depth": 2}, r"depth = 2; .*start.npz has depth = 1"),
        ({"problem": "digits"}, r"d = 64; .*start.npz has d = 3"),
        ({"init": "normal"}, r"init_file = .*; it needs init = 'file'. Leave it out"),
        ({"init_file": None}, r"init = 'file'; it needs init_file, the name of your weights"),
        ({"init_content": None}, r"init = 'file'; it needs init_file"),  # a row of a store names no file to be read
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(more: dict[str, Any], message: str, start: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=message):
        run_from(start(SHALLOW), **more)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w1": np.ones((2, 1))}, r"no array 'w2', got w1 \(2, 1\); expected what relusweep export writes"),
        ({"x": np.ones(3)}, r"no array 'w1', got 'x'; expected"),
        (SHALLOW | {"w1": np.ones(3)}, r"w1 is not \(units, d\)"),
        (SHALLOW | {"w1": np.ones((0, 3))}, r"w1 is not \(units, d\)"),
        (SHALLOW | {"b1": np.ones(4)}, r"b1 is not \(5,\)"),
        (SHALLOW | {"w2": np.ones(4)}, r"w2 is not \(5,\)"),
        (SHALLOW | {"b2": np.ones(2)}, r"b2 is not one number"),
        (SHALLOW | {"b3": np.ones(())}, r"biases on one layer and not on the others"),
        (DEEP | {"w2": np.ones((4, 6))}, r"w2 is not \(units, 5\)"),
        (DEEP | {"w3": np.ones(5)}, r"w3 is not \(4,\)"),
        ({name: DEEP[name] for name in DEEP if name != "b2"}, r"biases on one layer and not on the others"),
        (DEEP | {"w4": np.ones(3)}, r"array 'w4', of a third hidden layer, got"),
        ({name: SHALLOW[name] for name in ("w1", "w2", "b2")}, r"biases on one layer and not on the others"),
        (SHALLOW | {"w1": np.full((5, 3), np.nan)}, r"w1, row 1, column 1: nan; expected a finite number"),
        (SHALLOW | {"w2": np.array(list("abcde"))}, r"w2 holds <U1, no real numbers"),
    ],
)  # fmt: skip
def test_file_that_is_no_network_is_one_line(arrays: dict[str, Any], message: str, start: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(start(arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_files_are_read_or_refused_in_one_line(data: st.DataObject, start: Callable[..., Path]) -> None:
    path = start(SHALLOW)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    said = refusal(path)
    assert not said or (said.startswith(f"{path}: ") and "\n" not in said)


@pytest.mark.parametrize("name", ["start.csv", "start"])
def test_other_kinds_of_files_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown kind of file; expected a name that ends in \.npz"):
        read(tmp_path / name)
    with pytest.raises(DataError, match=r"start.npz: no such file; expected one with the weights"):
        read(tmp_path / "start.npz")


def test_store_keeps_the_weights_and_needs_the_file_no_more(
    start: Callable[..., Path], tiny_text: Callable[..., str], tmp_path: Path, forget: Callable[[], None]
) -> None:
    path = start(SHALLOW)
    given = {"init": "'file'", "init_file": "'start.npz'"}
    text = "\n".join(
        line for line in tiny_text(**given).splitlines() if not line.startswith(("width =", "d ="))
    )  # what the file says
    spec = Spec.parse(text, "tiny.toml", tmp_path)
    ids = [run.id for run in spec.expand()]
    assert {run.width for run in spec.expand()} == {5}
    store = Store.create(tmp_path / "store")
    store.write_spec(spec.text)
    keep_data(spec, store)
    path.unlink()
    forget()
    kept = Spec.read(store.spec_path)
    assert [run.id for run in kept.expand()] == ids
    assert np.array_equal(initial_parameters(next(kept.expand()))[:3], SHALLOW["w1"][0])
    (file,) = (store.path / "files").glob("*.weights.npz")
    assert not broken(store, kept)
    file.write_bytes(file.read_bytes()[:-30])
    forget()
    assert set(broken(store, kept)) == {file}
    with pytest.raises(DataError, match=r"differs from what was written .*; expected the weights of its name"):
        [*Spec.read(store.spec_path).expand()]


def test_content_that_is_given_has_to_be_that_of_the_file(
    start: Callable[..., Path], tiny_text: Callable[..., str], tmp_path: Path
) -> None:
    start({**SHALLOW, "w1": SHALLOW["w1"][:4, :2], "b1": SHALLOW["b1"][:4], "w2": SHALLOW["w2"][:4]})
    given = {"init": "'file'", "init_file": "'start.npz'", "init_content": f"'{'0' * 32}'"}
    with pytest.raises(SpecError, match=r"init_content = '0{32}'; start.npz holds .*Leave init_content out"):
        [*Spec.parse(tiny_text(**given), "tiny.toml", tmp_path).expand()]


def test_weights_and_data_may_stand_in_one_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "run.npz", x=np.ones((4, 3)), y=np.arange(4.0), **SHALLOW)
    text = "name = 'x'\n[[block]]\nfixed = { problem = 'file', file = 'run.npz', init = 'file', init_file = 'run.npz', lr = 1.0 }"
    store = Store.create(tmp_path / "store")
    spec = Spec.parse(text, "x.toml", tmp_path)
    (run,) = spec.expand()
    assert (run.d, run.n, run.width) == (3, 4, 5)
    store.write_spec(text)
    keep_data(spec, store)
    assert {each["file"] for each in contents.names(store.path)} == {"run.npz", "run.npz/weights"}
    (again,) = Spec.read(store.spec_path).expand()
    assert again.id == run.id
