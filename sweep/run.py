"""Run: one training, as frozen scalars. Its id is the hash of its parameters."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from relusweep.sweep import offers, weights_file
from relusweep.sweep.arguments import canonical, parsed
from relusweep.sweep.data import PROBLEM_KEYS, PROBLEMS
from relusweep.sweep.own_code import SOURCE
from relusweep.sweep.own_data import columns_text
from relusweep.sweep.own_target import mismatch
from relusweep.sweep.weights_file import WEIGHTS
from relusweep.sweep.witness import fault

Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Whole = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Init = Literal["pytorch", "kaiming", "xavier", "lecun", "normal", "balanced", "dominated", "witness", "file"]
Length = Annotated[float, Field(gt=0, le=1e100, allow_inf_nan=False)]


class Run(BaseModel):
    """The parameters of one training. `None` means: does not apply to this problem, depth or optimizer.

    Construct it with `Run.model_validate` or keywords; what is left out takes its default, some of which depend on
    the problem (`n`, `radius`, …). Every field is a column of the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)

    problem: str = Field(description="data set or target function")
    d: Count = Field(description="input dimension")
    n: Count = Field(description="training samples")
    n_test: Whole = Field(description="test samples")
    data_seed: Seed = Field(default=0, description="seed of the training and test sets")
    noise: NonNegative = Field(default=0.0, description="standard deviation of the Gaussian noise on training labels")
    domain: Literal["cube", "ball", "l1_ball", "gaussian"] | None = Field(default=None, description="law of the inputs")
    radius: Length | None = Field(default=None, description="size of the domain; standard deviation if gaussian")
    frequency: Positive | None = Field(default=None, description="of the sine")
    bandwidth: Positive | None = Field(default=None, description="of the Gaussian bump")
    teacher_width: Count | None = Field(default=None, description="hidden units of the teacher")
    classes: Annotated[str, Field(pattern="^[0-9],[0-9]$")] | None = Field(
        default=None, description="the two digits, `0,1`"
    )
    split: Literal["train", "t10k"] | None = Field(default=None, description="the MNIST files to read")
    file: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="your data, relative to the spec; a name for `content`, and no part of the `run_id`"
    )
    x_columns: Annotated[str, BeforeValidator(columns_text), Field(min_length=1)] | None = Field(
        default=None, description="of a .csv or .parquet file: the features; without, all columns but the target"
    )
    y_column: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="of a .csv or .parquet file: the target; without, `y`"
    )
    standardize: bool | None = Field(
        default=None, description="shift and scale your features to mean 0 and variance 1 over the training set"
    )
    content: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = Field(
        default=None, description="hash of all numbers in `file`, or of images that are not MNIST's; found by relusweep"
    )
    target: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None,
        description="your function, `FILE.py:FUNCTION` relative to the spec; a name for `target_source`, and no part "
        "of the `run_id`",
    )
    target_source: Annotated[str, Field(pattern=SOURCE)] | None = Field(
        default=None, description="hash of the bytes of that file, and the function's name; found by relusweep"
    )
    target_arguments: Annotated[str, BeforeValidator(canonical), Field(max_length=500)] | None = Field(
        default=None, description="what the function is called with besides x: `[target]` and `target.…` of the spec"
    )
    inputs: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="your law of the inputs, as `target`; without, they are drawn from `domain`"
    )
    inputs_source: Annotated[str, Field(pattern=SOURCE)] | None = Field(
        default=None, description="as `target_source`, of `inputs`"
    )

    depth: Literal[1, 2] = Field(default=1, description="hidden layers")
    width: Count = Field(default=64, description="units of the first hidden layer")
    width2: Count | None = Field(default=None, description="units of the second hidden layer")
    bias: bool = Field(
        default=True, description="trained biases on hidden and output units; `'hidden'`: on hidden units alone"
    )
    output_bias: bool | None = Field(
        default=None, description="false where hidden units alone have biases; null: as `bias`"
    )
    activation: Literal["relu", "leaky_relu"] = Field(default="relu", description="of the hidden units")
    negative_slope: Annotated[float, Field(ge=0, lt=1)] | None = Field(default=None, description="of the leaky ReLU")
    init: Init = Field(
        default="pytorch",
        description="law of the initial weights; `balanced` and `dominated` of one hidden layer: |a| = ‖(w, b)‖ and "
        "above; `witness`: the pyramid itself, in two; `file`: your own",
    )
    init_file: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None,
        description="your weights, a .npz relative to the spec; a name for `init_content`, and no part of the `run_id`",
    )
    init_content: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = Field(
        default=None, description="hash of the weights that were read from `init_file`; found by relusweep"
    )
    from_step: Count | None = Field(
        default=None, description="step of another training at whose weights it begins; `[from]` of a spec"
    )
    from_parameters: Annotated[str, BeforeValidator(canonical), Field(max_length=500)] | None = Field(
        default=None, description="what that training had where it differs, but for `max_steps`, as one JSON object"
    )
    init_scale: Positive = Field(
        default=1.0, description="factor on all initial weights and biases; of the witness on the first layer's"
    )
    output_scale: NonNegative = Field(
        default=1.0, description="further factor on the output layer's initial weights; of the witness the only one"
    )

    optimizer: Literal["gd", "sgd", "momentum", "nesterov", "adam", "adamw"] = Field(
        default="gd", description="update rule"
    )
    lr: Positive = Field(description="step size; the largest, where it is scheduled")
    lr_ratio: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="second layer's step size over lr; 0 freezes it, inf trains it alone"
    )
    momentum: Share | None = Field(default=None, description="heavy-ball factor μ, Nesterov's too")
    beta1: Share | None = Field(default=None, description="Adam's decay of the mean gradient; null: 0.9")
    beta2: Share | None = Field(default=None, description="Adam's decay of the mean square; null: 0.999")
    epsilon: Positive | None = Field(default=None, description="Adam's ε, beside the root; null: 1e-8")
    batch_size: Whole = Field(default=0, description="samples a step; 0 = all")
    sampling: Literal["subset", "replacement", "epoch"] = Field(
        default="subset",
        description="mini-batches: fresh subsets, samples drawn with replacement, or each once in a shuffled epoch",
    )
    label_noise: NonNegative = Field(
        default=0.0, description="standard deviation of Gaussian noise on the labels, drawn anew at every step"
    )
    clip: Positive | None = Field(default=None, description="norm that a gradient is shortened to where it is longer")
    weight_decay: NonNegative = Field(
        default=0.0,
        description="coupled: adds weight_decay · weight to the gradient; of adamw decoupled: lr · weight_decay · "
        "weight is taken off",
    )
    decay_bias: bool = Field(default=False, description="weight decay acts on biases too")
    warmup_steps: Whole = Field(default=0, description="steps over which lr rises linearly from 0")
    schedule: Literal["constant", "linear", "cosine", "step"] = Field(
        default="constant", description="what becomes of lr after the warm-up; `linear` and `cosine` fall to 0"
    )
    schedule_every: Count | None = Field(default=None, description="steps after which `step` multiplies lr")
    schedule_factor: Annotated[float, Field(gt=0, le=1)] | None = Field(default=None, description="by how much")
    max_steps: Count = Field(default=20_000, description="steps after which an unfinished run ends")
    tolerance: NonNegative = Field(default=1e-8, description="loss at which a run has converged; 0 = never stop early")
    dtype: Literal["float64", "float32"] = Field(default="float64", description="arithmetic of the training")
    seed: Seed = Field(default=0, description="seed of the initial weights and the mini-batches")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> dict[str, Any]:
        """Fill in the defaults that depend on other parameters."""
        p = dict(given)
        if isinstance(name := p.get("problem"), str) and name not in PROBLEMS:
            p = offers.as_python(p, offers.offered())
        problem = PROBLEMS.get(p["problem"]) if isinstance(name, str) else None
        if problem is None:
            known = [*dict.fromkeys([*PROBLEMS, *offers.problems()])]
            near = difflib.get_close_matches(str(name), known, 1)
            got = "problem is missing" if name is None else f"problem = {name!r} is unknown"
            hint = f" Did you mean {near[0]!r}?" if near else _own(str(name))
            raise ValueError(f"{got}; expected one of {', '.join(known)}.{hint}")
        _start_at_weights(p, problem.d is None and p["problem"] != "file")
        _settle_biases(p)
        if problem.d is not None:
            p.setdefault("d", problem.d)
        for key, default in problem.defaults.items():
            if key not in p:
                p[key] = default(p) if callable(default) else default
        for key, (switch, settings, default) in CONDITIONAL.items():
            if p.get(switch) in settings:
                p.setdefault(key, default)
        for key, usual in _USUAL.items():
            if p.get(key) == usual:
                p[key] = None
        return p

    @model_validator(mode="after")
    def _consistent(self) -> "Run":
        """Refuse combinations that mean nothing, in words that name the cure."""
        problem = PROBLEMS[self.problem]
        if problem.d not in (None, self.d):
            raise ValueError(f"d = {self.d}; {self.problem} has d = {problem.d}. Leave d out.")
        for key in PROBLEM_KEYS:
            if getattr(self, key) is not None and key not in problem.defaults:
                raise ValueError(f"{key} = {getattr(self, key)!r}; problem {self.problem} ignores it. {_cure(key)}")
        for key, (switch, settings, _) in CONDITIONAL.items():
            if key != "batch_size" and getattr(self, key) is not None and getattr(self, switch) not in settings:
                needed = " or ".join(map(repr, settings))
                raise ValueError(f"{key} = {getattr(self, key)!r}; it needs {switch} = {needed}. Leave it out.")
        if self.optimizer == "gd" and self.batch_size:
            raise ValueError(f"batch_size = {self.batch_size}; gd takes all samples. Use optimizer = 'sgd'.")
        if self.optimizer == "sgd" and not self.batch_size:
            raise ValueError("batch_size = 0; sgd takes at least 1 sample a step. Use optimizer = 'gd' for all.")
        if self.output_bias is not None and not self.bias:
            raise ValueError(f"output_bias = {self.output_bias!r} with bias = {self.bias!r}. Leave output_bias out.")
        if self.batch_size > self.n:
            raise ValueError(f"batch_size = {self.batch_size}; expected at most n = {self.n}. Give a smaller one.")
        if self.sampling != "subset" and not self.batch_size:
            raise ValueError(f"sampling = {self.sampling!r}; it needs a batch_size. Leave it out.")
        if self.schedule == "step" and self.schedule_every is None:
            raise ValueError("schedule = 'step'; it needs schedule_every, the steps after which lr is multiplied.")
        if self.init in ("balanced", "dominated") and self.depth != 1:
            raise ValueError(f"init = {self.init!r} with depth = {self.depth}; it is a law of one hidden layer.")
        if self.from_parameters and self.from_step is None:
            raise ValueError(f"from_parameters = {self.from_parameters!r} without from_step. Write [from].")
        if self.from_step is not None:
            _refuse_other_network(self.from_parameters)
            try:
                source = self.source(1)
            except ValidationError as error:
                raise ValueError(f"[from]: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
            if source.schedule in ("linear", "cosine"):
                raise ValueError(f"[from]: schedule = {source.schedule!r} depends on max_steps; expected another.")
        if self.classes is not None and self.classes[0] == self.classes[2]:
            raise ValueError(f"classes = {self.classes!r}; expected two different digits")
        for why in (mismatch(self.__dict__), weights_file.mismatch(self.__dict__)):
            if why:
                raise ValueError(why)
        if self.init == "witness" and (why := fault(self.__dict__)):
            raise ValueError(why)
        return self

    def source(self, max_steps: int) -> "Run":
        """Return the training at whose weights this one begins, for so many steps."""
        given = parsed(self.from_parameters)
        own = {key: self.__dict__[key] for key in PARAMETERS if key not in ("from_step", "from_parameters")}
        for key, (switch, _, _) in CONDITIONAL.items():
            if switch in given:
                own[key] = None
        own = {key: value for key, value in own.items() if value is not None}
        return Run.model_validate(own | given | {"max_steps": max_steps})

    @cached_property
    def id(self) -> str:
        """32 hexadecimal digits: the hash of all parameters that differ from the fixed defaults, by sorted key.

        Defaults are left out so that a parameter added to relusweep later does not rename the runs of old stores; and
        `NAMES`, so that the same data under another name make the same run.
        """
        return run_id(self.__dict__)


def _own(name: str) -> str:
    """Return how a name is given that is no problem's but that of a file."""
    if name.lower().endswith((".csv", ".npz", ".parquet")):
        return f" Your own data: problem = 'file', file = {name!r}."
    return f" Your own function: problem = 'python', target = {name!r}." if ".py" in name else ""


def _refuse_other_network(from_parameters: str | None) -> None:
    """Refuse what of a training cannot differ where another one begins at its weights."""
    for key in ("d", "depth", "width", "width2", "bias", "output_bias", "max_steps"):
        if key in parsed(from_parameters):
            why = "it takes any" if key == "max_steps" else "its weights are those of the same network"
            raise ValueError(f"[from]: {key}; {why}. Leave it out.")


def _cure(key: str) -> str:
    return "Leave [target] and target.… out there." if key == "target_arguments" else "Leave it out."


def _start_at_weights(p: dict[str, Any], any_d: bool) -> None:
    """Find the weights that a run starts with, and take the network that is not given from them."""
    if p.get("init") != "file":
        return
    if isinstance(name := p.get("init_file"), str) and name and "init_content" not in p:  # null in a row of a store
        p["init_content"] = WEIGHTS.remember(weights_file.read(Path(name)))
    for key, value in weights_file.settings_of({"init_content": None} | p).items():
        if (key != "d" or any_d) and not (key == "bias" and "output_bias" in p):
            p.setdefault(key, value)


def _settle_biases(p: dict[str, Any]) -> None:
    """Put what `bias = 'hidden'` stands for in its place, and leave out what says nothing."""
    if p.get("bias") in WORDS["bias"]:
        if p.get("output_bias") is not None:
            raise ValueError(f"output_bias = {p['output_bias']!r} beside bias = 'hidden'. Leave output_bias out.")
        p |= {"bias": True, "output_bias": False}
    elif p.get("output_bias", ...) == p.get("bias", True):
        p["output_bias"] = None


# parameter: what a spec may say instead of its value, which stands for values of several
WORDS: Mapping[str, tuple[str, ...]] = {"bias": ("hidden",)}
# parameter: (switch, settings at which it applies, default there)
CONDITIONAL: Mapping[str, tuple[str, tuple[Any, ...], Any]] = {
    "width2": ("depth", (2,), 16),
    "negative_slope": ("activation", ("leaky_relu",), 0.01),
    "init_file": ("init", ("file",), None),
    "init_content": ("init", ("file",), None),
    "momentum": ("optimizer", ("momentum", "nesterov"), 0.9),
    "beta1": ("optimizer", ("adam", "adamw"), None),
    "beta2": ("optimizer", ("adam", "adamw"), None),
    "epsilon": ("optimizer", ("adam", "adamw"), None),
    "batch_size": ("optimizer", ("sgd",), 16),
    "schedule_every": ("schedule", ("step",), None),
    "schedule_factor": ("schedule", ("step",), 0.1),
}
# What null means of parameters that came when there were rows of adam already: named or left out, it is the same run.
_USUAL: Mapping[str, float] = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
PARAMETERS: tuple[str, ...] = tuple(Run.model_fields)
NAMES_OF_DATA = ("file", "x_columns", "y_column")  # what `content` was called when it was read
NAMES_OF_CODE = ("target", "inputs")  # what `target_source` and `inputs_source` were called
NAMES_OF_WEIGHTS = ("init_file",)  # what `init_content` was called
NAMES = (*NAMES_OF_DATA, *NAMES_OF_CODE, *NAMES_OF_WEIGHTS)
ENDLESS = ("constant", "step")  # schedules that are the same whatever max_steps is
_DEFAULTS = {key: Run.model_fields[key].get_default() for key in sorted(PARAMETERS)}


def run_id(values: Mapping[str, Any]) -> str:
    """Hash validated parameters; equal for equal runs on every machine and in every process."""
    texts = [written(key, values[key]) for key in _DEFAULTS]
    return hashlib.blake2b(",".join([text for text in texts if text]).encode(), digest_size=16).hexdigest()


def written(key: str, value: Any) -> str:
    """Return how a parameter stands in what is hashed: not at all, if it has its default or is but a name."""
    if value == _DEFAULTS[key] or key in NAMES:
        return ""
    return f"{key}={json.dumps(value) if isinstance(value, str) else repr(value)}"
