"""Who may use a Ray cluster, and what is said to those who cannot."""

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relusweep.cluster.backend import BackendError, backend
from relusweep.cluster.ray.cluster import _in_one_line, dashboard
from tests.cluster.ray.cluster import ROOT, Cluster


def test_only_those_with_the_token_get_in(
    ray_cluster: Cluster, launch: Callable[..., Any], tiny: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    url = f"http://{ray_cluster.dashboard}/api/v0/nodes"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url)
    token = Path(ray_cluster.token).read_text()
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})) as page:
        assert page.status == 200

    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    monkeypatch.setenv("HOME", str(tmp_path))  # where no ~/.ray is
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
    for given, got in (({}, "none"), ({"RAY_AUTH_TOKEN_PATH": str(wrong)}, f"that of {wrong}")):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        refused = launch("run", tiny(), "--on", "ray", "--out", tmp_path / "store")
        _, err = refused.communicate()
        assert (refused.returncode, err) == (
            2, f"BackendError: RAY_ADDRESS={ray_cluster.address}: the cluster asks for its token, got {got}; "
            "expected RAY_AUTH_TOKEN_PATH=FILE with it.\n"
        )  # fmt: skip
    assert not (tmp_path / "store").exists()


def test_more_workers_than_the_cluster_has_are_refused(on_ray: Cluster) -> None:
    with pytest.raises(BackendError, match=r"^--workers 3: RAY_ADDRESS=.*: 2 CPU\(s\); expected 3\.$"):
        backend("ray", 3)


def test_process_that_had_imported_ray_gets_in(ray_cluster: Cluster) -> None:
    code = """
import os, sys, ray
os.environ |= zip(("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"), sys.argv[1:], strict=True)
from relusweep.cluster.ray.cluster import connected
with connected():
    print(int(ray.cluster_resources()["CPU"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, ray_cluster.address, ray_cluster.token],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_address_where_nothing_answers_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for where in (f"127.0.0.1:{port}", "nonsense", "127.0.0.1:port"):
        monkeypatch.setenv("RAY_ADDRESS", where)
        with pytest.raises(BackendError, match=rf"^RAY_ADDRESS={where}: .*; expected HOST:PORT of a running cluster\."):
            backend("ray", None)
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    with pytest.raises(
        BackendError, match=r"^RAY_ADDRESS=ray://127.0.0.1:10001: got a client's address; expected HOST:PORT"
    ):
        backend("ray", None)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (RuntimeError("a page of a log\nand another\n\nThe current node timed out.\n"), "The current node timed out"),
        (ConnectionError(), "ConnectionError"),
    ],
    ids=str,
)
def test_start_of_ray_that_fails_is_one_line(error: Exception, problem: str) -> None:
    with pytest.raises(BackendError) as caught, _in_one_line():
        raise error
    assert str(caught.value) == (
        f"--on ray: Ray did not start on this machine: {problem}; expected it to. The same command tries again; "
        "relusweep doctor --on ray looks for what is missing."
    )


def test_machine_file_is_refused() -> None:
    with pytest.raises(BackendError, match=r"^--machine m.toml: a file of SLURM's; expected --on slurm with it"):
        backend("ray", None, Path("m.toml"))


def test_missing_ray_is_one_line(tiny: Callable[..., Path], tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from relusweep.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(tiny()), "--on", "ray", "--out", str(tmp_path / "store")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("BackendError: --on ray: import of ray halted")
    assert done.stderr.endswith("expected Ray. pip install 'relusweep[ray]'\n")


def test_dashboard_of_another_machine_comes_with_its_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert dashboard("127.0.0.1:8265") == "http://127.0.0.1:8265"
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 5000 10.0.0.2 22")
    monkeypatch.setattr("platform.node", lambda: "node7")
    assert dashboard("127.0.0.1:8266") == "http://localhost:8266 after `ssh -N -L 8266:127.0.0.1:8266 node7`."
