"""Sweep: a spec whose packs take some seconds on this machine, and the store in which it was trained undisturbed."""

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq

# Packs of two shapes that the fused kernel trains and one of the reference's; moments and weights of all.
_SPEC = """\
name = "chaos"
fixed = {{ problem = "sine", n = 8, d = 2, n_test = 4, tolerance = 0.0 }}
[measure]
every = "log:3"
save_weights = true
[[block]]
fixed = {{ max_steps = {steps} }}
grid = {{ lr = [0.05, 0.1], seed = [0, 1], width = [3, 4] }}
[[block]]
fixed = {{ max_steps = {few}, optimizer = "adam", width = 4 }}
grid = {{ lr = [0.001, 0.01], seed = [0, 1] }}
"""
_STEPS, _FEW = 100_000, 500  # with which it is seen how fast this machine is


@dataclass(frozen=True)
class Sweep:
    """Both of them."""

    spec: Path
    undisturbed: Path


@dataclass
class Sweeps:
    """Those of a campaign, each trained when it is needed first."""

    folder: Path

    def lasting(self, seconds: float) -> Sweep:
        """Return one each of whose packs takes so many seconds here."""
        steps = max(_STEPS + 1, round(_STEPS * seconds / self._speed["gd"]))
        return self.trained(
            f"{seconds:g}s", _SPEC.format(steps=steps, few=max(100, round(_FEW * seconds / self._speed["adam"])))
        )

    def trained(self, name: str, text: str) -> Sweep:
        """Train a spec undisturbed, if it was not yet."""
        sweep = Sweep(self.folder / f"{name}.toml", self.folder / name)
        if not sweep.spec.exists():
            sweep.spec.write_text(text, encoding="utf-8")
            command = [sys.executable, "-m", "relusweep", "run", str(sweep.spec), "--out", str(sweep.undisturbed)]
            subprocess.run([*command, "--workers", "1"], check=True, stdout=subprocess.DEVNULL)
        return sweep

    @cached_property
    def _speed(self) -> dict[str, float]:
        """Seconds of a pack of so many steps, by optimizer, once its programs have been compiled."""
        for name in ("compiled", "timed"):
            sweep = self.trained(name, _SPEC.format(steps=_STEPS, few=_FEW))
        rows = pq.read_table(sweep.undisturbed / "runs", columns=["optimizer", "seconds"]).to_pylist()
        seconds = {rule: sum(row["seconds"] for row in rows if row["optimizer"] == rule) for rule in ("gd", "adam")}
        return {"gd": seconds["gd"] / 2, "adam": seconds["adam"]}  # two packs of the former
