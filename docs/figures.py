"""Make every picture of these pages that a sweep is in, by the commands that a reader would type: `make figures`.

The demo is trained for its picture. The other sweeps take longer: theirs are drawn from stores in `results/`, and where
one is missing, its pictures stay as they are and the command that would train it is printed. Each picture holds, as PNG
text, the store that it is of and the runs that it shows, so that a test can hold them against the text of the pages.

    python docs/figures.py [PICTURE ...]        all of them by default
"""

import io
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image, PngImagePlugin

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
WIDEST = 1500  # pixels of a picture; reports have figures of 2,100
PAGE = (1000, 1450)  # pixels of the report that are shown
ALWAYS = "demo"  # the only spec that is trained for its picture, in a minute


@dataclass(frozen=True)
class Picture:
    """Where a picture comes from.

    Attributes:
        store: Name of a shipped spec, and of its store in `results/`.
        figure: Key of the figure in the report, or None for the beginning of the page itself.
        options: What `relusweep run` needs besides the name of the spec.
    """

    store: str
    figure: str | None
    options: str = ""

    @property
    def command(self) -> str:
        """What trains the store."""
        return f"relusweep run {self.store}{self.options}"


PICTURES: dict[str, Picture] = {
    "report.png": Picture("demo", None),
    "stability_mnist.png": Picture("stability_mnist", "stability", " --data DIR"),
    "depth_separation.png": Picture("depth_separation_critical", "separation"),
    "critical_step.png": Picture("depth_separation_critical", "critical"),
    "depth_full.png": Picture("depth_separation", "separation"),
    "depth_sizes.png": Picture("depth_separation", "scaling"),
    "depth_functions.png": Picture("depth_separation_quick", "functions"),
}

# Pages of other programs, photographed while a sweep was in training.
BY_HAND: dict[str, str] = {
    "ray_jobs.png": "the jobs of Ray's dashboard during `relusweep run stability_digits --on ray`",
    "ray_prometheus.png": "two expressions in Prometheus during the same; slurm/monitoring/README.md sets it up",
}


def main(wanted: Sequence[str]) -> int:
    """Make pictures, all of `PICTURES` by default, and print a line about each.

    Returns:
        0, or 2 if there is no picture of such a name.
    """
    if unknown := [name for name in wanted if name not in PICTURES]:
        print(f"figures: got {', '.join(unknown)}; expected some of {', '.join(PICTURES)}.", file=sys.stderr)
        return 2
    chosen = {name: picture for name, picture in PICTURES.items() if not wanted or name in wanted}
    reported: dict[str, Path | None] = {}
    for name, picture in chosen.items():
        if picture.store not in reported:
            reported[picture.store] = report(picture)
        folder = reported[picture.store]
        lacking = unmet(picture, folder)
        if folder is None or lacking:
            print(f"docs/{name}: left as it is: {lacking}")
            continue
        content = photograph(folder / "index.html") if picture.figure is None else _read(folder, picture.figure)
        save(content, DOCS / name, {"Source": picture.command, "Runs": runs(folder.parent)})
        print(f"docs/{name}: made from {folder.parent.relative_to(ROOT)}")
    if not wanted:
        for name, what in BY_HAND.items():
            print(f"docs/{name}: left as it is: taken by hand, {what}")
    return 0


def report(picture: Picture) -> Path | None:
    """Write the report of a store and return its folder; None without a store. That of the demo is trained first."""
    store = ROOT / "results" / picture.store
    place = f"results/{picture.store}"  # as it stands on the page
    if picture.store == ALWAYS:
        relusweep("run", picture.store, "--out", place)
    elif not (store / "store.json").exists():
        return None
    relusweep("report", place)
    return store / "report"


def unmet(picture: Picture, folder: Path | None) -> str | None:
    """Return what a picture lacks, with the cure; None if it can be made."""
    if folder is None:
        return f"no results/{picture.store}. Train it with `{picture.command}`"
    if picture.figure is not None:
        return None if (folder / f"{picture.figure}.png").exists() else f"the report has no figure {picture.figure}"
    programs = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    if programs:
        return f"no {' or '.join(programs)}. Install them: apt-get install chromium chromium-driver"
    return None if find_spec("selenium") else "no selenium. Install it: pip install 'relusweep[dev]'"


def relusweep(*arguments: str) -> None:
    """Run a command of relusweep in the root of this checkout.

    Raises:
        subprocess.CalledProcessError: if it fails, after it has printed why.
    """
    subprocess.run([sys.executable, "-m", "relusweep", *arguments], cwd=ROOT, check=True)


def photograph(page: Path) -> bytes:
    """Return the beginning of a page as headless Chromium shows it, as a PNG of `PAGE` pixels."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    offline = "--host-resolver-rules=MAP * ~NOTFOUND"
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", offline):
        options.add_argument(option)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        size = {"width": PAGE[0], "height": PAGE[1], "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        return browser.get_screenshot_as_png()
    finally:
        browser.quit()


def runs(store: Path) -> str:
    """Return how the runs of a store ended, in the words of its report: `3 runs: 2 converged, 1 diverged`."""
    table = pl.read_parquet(store / "runs" / "*.parquet", columns=["run_id", "status"]).unique("run_id")
    counts = table["status"].value_counts().sort("count", "status", descending=[True, False])
    return f"{len(table)} runs: {', '.join(f'{count} {status}' for status, count in counts.iter_rows())}"


def save(content: bytes, path: Path, texts: dict[str, str]) -> None:
    """Write a picture of at most `WIDEST` pixels across, with texts that tell where it comes from."""
    picture: Any = Image.open(io.BytesIO(content)).convert("RGB")
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS)
    described = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        described.add_text(key, text)
    picture.save(path, optimize=True, pnginfo=described)


def _read(folder: Path, figure: str) -> bytes:
    return (folder / f"{figure}.png").read_bytes()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
