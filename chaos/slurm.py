"""SLURM: scenes whose sweeps are tasks of job arrays on a real SLURM of two nodes, and what happens to those."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from chaos.faults import damaged
from chaos.launcher import PATIENCE, Launcher
from chaos.scene import Scene, line_of
from chaos.stage import Fault, Maker, Stage, has_own_disks
from chaos.sweep import Sweeps
from relusweep.cluster.slurm.submission import Submission
from tests.cluster.slurm.cluster import Cluster, lacking

ROOT = Path(__file__).parent.parent
_MACHINE = "partition = '{partition}'\ntime = '60'\ncpus_per_task = 2\n"
_STOP = ("TERM", "USR1", "USR2")


class OnSlurm(Scene):
    """A store whose launchers submit jobs; a local one may join."""

    cluster: Cluster
    partition = "main"
    here = False  # whether the next launcher trains on this machine

    def command(self, workers: int = 1) -> list[str]:
        """Return the command of a sweep on SLURM, or on this machine."""
        if self.here:
            return super().command(workers)
        machine = self.folder / "machine.toml"
        machine.write_text(_MACHINE.format(partition=self.partition), encoding="utf-8")
        given = [str(self.sweep.spec), "--out", str(self.store), "--checkpoint-minutes", "0"]
        return [sys.executable, "-m", "chaos.hasty", "run", *given, "--on", "slurm", "--machine", str(machine)]

    def launch(self, command: list[str], **variables: str) -> Launcher:
        """Start a command of ours that finds the cluster."""
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return super().launch(command, **self.cluster.environment | {"PYTHONPATH": path} | variables)

    def start_here(self, workers: int = 1) -> Launcher:
        """Start a launcher that trains on this machine."""
        self.here = True
        try:
            return self.start(workers)
        finally:
            self.here = False

    def jobs(self) -> list[str]:
        """Return the jobs of this store, the latest last."""
        found = [Submission(path.parent) for path in (self.store / "jobs").glob("*/submission.json")]
        return [job for each in sorted(found, key=lambda each: each.content["time"]) for job in each.jobs]

    def tasks(self) -> list[str]:
        """Return the array tasks of this store that run now."""
        jobs = ",".join(self.jobs())
        return self.cluster.run("squeue", "-h", "-r", "-t", "running", "-j", jobs, "-o", "%i").split() if jobs else []

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return processes of tasks of this store, by what is in their command lines."""
        return [each for each in self.orphans() if all(word in line_of(each) for word in words)]

    def wait_for_task(self, launcher: Launcher) -> None:
        """Wait until a task trains, for a moment of chance."""
        self.wait_until_it_trains(launcher)
        time.sleep(self.chance.uniform(0.0, 1.5))

    def begin(self) -> None:
        """Have something to train; where a new sweep begins, nothing of the last one is left in the queue."""
        self.is_settled = False
        super().begin()

    def finish(self) -> None:
        """Run the same command, undisturbed, on SLURM or on this machine; afterwards no job is left."""
        self.here = self.chance.random() < 0.3
        super().finish()
        self.here = False
        with self.log.open("ab") as log:
            for path in sorted(self.store.glob("jobs/*/logs/*.out")):
                log.write(path.read_bytes())
        self.cluster.clear()


def _killed(scene: OnSlurm, pick: str) -> None:
    """Kill -9: the launcher, the process of a task, a worker of it, or SLURM's own process for it."""
    launcher = scene.start()
    if pick == "launcher":
        scene.wait_for_chance(launcher)
        launcher.kill_all()
    else:
        scene.wait_for_task(launcher)
        words = {"task": ("cluster.slurm.start",), "worker": ("forkserver",)}.get(pick, ())
        found = scene.processes(*words) if words else _step_daemons(scene)
        for process in scene.chance.sample(found, min(1, len(found))):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    scene.check_end(launcher, (-9,) if pick == "launcher" else (0, 1), f"kill -9 of a {pick}")


def _step_daemons(scene: OnSlurm) -> list[psutil.Process]:
    found = [each for node in scene.cluster.nodes for each in scene.cluster.processes(node)]
    return [each for each in found if line_of(each).startswith("slurmstepd")]


def _to_task(scene: OnSlurm, command: tuple[str, ...], codes: tuple[int, ...] = (0,)) -> None:
    """Have SLURM do something to a task that runs."""
    launcher = scene.start()
    scene.wait_for_task(launcher)
    for task in scene.chance.sample(tasks := scene.tasks(), min(1, len(tasks))):
        with suppress(AssertionError):  # it has ended meanwhile
            scene.cluster.run(*command, task)
    scene.check_end(launcher, codes, " ".join(command))


def _held(scene: OnSlurm) -> None:
    """A task is put back into the queue and held; while it waits, its state is damaged."""
    launcher = scene.start()
    scene.wait_for_task(launcher)
    tasks = scene.tasks()
    for task in tasks:
        with suppress(AssertionError):
            scene.cluster.run("scontrol", "requeuehold", task)
    _until(lambda: not scene.processes("cluster.slurm.start"))
    for state in (scene.store / "checkpoints").glob("[!.]*.pt"):
        content = bytearray(state.read_bytes())
        content[scene.chance.randrange(len(content))] ^= 1 << scene.chance.randrange(8)
        state.write_bytes(content)
    for task in tasks:
        with suppress(AssertionError):
            scene.cluster.run("scontrol", "release", task)
    scene.check_end(launcher, (0,), "damage of a waiting task's state")


