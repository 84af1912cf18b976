"""Verdicts of the stability study: what they claim of planted runs, and of how many."""

import pytest

from tests.analysis.studies.conftest import verdict

HOLD = ("Does λ_max ≤ 2/η hold?", "Does S ≤ 1/η − ½ hold?", "Does S̃ ≤ 1/η − ½ hold?")


@pytest.mark.parametrize("question", HOLD)
def test_verdict_counts_the_runs_and_the_range_that_it_speaks_of(studied, sweep, question):
    found = verdict(studied(sweep), question)
    assert found.level == "confirmed"
    assert found.sentence == "The bound held on all 32 converged runs it covers (step sizes 0.02 to 0.4)."


def test_verdicts_and_notes_say_the_limits_that_were_used(studied, row, sweep):
    unbiased = [row(lr, seed, bias=False) for lr in (0.1, 0.2, 0.4) for seed in range(3)]
    alone = studied([*unbiased, row(0.3, 9, bias=False, status="budget")], name="alone")
    assert verdict(alone, "Does S̃ ≤ 1/η hold?").level == "confirmed"
    assert verdict(alone, "Does S̃ grow").question == "Does S̃ grow in proportion to its limit 1/η?"
    assert any(note.startswith("S̃ ≤ 1/η covers 9 of 10 runs.") for note in alone.notes)
    assert [bound.statement for bound in alone.bounds] == ["λ_max ≤ 2/η", "S ≤ 1/η", "S̃ ≤ 1/η"]
    both = studied([*unbiased, *sweep], name="both")
    assert verdict(both, "Does S̃ ≤ 1/η − ½ (without output bias 1/η) hold?").level == "confirmed"
    heavy = studied([row(lr, 0, eos=1.8, optimizer="momentum", momentum=0.9) for lr in (0.1, 0.2)], name="heavy")
    assert verdict(heavy, "Does λ_max ≤ 2(1+μ)/η hold?").level == "confirmed"
    assert "λ_max reached only 0.947 of its limit 2(1+μ)/η" in verdict(heavy, "Is S ≤ (1+μ)/η − ½ tight").sentence


def test_planted_violation_is_found_and_listed(studied, row, sweep):
    planted = row(0.3, seed=9, eos=1.2)
    result = studied([*sweep, planted])
    found = verdict(result, HOLD[0])
    assert found.level == "refuted"
    assert "VIOLATED on 1 of the 33 runs it covers" in found.sentence
    assert "by a factor of up to 1.2" in found.sentence
    violations = result.tables["violations"]
    assert violations["run_id"].to_list() == [planted["run_id"]]
    assert violations.select("bound", "lr", "value", "limit").row(0) == ("sharpness", 0.3, 8.0, pytest.approx(2 / 0.3))


def test_run_on_kinks_is_named_and_is_no_violation(studied, row, sweep):
    kinked = row(0.3, seed=9, eos=1.007, knot_points=2, gn_sharpness_min=2 * 0.994 / 0.3)
    result = studied([*sweep, kinked])
    found = verdict(result, HOLD[0])
    assert found.level == "confirmed"
    assert "1 run on kinks exceeds it as recorded" in found.sentence
    assert result.tables["on_kinks"]["run_id"].to_list() == [kinked["run_id"]]
    assert result.tables["violations"].is_empty()


def test_nothing_is_said_where_nothing_converged(studied, row):
    rows = [row(lr, seed, status="diverged") for lr in (1.0, 1.5) for seed in range(3)]
    result = studied([*rows, row(0.001, status="budget")])
    assert {v.level for v in result.verdicts if "measures agree" not in v.question} == {"undecided"}
    sentence = verdict(result, HOLD[1]).sentence
    assert sentence == (
        "Nothing can be said: none of 7 runs is covered (6 diverged; 1 step budget spent before convergence)."
    )


def test_tightness_is_open_where_the_edge_was_never_met(studied, row):
    result = studied([row(lr, seed, eos=3 * lr) for lr in (0.01, 0.02, 0.05) for seed in range(3)])
    found = verdict(result, "Is S ≤")
    assert (found.level, found.answer) == ("undecided", "open")
    assert "reached only 0.15" in found.sentence


