"""The command line: the only room that knows all others, and it loads them when a command needs them.

Exit codes: 0 done; 1 some runs failed or are missing; 2 misuse, said in one line; 130 stopped by a signal.
"""

import gc
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from relusweep.sweep.errors import RelusweepError

if TYPE_CHECKING:
    from relusweep.sweep.spec import Spec
    from relusweep.sweep.store.store import Store

app = typer.Typer(
    name="relusweep",
    help="Train thousands of tiny ReLU networks as one tensor program, and test what theory says of their minima.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

_MOST_NAMED = 20  # missing runs that `verify` lists
_PATIENCE = 10  # seconds without anybody who trains, before `watch` ends
_STOPPED = 130  # exit code after Ctrl-C and the other stop signals

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A spec file, or the name of a shipped one.")]
StoreArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A store: what `run` wrote.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN_ID", help="A recorded run's id, or the beginning of it.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="The store; default results/<spec name>.")]
OnOption = Annotated[str, typer.Option("--on", help="Back-end.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Processes; default one a GPU, else one a core.")]
MachineOption = Annotated[Path | None, typer.Option("--machine", metavar="FILE", help="A cluster, for --on slurm.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder of the MNIST files; or RELUSWEEP_DATA.")]


@app.command()
def plan(
    spec: SpecArgument,
    out_dir: OutOption = None,
    on: OnOption = "local",
    machine: MachineOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Say what a sweep would train, in how many packs, files and hours. Submits and writes nothing."""
    from relusweep.cluster.backend import Launch, backend
    from relusweep.cluster.plan import plan as count
    from relusweep.cluster.slurm.queue import Pending
    from relusweep.sweep.bracket import Brackets
    from relusweep.sweep.store.store import Store
    from relusweep.sweep.tally import Tally

    _use_data(data)
    sweep = _read_spec(spec)
    place = backend(on, workers, machine, Launch(err.print))
    path = out_dir or Path("results", sweep.name)
    store = Store.at(path)
    jobs: Any = place if on == "slurm" else None
    costs = jobs and jobs.costs(sweep.measure, store)
    brackets = Brackets.of(sweep)
    if brackets and store:
        Tally(store, brackets.planned, brackets).look()
    queued = Pending(store).runs(close=False) if store else frozenset[str]()
    counted = count(sweep, store.recorded() if store else set(), place, costs, queued, brackets, err.print)
    rows = counted.rows(path, on)
    foreseen = jobs and jobs.foresee(counted.pack_seconds, path)
    if foreseen:
        rows |= jobs.rows(foreseen)
        del rows["device-hours"]
    for name, value in rows.items():
        out.print(f"{name:18}{value}")
    if foreseen and foreseen.script:
        out.print(f"\n{foreseen.script}")


@app.command()
def run(
    spec: SpecArgument,
    out_dir: OutOption = None,
    on: OnOption = "local",
    machine: MachineOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
    checkpoint_minutes: Annotated[float, typer.Option(min=0.0, help="Between states of unfinished packs.")] = 2.0,
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as the jobs are submitted.")] = False,
    report_after: Annotated[bool, typer.Option("--report", help="Submit a job that writes the report last.")] = False,
) -> None:
    """Train all runs of a sweep that are not recorded yet. The same command resumes and extends."""
    if on == "local" and (workers or len(os.sched_getaffinity(0))) > 1:
        from relusweep.cluster.local.forks import load_ahead

        load_ahead()  # while this process loads the same
    from relusweep.cluster.backend import Job, Launch, backend
    from relusweep.cluster.launch import sweep as train
    from relusweep.cluster.plan import check
    from relusweep.cluster.progress import Display, Watcher, failed_packs
    from relusweep.sweep.bracket import Brackets
    from relusweep.sweep.store.repair import mend
    from relusweep.sweep.store.store import Store
    from relusweep.sweep.tally import Tally

    _use_data(data)
    sweep = _read_spec(spec)
    if on != "slurm" and (detach or report_after):
        raise MisuseError(f"{'--detach' if detach else '--report'}: --on {on} submits no jobs; expected --on slurm.")
    place: Any = backend(on, workers, machine, Launch(out.print, not detach, report_after))
    planned, brackets = check(sweep, place), Brackets.of(sweep)
    path = out_dir or Path("results", sweep.name)
    if (former := Store.at(path)) and (name := former.sweep_name()) not in (None, sweep.name):
        raise MisuseError(f"{path}: holds the sweep {name!r}, got {sweep.name!r}; choose another --out, or that name.")
    store = Store.create(path)
    store.sweep_up()
    job = Job(store.path, sweep.measure, on, 60 * checkpoint_minutes)
    for part, (why, moved) in mend(store).items():
        err.print(f"{part}: broken ({why}); set aside as {moved}, its runs are trained again.")
    store.keep_spec(sweep.text)
    tally = Tally(store, planned, brackets)
    with _jobs_go_on(store), Display(Watcher(tally), out) as tick:
        failed = train(sweep, tally, place, job, tick, say=err.print, stay=not detach)
    for line in failed_packs((each.pack.id, len(each.pack.runs), f": {each.error}") for each in failed):
        err.print(line)
    if failed:
        runs = sum(len(outcome.pack.runs) for outcome in failed)
        err.print(f"{path}: {runs} runs failed; see {path}/failures. The same command tries them again.")
        raise typer.Exit(1)
    _say_lacking(store, sweep)
    if report_after and not place.reported:
        err.print(f"{path}: nothing had to be submitted, so no job writes the report. Next: relusweep report {q(path)}")
    if detach and (left := len(tally.missing)):
        out.print(f"{path}: jobs are to train {left} runs. Next: relusweep watch {q(path)}, or cancel {q(path)}")
        if brackets:
            out.print(f"{path}: [refine] may ask for more when they are recorded: then the same command again.")
    else:
        out.print(f"{path}: all {tally.count} runs are recorded. Next: relusweep report {q(path)}")


@app.command()
def status(store: StoreArgument) -> None:
    """Say where a sweep stands, once."""
    from relusweep.cluster.progress import Watcher, sentence
    from relusweep.cluster.slurm.queue import describe
    from relusweep.sweep.tally import Tally

    opened, sweep = _open(store)
    tally = Tally.of(sweep, opened)
    out.print(sentence(Watcher(tally).look(), None))
    for line in describe(opened):
        out.print(line)
    _say_failed(opened.failures(tally.missing))


@app.command()
def watch(store: StoreArgument) -> None:
    """Follow a sweep until all its runs are recorded; Ctrl-C ends the watching, not the sweep."""
    from relusweep.cluster.progress import Display, Watcher
    from relusweep.cluster.slurm.queue import Queue, describe, is_left_alone
    from relusweep.sweep.tally import Tally

    opened, sweep = _open(store)
    tally, queue, said, alone = Tally.of(sweep, opened), Queue(), list[str](), 0
    try:
        with Display(Watcher(tally), out) as tick:
            tally.look()
            while tally.missing:
                tick()
                lines = [line for line in describe(opened, queue) if not line.endswith(("progress", "starting"))]
                for line in lines if lines != said else ():
                    out.print(line)
                said = lines
                time.sleep(1)
                alone = alone + 1 if is_left_alone(opened, queue) else 0  # a launcher that submits again takes a while
                tally.look()  # afterwards: what was recorded before they ended is seen
                if tally.missing and alone >= _PATIENCE:
                    out.print(
                        f"{store}: nobody trains the last {len(tally.missing)} runs. Next: the same relusweep run"
                    )
                    raise typer.Exit(1)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def cancel(store: StoreArgument) -> None:
    """Cancel the SLURM jobs that were submitted for a store, and no others; what is recorded is kept."""
    from relusweep.cluster.slurm.queue import cancel_submissions
    from relusweep.sweep.store.store import Store

    jobs = cancel_submissions(Store.open(store))
    out.print(f"{store}: " + (f"cancelled job(s) {', '.join(jobs)}" if jobs else "no job of it is in the queue"))


@app.command()
def verify(store: StoreArgument) -> None:
    """Compare what was planned with what is recorded; read every part and check its checksums."""
    from relusweep.sweep.store.store import TABLES
    from relusweep.sweep.tally import Tally

    opened, sweep = _open(store)
    broken = {part: why for table in TABLES for part, why in opened.broken(table).items()}
    recorded, tally = opened.recorded(), Tally.of(sweep, opened)
    tally.look()
    planned, missing = tally.count, tally.missing
    extra = len(recorded) - (planned - len(missing))
    out.print(f"{store}: planned {planned} = recorded {planned - len(missing)} + missing {len(missing)}")
    if extra:
        out.print(f"{extra} recorded runs belong to an earlier spec of this store")
    for part, why in broken.items():
        out.print(f"broken: {part}: {why}")
    _say_failed([each for each in opened.failures() if not set(each["run_ids"]) <= recorded])  # by now, in other packs
    _say_lacking(opened, sweep)
    lacking = (run.id for run in chain(sweep.expand(), tally.asked()) if run.id in missing)
    for run_id in islice(lacking, min(_MOST_NAMED, len(missing))):
        out.print(f"missing: {run_id}")
    if len(missing) > _MOST_NAMED:
        out.print(f"missing: … and {len(missing) - _MOST_NAMED} more")
    if missing or broken:
        out.print(f"The same `relusweep run` trains what is missing and sets broken parts aside: --out {q(store)}")
        raise typer.Exit(1)


@app.command()
def compact(store: StoreArgument) -> None:
    """Merge the parts of a store into few sorted ones."""
    from relusweep.sweep.store.store import Store

    for table, (before, after) in Store.open(store).compact().items():
        if before:
            out.print(f"{table}: {before} parts → {after}")


@app.command()
def report(
    stores: Annotated[list[Path], typer.Argument(metavar="DIR...", help="One or several stores.")],
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder; default report/ in the first store.")] = None,
    study: Annotated[str | None, typer.Option(help="Study; default the one that the spec names.")] = None,
) -> None:
    """Turn stores into tables, figures and verdicts: report/index.html. Offline; trains nothing."""
    from relusweep.analysis.report import write

    out.print(f"wrote {write(stores, study, out_dir)}")


@app.command()
def replay(store: StoreArgument, run_id: RunArgument, data: DataOption = None) -> None:
    """Train one run again, alone, and print the difference to its recorded row."""
    from relusweep.sweep.replay import difference, find, train_alone

    _use_data(data)
    opened, sweep = _open(store)
    row = find(opened, run_id)
    again = train_alone(row, sweep.measure, err.print)["runs"].to_pylist()[0]
    out.print(f"run {row['run_id']}, recorded in a pack of {row['pack_size']} on {row['device']}")
    out.print(f"{'measure':26}{'recorded':>16}{'replayed':>16}  relative difference")
    for name, old, new, gap in difference(row, again):
        shown = [f"{value:.9g}" if isinstance(value, float) else str(value) for value in (old, new)]
        out.print(f"{name:26}{shown[0]:>16}{shown[1]:>16}  {'' if gap is None else f'{gap:.1e}'}".rstrip())


@app.command()
def export(
    store: StoreArgument,
    run_id: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.npz")],
    data: DataOption = None,
) -> None:
    """Write a run's data, weights and record into one .npz file."""
    from relusweep.sweep.replay import write_npz
    from relusweep.sweep.store.store import Store

    _use_data(data)
    retrained = write_npz(Store.open(store), run_id, file, err.print)
    out.print(f"wrote {file}" + (" (weights were not saved; this run was trained again for them)" if retrained else ""))


@app.command()
def doctor(on: OnOption = "local", out_dir: OutOption = None) -> None:
    """Look for what a back-end needs on this machine, and say what is missing, each with its cure."""
    from relusweep.cluster.doctor import examine

    missing = False
    for finding in examine(on, out_dir or Path("results")):
        out.print(f"{finding.state:9}{finding.text}")
        missing |= finding.state == "missing"
    raise typer.Exit(missing)


def q(path: Path) -> str:
    """Write a path as a shell reads it, for a line that is to be copied."""
    return shlex.quote(str(path))


class MisuseError(RelusweepError):
    """Said in one line; exit code 2."""


@contextmanager
def _jobs_go_on(store: "Store") -> Iterator[None]:
    """Say so where a launcher is stopped whose jobs are not."""
    from relusweep.cluster.slurm.submission import open_submissions

    try:
        yield
    except BaseException:
        if jobs := [job for each in open_submissions(store) for job in each.jobs]:
            path = q(store.path)
            err.print(f"{store.path}: job(s) {', '.join(jobs)} go on. Next: relusweep watch {path}, or cancel {path}")
        raise


def _use_data(folder: Path | None) -> None:
    if folder is not None:
        os.environ["RELUSWEEP_DATA"] = str(folder)  # workers inherit it


def _read_spec(path: str | Path) -> "Spec":
    from relusweep.analysis.studies import STUDIES
    from relusweep.sweep.spec import Spec, nearest

    sweep = Spec.read(path)
    if sweep.study is not None and sweep.study not in STUDIES:
        raise MisuseError(f"{path}: study = {sweep.study!r}: unknown study; {nearest(sweep.study, tuple(STUDIES))}")
    return sweep


def _say_failed(failures: list[dict[str, Any]]) -> None:
    from relusweep.cluster.progress import failed_packs

    said = ((each["pack_id"], len(each["run_ids"]), f" on {each['host']}: {each['error']}") for each in failures)
    for line in failed_packs(said):
        out.print(line)


def _say_lacking(store: "Store", sweep: "Spec") -> None:
    """Name the runs that were recorded before the spec asked for moments or weights."""
    for table, count in store.lacking(sweep.measure.every != "end", sweep.measure.save_weights).items():
        out.print(f"{count} runs were recorded before [measure] asked for {table}; for theirs, use another --out")


def _open(path: Path) -> "tuple[Store, Spec]":
    from relusweep.sweep.spec import Spec
    from relusweep.sweep.store.store import Store

    store = Store.open(path)
    return store, Spec.read(store.spec_path)


def main(arguments: list[str] | None = None) -> Any:
    """Run a command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(50_000)  # what loads torch makes many objects and no garbage: a fifth of its time
    try:
        code = app(given or ["--help"], prog_name="relusweep", standalone_mode=False)
        if code == _STOPPED:  # typer turns an interrupt into its exit code
            raise KeyboardInterrupt
    except typer.TyperException as error:
        err.print(f"relusweep: {error.format_message()}")
        return 2
    except typer.Abort as abort:  # typer takes every EOFError for Ctrl-D, and no command of ours asks for anything
        raise (abort.__cause__ or abort) from None
    except KeyboardInterrupt:
        err.print("relusweep: stopped; what was in training is kept. The same command goes on from there.")
        return _STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output went away
        return 0
    except RelusweepError as error:
        err.print(f"{type(error).__name__}: {error}")
        return 2
    ended = code if isinstance(code, int) else 0
    return ended if given else 2  # no command is no use


if __name__ == "__main__":
    sys.exit(main())
