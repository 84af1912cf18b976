"""`relusweep run`."""

from typing import Annotated

import typer

from relusweep.cli.arguments import (
    DataOption,
    MachineOption,
    MisuseError,
    OnOption,
    OutOption,
    SpecArgument,
    TrustOption,
    WorkersOption,
    default_store,
    read_spec,
    use_data,
)
from relusweep.cli.store_lines import print_lacking
from relusweep.cli.terminal import err, out, quoted


def run(
    spec: SpecArgument,
    out_dir: OutOption = None,
    on: OnOption = "local",
    machine: MachineOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
    trust: TrustOption = False,
    checkpoint_minutes: Annotated[float, typer.Option(min=0.0, help="Between states of unfinished packs.")] = 2.0,
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as the jobs are submitted.")] = False,
    report_after: Annotated[bool, typer.Option("--report", help="Submit a job that writes the report last.")] = False,
) -> None:
    """Train all runs of a sweep that are not recorded yet. The same command resumes and extends."""
    from relusweep.cluster.ahead import prepare

    prepare(on, workers)
    from relusweep.cluster.backend import BACKENDS, LaunchOptions, QueueingBackend, backend, submits_jobs
    from relusweep.cluster.launch import launch
    from relusweep.cluster.progress import Display, Watcher, failed_packs

    use_data(data)
    sweep = read_spec(spec)
    if trust:
        sweep.sources.take_code()
    path = out_dir or default_store(sweep)
    if (detach or report_after) and not submits_jobs(on):
        others = " or ".join(f"--on {name}" for name in BACKENDS if submits_jobs(name))
        raise MisuseError(f"{'--detach' if detach else '--report'}: --on {on} submits no jobs; expected {others}.")
    place = backend(on, workers, machine, LaunchOptions(out.print, not detach, report_after))
    launched = launch(
        sweep, path, place, on, checkpoint_seconds=60 * checkpoint_minutes, stay=not detach, say=err.print,
        show=lambda tally: Display(Watcher(tally), out),
    )  # fmt: skip
    if launched.failed:
        packs = ((each.pack.id, len(each.pack.runs), f": {each.error}") for each in launched.failed)
        for line in failed_packs(packs):
            err.print(line)
        err.print(
            f"{path}: {launched.failed_runs} runs failed; see {path}/failures. The same command tries them again."
        )
        raise typer.Exit(1)
    print_lacking(launched.tally.store, sweep)
    if report_after and isinstance(place, QueueingBackend) and not place.report_submitted:
        err.print(f"{path}: nothing was submitted, so no job writes the report. Next: relusweep report {quoted(path)}")
    if detach and (left := len(launched.tally.missing)):
        out.print(
            f"{path}: jobs are to train {left} runs. Next: relusweep watch {quoted(path)}, or cancel {quoted(path)}"
        )
        if sweep.refine:
            out.print(f"{path}: [refine] may ask for more when they are recorded: then the same command again.")
    else:
        out.print(f"{path}: all {launched.tally.count} runs are recorded. Next: relusweep report {quoted(path)}")
