"""Record: one Parquet row. The columns of the three tables, their types and meanings; loads no torch."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from relusweep.sweep.run import PARAMETERS, Run

SCHEMA_VERSION = 4  # 2: unexplained_fraction; 3: own data and targets, settings of training; 4: branches
# `schema_digest` of each version that has written stores; what stands here never changes. New columns need a new
# version, and parts of earlier ones are read for ever: the parameters that they lack have their defaults, the results
# that they lack are null.
SCHEMA_DIGESTS = {2: "b519d42a0b4faa21", 3: "40dfdb70febc93ee", 4: "e42e83a2ca37c736"}
Status = Literal["converged", "budget", "diverged"]
STATUSES = frozenset(get_args(Status))

# column: (type, meaning). Undefined is null: after divergence, without a test set, or where a measure does not apply.
RESULTS: dict[str, tuple[pa.DataType, str]] = {
    "run_id": (pa.string(), "hash of the run's parameters"),
    "status": (pa.string(), "converged: loss at most tolerance for a whole window; budget: max_steps; diverged"),
    "steps": (pa.int64(), "steps taken when the run ended"),
    "loss": (pa.float64(), "(1/2n) Σ r² over the training set"),
    "train_rmse": (pa.float64(), "√(mean r²) over the training set"),
    "unexplained_fraction": (
        pa.float64(),
        "loss over that of the best constant, ½ Var y: 1 - R² of the training set; null if its labels are equal",
    ),
    "test_rmse": (pa.float64(), "√(mean r²) over the test set, noise-free targets"),
    "test_sup": (pa.float64(), "max |r| over the test set"),
    "sharpness": (pa.float64(), "λ_max of the exact Hessian of the loss, σ'(0) = 0"),
    "sharpness_residual": (
        pa.float64(),
        "‖Hv - λv‖ of that eigenpair, which is proved the top one; null where no proof was found",
    ),
    "gn_sharpness": (pa.float64(), "λ_max of the Gauss–Newton matrix (1/n) JᵀJ"),
    "gn_sharpness_min": (pa.float64(), "least gn_sharpness over the activation modes of data on kinks"),
    "eos_ratio": (pa.float64(), "lr · sharpness / 2; 1 is the edge of stability of gd"),
    "stability_norm": (pa.float64(), "S = Σ |a_i| ‖w_i‖ g(u_i, t_i)"),
    "oriented_stability_norm": (pa.float64(), "S̃ = Σ |a_i| ‖w_i‖ g̃(u_i, t_i) ≥ S"),
    "mean_gradient_bound": (pa.float64(), "‖(1/n) Σ_j ∇f(x_j)‖² ≤ gn_sharpness"),
    "variation_norm": (pa.float64(), "Σ |a_i| ‖w_i‖"),
    "parameter_norm": (pa.float64(), "‖θ‖₂, biases included"),
    "dead_fraction": (pa.float64(), "share of hidden units that are inactive on all training inputs"),
    "knot_points": (
        pa.int64(),
        "pairs (unit, training input) on a kink: |z| at rounding level, or crossed by a step of gd at lr",
    ),
    "residual_correction": (
        pa.float64(),
        "√(1+R²) mean |r|, R = max ‖x‖: |sharpness - gn_sharpness| ≤ this, one hidden layer",
    ),
    "moments": (pa.int64(), "rows of the run in the table trajectories"),
    "weights_saved": (pa.bool_(), "the run is in the table weights"),
    "seconds": (pa.float64(), "wall time of the pack over its number of runs"),
    "pack_id": (pa.string(), "hash of the pack that the run was trained in"),
    "pack_size": (pa.int64(), "runs in that pack"),
    "device": (pa.string(), "what it was trained on"),
    "backend": (pa.string(), "local, slurm or ray"),
    "kernel": (pa.string(), "training loop that ran: fused, blas, persistent, graph, or torch, the reference"),
    "code_version": (pa.string(), "relusweep's version, with the commit where known"),
    "schema_version": (pa.int64(), "version of these columns"),
}

# What may differ between two trainings of a run without saying anything about the run.
CIRCUMSTANCES = (
    "seconds", "moments", "weights_saved", "pack_id", "pack_size", "device", "backend", "kernel", "code_version",
    "schema_version",
)  # fmt: skip

# What a moment of a trajectory records, besides run_id and step.
MOMENT_MEASURES = (
    "loss", "sharpness", "sharpness_residual", "gn_sharpness", "stability_norm", "oriented_stability_norm",
    "mean_gradient_bound", "variation_norm", "parameter_norm",
)  # fmt: skip
WEIGHTS = ("w1", "b1", "w2", "b2", "w3", "b3")

_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def _parameter_type(name: str) -> pa.DataType:
    """Find the one scalar type in a field's annotation: int | None → int64, Literal[1, 2] → int64."""
    stack: list[Any] = [Run.model_fields[name].annotation]
    while stack:
        part = stack.pop()
        if part in _ARROW:
            return _ARROW[part]
        stack += [type(a) if isinstance(a, (str, int)) else a for a in get_args(part) if a is not type(None)]
    raise TypeError(f"{name}: no column type")


