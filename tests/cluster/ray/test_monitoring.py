"""A sweep that runs is found in Ray's dashboard by a browser, and in Prometheus with the files of slurm/monitoring."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from relusweep.sweep.spec import Spec
from tests.cluster.ray.cluster import ROOT, Cluster

MONITORING = ROOT / "slurm" / "monitoring"
SPEC = """
name = "watched"
study = "stability"
[fixed]
problem = "sine"
n = 8
d = 2
n_test = 4
[[block]]
fixed = { max_steps = 400 }
grid = { lr = [0.05, 0.1, 100.0], seed = { range = [0, 4] }, width = [4, 5] }
[[block]]
fixed = { max_steps = 1_000_000_000, tolerance = 0.0 }
grid = { lr = [0.05], seed = [0], width = [6, 7, 8] }
"""
COMMAND = (
    "-m", "relusweep", "run", "watched.toml", "--on", "ray", "--out", "store", "--checkpoint-minutes", "0"
)  # fmt: skip
METRICS = {
    "ray_relusweep_runs_total": {"sweep", "node", "device", "status"},
    "ray_relusweep_run_steps_per_second": {"sweep", "node", "device"},
    "ray_relusweep_seconds_since_progress": {"sweep", "node", "device"},
    "ray_relusweep_device_bytes": {"sweep", "node", "device"},
    "ray_relusweep_packs": {"sweep", "state"},
}


def ask(url: str, token: str = "", **parameters: str) -> Any:
    """Read JSON from a server of this machine."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    request = urllib.request.Request(url + query, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request) as page:
        return json.load(page)


def reply(cluster: Cluster, path: str, **parameters: str) -> Any:
    """Ask the dashboard."""
    return ask(f"http://{cluster.dashboard}{path}", Path(cluster.token).read_text(), **parameters)


def workers(cluster: Cluster) -> list[Any]:
    """Actors that train, or could."""
    found = reply(cluster, "/api/v0/actors", detail="1", limit="1000")["data"]["result"]["result"]
    return [each for each in found if each["class_name"] == "PackTrial" and each["state"] == "ALIVE"]


def events(cluster: Cluster, job: str) -> list[str]:
    """What workers of a job have logged of packs; with 200 files open, Ray moves those of dead workers to `old`."""
    logs = Path(cluster.token).parent / "ray" / "session_latest" / "logs"
    texts = [path.read_text(encoding="utf-8") for path in logs.rglob(f"worker-*-{job}-*.out")]
    return [line for text in texts for line in text.splitlines() if line.startswith("pack ")]


def patient(look: Callable[[], Any]) -> Callable[[], Any]:
    """Take a server that does not answer yet, and a file that is being moved, for one with nothing in it."""

    def patiently() -> Any:
        try:
            return look()
        except OSError:
            return None

    return patiently


def needed(*programs: str) -> None:
    if lacking := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"no {', '.join(lacking)}; the Debian packages prometheus, chromium and chromium-driver bring them")


