"""`relusweep doctor` says what is there and what is missing, with its cure; exit code 1 if the back-end needs it."""

import re
import resource
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from relusweep.cluster.backend import BACKENDS
from relusweep.cluster.doctor import CHECKS
from relusweep.cluster.finding import Finding, library
from tests.cluster.slurm.cluster import Cluster


@pytest.fixture
def nowhere() -> str:
    """An address of this machine where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster unless a test asks for one, no servers, no programs, and a home without anything."""
    if "slurm" in request.fixturenames:
        return
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("RAY_PROMETHEUS_HOST", "RAY_GRAFANA_HOST"):
        monkeypatch.setenv(name, f"http://{nowhere}")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def token(nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster's token, as it should lie, though the cluster is gone."""
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("f" * 64)
    monkeypatch.setenv("RAY_ADDRESS", nowhere)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    return path


def test_laptop_lacks_nothing_that_it_needs(cli: Callable[..., Any], tmp_path: Path, nowhere: str) -> None:
    said = cli("doctor")
    assert (said.code, said.err) == (0, "")
    assert f"\nok       store: {tmp_path}: can be written, " in said.out
    assert f"ok       Python {sys.version.split()[0]}, torch {torch.__version__}\n" in said.out
    assert re.search(r"^ok       compiled kernels: kept in /.+$", said.out, flags=re.M)
    assert re.search(r"^ok       ray \d+\.\d+\.\d+$", said.out, flags=re.M)
    assert "\nok       token: made for each sweep\n" in said.out
    assert (
        "\nabsent   SLURM: no sbatch, squeue, scontrol, scancel; --on slurm needs them. "
        "Use a login node; SLURM may come in a module.\n"
    ) in said.out
    assert (
        f"\nabsent   Prometheus: http://{nowhere} does not answer. "
        "To see curves: slurm/monitoring; RAY_PROMETHEUS_HOST says where it is.\n"
    ) in said.out
    assert "missing" not in said.out
    assert {each.name for each in tmp_path.iterdir()} == {"home"}


def test_what_the_back_end_needs_is_missing_and_not_only_absent(cli: Callable[..., Any]) -> None:
    said = cli("doctor", "--on", "slurm")
    assert (said.code, said.err) == (1, "")
    assert "\nmissing  SLURM: no sbatch, " in said.out


def test_unknown_back_end_is_refused(cli: Callable[..., Any]) -> None:
    said = cli("doctor", "--on", "moon")
    assert (said.code, said.out) == (2, "")
    assert said.err == f"BackendError: --on moon: unknown back-end; expected one of {', '.join(BACKENDS)}.\n"


def test_every_back_end_but_this_machine_says_what_it_needs() -> None:
    assert {*CHECKS, "local"} == set(BACKENDS)


@pytest.mark.parametrize(("needed", "state"), [(True, "missing"), (False, "absent")])
def test_library_that_is_not_installed_is_named_with_the_command_that_installs_it(needed: bool, state: Any) -> None:
    found = library("no-such-ray", "ray", needed)
    assert found == Finding(state, "no-such-ray: not installed; --on ray needs it. pip install 'relusweep[ray]'")


def test_token_that_others_can_read_is_named(cli: Callable[..., Any], token: Path, nowhere: str) -> None:
    said = cli("doctor", "--on", "ray")
    assert said.code == 1
    assert f"\nok       RAY_AUTH_TOKEN_PATH: {token}, only you can read it\n" in said.out
    assert re.search(rf"^missing  RAY_ADDRESS={nowhere}: .*; expected HOST:PORT of a running", said.out, flags=re.M)

    token.chmod(0o644)
    said = cli("doctor", "--on", "ray")
    assert (
        f"\nmissing  RAY_AUTH_TOKEN_PATH: {token}: mode 0644; expected one only you can read. chmod 600 {token}\n"
    ) in said.out
    assert f"\nabsent   RAY_AUTH_TOKEN_PATH: {token}: mode 0644; " in cli("doctor").out
    token.write_text("\n")
    assert f"\nmissing  RAY_AUTH_TOKEN_PATH: {token}: empty; " in cli("doctor", "--on", "ray").out
    token.unlink()
    assert (
        f"\nmissing  RAY_AUTH_TOKEN_PATH: {token}: No such file or directory; expected the file with the cluster's token.\n"
    ) in cli("doctor", "--on", "ray").out


def test_token_of_ray_itself_counts_where_a_cluster_is_named(
    cli: Callable[..., Any], token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    assert "\nok       token: none, as a cluster is asked for none\n" in cli("doctor").out
    rays = tmp_path / "home" / ".ray" / "auth_token"
    rays.parent.mkdir()
    shutil.copy(token, rays)
    assert f"\nok       token: {rays}, only you can read it\n" in cli("doctor").out
    monkeypatch.delenv("RAY_ADDRESS")
    assert f"\nok       token: made for each sweep; {rays} is not used\n" in cli("doctor").out
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    assert "\nok       RAY_AUTH_TOKEN: holds a token\n" in cli("doctor").out


def test_place_of_the_store_that_cannot_be_written_is_missing(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = cli("doctor", "--out", tmp_path / "file" / "store")
    assert said.code == 1
    assert (
        f"\nmissing  store: {tmp_path}/file: Not a directory; expected a folder that can be written. "
        "Choose another --out.\n"
    ) in said.out


def test_what_a_file_system_cannot_promise_is_said(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relusweep.cluster.doctor.sync", lambda folder: False)
    assert " GiB free; this file system cannot sync folders: what is recorded" in cli("doctor", "--out", tmp_path).out


def test_full_disk_is_missing(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relusweep.cluster.doctor._LEAST_BYTES", shutil.disk_usage(tmp_path).total)
    said = cli("doctor")
    assert said.code == 1
    assert re.search(
        rf"^missing  store: {tmp_path}: \d+ MiB free; expected \d+ GiB. Choose another --out\.$", said.out, flags=re.M
    )


def test_temporary_folder_too_deep_for_sockets_is_named(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 40)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    said = cli("doctor", "--on", "ray")
    assert said.code == 0
    assert (
        f"\nabsent   {deep}: too long a path for Ray's sockets; /tmp is taken. A shorter TMPDIR avoids that.\n"
        in said.out
    )


def test_few_threads_are_named(cli: Callable[..., Any]) -> None:
    old = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (4000, old[1]))
    try:
        said = cli("doctor")
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, old)
    assert "\nabsent   threads: 4000 are allowed; Ray may want 4096. ulimit -u 4096, or fewer --workers.\n" in said.out


def test_kernels_that_cannot_be_kept_are_named(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert (
        "\nabsent   compiled kernels: nowhere to keep them. Set NUMBA_CACHE_DIR to a folder of yours.\n"
        in cli("doctor").out
    )


def test_cluster_that_answers_lacks_only_accounting(slurm: Cluster, cli: Callable[..., Any]) -> None:
    said = cli("doctor", "--on", "slurm")
    assert (said.code, said.err) == (0, "")
    assert "\nok       SLURM: answers\n" in said.out
    assert "\nabsent   SLURM: no accounting; how jobs ended that left the queue stays unknown.\n" in said.out