def _schema(columns: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema(list(columns.items()))


SCHEMAS: dict[str, pa.Schema] = {
    "runs": _schema({p: _parameter_type(p) for p in PARAMETERS} | {c: t for c, (t, _) in RESULTS.items()}),
    "trajectories": _schema({"run_id": pa.string(), "step": pa.int64()} | {m: pa.float64() for m in MOMENT_MEASURES}),
    "weights": _schema({"run_id": pa.string()} | {w: pa.list_(pa.float64()) for w in WEIGHTS}),
}

# What a parameter is in rows that were written before it existed: its static default, which ids leave out for this
# reason. Parameters that a run always had to name, as `lr`, are not here.
DEFAULTS: dict[str, Any] = {name: field.default for name, field in Run.model_fields.items() if not field.is_required()}

KEYS = {"runs": ("run_id",), "trajectories": ("run_id", "step"), "weights": ("run_id",)}  # no two rows agree in them


def schema_digest(schemas: Mapping[str, pa.Schema] = SCHEMAS) -> str:
    """Return 16 hexadecimal digits: the hash of all tables' columns, in their order, and of the types of these."""
    columns = [f"{table}.{field.name}: {_type_name(field.type)}" for table in schemas for field in schemas[table]]
    return hashlib.blake2b("\n".join(columns).encode(), digest_size=8).hexdigest()


def _type_name(kind: pa.DataType) -> str:
    """Return the name of a type; what a list's values are called differs between memory and Parquet."""
    return f"list of {kind.value_type}" if isinstance(kind, pa.ListType) else str(kind)


def promised(table: str) -> pc.Expression:
    """Return the condition on rows of `runs` that have rows in that table.

    A function, since pyarrow loads pandas, where it is installed, for the first number in an expression.
    """
    return {"trajectories": pc.field("moments") > 0, "weights": pc.field("weights_saved")}[table]


@cache
def code_version() -> str:
    """Return the installed package's version; in a checkout with its commit, and `.dirty` if files differ from it."""
    try:
        name = version("relusweep")
    except PackageNotFoundError:
        name = "0"
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return name
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=.dirty", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return name
    return f"{name}+g{described.stdout.strip()}"


def provenance() -> dict[str, str]:
    """Return what a part's footer records of the machine and the code that wrote it."""
    packages = ("torch", "numba", "numpy", "pyarrow", "scikit-learn")
    return {
        "schema_version": str(SCHEMA_VERSION),
        "code_version": code_version(),
        "python": platform.python_version(),
        "host": platform.node(),
        "platform": platform.platform(),
        "packages": ", ".join(f"{name} {_version_or_none(name)}" for name in packages),
        "random_numbers": "keyed by (data_seed, purpose) and (seed, purpose, step)",
    }


@cache  # it reads a long file
def _version_or_none(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
