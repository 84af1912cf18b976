"""`python -m chaos`: a campaign. Disturbs sweeps with faults of every kind, and shows what came of it."""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from chaos.faults import FAULTS
from chaos.scene import SPEC, Scene
from relusweep.cluster.host.cores import own_cores

_SECONDS = 1.5  # that a pack's training is to take on this machine
_FAULTS_A_SCENE = 6


@dataclass
class Tally:
    """What came of faults of one kind."""

    injected: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """Run a campaign; return 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=28.0, help="after which no scene begins")
    parser.add_argument("--seed", type=int, default=0, help="of all that is left to chance")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--page", type=Path, help="where the table is to be written, in Markdown")
    given = parser.parse_args(arguments)
    names = [name for name in FAULTS if given.only in name]
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        spec, undisturbed = prepared(folder)
        tallies = campaign(folder, spec, undisturbed, names, given.seed, 60 * given.minutes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = table(tallies)
    print("\n".join(lines))
    if given.page:
        intro = Path(__file__).with_name("intro.txt").read_text(encoding="utf-8")
        intro = intro.format(minutes=given.minutes, seed=given.seed, cores=own_cores(), scene=_FAULTS_A_SCENE)
        given.page.write_text("\n".join([intro, *lines, ""]), encoding="utf-8")
    return any(tally.broken for tally in tallies.values())


def prepared(folder: Path) -> tuple[Path, Path]:
    """Write a spec whose packs take some seconds here, and train it undisturbed."""
    spec, undisturbed = folder / "chaos.toml", folder / "undisturbed"
    steps, few = 100_000, 500
    for _ in range(2):  # the first to see how fast this machine is, its programs compiled
        shutil.rmtree(undisturbed, ignore_errors=True)
        spec.write_text(SPEC.format(steps=steps, few=few), encoding="utf-8")
        command = [sys.executable, "-m", "relusweep", "run", str(spec), "--out", str(undisturbed), "--workers", "1"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = pq.read_table(undisturbed / "runs", columns=["optimizer", "seconds"]).to_pylist()
        taken = {rule: sum(row["seconds"] for row in rows if row["optimizer"] == rule) for rule in ("gd", "adam")}
        if steps > 100_000:
            break
        steps = max(100_001, round(steps * 2 * _SECONDS / taken["gd"]))
        few = max(100, round(few * _SECONDS / taken["adam"]))
    return spec, undisturbed


def campaign(
    folder: Path, spec: Path, undisturbed: Path, names: list[str], seed: int, seconds: float
) -> dict[str, Tally]:
    """Put faults into scenes, a few in each, until all have had their turn and the time is up."""
    chance, end = random.Random(seed), time.monotonic() + seconds
    tallies = {name: Tally() for name in names}
    own_disk = _can_mount(folder)
    waiting: list[str] = []
    number = 0
    while time.monotonic() < end:
        waiting = waiting or chance.sample(names, len(names))
        mine = [waiting.pop() for _ in range(min(_FAULTS_A_SCENE, len(waiting)))]
        number += 1
        scene = Scene(folder / f"scene{number}", spec, undisturbed, random.Random(f"{seed} {number}"), own_disk)
        began = time.monotonic()
        with scene.set_up():
            for name in mine:
                before = len(scene.codes)
                FAULTS[name](scene)
                tallies[name].injected += 1
                tallies[name].codes.update(scene.codes[before:])
            scene.finish()
            broken = scene.violations()
            if broken:
                print(f"--- scene {number}: {'; '.join(mine)}\n{scene.log.read_text(errors='replace')}", flush=True)
        for name in mine if broken else ():
            tallies[name].broken += broken
        held = "held" if not broken else f"BROKEN: {'; '.join(broken)}"
        total = sum(tally.injected for tally in tallies.values())
        print(f"{number}: {'; '.join(mine)} · {time.monotonic() - began:.0f} s · {total} faults · {held}", flush=True)
    return tallies


def table(tallies: dict[str, Tally]) -> list[str]:
    """Return faults × outcomes, in Markdown."""
    lines = ["| fault | injected | exit codes of what met it | rows lost, doubled or changed |", "|---|--:|---|---|"]
    for name, tally in ((name, tally) for name, tally in tallies.items() if tally.injected):
        codes = ", ".join(f"{code} ({count})" for code, count in sorted(tally.codes.items()))
        lines.append(f"| {name} | {tally.injected} | {codes} | {'; '.join(tally.broken) or 'none'} |")
    total = sum(tally.injected for tally in tallies.values())
    broken = sum(bool(tally.broken) for tally in tallies.values())
    return [*lines, f"| **all** | **{total}** | | {f'{broken} kinds' if broken else 'none'} |"]


def _can_mount(folder: Path) -> bool:
    place = folder / "mounted"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, check=False).returncode == 0
    if mounted:
        subprocess.run(["umount", place], check=True)
    return mounted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
