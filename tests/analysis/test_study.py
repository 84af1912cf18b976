"""The contract of studies: what a study must have is asked for when it is made, not when a report is written."""

from dataclasses import replace

import polars as pl
import pytest

from relusweep.analysis import study as contract
from relusweep.analysis.studies import STUDIES
from relusweep.analysis.study import Shown, Study, StudyResult, Verdict
from relusweep.analysis.table import load


@pytest.fixture
def counting():
    """A study that counts runs."""

    def count(table):
        return StudyResult([], {"counts": pl.DataFrame({"runs": [len(table.runs)]})}, {})

    return Study(count, (), "Counting", "How many runs are there?", {"counts": Shown("Counts", "Of runs.")}, [])


@pytest.mark.parametrize("name", STUDIES)
def test_every_registered_study_keeps_the_contract(name):
    study = contract.load(STUDIES[name])
    assert study.question.endswith("?")
    assert study.glossary
    assert all(shown.title and shown.caption for shown in study.shown.values())


def test_study_is_a_question_with_an_answer(counting, store, row):
    result = counting(load([store([row()])], counting.moments))
    assert result.tables["counts"]["runs"].to_list() == [1]


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ({"moments": ("los",)}, r"study 'Counting': moments \['los'\]; expected some of loss, "),
        ({"moments": ("run_id",)}, r"moments \['run_id'\]; expected"),
        ({"question": ""}, r"study 'Counting': question empty; expected"),
        ({"shown": {}}, r"study 'Counting': shown empty; expected"),
    ],
)
def test_study_that_lacks_something_cannot_be_made(counting, lacking, message):
    with pytest.raises(ValueError, match=message):
        replace(counting, **lacking)


def test_study_without_a_function_cannot_be_made():
    with pytest.raises(TypeError, match="function"):
        Study(moments=(), title="Counting", question="How many?", shown={}, glossary=[])


def test_table_without_a_caption_is_named(counting, store, row):
    other = replace(counting, shown={"others": Shown("Others", "Of others.")})
    with pytest.raises(ValueError, match="study 'Counting': counts without a caption"):
        other(load([store([row()])]))


def test_what_is_no_study_is_refused_where_it_is_loaded():
    with pytest.raises(TypeError, match=r"relusweep.analysis.studies:STUDIES: got a dict; expected a Study"):
        contract.load("relusweep.analysis.studies:STUDIES")


@pytest.mark.parametrize(
    ("level", "theorem", "finding"),
    [("confirmed", "confirmed", "yes"), ("refuted", "refuted", "no"), ("undecided", "undecided", "open")],
)
def test_answer_is_a_word_that_fits_the_question(level, theorem, finding):
    assert Verdict("?", level, ".").answer == theorem
    assert Verdict("?", level, ".", "finding").answer == finding
