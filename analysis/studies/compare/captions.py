"""Captions and symbols of comparisons."""

from relusweep.analysis.study import Shown

WORDS: dict[str, tuple[str, str]] = {  # measures with a verdict: symbol, and words
    "sharpness": ("λ_max", "the sharpness"),
    "oriented_stability_norm": ("S̃", "the oriented stability norm"),
    "test_rmse": ("the test error", "the test error"),
    "steps": ("the number of steps", "the number of steps"),
}

SHOWN: dict[str, Shown] = {
    "paired": Shown(
        "Pair by pair",
        "One point a pair: the measure of a run against that of its partner, the run that agrees in all else. On the "
        "dashed line they are equal. Hollow points are pairs of which a run did not converge within its steps; both "
        "axes have the same scale.",
    ),
    "ratios": Shown(
        "Ratios against the step size",
        "Geometric mean of the measure over that of the partner, over pairs that converged, with its 95 % interval. "
        "Panels share their axes.",
    ),
    "differences": Shown(
        "Differences and ratios",
        "Over pairs of which both runs converged: the mean of measure minus partner's measure, the geometric mean of "
        "their ratio, and the ends of 95 % intervals with the cluster-robust variance (CR1) and Student's quantile; a "
        "cluster is all pairs of one seed on one data seed. larger is the share of pairs whose measure is larger than "
        "the partner's. note says what there is not, and why.",
    ),
    "differences_by_lr": Shown("Differences and ratios at each step size", "The same, step size by step size."),
    "pairing": Shown(
        "What was paired",
        "runs = pairs + alone. Of the pairs, converged counts those of which both runs did, budget those of which one "
        "or both spent their steps, diverged those of which one or both diverged. alone and baseline_alone are runs "
        "that no run of the other value agrees with in all else.",
    ),
}

GLOSSARY: list[tuple[str, str]] = [
    ("pair", "two runs that differ in the compared parameter, and in what hangs on it, such as momentum on optimizer"),
    (
        "baseline",
        "what others are held against: the default of the parameter if runs have it, else the least",
    ),
    ("λ_max", "sharpness: largest eigenvalue of the Hessian of the loss (1/2n) Σ r²"),
    ("S̃", "oriented stability norm, column oriented_stability_norm"),
    ("converged", "the loss stayed at most the run's tolerance"),
    ("budget", "max_steps were taken before that"),
    ("diverged", "the loss grew without bound: an outcome, not an error"),
]
