"""Own target: data of a user's functions are those that he would draw himself, or one line says what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from relusweep.sweep import own_code, trust
from relusweep.sweep.data import bump, dataset, inputs
from relusweep.sweep.dataset import TEST, TRAIN, TRAIN_NOISE, DataError, Dataset, stream
from relusweep.sweep.run import Run

CODE = """
import numpy as np
def f(x, angle=0, scale=1.0):
    a = np.deg2rad(angle)
    return scale * np.maximum(x[:, 0] * np.cos(a) + x[:, 1] * np.sin(a), 0)
def ring(rng, n, d):
    x = rng.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)
"""


@pytest.fixture
def draw(tmp_path: Path, forget: Callable[[], None]) -> Callable[..., Dataset]:
    """Draw the data of a run on functions of a file with some text."""
    forget()

    def call(text: str = CODE, **parameters: Any) -> Dataset:
        run = make(tmp_path, text, **parameters)
        trust.permit(own_code.contents_in(run.__dict__))
        return dataset(run.model_dump())

    return call


def make(folder: Path, text: str = CODE, **parameters: Any) -> Run:
    """Return a run on functions of a file with some text."""
    (folder / "my.py").write_text(text)
    given = {"problem": "python", "target": "f", "lr": 0.1, "n": 7, "n_test": 5} | parameters
    names = {key: f"{folder}/my.py:{given[key]}" for key in ("target", "inputs") if given.get(key)}
    return Run.model_validate(given | names)


def test_points_are_those_of_a_built_in_law_and_targets_those_of_the_function(draw: Callable[..., Dataset]) -> None:
    data = draw(domain="ball", radius=2.0, d=3, data_seed=4, noise=0.5, target_arguments={"angle": 90, "scale": 2.0})
    p = {"data_seed": 4}
    for x, purpose, count in ((data.x, TRAIN, 7), (data.x_test, TEST, 5)):
        np.testing.assert_array_equal(x, inputs("ball", 2.0, 3, count, stream(p, purpose)))
    right = np.deg2rad(90)
    expected = [2 * np.maximum(x[:, 0] * np.cos(right) + x[:, 1] * np.sin(right), 0) for x in (data.x, data.x_test)]
    np.testing.assert_array_equal(data.y, expected[0] + 0.5 * stream(p, TRAIN_NOISE).standard_normal(7))
    np.testing.assert_array_equal(data.y_test, expected[1])


def test_same_function_as_a_built_in_one_gives_the_same_bits(draw: Callable[..., Dataset]) -> None:
    text = "import numpy as np\ndef f(x, bandwidth): return np.exp(-(x**2).sum(1) / (2 * bandwidth**2))"
    mine = draw(text, target_arguments={"bandwidth": 0.5})
    theirs = dataset(Run.model_validate({"problem": "bump", "lr": 0.1, "n": 7, "n_test": 5}).model_dump())
    assert bump.__name__ == "bump"
    for name in ("x", "y", "x_test", "y_test"):
        assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes()


def test_inputs_are_drawn_by_the_users_law_from_the_data_seed(draw: Callable[..., Dataset]) -> None:
    one, again, other = (draw(inputs="ring", d=3, data_seed=seed) for seed in (1, 1, 2))
    np.testing.assert_allclose(np.linalg.norm(one.x, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(one.x_test, axis=1), 1)
    assert one.x.tobytes() == again.x.tobytes()
    assert not set(one.x[:, 0]) & set(other.x[:, 0])
    assert not set(one.x[:, 0]) & set(one.x_test[:, 0])
    assert len(draw(inputs="ring", n_test=0).x_test) == 0


def test_function_may_change_its_points_and_return_what_numpy_takes(draw: Callable[..., Dataset]) -> None:
    data = draw("def f(x):\n  x *= 0\n  return [1] * len(x)")
    assert data.y.tolist() == [1.0] * 7
    assert np.abs(data.x).max() > 0
    assert draw("import torch\ndef f(x): return torch.from_numpy(x)[:, 0].float()").y.dtype == np.float64
    assert draw("def f(x): return x[:, 0] > 0").y.dtype == np.float64


def test_one_array_that_is_returned_twice_is_not_shared(draw: Callable[..., Dataset]) -> None:
    text = "import numpy as np\nB = {}\ndef f(x):\n  b = B.setdefault(len(x), np.zeros(len(x)))\n  b[:] = x[:, 0]\n  return b"
    data = draw(text)
    np.testing.assert_array_equal(data.y, data.x[:, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(x): return x[:, :1]", r"my.py:f: returned shape \(7, 1\) for x of shape \(7, 2\); expected \(7,\). Return y\[:, 0\]"),
        ("def f(x): return x", r"returned shape \(7, 2\) for x of shape \(7, 2\); expected \(7,\)"),
        ("def f(x): return 1.0", r"returned shape \(\) for x"),
        ("def f(x): pass", r"returned NoneType for x of shape \(7, 2\); expected real numbers, an array of shape \(7,\)"),
        ("def f(x): return x[:, 0] * 1j", "returned ndarray of complex128"),
        ("def f(x): return x[:, 0].astype(str)", "returned ndarray of <U"),
        ("def f(x): return [[1], [1, 2]]", "returned list for x"),
        ("def f(x): x[3] = float('nan'); return x[:, 0]", "returned nan in row 3 for x"),
        ("def f(x): return x[:, 0] * float('inf')", r"returned (-?inf|nan) in row 0"),
        ("class Y:\n  def __array__(self, *a, **k): raise OSError\ndef f(x): return Y()", "returned Y for x"),
        ("class Y:\n  def __array__(self, *a, **k): raise SystemExit\ndef f(x): return Y()", "returned Y for x"),
        ("class F:\n  @property\n  def __signature__(self): raise KeyError\n  def __call__(self, x): return x\nf = F()", "line 3: KeyError"),
        ("def f(x): raise KeyError('a')", "my.py, line 1: KeyError: 'a'; expected f to run without an exception"),
        ("def f(x):\n  raise MemoryError('too many')", "my.py, line 2: MemoryError: too many; expected f to run without an exception"),
        ("async def f(x): return x[:, 0]", "returned coroutine for x"),
        ("def f(x, angle): return x", r"missing a required argument: 'angle'; expected what \(x, angle\) takes"),
        ("def g(x): return x", "no function 'f'"),
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused(draw: Callable[..., Dataset], text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def law(rng, n, d): return rng.normal(size=(n, d + 1))", r"my.py:law: returned shape \(7, 3\) for n = 7 and d = 2; expected \(7, 2\)"),
        ("def law(rng, n, d): return rng.normal(size=(n, d)) + [0, float('nan')]", "returned nan in row 0 for n = 7"),
        ("def law(rng, n): return rng.normal(size=(n, 2))", "too many positional arguments"),
        ("def law(rng, n, d): return rng.normal(size=(n, d)) / 0 if n == 7 else 1 / 0", "returned -?inf in row 0"),
        ("import numpy as np\ndef law(rng, n, d): return np.random.normal(size=(n, d))", "law: gave other values when it was called again with the same rng, n and d; .* or rng"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_is_no_law_of_inputs_is_refused(draw: Callable[..., Dataset], text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw(text + "\ndef f(x): return x[:, 0]", inputs="law")


RANDOM = {
    "in the function": "def f(x): return np.random.normal(size=len(x))",
    "in the module": "W = np.random.normal(size=2)\ndef f(x): return x @ W",
    "seeded once": "RNG = np.random.default_rng(0)\ndef f(x): return RNG.normal(size=len(x))",
    "seeded globally": "np.random.seed(0)\ndef f(x): return np.random.normal(size=len(x))",
    "counted": "N = [0]\ndef f(x):\n  N[0] += 1\n  return x[:, 0] + N[0]",
    "timed": "import time\ndef f(x): return x[:, 0] + time.monotonic_ns() % 10**9",
    "by address": "def f(x): return x[:, 0] + id(object()) % 7 + id(f)",
}


@pytest.mark.parametrize("n_test", [0, 1, 7])
@pytest.mark.parametrize("text", RANDOM.values(), ids=RANDOM.keys())
def test_values_that_depend_on_chance_time_or_earlier_calls_are_refused(
    draw: Callable[..., Dataset], text: str, n_test: int
) -> None:
    with pytest.raises(DataError, match="gave other values when it was called again with the same points"):
        draw("import numpy as np\n" + text, n_test=n_test)


def test_seeded_inside_the_function_is_the_same(draw: Callable[..., Dataset]) -> None:
    draw("import numpy as np\ndef f(x, seed=3): return x @ np.random.default_rng(seed).normal(size=2)")


def test_run_is_named_by_bytes_function_and_arguments_and_not_by_names_of_files(tmp_path: Path) -> None:
    run = make(tmp_path)
    (tmp_path / "b").mkdir()
    assert make(tmp_path / "b").id == run.id
    changes = [
        {"text": CODE + "\n"}, {"target": "ring"}, {"target_arguments": {"angle": 1}}, {"inputs": "ring"},
        {"target_arguments": {"angle": 1.0}}, {"n": 8},
    ]  # fmt: skip
    ids = [make(tmp_path, **change).id for change in changes]
    assert len({run.id, *ids}) == 1 + len(changes)
    again = Run.model_validate(run.model_dump())
    assert (again, again.id) == (run, run.id)
    assert Run.model_validate(run.model_dump(exclude_defaults=True)) == run  # as jobs name it


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "target is missing; expected your function"),
        ({"target": 3}, "target = 3; expected a text"),
        ({"target": ""}, "target = ''; expected a text"),
        ({"target": "a.py:f", "target_source": None}, "target = 'a.py:f' with target_source = None; expected both"),
        ({"target": "a.py:f", "target_source": "0" * 32}, "String should match"),
        ({"target": "a.py:f", "target_source": "0" * 32 + ":f", "inputs": None, "inputs_source": "0" * 32 + ":g"}, "expected both"),
        ({"target": "a.py:f", "target_source": "0" * 32 + ":f", "target_arguments": "{}"}, "expected a JSON object"),
        ({"target": "a.py:f", "target_source": "0" * 32 + ":f", "target_arguments": {"a": "x" * 500}}, "at most 500"),
        ({"target": "a.py:f", "target_source": "0" * 32 + ":f", "domain": None}, "radius|domain is null"),
        ({"problem": "sine", "target": "a.py:f"}, "target = 'a.py:f'; problem sine ignores it. Leave it out"),
        ({"problem": "sine", "target_arguments": {"a": 1}}, "problem sine ignores it"),
    ],
)  # fmt: skip
def test_what_no_run_can_have_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Run.model_validate({"problem": "python", "lr": 0.1} | parameters)


def test_domain_beside_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="domain = 'ball'; inputs draws the points. Leave domain out"):
        make(tmp_path, inputs="ring", domain="ball")
