"""Arguments: those that several commands share, and what they stand for."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relusweep.sweep.errors import RelusweepError

if TYPE_CHECKING:
    from relusweep.sweep.spec import Measure, Spec
    from relusweep.sweep.store.store import Store

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A spec file, or the name of a shipped one.")]
StoreArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A store: what `run` wrote.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN_ID", help="A recorded run's id, or the beginning of it.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="The store; default results/<spec name>.")]
OnOption = Annotated[str, typer.Option("--on", help="Back-end.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Processes; default one a GPU, else one a core.")]
MachineOption = Annotated[Path | None, typer.Option("--machine", metavar="FILE", help="A cluster, for --on slurm.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder of the MNIST files; or RELUSWEEP_DATA.")]

TrustOption = Annotated[bool, typer.Option("--trust", help="Run the Python that the store keeps: you have read it.")]


class MisuseError(RelusweepError):
    """Options of a command contradict each other."""


def use_data(folder: Path | None) -> None:
    """Make `--data` the folder of the MNIST files, for this process and its workers."""
    if folder is not None:
        os.environ["RELUSWEEP_DATA"] = str(folder)


def read_spec(path: str) -> "Spec":
    """Return a spec whose study is known.

    Raises:
        SpecError: if the spec cannot be read, or the first thing in it that is wrong.
    """
    from relusweep.analysis.studies import STUDIES
    from relusweep.sweep.spec import Spec
    from relusweep.sweep.spec_error import SpecError, nearest

    spec = Spec.read(path)
    if spec.study is not None and spec.study not in STUDIES:
        raise SpecError(f"{path}: study = {spec.study!r}: unknown study; {nearest(spec.study, tuple(STUDIES))}")
    return spec


def default_store(spec: "Spec") -> Path:
    """Return where a sweep is recorded unless --out says otherwise."""
    return Path("results", spec.name)


def check_that_it_fits(store: "Store", run_id: str, measure: "Measure") -> None:
    """See to it that a recorded run can be trained here: a store from elsewhere may name one of any size.

    Raises:
        StoreError: if no run, or more than one, begins so.
        BackendError: if it takes more memory than there is.
    """
    from relusweep.cluster.backend import backend
    from relusweep.sweep.replay import find, recorded_run

    backend("local", 1).pack_size(recorded_run(find(store, run_id)), measure, 1)


def open_store(path: Path) -> "tuple[Store, Spec]":
    """Return a store, and the spec that was last run there.

    Raises:
        StoreError: if there is no store.
        SpecError: if its spec cannot be read.
    """
    from relusweep.sweep.spec import Spec
    from relusweep.sweep.store.store import Store

    store = Store.open(path)
    return store, Spec.read(store.spec_path)
