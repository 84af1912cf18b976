"""Bounds: theorems as functions of a run's row, checked run by run.

Loss (1/2n) Σ r²; η is the column `lr`, μ the column `momentum` (0 where null), λ_max the column `sharpness`. A bound
says nothing about a run that does not meet its assumptions: such a run is counted with the first assumption that it
fails, and never as evidence.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import polars as pl

# A converged run can sit on kinks, where λ_max depends on the side that is taken; λη/2 up to 1.007 was seen on one
# side of a run that was below 1 on another. What is accepted is λη/2 ≤ 1 + TOLERANCE on the flattest side.
TOLERANCE = 1e-3
CHAIN_TOLERANCE = 1e-7  # relative; rounding of float64 eigenvalues stays far below it

# On a quadratic of curvature λ, heavy ball (m ← μm + g; θ ← θ − ηm; 0 ≤ μ < 1) has the characteristic polynomial
# z² − (1 + μ − ηλ)z + μ, whose roots both have |z| ≤ 1 exactly for 0 ≤ ηλ ≤ 2(1+μ) (Jury): the threshold of gradient
# descent with this step size. In expectation over independent mini-batches the recursion is the same, so that there
# it is necessary. Nesterov's (m ← μm + g; θ ← θ − η(g + μm)) has z² − (1+μ)(1−ηλ)z + μ(1−ηλ), which leaves the disc
# at z = −1: stable exactly for 0 ≤ ηλ ≤ 2(1+μ)/(1+2μ).
_MOMENTUM = pl.col("momentum").fill_null(0)
_NESTEROV = pl.when(pl.col("optimizer") == "nesterov").then(1 + 2 * _MOMENTUM).otherwise(1.0)
EDGE = (1 + _MOMENTUM) / _NESTEROV  # λη/2 at the edge of stability
GD_STEP = pl.col("lr") / EDGE
OUTPUT_BIAS = pl.col("bias") & pl.col("output_bias").is_null()

OUTCOMES = ("holds", "on_kinks", "violates", "not_covered")


@dataclass(frozen=True, eq=False)
class Bound:
    """A necessary condition on every run that meets its assumptions: `column` is at most `limit(GD_STEP)`.

    Attributes:
        name: What tables call it; also the column that is bounded.
        symbol: The bounded measure, as the glossary has it.
        direction: `upper`: the column is at most the limit.
        column: The bounded measure.
        limit: The right-hand side as a function of the step size of gradient descent; decreasing in it.
        words: The same in the symbols of the glossary, of a run with output bias or without, and of a kind of momentum.
        limit_words: The limit of the runs that are spoken of.
        exclusions: (reason, condition): a run for which a condition is true is not covered.
        assumptions: The same in words, for a reader.
        source: Where it is stated or derived.
    """

    name: str
    symbol: str
    direction: Literal["upper"]
    column: str
    limit: Callable[[pl.Expr], pl.Expr]
    words: Callable[[bool, str], str]
    limit_words: str
    exclusions: tuple[tuple[str, pl.Expr], ...]
    assumptions: tuple[str, ...]
    source: str

    @property
    def statement(self) -> str:
        """Return the inequality, in the symbols of the glossary."""
        return f"{self.symbol} ≤ {self.limit_words}"

    def spoken_of(self, runs: pl.DataFrame) -> "Bound":
        """Return this bound, stated with the limits that it sets the runs it covers; all of them, if it covers none."""
        covered = runs.filter(self.applies)
        subjects = covered if len(covered) else runs
        biases = subjects.select(OUTPUT_BIAS).to_series()
        moving = subjects.filter(_MOMENTUM > 0)["optimizer"].unique().sort()
        rule = moving[-1] if len(moving) else "gd"
        with_biases, without = self.words(True, rule), self.words(False, rule)
        if with_biases == without or biases.all():
            return replace(self, limit_words=with_biases)
        return replace(self, limit_words=f"{with_biases} (without output bias {without})" if biases.any() else without)

    @property
    def reason(self) -> pl.Expr:
        """Return the first reason why a run is not covered; null for a covered run."""
        measured = pl.col(self.column).is_finite().fill_null(False)
        exclusions = (*self.exclusions, (f"{self.column} not recorded", ~measured))
        return pl.coalesce(pl.when(condition.fill_null(True)).then(pl.lit(why)) for why, condition in exclusions)

    @property
    def applies(self) -> pl.Expr:
        """Return whether the bound says something about a run."""
        return self.reason.is_null()


def judge(runs: pl.DataFrame, bound: Bound) -> pl.DataFrame:
    """Check a bound on every run.

    `holds`: within the limit, up to a relative `TOLERANCE` of the step size. `on_kinks`: beyond it as recorded, but
    some data lie on kinks and λ_max/limit ≤ 1 + TOLERANCE for one choice of the active sides. `violates`: beyond it
    otherwise. `not_covered`: an assumption fails.

    Args:
        runs: Rows with the columns of `sweep.record`.
        bound: What to check.

    Returns:
        One row a run, in the same order: `bound, run_id, lr, seed, data_seed, value, limit, ratio` (value over limit,
        null where the limit is not positive), `least_edge_ratio` (λ_max on the flattest side over its limit),
        `knot_points`, `outcome`, `reason` (null for a covered run).
    """
    least = pl.min_horizontal("sharpness", "gn_sharpness_min") * GD_STEP / 2
    on_kinks = (pl.col("knot_points") > 0) & (least <= 1 + TOLERANCE)
    return (
        runs.with_columns(
            bound=pl.lit(bound.name),
            value=pl.col(bound.column),
            limit=bound.limit(GD_STEP),
            _accepted=bound.limit(GD_STEP / (1 + TOLERANCE)),
            least_edge_ratio=least,
            reason=bound.reason,
        )
        .with_columns(
            ratio=pl.when(pl.col("limit") > 0).then(pl.col("value") / pl.col("limit")),
            outcome=pl.when(pl.col("reason").is_not_null())
            .then(pl.lit("not_covered"))
            .when(pl.col("value") <= pl.col("_accepted"))
            .then(pl.lit("holds"))
            .when(on_kinks)  # null knot_points: not known to be on kinks
            .then(pl.lit("on_kinks"))
            .otherwise(pl.lit("violates")),
        )
        .select(
            "bound", "run_id", "lr", "seed", "data_seed", "value", "limit", "ratio", "least_edge_ratio", "knot_points",
            "outcome", "reason",
        )
    )  # fmt: skip


def check_chain(runs: pl.DataFrame) -> pl.DataFrame:
    """Check 1+2S ≤ 1+2S̃ ≤ ‖mean ∇f‖² ≤ λ_max(Gauss–Newton), which holds at every point, minimum or not.

    And, for points that do not interpolate, 1+2S̃ ≤ λ_max(H) + √(1+R²) mean |r|. Both need one hidden ReLU layer and
    nothing of the training: a break means that a measure is wrong, not a theorem. Without output bias the 1 is absent.

    Returns:
        One row a link: `link, runs, violations, worst_excess` (largest lower/upper - 1, null without runs).
    """
    one = OUTPUT_BIAS.cast(pl.Float64)
    steps = (
        ("1+2S", one + 2 * pl.col("stability_norm")),
        ("1+2S̃", one + 2 * pl.col("oriented_stability_norm")),
        ("‖mean ∇f‖²", pl.col("mean_gradient_bound")),
        ("λ_max(GN)", pl.col("gn_sharpness")),
    )
    finite = pl.all_horizontal([step.is_finite().fill_null(False) for _, step in steps])
    shallow = runs.filter((pl.col("depth") == 1) & (pl.col("activation") == "relu") & finite)
    corrected = ("λ_max(H) + √(1+R²) mean |r|", pl.col("sharpness") + pl.col("residual_correction"))
    links = []
    for (low_name, low), (high_name, high) in [*pairwise(steps), (steps[1], corrected)]:
        links.append(
            shallow.select(
                link=pl.lit(f"{low_name} ≤ {high_name}").first(),
                runs=pl.len().cast(pl.Int64),
                violations=(low > high * (1 + CHAIN_TOLERANCE)).sum().cast(pl.Int64),
                worst_excess=(low / high - 1).fill_nan(None).max(),
            )
        )
    return pl.concat(links)


# Assumptions as conditions ------------------------------------------------------------------------------------------

_DIVERGED = ("diverged", pl.col("status") == "diverged")
_BUDGET = ("step budget spent before convergence", pl.col("status") != "converged")
_OPTIMIZER = (
    "optimizer's threshold is not one of λ_max",
    ~pl.col("optimizer").is_in(["gd", "sgd", "momentum", "nesterov"]),
)
_RATIO = ("layers have different step sizes", pl.col("lr_ratio") != 1)
_DECAY = ("weight decay: the minimum of another loss", pl.col("weight_decay") != 0)
_SCHEDULE = ("the step size falls until the end", pl.col("schedule") != "constant")
_EPOCHS = ("mini-batches of an epoch depend on each other", pl.col("sampling") == "epoch")
_NOISE = ("labels change from step to step", pl.col("label_noise") != 0)
_WARMUP = ("converged before the warm-up reached η", pl.col("steps") < pl.col("warmup_steps"))
_DEPTH = ("not one hidden layer", pl.col("depth") != 1)
_ACTIVATION = ("activation is not ReLU", pl.col("activation") != "relu")

_RESIDUAL = (  # λ_max(GN) ≤ 2/η follows from λ_max(Hessian) ≤ 2/η only where the residuals hardly matter
    "stopped before the Hessian became the Gauss–Newton matrix",
    (pl.col("gn_sharpness") > pl.col("sharpness") * (1 + TOLERANCE)).fill_null(False),
)

_STABLE = (_DIVERGED, _BUDGET, _OPTIMIZER, _RATIO, _DECAY, _WARMUP, _SCHEDULE, _EPOCHS, _NOISE)
_SHALLOW = (*_STABLE, _DEPTH, _ACTIVATION, _RESIDUAL)

_STABLE_WORDS = (
    "the run converged: its loss stayed at most `tolerance`, which stands for a linearly stable global minimum",
    "gradient descent, plain or with momentum μ, heavy ball or Nesterov's, or independent mini-batches, where the "
    "condition is necessary too; one step size η for all parameters, constant after the warm-up",
    "the loss is twice differentiable at the minimum: no data on kinks; runs on kinks are judged on the flattest side",
)
_SHALLOW_WORDS = (
    *_STABLE_WORDS,
    "one hidden ReLU layer, all parameters trained, residuals near 0, so that the Hessian is the Gauss–Newton matrix",
    "without output bias the limit has no ½, which it contributes",
)
_CHAIN_SOURCE = (
    "From 1+2S ≤ 1+2S̃ ≤ ‖mean ∇f‖² ≤ λ_max(Gauss–Newton) ≤ 2(1+μ)/η, derived in this project and checked on random "
    "networks; for S it is the form in which Liang et al. 2025 (arXiv:2506.20779) quote "
    "Nacson, Mulayoff, Ongie, Michaeli, Soudry, ICLR 2023 (arXiv:2306.17499), appendix F.2."
)


def _norm_limit(lr: pl.Expr) -> pl.Expr:
    return pl.when(OUTPUT_BIAS).then(1 / lr - 0.5).otherwise(1 / lr)


# What η is divided by to be the step size of gradient descent with the same threshold.
_FACTORS = {"gd": "", "momentum": "(1+μ)", "nesterov": "(1+μ)/(1+2μ)"}


def _norm_words(bias: bool, rule: str) -> str:
    return (f"{_FACTORS[rule]}/η" if _FACTORS[rule] else "1/η") + (" − ½" if bias else "")


BOUNDS: dict[str, Bound] = {
    "sharpness": Bound(
        name="sharpness",
        symbol="λ_max",
        direction="upper",
        column="sharpness",
        limit=lambda lr: 2 / lr,
        words=lambda bias, rule: f"2{_FACTORS[rule]}/η",
        limit_words="2/η",
        exclusions=_STABLE,
        assumptions=_STABLE_WORDS,
        source="Mulayoff, Michaeli, Soudry, NeurIPS 2021, Lemma 1 (if and only if for gd; necessary for sgd). With "
        "momentum μ, heavy ball, derived in this project: both roots of z² − (1+μ−ηλ)z + μ have |z| ≤ 1 exactly for "
        "0 ≤ ηλ ≤ 2(1+μ); with Nesterov's, z² − (1+μ)(1−ηλ)z + μ(1−ηλ) and 0 ≤ ηλ ≤ 2(1+μ)/(1+2μ).",
    ),
    "stability_norm": Bound(
        name="stability_norm",
        symbol="S",
        direction="upper",
        column="stability_norm",
        limit=_norm_limit,
        words=_norm_words,
        limit_words="1/η − ½",
        exclusions=_SHALLOW,
        assumptions=_SHALLOW_WORDS,
        source=_CHAIN_SOURCE,
    ),
    "oriented_stability_norm": Bound(
        name="oriented_stability_norm",
        symbol="S̃",
        direction="upper",
        column="oriented_stability_norm",
        limit=_norm_limit,
        words=_norm_words,
        limit_words="1/η − ½",
        exclusions=_SHALLOW,
        assumptions=_SHALLOW_WORDS,
        source="From the same chain of inequalities, derived in this project and checked on random networks.",
    ),
}
