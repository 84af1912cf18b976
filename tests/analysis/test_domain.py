"""Domain: what no run can be is refused in one line before it is drawn; what relusweep has recorded is taken."""

import itertools

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relusweep.analysis.domain import stranger
from relusweep.analysis.report import write
from relusweep.analysis.table import TableError, load
from relusweep.sweep.record import SCHEMAS
from relusweep.sweep.store.store import Store

NUMBERS = itertools.count()
TEXTS = [
    "<script>alert(1)</script>", r"$\frac{", r"\input{/etc/passwd}", "%", "a\nb", "\u202eabc", "x" * 10**5, "",
    "\x1b[31m", "\0", "=cmd|' /C calc'!A0", "{{ 7 * 7 }}", "</svg>", "-->",
]  # fmt: skip
VALUES = {
    pl.String(): st.sampled_from(TEXTS) | st.none(),
    pl.Int64(): st.sampled_from([0, -1, 1, 2**31, 2**62, -(2**62), None]),
    pl.Float64(): st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e308, 5e-324, None]),
    pl.Boolean(): st.sampled_from([True, None]),
}


def test_rows_of_ours_are_no_strangers(store, sweep, row):
    assert stranger(load([store([*sweep, row(0.3, 9, lr_ratio=float("inf"), depth=2)])]).runs) is None


def changed(runs, name, value):
    kept = pl.Series(name, [value, *runs[name].to_list()[1:]], runs.schema[name])
    return runs.with_columns(kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("momentum", float("inf")), ("lr", 0.0), ("lr", float("nan")), ("d", None), ("d", 3), ("width", 0),
        ("problem", TEXTS[0]), ("domain", TEXTS[1]), ("classes", "0,0"), ("classes", TEXTS[2]), ("width2", 4),
        ("noise", float("inf")), ("status", "done"), ("run_id", TEXTS[0]), ("steps", None), ("steps", -1),
        ("sharpness", float("nan")), ("device", "x" * 10**5), ("optimizer", None), ("dtype", "float16"),
    ],
)  # fmt: skip
def test_what_no_run_can_be_is_named(store, sweep, name, value):
    found = stranger(changed(load([store(sweep)]).runs, name, value))
    assert found is not None
    assert len(found) <= 200


@pytest.mark.slow
@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_store_with_any_value_anywhere_is_taken_or_refused_in_one_line(store, sweep, data):
    place = store(sweep[:4], f"store-{next(NUMBERS)}")
    runs = load([place]).runs.drop("store")
    name = data.draw(st.sampled_from(runs.columns))
    runs = changed(runs, name, data.draw(VALUES[runs.schema[name]]))
    Store(place).write("pack", {"runs": runs.to_arrow().cast(SCHEMAS["runs"])}, {})
    try:
        found = len(load([place]).runs), ""
    except TableError as error:
        found = 4, str(error)
    assert found[0] in (3, 4)
    assert found[1] == "" or (len(found[1]) < 500 and found[1].isprintable())


@pytest.mark.slow
def test_free_texts_of_a_store_are_harmless_on_its_page(store, row):
    texts = {
        "device": TEXTS[0],
        "backend": TEXTS[1],
        "kernel": TEXTS[2],
        "code_version": "</svg>--><b>",
        "pack_id": "%",
    }
    rows = [row(lr, seed, **texts) for lr in (0.02, 0.1, 0.3) for seed in (0, 1)]
    page = write([store(rows, "<b>store")], every_run=True).read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert not [element for element in ("<script", "<b>", "</svg>--") if element in page]
