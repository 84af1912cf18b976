"""Origin: what [from] says of each run."""

import pytest

from relusweep.sweep.origin import Origin
from relusweep.sweep.spec import Spec
from relusweep.sweep.spec_error import SpecError

SPEC = "name = 'x'\n[[block]]\nfixed = { problem = 'sine', lr = 0.1 }\n[from]\n"


def test_what_it_says_is_a_parameter_of_each_run() -> None:
    assert Origin(store="a", step=3).fixed("x") == {"from_step": 3}
    spec = Spec.parse(SPEC + "store = 'a'\nstep = 3\nlr = 0.5\nseed = 2", "x.toml")
    (run,) = spec.expand()
    assert (run.from_step, run.from_parameters) == (3, '{"lr":0.5,"seed":2}')
    assert spec.origin
    assert spec.origin.parameters == {"lr": 0.5, "seed": 2}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("step = 3", "x.toml: from.store: missing; expected it here"),
        ("store = 'a'", "x.toml: from.step: missing; expected it here"),
        ("store = 'a'\nstep = 3.0", "x.toml: from.step = 3.0; expected a valid integer"),
        ("store = 'a'\nstep = 3\nlr = -1", "x.toml: from.lr = -1; expected"),
        ("store = 'a'\nstep = 3\nrate = 1", "x.toml: from.rate: unknown parameter"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(table: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Spec.parse(SPEC + table, "x.toml")
    assert str(caught.value).startswith(message)
