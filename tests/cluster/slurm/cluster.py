"""Cluster: a real SLURM of several nodes on this machine, for as long as a test needs it.

munged, slurmctld and a slurmd a node run as the caller, on loopback, below one temporary folder. Nodes have GPUs that
are none: links to /dev/null, which SLURM hands out like others. There is no accounting, as on many a small cluster.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch

from relusweep.cluster.host.ports import free_ports

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where daemons are, which an ordinary user's PATH leaves out
DAEMONS = ("munged", "slurmctld", "slurmd")
KILL_WAIT = 5  # seconds from TERM to KILL where a partition grants no more
_PATIENCE = 30  # seconds for what takes a tenth of one on a machine that has nothing else to do


def lacking() -> list[str]:
    """Name the programs that a cluster needs and this machine lacks."""
    return [name for name in (*DAEMONS, "munge", "setpriv") if shutil.which(name, path=PATH) is None]


class Cluster:
    """Nodes node1, node2 … in the partitions `main`, `grace` and `high`, whose jobs requeue those of the other two."""

    def __init__(
        self,
        nodes: int = 3,
        gpus: int = 2,
        cpus: int = 4,
        array_size: int = 1001,
        array_tasks: int = 1001,
        *,
        binds: bool = False,
    ) -> None:
        """Describe a cluster; `with` starts it.

        Args:
            nodes: Nodes.
            gpus: GPUs of each, at most 10.
            cpus: Cores of each, as SLURM counts them; the machine need not have them.
            array_size: MaxArraySize: one more than the highest index that an array may have.
            array_tasks: max_array_tasks: how many tasks an array may have.
            binds: Whether tasks are bound to their cores, as on most clusters; then the machine needs to have them.
        """
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.gpus, self.cpus, self.array_size, self.array_tasks, self.binds = gpus, cpus, array_size, array_tasks, binds
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: it holds sockets
        try:
            self._write_configuration()
            self._start("munged", "--foreground", "--force", "--num-threads=2", *self._munge_files())
            self._wait(lambda: self._succeeds("munge", "-n", "-S", str(self._munge_socket)), "munged answers")
            self._start("slurmctld", "-D", "-i")
            self._wait(lambda: self._succeeds("scontrol", "ping"), "slurmctld answers")
            for node in self.nodes:
                self._start_node(node)
            self.wait_until_idle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            self._kill(node)
        for name in list(self._daemons):
            self._end(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    # What a test asks and does ---------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the commands of SLURM find this cluster."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return inherited | {"SLURM_CONF": str(self.configuration), "PATH": PATH}

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command of SLURM and give its output, without the last line break."""
        done = subprocess.run(command, env=self.environment, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def sbatch(self, script: str, *options: str) -> str:
        """Submit shell lines; give the job's id."""
        given = ("--parsable", f"--output={self.folder}/job-%j.out", *options)
        return self.run("sbatch", *given, stdin=f"#!/bin/bash\n{script}\n").split(";")[0]

    def jobs(self) -> dict[str, str]:
        """Give the state of every job that slurmctld remembers, array tasks one by one."""
        return dict(
            line.split() for line in self.run("squeue", "-h", "-a", "-r", "-t", "all", "-o", "%i %T").splitlines()
        )

    def running_on(self, job: str) -> str:
        """Name the node where a job runs, or nothing."""
        return self.run("squeue", "-h", "-t", "running", "-j", job, "-o", "%N")

    def states(self) -> dict[str, str]:
        """Give the state of every node."""
        return dict(line.split() for line in self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines())

    def kill_node(self, node: str) -> None:
        """Cut a node's power, and let slurmctld know at once: by itself it would see after a quarter of a minute."""
        self._kill(node)
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=killed")

    def restart_node(self, node: str) -> None:
        """Switch a killed node on again."""
        self._start_node(node)
        self._wait(lambda: not self.states()[node].startswith("down"), f"{node} is back")

    def kill_controller(self) -> None:
        """Kill slurmctld; jobs go on, and no one can ask about them."""
        self._end("slurmctld")

    def restart_controller(self) -> None:
        """Start a killed slurmctld again, from the state that it saved."""
        self._start("slurmctld", "-D", "-i")
        self._wait(lambda: self._succeeds("scontrol", "ping"), "slurmctld answers again")

    def clear(self) -> None:
        """Cancel every job, switch on every node that was killed, and wait until all are idle."""
        if left := self.run("squeue", "-h", "-a", "-o", "%A").split():
            self.run("scancel", *left)
        for node in self.nodes:
            if self._daemons[node].poll() is not None:
                self._start_node(node)
        self.wait_until_idle(10 * _PATIENCE)  # of a task without slurmstepd SLURM learns late

    def wait_until_idle(self, seconds: float = _PATIENCE) -> None:
        """Wait until every node is up and none has a job."""
        self._wait(lambda: self.states() == dict.fromkeys(self.nodes, "idle"), "all nodes are idle", seconds)

    # Daemons ---------------------------------------------------------------------------------------------------------

    def _start(self, program: str, *options: str, name: str = "") -> None:
        name = name or program
        with (self.folder / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(  # setpriv: should the tests be killed, nothing of theirs stays
                ["setpriv", "--pdeathsig", "KILL", program, *options], env=self.environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _end(self, name: str) -> None:
        daemon = self._daemons.get(name)
        if daemon is not None and daemon.poll() is None:
            os.killpg(daemon.pid, signal.SIGKILL)  # slurmctld has a process of its own for scripts
            daemon.wait()

    def _start_node(self, node: str) -> None:
        (self.folder / "spool" / node).mkdir(parents=True)
        self._start("slurmd", "-D", "-N", node, name=node)

    def _kill(self, node: str) -> None:
        self._end(node)
        while found := list(self.processes(node)):  # again, as one may have been starting another
            for process in found:
                process.kill()
            psutil.wait_procs(found, timeout=0.1)
        shutil.rmtree(self.folder / "spool" / node, ignore_errors=True)  # else a job that returns finds its old script

    def processes(self, node: str) -> Iterator[psutil.Process]:
        """Find the jobs of a node: step daemons by the log that they hold open, the others by their environment."""
        log = str(self._log(node))
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.name() == "slurmstepd":  # has written its title over its environment
                    if any(file.path == log for file in process.open_files()):
                        yield process
                else:
                    variables = process.environ()
                    ours = variables.get("SLURM_CONF") == str(self.configuration)
                    if ours and variables.get("SLURMD_NODENAME") == node:
                        yield process
            except psutil.Error:  # another user's, or it has ended meanwhile
                continue

    def _succeeds(self, *command: str) -> bool:
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def _wait(self, what: Callable[[], bool], claim: str, seconds: float = _PATIENCE) -> None:
        end = time.monotonic() + seconds
        while not what():
            dead = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            assert time.monotonic() < end, f"not so after {seconds} s: {claim}. Ended: {dead}\n{self._last_words()}"
            time.sleep(0.02)

    def _last_words(self) -> str:
        logs = sorted([*self.folder.glob("*.out"), *self.folder.glob("*.log")])
        return "\n".join(f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-5:])

    # Configuration ---------------------------------------------------------------------------------------------------

    @property
    def configuration(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.folder / "slurm.conf"

    @property
    def _munge_socket(self) -> Path:
        return self.folder / "munge.socket"

    def _munge_files(self) -> list[str]:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        files = {"pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munged.seed"}
        rest = [f"--{option}={self.folder / name}" for option, name in files.items()]
        return [f"--key-file={key}", f"--socket={self._munge_socket}", "--origin=127.0.0.1", *rest]

    def _log(self, node: str) -> Path:
        return self.folder / f"slurmd-{node}.log"

    def _write_configuration(self) -> None:
        gpus = [self.folder / f"gpu{number}" for number in range(self.gpus)]
        for gpu in gpus:
            gpu.symlink_to("/dev/null")  # SLURM insists on a device
        names = f"node[1-{len(self.nodes)}]"
        lines = ["AutoDetect=off", *(f"NodeName={names} Name=gpu File={gpu}" for gpu in gpus)]
        (self.folder / "gres.conf").write_text("\n".join(lines) + "\n")
        host, ports = socket.gethostname().split(".")[0], free_ports(1 + len(self.nodes), "127.0.0.1")
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} RealMemory=64000"
            + (f" Gres=gpu:{self.gpus}" if gpus else "")
            for node, port in zip(self.nodes, ports[1:], strict=True)
        )
        # cred_expire: a requeued job waits so long and a second; 5 is the least that is accepted, 120 the default.
        # CR_CPU and config_overrides: nodes have the cores that we say, and memory is not counted.
        self.configuration.write_text(f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={_user()}
SlurmdUser={_user()}
AuthType=auth/munge
AuthInfo=socket={self._munge_socket},cred_expire=5
{"CommunicationParameters=NoCtldInAddrAny,NoInAddrAny" if _is_loopback(host) else ""}
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool/%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd-%n.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self._log("%n")}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/{"affinity" if self.binds else "none"}
TaskPluginParam=Cores
MpiDefault=none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,max_array_tasks={self.array_tasks}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ALL
MaxArraySize={self.array_size}
ReturnToService=2
MinJobAge=3600
KillWait={KILL_WAIT}
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES DefaultTime=60 PriorityTier=1
PartitionName=grace Nodes=ALL DefaultTime=60 PriorityTier=1 GraceTime=10
PartitionName=high Nodes=ALL DefaultTime=60 PriorityTier=10 PreemptMode=OFF
""")


def room_for(workers: int) -> dict[str, int]:
    """Return what a machine file asks of this cluster for so many workers a job.

    A GPU each, as on most clusters; but these GPUs are none, and a torch that could use them refuses to do without.
    """
    if torch.version.cuda is not None:
        return {"cpus_per_task": workers}
    return {"gpus_per_node": 2, "gpus_per_job": workers}


def _user() -> str:
    return psutil.Process().username()


def _is_loopback(host: str) -> bool:
    """Tell whether daemons that bind to their host's name stay on loopback; elsewhere munge alone guards them."""
    try:
        return socket.gethostbyname(host).startswith("127.")
    except OSError:
        return False
