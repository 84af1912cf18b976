"""Claim of the depth study: which runs it is about, and which step sizes."""

from dataclasses import dataclass

import polars as pl

from relusweep.analysis.bounds import OUTPUT_BIAS

LARGE = 0.8  # step sizes from here on are where separation is looked for
VANISHING = 0.1  # up to here none is expected, whatever the target
MOST = 0.5  # share of the pairs whose deep network fits: from here on there is separation …
FEW = 0.1  # … and up to here none
STARTS = ("init", "init_scale", "output_scale")


@dataclass(frozen=True)
class Claim:
    """What the claim is about: conditions on runs, each of which a control breaks alone, but for the last.

    The pyramid in two dimensions or more (`pyramid`) by gradient descent (`plain`), with the initial weights
    (`starts`) and the warm-up (`warm`) that most runs have, by ReLU networks with biases on noiseless labels, without
    weight decay and with one step size, on the law of inputs that most runs have (`setting`).
    """

    pyramid: pl.Expr
    plain: pl.Expr
    starts: pl.Expr
    warm: pl.Expr
    setting: pl.Expr

    @staticmethod
    def of(runs: pl.DataFrame) -> "Claim":
        """Find what most runs have."""
        return Claim(
            pyramid=(pl.col("problem") == "pyramid") & (pl.col("d") > 1),
            plain=pl.col("optimizer") == "gd",
            starts=pl.all_horizontal(pl.col(name) == _usual(runs, name) for name in STARTS),
            warm=pl.col("warmup_steps") == _usual(runs, "warmup_steps"),
            setting=pl.all_horizontal(
                pl.col("activation") == "relu",
                OUTPUT_BIAS,
                pl.col("noise") == 0,
                pl.col("weight_decay") == 0,
                pl.col("schedule") == "constant",
                pl.col("label_noise") == 0,
                pl.col("clip").is_null(),
                pl.col("lr_ratio") == 1,
                pl.col("domain") == _usual(runs, "domain"),
            ),
        )

    def but(self, broken: str | None = None) -> pl.Expr:
        """Return all conditions but one, which is not met."""
        return pl.all_horizontal(~met if name == broken else met for name, met in vars(self).items())


def _usual(runs: pl.DataFrame, name: str) -> pl.Expr:
    """Return what most runs on the pyramid have; null, and so equal to nothing, where there are none."""
    return pl.lit(runs.filter(problem="pyramid")[name].mode().sort().first())


def far(runs: pl.DataFrame) -> pl.Expr:
    """Mark runs that may go as far as most do at `LARGE`: lr · max_steps is as large."""
    return pl.col("lr") * pl.col("max_steps") >= LARGE * (1 - 1e-9) * _usual(runs, "max_steps")