@pytest.fixture(scope="module")
def watched(ray_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spec]:
    """A sweep that is in training: two packs of 12 runs end, and three of one run never do."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "watched.toml").write_text(SPEC)
    here = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["python", *COMMAND], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | ray_cluster.environment | here,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not list((folder / "store").glob("progress/[!.]*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it does not begin"
        time.sleep(0.05)
    yield Spec.read(folder / "watched.toml")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 130, said


@pytest.fixture(scope="module")
def prometheus(ray_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's Prometheus with our configuration, in which only addresses differ, and the patience."""
    needed("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    text = (MONITORING / "prometheus.yml").read_text().replace("5s", "2s")
    (folder / "prometheus.yml").write_text(text.replace("127.0.0.1:8265", ray_cluster.dashboard))
    (folder / "token").symlink_to(ray_cluster.token)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=series", f"--web.listen-address={where}"],
        cwd=folder, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"http://{where}"
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, which reaches nothing but this machine."""
    needed("chromium", "chromedriver")
    if find_spec("selenium") is None:
        pytest.skip("no selenium; pip install 'relusweep[dev]' brings it")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,700", offline):
        options.add_argument(option)
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield chromium
    chromium.quit()


@pytest.fixture
def query(watched: Spec, prometheus: str, until: Callable[..., Any]) -> Callable[[str], list[Any]]:
    """Ask Prometheus until there is an answer."""

    def ask_for(expression: str) -> list[Any]:
        return until(patient(lambda: ask(f"{prometheus}/api/v1/query", query=expression)["data"]["result"]))

    return ask_for


def test_prometheus_counts_the_runs_of_the_sweep(query: Callable[[str], list[Any]], until: Callable[..., Any]) -> None:
    def counted(metric: str, label: str) -> dict[str, int]:
        found = query(f'sum by ({label}) ({metric}{{sweep="watched"}})')
        return {each["metric"][label]: int(each["value"][1]) for each in found}

    packs = {"pending": 1, "running": 2, "done": 2, "failed": 0, "retried": 0}
    until(lambda: counted("ray_relusweep_packs", "state") == packs)
    until(lambda: counted("ray_relusweep_runs_total", "status") == {"budget": 16, "diverged": 8})
    assert query('ray_relusweep_run_steps_per_second{sweep="watched"} > 0')
    assert query('ray_relusweep_device_bytes{sweep="watched"} > 2^20')
    assert query('ray_relusweep_seconds_since_progress{sweep="watched"} < 10')


def test_metrics_name_sweep_node_and_device_and_never_a_run(query: Callable[[str], list[Any]], watched: Spec) -> None:
    rays = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId", "job", "instance", "__name__"}
    found = query('{__name__=~"ray_relusweep_.*", sweep="watched"}')
    labels = {
        each["metric"]["__name__"]: {key for key in each["metric"] if key not in rays and not key.startswith("otel_")}
        for each in found
    }
    assert labels == METRICS
    ids = {run.id for run in watched.expand()}
    assert not [each for each in found if ids & set(each["metric"].values())]


def test_every_expression_for_grafana_has_an_answer(query: Callable[[str], list[Any]], prometheus: str) -> None:
    board = json.loads((MONITORING / "sweep.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    named = {name for each in expressions for name in re.findall(r"ray_\w+", each)}
    assert named == set(METRICS)
    query("ray_relusweep_runs_total")
    for expression in expressions:
        assert query(expression.replace("$sweep", "watched").replace("$node", ".*"))
    for variable in board["templating"]["list"][1:]:
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
        asked = {"match[]": series.replace("$sweep", "watched")}
        assert ask(f"{prometheus}/api/v1/label/{label}/values", **asked)["data"]
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "sweep", "node"]


def test_promtool_accepts_the_configuration() -> None:
    needed("promtool")
    done = subprocess.run(
        ["promtool", "check", "config", MONITORING / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "SUCCESS" in done.stdout


def test_doctor_finds_token_cluster_and_prometheus(
    ray_cluster: Cluster, prometheus: str, query: Callable[[str], list[Any]], cli: Callable[..., Any],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings = {"RAY_PROMETHEUS_HOST": prometheus, "PATH": str(tmp_path)}  # where no SLURM is
    for name, value in (ray_cluster.environment | settings).items():
        monkeypatch.setenv(name, value)
    assert query("up")
    said = cli("doctor", "--on", "ray")
    assert said.code == 0, said.out
    assert f"\nok       RAY_AUTH_TOKEN_PATH: {ray_cluster.token}, only you can read it\n" in said.out
    assert f"\nok       RAY_ADDRESS={ray_cluster.address}: reachable\n" in said.out
    assert f"\nok       Prometheus: {prometheus} answers\n" in said.out


def test_dashboard_names_job_and_actors_and_logs_each_event_of_a_pack(
    watched: Spec, ray_cluster: Cluster, until: Callable[..., Any]
) -> None:
    jobs = [job for job in reply(ray_cluster, "/api/jobs/") if job["metadata"].get("job_name") == "watched (stability)"]
    assert [(job["status"], job["entrypoint"]) for job in jobs] == [("RUNNING", " ".join(("python", *COMMAND)))]
    until(patient(lambda: len(workers(ray_cluster)) == 2))
    assert {(each["class_name"], each["repr_name"], each["job_id"]) for each in workers(ray_cluster)} == {
        ("PackTrial", "relusweep watched (stability)", jobs[0]["job_id"])
    }
    said = until(patient(lambda: lines if len(lines := events(ray_cluster, jobs[0]["job_id"])) == 6 else []))
    begun = (
        r"pack \w{16}: (12 runs, problem sine, n = 8, d = 2, width [45], at most 400|1 run, .*1000000000) steps, on cpu"
    )
    assert sum(bool(re.fullmatch(begun, line)) for line in said) == 4
    assert sum(bool(re.fullmatch(r"pack \w{16}: recorded", line)) for line in said) == 2


def test_browser_finds_the_sweep_with_the_token_and_without_internet(
    watched: Spec, ray_cluster: Cluster, prometheus: str, browser: Any, query: Callable[[str], list[Any]]
) -> None:  # fmt: skip
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    def shown(*texts: str) -> None:
        WebDriverWait(browser, 60).until(
            lambda _: all(text in browser.find_element(By.TAG_NAME, "body").text for text in texts), f"no {texts}"
        )

    url, title = f"http://{ray_cluster.dashboard}", "watched (stability)"
    browser.get(f"{url}/#/jobs")
    field = WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "[role=dialog] input"))
    assert title not in browser.find_element(By.TAG_NAME, "body").text
    field[0].send_keys(Path(ray_cluster.token).read_text())
    browser.find_element(By.XPATH, "//*[@role='dialog']//button[normalize-space()='Submit']").click()
    shown(title, "RUNNING")
    browser.get(f"{url}/#/actors")
    shown(f"relusweep {title}", "PackTrial")
    assert query("ray_relusweep_run_steps_per_second")
    panels = (
        "sum by (status) (ray_relusweep_runs_total)",
        "sum by (node, device) (ray_relusweep_run_steps_per_second)",
    )
    asked = {f"g{n}.{key}": value for n, text in enumerate(panels)
             for key, value in {"expr": text, "tab": "0", "range_input": "1m"}.items()}  # fmt: skip
    browser.get(f"{prometheus}/graph?{urllib.parse.urlencode(asked)}")
    shown("diverged", "budget", "cpu")


def test_pack_whose_worker_died_is_counted_and_logged_as_retried(
    watched: Spec, ray_cluster: Cluster, query: Callable[[str], list[Any]], until: Callable[..., Any]
) -> None:
    victim = workers(ray_cluster)[0]
    os.kill(int(victim["pid"]), signal.SIGKILL)
    again = r"pack \w{16}: 1 run, .*, on cpu, from its last state"
    until(patient(lambda: any(re.fullmatch(again, line) for line in events(ray_cluster, victim["job_id"]))))
    assert query('ray_relusweep_packs{sweep="watched", state="retried"} == 1')
    assert query('sum(ray_relusweep_runs_total{sweep="watched"}) == 24')