@pytest.mark.parametrize(("share", "answer"), [(0.5, "no"), (0.99, "yes")])
def test_tightness_is_judged_where_the_edge_was_met(studied, row, share, answer):
    result = studied([row(lr, seed, eos=0.99, share=share) for lr in (0.1, 0.2, 0.3) for seed in range(3)])
    assert verdict(result, "Is S̃ ≤").answer == answer


def test_planted_exponent_is_recovered_and_proportion_is_never_confirmed(studied, row):
    def planted(lr, seed, exponent):
        norm = 0.3 * (1 + 0.05 * seed) * (1 / lr - 0.5) ** exponent
        return row(lr, seed, eos=0.99, oriented_stability_norm=norm, stability_norm=norm / 2)

    rates = (0.02, 0.05, 0.1, 0.2, 0.4)
    half = studied([planted(lr, seed, 0.5) for lr in rates for seed in range(5)], name="half")
    fit = half.tables["fits"].filter(measure="oriented_stability_norm").row(0, named=True)
    assert fit["slope"] == pytest.approx(0.5)
    assert (fit["n"], fit["clusters"]) == (25, 5)
    assert "S̃ grew more slowly than in proportion" in verdict(half, "Does S̃ grow").sentence
    whole = studied([planted(lr, s, 1 + 0.1 * (-1) ** s) for lr in rates for s in range(4)], name="whole")
    assert verdict(whole, "Does S̃ grow").level == "undecided"


def test_fit_is_refused_with_two_seeds(studied, row):
    result = studied([row(lr, seed) for lr in (0.1, 0.2, 0.3) for seed in range(2)])
    found = verdict(result, "Does S grow")
    assert found.level == "undecided"
    assert "2 independent seeds, at least 3 needed" in found.sentence


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([(s, 7) for s in range(4)], "over 4 seeds, given one data set; 12 runs)"),
        ([(s, s) for s in range(4)], "over 4 seeds, each with a data seed of its own; 12 runs)"),
        ([(7, t) for t in range(4)], "over 4 data seeds, given one seed of the initial weights; 12 runs)"),
        (
            [(s, t) for s in range(2) for t in range(2)],
            "over 4 pairs of 2 seeds and 2 data seeds, as if pairs were indep",
        ),
        ([(0, 0), (1, 1), (2, 1)], "over 3 pairs of 3 seeds and 2 data seeds, as if pairs were independent; 9 runs)"),
    ],
)
def test_verdict_says_what_its_interval_is_over(studied, row, seeds, words):
    rows = [row(lr, s, data_seed=t, eos=0.8 + 0.1 * lr * (s + t)) for lr in (0.1, 0.2, 0.3) for s, t in seeds]
    assert words in verdict(studied(rows), "Does S grow").sentence


def test_interval_is_over_the_runs_that_were_fitted(studied, row):
    rows = [row(lr, s, eos=0.9 + 0.01 * s) for lr in (0.1, 0.2, 0.3) for s in range(4)]
    no_logarithm = [row(lr, 9, data_seed=1, stability_norm=0.0) for lr in (0.1, 0.2, 0.3)]
    sentence = verdict(studied([*rows, *no_logarithm]), "Does S grow").sentence
    assert "over 4 seeds, given one data set; 12 runs)" in sentence


@pytest.mark.parametrize(
    ("data_seeds", "words"),
    [(1, "intervals over seeds, given one data set a group"), (2, "intervals over pairs of seed and data seed, as if")],
)
def test_verdict_on_several_groups_says_what_their_intervals_are_over(studied, row, data_seeds, words):
    rows = [
        row(lr, s, data_seed=s % data_seeds, width=width)
        for lr in (0.1, 0.2, 0.3) for s in range(4) for width in (8, 16)
    ]  # fmt: skip
    assert words in verdict(studied(rows), "Does S grow").sentence


def test_wrong_measure_discredits_the_other_verdicts(studied, row, sweep):
    result = studied([*sweep, row(0.1, 9, mean_gradient_bound=1e3)])
    found = verdict(result, "Do the recorded measures agree")
    assert found.level == "refuted"
    assert "trust no other verdict" in found.sentence
