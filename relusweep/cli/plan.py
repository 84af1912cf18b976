"""`relusweep plan`."""

from relusweep.cli.arguments import (
    DataOption,
    MachineOption,
    OnOption,
    OutOption,
    SpecArgument,
    TrustOption,
    WorkersOption,
    default_store,
    read_spec,
    use_data,
)
from relusweep.cli.terminal import err, out


def plan(
    spec: SpecArgument,
    out_dir: OutOption = None,
    on: OnOption = "local",
    machine: MachineOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
    trust: TrustOption = False,
) -> None:
    """Say what a sweep would train, in how many packs, files and hours. Submits and writes nothing."""
    from relusweep.cluster.backend import LaunchOptions, backend
    from relusweep.cluster.plan import plan as count

    use_data(data)
    sweep = read_spec(spec)
    if trust:
        sweep.sources.take_code()
    path = out_dir or default_store(sweep)
    counted = count(sweep, path, backend(on, workers, machine, LaunchOptions(err.print)), err.print)
    for name, value in counted.rows(path, on).items():
        out.print(f"{name:18}{value}")
    if counted.foreseen and counted.foreseen.script:
        out.print(f"\n{counted.foreseen.script}")
