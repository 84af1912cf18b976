"""Verdicts of comparisons: change, no change and no evidence, and what was not compared."""

import pytest

from tests.analysis.studies.conftest import verdict

SHARPNESS = "Does optimizer momentum, momentum 0.9 change the sharpness, against optimizer gd?"


@pytest.mark.parametrize(
    ("factor", "noise", "seeds", "answer", "words"),
    [
        (1.001, 1e-4, 8, "no", "By less than 1%: λ_max minus that of optimizer gd"),
        (1.02, 0.5, 4, "open", "λ_max minus that of optimizer gd"),
        (2.0, 0.1, 2, "open", "2 independent seeds, at least 3 needed."),
    ],
)
def test_no_change_and_no_evidence_are_two_things(compared, planted, factor, noise, seeds, answer, words):
    said = verdict(compared(planted(factor, seeds, noise)), SHARPNESS)
    assert said.answer == answer
    assert said.sentence.startswith(words)


def test_what_was_not_paired_is_in_the_verdict(compared, row, planted):
    rows = planted(1.3)
    rows[0]["status"] = "budget"
    rows[1]["status"] = "diverged"
    rows.append(row(0.3, 0))
    said = verdict(compared(rows), SHARPNESS).sentence
    assert said.endswith("Not in it: 1 pair at budget, 1 pair with a divergence, 1 of the baseline without.")


def test_where_no_pair_converged_the_answer_is_open(compared, row):
    rows = [
        row(lr, s, optimizer=rule, status="budget") for rule in ("gd", "momentum") for lr in (0.1, 0.2) for s in (0, 1)
    ]
    result = compared(rows)
    assert {each.level for each in result.verdicts} == {"undecided"}
    assert verdict(result, SHARPNESS).sentence.startswith(
        "No pair converged on both sides. Not in it: 4 pairs at budget"
    )
    assert "paired" in result.figures, "what did not converge is drawn hollow"
