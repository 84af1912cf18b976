"""Machine: a validated TOML file that says what a job may ask of a SLURM cluster, and what it finds there.

A spec says what is trained and a machine file where; neither knows the other. Whatever the file alone can show to be
wrong is reported before anything is submitted, with file, key, value and cure.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from relusweep.cluster.backend import BackendError
from relusweep.sweep.spec_error import nearest, shown
from relusweep.sweep.toml_file import parsed, text_of

_SIXTY = r"[0-5]?\d"
_TIME = re.compile(  # M, M:S, H:M:S, D-H, D-H:M, D-H:M:S
    rf"(?:(?P<days>\d+)-(?P<hours>2[0-3]|[01]?\d)(?::(?P<minutes>{_SIXTY})(?::(?P<seconds>{_SIXTY}))?)?"
    rf"|(?P<h>\d+):(?P<m>{_SIXTY}):(?P<s>{_SIXTY})|(?P<only_m>\d+)(?::(?P<only_s>{_SIXTY}))?)",
    re.ASCII,
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LATEST_SIGNAL = 65535  # seconds; sbatch --signal takes no more
_EARLY_SECONDS = 60  # that SLURM may send a signal before it is due
_LONGEST_SECONDS = 366 * 86400  # of a time limit: more is a slip of the pen
_MOST = 65533  # cores and GPUs, as SLURM counts them
_MOST_TASKS = 4_000_001  # the largest MaxArraySize that SLURM knows
_FORMS = {  # what is expected of texts that have a form, in words
    "account": "a name without spaces, as sbatch --account takes it, and no '-' first",
    "partition": "a name without spaces, as sbatch --partition takes it, or several with commas, and no '-' first",
    "qos": "a name without spaces, as sbatch --qos takes it, and no '-' first",
    "constraint": "features without spaces, as sbatch --constraint takes them, and no '-' first. Write 'a100|h100'",
    "mem": "SLURM's notation of memory: a whole number and K, M, G or T. Write '16G', or '0' for all of a node's",
    "time": "SLURM's notation of time, above 0 and at most a year, as text. "
    "Write '90' (minutes), '1:30:00' or '2-12' (days-hours)",
    "setup": "shell lines, each a text without a line break. Write one list entry a line",
    "environment": "a text without a line break",
    "scratch": "an absolute path, or one that begins with a variable. Write '/tmp/$USER' or '$TMPDIR/relusweep'",
}

Word = Annotated[str, Field(pattern=r"^[^\s\x00-][^\s\x00]*$")]
Count = Annotated[int, Field(ge=0, le=_MOST)]
Tasks = Annotated[int, Field(ge=1, le=_MOST_TASKS)]
Line = Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]


class MachineError(BackendError):
    """A machine file is wrong: the message is one line, `file: key: what is wrong; what was expected; cure`."""


class Machine(BaseModel):
    """What each job asks of SLURM, and what its workers find; see `slurm/example.toml` for every key."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    account: Word | None = None
    partition: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    gpus_per_node: Count = 0  # 0: nodes without GPUs
    gpus_per_job: Count = Field(default_factory=lambda given: min(1, given.get("gpus_per_node", 0)))
    cpus_per_task: int = Field(default=1, ge=1, le=_MOST)
    mem: Annotated[str, Field(pattern=r"^[0-9]{1,12}[KMGTkmgt]?$")] | None = None  # of a job, on its node
    time: str
    max_array_tasks: Tasks | None = None  # of an array, that run at one time
    array_size: Tasks | None = None  # of the largest array; None: ask scontrol
    setup: Annotated[tuple[Line, ...], Field(strict=False)] = ()  # TOML knows lists only
    environment: dict[str, Line] = {}
    scratch: Annotated[str, Field(pattern=r"^[/$][^\r\n\x00]*$")] | None = None  # on the node; expanded in the job
    signal_seconds: int = Field(default=90, ge=1, le=_LATEST_SIGNAL)

    @property
    def ranks(self) -> int:
        """Workers of a job: one a GPU, or one where there is none."""
        return max(1, self.gpus_per_job)

    @property
    def seconds(self) -> int:
        """The time limit of a job."""
        return _seconds(self.time) or 0

    @property
    def sure_seconds(self) -> int:
        """What a job has in any case before the signal to stop."""
        return self.seconds - self.signal_seconds - _EARLY_SECONDS

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, given: str) -> str:
        if not _seconds(given):
            raise ValueError(f"time = {given!r}; expected {_FORMS['time']}.")
        return given

    @field_validator("environment")
    @classmethod
    def _sets_no_variable_of_slurm(cls, given: dict[str, str]) -> dict[str, str]:
        for name in given:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(
                    f"environment: {name!r} cannot name a variable; expected letters, digits and '_', no digit first."
                )
            if name.startswith(("SLURM_", "SBATCH_")) or name == "CUDA_VISIBLE_DEVICES":
                raise ValueError(
                    f"environment.{name}: SLURM's own; expected variables that it leaves alone. Remove it."
                )
        return given

    @field_validator("scratch")
    @classmethod
    def _expands_variables_only(cls, given: str | None) -> str | None:
        for rest in (given or "").split("$")[1:]:
            if not re.match(r"[A-Za-z_]|\{[A-Za-z_][A-Za-z0-9_]*\}", rest):
                raise ValueError(
                    f"scratch = {given!r}; expected a variable's name after every '$'. Write '/tmp/$USER'."
                )
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        per_node, per_job = self.gpus_per_node, self.gpus_per_job
        if per_node == 0 and per_job:
            raise ValueError(
                f"gpus_per_job = {per_job}; expected 0, as gpus_per_node = 0 says that nodes have no GPU. Correct one."
            )
        if per_node and not 1 <= per_job <= per_node:
            raise ValueError(
                f"gpus_per_job = {per_job}; expected from 1 to gpus_per_node = {per_node}: a job has a node at most."
            )
        if self.sure_seconds <= 0:
            raise ValueError(
                f"signal_seconds = {self.signal_seconds}: SLURM may send the signal {_EARLY_SECONDS} s early, and time "
                f"= {self.time!r} is {self.seconds} s; expected more than {self.signal_seconds + _EARLY_SECONDS} s. "
                "Give jobs more time."
            )
        return self

    @staticmethod
    def read(path: Path) -> "Machine":
        """Return what is in a machine file.

        Raises:
            MachineError: if there is no such file, or the first thing in it that is wrong.
        """
        try:
            raw = parsed(text_of(path, "a machine file", MachineError), str(path), MachineError)
        except OSError as error:
            raise MachineError(
                f"{path}: no machine file ({error.strerror}); expected a TOML file. Copy slurm/example.toml."
            ) from None
        try:
            return Machine.model_validate(raw)
        except ValidationError as error:
            unknown_first = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
            raise MachineError(
                f"{path}: {_sentence(unknown_first[0])}"
            ) from None  # a misspelt key is a missing one too


def _seconds(text: str) -> int | None:
    """Return seconds from SLURM's notation of time; None if it is none, or longer than any job."""
    if not (found := _TIME.fullmatch(text)):
        return None
    part = {name: int(digits) for name, digits in found.groupdict(default="0").items()}
    minutes = part["minutes"] + part["m"] + part["only_m"]
    hours = 24 * part["days"] + part["hours"] + part["h"]
    seconds = 3600 * hours + 60 * minutes + part["seconds"] + part["s"] + part["only_s"]
    return seconds if seconds <= _LONGEST_SECONDS else None


def _sentence(error: Any) -> str:
    """Return one line for a validation error, with its path in the file."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    key, *rest = error["loc"]
    path = key + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key; {nearest(key, tuple(Machine.model_fields))}"
    if error["type"] == "missing":
        return f"{path}: missing; expected {_FORMS[key]}."
    expected = error["msg"].removeprefix("Input should be ").replace("valid dictionary", "table")
    if key in _FORMS and not (key == "environment" and not rest):
        expected = _FORMS[key]
    return f"{path} = {shown(error['input'])}; expected {expected}."