def _signalled(scene: OnSlurm, number: int) -> None:
    """The launcher gets a stop signal: it leaves, and its jobs go on."""
    launcher = scene.start()
    scene.wait_for_chance(launcher)
    launcher.signal(number)
    scene.check_end(launcher, (0, 130), f"signal {number}")


def _node_lost(scene: OnSlurm) -> None:
    """A node loses power, and comes back."""
    launcher = scene.start()
    scene.wait_for_task(launcher)
    node = scene.chance.choice(scene.cluster.nodes)
    scene.cluster.kill_node(node)
    time.sleep(scene.chance.uniform(0.0, 5.0))
    scene.cluster.restart_node(node)
    scene.check_end(launcher, (0, 1), "loss of a node")


def _no_controller(scene: OnSlurm, early: bool) -> None:
    """The controller is killed, while tasks train or while they are being submitted, and comes back."""
    launcher = scene.start()
    if early:
        scene.wait_for_chance(launcher)
    else:
        scene.wait_for_task(launcher)
    scene.cluster.kill_controller()
    time.sleep(scene.chance.uniform(1.0, 8.0))
    scene.cluster.restart_controller()
    scene.check_end(launcher, (0, 1, 2), "loss of the controller")


def _pre_empted(scene: OnSlurm, partition: str) -> None:
    """Urgent jobs take the nodes for a moment."""
    scene.partition = partition
    launcher = scene.start()
    scene.wait_for_task(launcher)
    for node in scene.cluster.nodes:
        scene.cluster.sbatch("sleep 1", "-p", "high", "--exclusive", f"--nodelist={node}")
    scene.check_end(launcher, (0,), "pre-emption")
    scene.partition = "main"


def _second(scene: OnSlurm, here: bool) -> None:
    """A second launcher meanwhile."""
    first = scene.start()
    if scene.chance.random() < 0.7:
        scene.wait_for_task(first)
    second = scene.start_here() if here else scene.start()
    for launcher in (first, second):
        scene.check_end(launcher, (0,), "of two launchers one")


def _cancelled(scene: OnSlurm) -> None:
    """`relusweep cancel` ends all jobs."""
    launcher = scene.start()
    scene.wait_for_chance(launcher)
    cancel = scene.launch([sys.executable, "-m", "relusweep", "cancel", str(scene.store)])
    scene.check_end(cancel, (0, 2), "cancel")  # 2 where there is no store yet
    scene.check_end(launcher, (0, 1, 130), "a launcher whose jobs are cancelled")


def _until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what() and time.monotonic() < end:
        time.sleep(0.05)


def _reason() -> str:
    if programs := lacking():
        return f"no {', '.join(programs)} on this machine; the Debian packages slurm-wlm and munge bring them"
    return ""


@contextmanager
def _opened(folder: Path, sweeps: Sweeps) -> Iterator[Maker]:
    sweep, own_disks = sweeps.lasting(3), has_own_disks(folder)
    with Cluster(nodes=2, gpus=0) as cluster:

        def make(place: Path, chance: random.Random) -> Scene:
            scene = OnSlurm(place, sweep, chance, own_disks)
            scene.cluster = cluster
            return scene

        yield make


FAULTS: dict[str, Fault] = {
    "kill -9 of the launcher": partial(_killed, pick="launcher"),
    "kill -9 of a task's process": partial(_killed, pick="task"),
    "kill -9 of a task's worker": partial(_killed, pick="worker"),
    "kill -9 of a task's slurmstepd": partial(_killed, pick="step"),
    **{f"{number.name} to the launcher": partial(_signalled, number=number) for number in (
        signal.SIGTERM, signal.SIGHUP)},
    **{f"SIG{name} to a task": partial(_to_task, command=("scancel", f"--signal={name}")) for name in _STOP},
    "scancel of a task": partial(_to_task, command=("scancel",), codes=(0, 1)),
    "scontrol requeue": partial(_to_task, command=("scontrol", "requeue")),
    "relusweep cancel": _cancelled,
    "pre-emption": partial(_pre_empted, partition="main"),
    "pre-emption with a grace time": partial(_pre_empted, partition="grace"),
    "slurmd killed, and started again": _node_lost,
    "slurmctld killed while tasks train, and started again": partial(_no_controller, early=False),
    "slurmctld killed at any moment, and started again": partial(_no_controller, early=True),
    "a second launcher on SLURM": partial(_second, here=False),
    "a second launcher on this machine": partial(_second, here=True),
    "a bit in a state while its task waits": _held,
    "cut in checkpoints/": partial(damaged, folder="checkpoints", how="cut"),
}  # fmt: skip
STAGE = Stage(FAULTS, _opened, _reason, share=0.1, faults_a_scene=4)
