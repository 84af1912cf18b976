"""Ray: scenes whose sweeps are trials on a real Ray, of the launcher's own or one that runs already."""

import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil

from chaos.faults import damaged
from chaos.launcher import Launcher
from chaos.scene import Scene
from chaos.stage import Fault, Maker, Stage, has_own_disks
from chaos.sweep import Sweeps
from tests.cluster.ray.cluster import Cluster

_LOST = "BackendError: --on ray: the process that drives Ray was ended from outside"
_RECONNECT_SECONDS = "3"  # for which Ray waits for a GCS that is gone: ten as launchers have it


class Standing:
    """A Ray that runs already, started when it is needed first, and anew when it was lost."""

    def __init__(self) -> None:
        self.cluster: Cluster | None = None

    def variables(self) -> dict[str, str]:
        """Return what leads to it."""
        if self.cluster is None or self.cluster.process.poll() is not None:
            self.cluster = Cluster(cpus=2)
        return self.cluster.environment

    def workers(self) -> list[psutil.Process]:
        """Return processes that train, or could."""
        return self.cluster.workers() if self.cluster else []

    def close(self) -> None:
        """End it."""
        if self.cluster is not None:
            self.cluster.close()


class OnRay(Scene):
    """A store whose launchers train on Ray."""

    standing: Standing
    home: Path  # for temporary files: a short name, as Ray's sockets want
    leaving_seconds = 90.0  # two processes of Ray leave a minute after the rest

    def command(self, workers: int = 1) -> list[str]:
        """Return the command of a sweep on Ray."""
        given = [str(self.sweep.spec), "--out", str(self.store), "--checkpoint-minutes", "0", "--on", "ray"]
        return [sys.executable, "-m", "relusweep", "run", *given, "--workers", str(workers)]

    def start(self, workers: int = 1, within: tuple[str, ...] = (), **variables: str) -> Launcher:
        """Start a launcher on the Ray that runs already."""
        return super().start(workers, within, **self.standing.variables() | variables)

    def start_own(self, workers: int = 1) -> Launcher:
        """Start a launcher that starts a Ray of its own."""
        own = {"RAY_gcs_rpc_server_reconnect_timeout_s": _RECONNECT_SECONDS, "TMPDIR": str(self.home)}
        return super().start(workers, (), **own)

    def start_here(self) -> Launcher:
        """Start a launcher that trains in a process of its own."""
        return self.launch(super().command())

    def finish(self) -> None:
        """Run the same command, undisturbed, on Ray or on this machine."""
        launcher = self.start_here() if self.chance.random() < 0.5 else self.start()
        self.check_end(launcher, (0,), "the same command again")


def _killed(scene: OnRay, pick: str) -> None:
    """Kill -9: the launcher, the driver below it, or a worker of Ray's."""
    launcher = scene.start(scene.chance.choice((1, 2)))
    if pick == "worker":
        scene.wait_until_it_trains(launcher)
        time.sleep(scene.chance.uniform(0.0, 1.5))
        found = [each for each in scene.standing.workers() if "relusweep" in each.name() or "Pack" in each.name()]
    else:
        scene.wait_for_chance(launcher)
        group = launcher.group()
        found = group[:1] if pick == "launcher" else group[1:2]
    for process in found[:1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    scene.check_end(launcher, {"launcher": (-9,), "driver": (0, 2)}.get(pick, (0,)), f"kill -9 of the {pick}")


def _lost(scene: OnRay, program: str) -> None:
    """A launcher's own Ray loses its GCS, or its raylet, at a moment of chance."""
    before = scene.log.stat().st_size
    launcher = scene.start_own()
    scene.wait_for_chance(launcher)
    found = [each for each in launcher.group() if _name(each) == program]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    scene.check_end(launcher, (0, 2), f"kill -9 of {program}")
    printed = _printed(scene, before)
    told = "BackendError: " in printed or scene.codes[-1] != 2
    scene.check(told, f"kill -9 of {program}: no line of ours: {printed[-300:]}")


def _printed(scene: OnRay, before: int) -> str:
    """Return what launchers have printed since."""
    with scene.log.open("rb") as log:
        log.seek(before)
        return log.read().decode(errors="replace")


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _signalled(scene: OnRay, number: int) -> None:
    """A stop signal to the launcher, sometimes twice, on either kind of Ray."""
    before = scene.log.stat().st_size
    launcher = scene.start_own() if scene.chance.random() < 0.3 else scene.start()
    scene.wait_for_chance(launcher)
    launcher.signal(number)
    if scene.chance.random() < 0.3:
        time.sleep(scene.chance.uniform(0.0, 0.3))
        launcher.signal(number)
    code = scene.ended(launcher)
    # where the machine is too busy for it, Ray gives up starting, and the launcher says so
    held = code in (0, 130) or (code == 2 and "BackendError: --on ray: Ray did not start" in _printed(scene, before))
    scene.check(held, f"signal {number}: exit code {code}")


def _cluster_lost(scene: OnRay) -> None:
    """The Ray that runs already is killed as a whole."""
    launcher = scene.start(2, RAY_gcs_rpc_server_reconnect_timeout_s=_RECONNECT_SECONDS)
    scene.wait_until_it_trains(launcher)
    cluster = scene.standing.cluster
    if cluster is not None:
        for process in [*psutil.Process(cluster.process.pid).children(recursive=True), cluster.process]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        cluster.process.communicate()
    scene.check_end(launcher, (0, 2), "loss of the whole Ray")


def _second(scene: OnRay) -> None:
    """A second launcher meanwhile, on this machine."""
    first = scene.start()
    if scene.chance.random() < 0.5:
        scene.wait_until_it_trains(first)
    second = scene.start_here()
    for launcher in (first, second):
        scene.check_end(launcher, (0,), "of two launchers one")


def _reason() -> str:
    return "" if find_spec("ray") else "no Ray; pip install 'relusweep[ray]' brings it"


@contextmanager
def _opened(folder: Path, sweeps: Sweeps) -> Iterator[Maker]:
    sweep, own_disks, standing = sweeps.lasting(3), has_own_disks(folder), Standing()
    with tempfile.TemporaryDirectory(prefix="chaos-", dir="/tmp") as home:

        def make(place: Path, chance: random.Random) -> Scene:
            scene = OnRay(place, sweep, chance, own_disks)
            scene.standing, scene.home = standing, Path(home)
            return scene

        try:
            yield make
        finally:
            standing.close()


FAULTS: dict[str, Fault] = {
    "kill -9 of the launcher": partial(_killed, pick="launcher"),
    "kill -9 of the driver": partial(_killed, pick="driver"),
    "kill -9 of a worker": partial(_killed, pick="worker"),
    "kill -9 of the GCS": partial(_lost, program="gcs_server"),
    "kill -9 of the raylet": partial(_lost, program="raylet"),
    "loss of a Ray that ran already": _cluster_lost,
    **{f"{number.name} to the launcher": partial(_signalled, number=number) for number in (
        signal.SIGTERM, signal.SIGINT, signal.SIGHUP)},
    "a second launcher on this machine": _second,
    "bit in checkpoints/": partial(damaged, folder="checkpoints", how="bit"),
}  # fmt: skip
STAGE = Stage(FAULTS, _opened, _reason, share=0.08, faults_a_scene=4)
