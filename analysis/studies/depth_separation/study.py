"""Depth separation: which targets do shallow networks lose at a large step size that deep ones keep?

Shallow and deep networks side by side against η, a certified floor of all shallow networks and the best constant; the
critical step size at which shallow leaves deep; controls that could refute the claim; and the deep witness.
"""

import polars as pl

from relusweep.analysis.studies.depth_separation.arms import arms, pairs, summarise
from relusweep.analysis.studies.depth_separation.captions import GLOSSARY, SHOWN
from relusweep.analysis.studies.depth_separation.claim import LARGE, VANISHING, far
from relusweep.analysis.studies.depth_separation.controls import controls, widest
from relusweep.analysis.studies.depth_separation.critical_step import critical
from relusweep.analysis.studies.depth_separation.figures import draw
from relusweep.analysis.studies.depth_separation.floors import with_floors
from relusweep.analysis.studies.depth_separation.rates import rates
from relusweep.analysis.studies.depth_separation.scaling import against_size
from relusweep.analysis.studies.depth_separation.sup_floors import sup_floors
from relusweep.analysis.studies.depth_separation.verdicts import beaten, verdicts
from relusweep.analysis.studies.depth_separation.witness_runs import scalings, stay
from relusweep.analysis.study import Study, StudyResult
from relusweep.analysis.table import Table


def answer(table: Table) -> StudyResult:
    """Return the tables, figures and verdicts of a table of runs."""
    found, floors, floor_notes = with_floors(arms(table.runs, table.trajectories))
    runs, grouping = found.runs, found.grouping
    beside = pairs(runs)
    splits, checked, staying, by_size = (
        critical(runs, grouping),
        controls(beside, runs),
        stay(found),
        widest(beside, runs),
    )
    summary = summarise(grouping)
    at_steps, for_errors, given_up = sup_floors(found)
    below = beaten(runs).select(
        "run_id", "problem", "d", "n", "shape", "lr", "seed", "data_seed", "sharpness", "train_rmse", "own_floor"
    )
    return StudyResult(
        verdicts=verdicts(runs, splits, checked, staying, by_size),
        tables={
            "controls": checked,
            "widest": by_size,
            "critical": splits,
            "floors": floors,
            "sup_floors": at_steps,
            "needed": for_errors,
            "below_floor": below,
            "witness": staying,
            "scalings": scalings(found),
            "constants": constants(runs),
            "rates": rates(runs, grouping),
            "summary": summary,
            "settings": grouping.groups,
        },
        figures=draw(found, summary, splits, table) | against_size(found),
        notes=[*floor_notes, *given_up, *coverage(runs)],
    )


def constants(runs: pl.DataFrame) -> pl.DataFrame:
    """Set the best constant on each data set beside that of the pyramid's law, where the law has a closed form.

    For inputs uniform in an l1 ball of radius R > 1 the pyramid's support has mass P = R^-d, and E p = P/(d+1),
    E p² = 2P/((d+1)(d+2)) [derived here]: the loss of the best constant is half the variance.
    """
    d = pl.col("d")
    mass = pl.when(problem="pyramid", domain="l1_ball").then(pl.col("radius").pow(-d))
    law = (2 * mass / ((d + 1) * (d + 2)) - (mass / (d + 1)) ** 2) / 2
    keys = ["problem", "d", "n", "data_seed"]
    return (
        runs.group_by(keys)
        .agg(pl.col("domain", "radius", "constant_loss", "constant_test").first())
        .sort(keys)
        .with_columns(law_constant_loss=law)
        .drop("domain")
    )


def coverage(runs: pl.DataFrame) -> list[str]:
    """Return notes on how losses were averaged, what diverged, and over what the counts are."""
    averaged = int((runs["tail_moments"] > 0).sum())
    last = int(((runs["tail_moments"] == 0) & (runs["status"] == "budget")).sum())
    diverged = int((runs["status"] == "diverged").sum())
    notes = [
        f"Training losses are means over the moments of the last tenth of the steps for {averaged} of {len(runs)} "
        f"runs, and the last loss for the others; {last} of these had not converged, so that their loss may be a swing "
        "of the edge of stability."
    ]
    if diverged:
        notes.append(f"{diverged} of {len(runs)} runs diverged; they count as not fitting, and medians leave them out.")
    large = runs.filter(pl.col("arm") == "shallow", pl.col("lr") >= LARGE)
    if len(large):
        kinks = int((large["knot_points"] > 0).sum())
        notes.append(
            f"{kinks} of {len(large)} shallow runs at η ≥ {LARGE:g} ended with data on kinks, or crossing one at the "
            "next step, where the loss is not twice differentiable. The floor of their sharpness holds for them too, "
            "that of their step size may not."
        )
    short = int(runs.select((pl.col("lr") <= VANISHING) & ~far(runs)).to_series().sum())
    if short:
        notes.append(
            f"{short} runs at η ≤ {VANISHING:g} have too few steps to get as far as those at η = {LARGE:g}: where they "
            "do not fit they may only be unfinished, so that they are no control."
        )
    notes.append(
        f"Seeds: {runs['seed'].n_unique()} of the initial weights, {runs['data_seed'].n_unique()} of the data."
    )
    return notes


STUDY = Study(
    answer,
    moments=("loss",),
    title="Depth separation",
    question="At which step sizes do shallow networks fail at the pyramid that deep ones learn?",
    shown=SHOWN,
    glossary=GLOSSARY,
)
