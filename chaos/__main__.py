"""`python -m chaos`: a campaign. Disturbs sweeps with faults of every kind, and shows what came of it."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.campaign import Campaign
from chaos.stages import BACKENDS, STAGES
from relusweep.cluster.host.cores import own_cores


def main(arguments: list[str]) -> int:
    """Run a campaign; return 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=27.0, help="after which no fault is injected")
    parser.add_argument("--seed", type=int, default=0, help="of all that is left to chance")
    parser.add_argument("--on", choices=[*BACKENDS], action="append", help="back-ends; again for several; default: all")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--lanes", type=int, default=4, help="scenes that are played side by side")
    parser.add_argument("--page", type=Path, help="where the table is to be written, in Markdown")
    given = parser.parse_args(arguments)
    names = [name for backend in given.on or BACKENDS for name in BACKENDS[backend]]
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        campaign = Campaign(folder, {name: STAGES[name] for name in names}, given.seed, given.only)
        outcomes = campaign.play(60 * given.minutes, given.lanes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(outcomes.lines()))
    if given.page:
        intro = Path(__file__).with_name("intro.txt").read_text(encoding="utf-8")
        intro = intro.format(minutes=given.minutes, seed=given.seed, cores=own_cores(), lanes=given.lanes)
        given.page.write_text("\n".join([intro, *outcomes.lines(), ""]), encoding="utf-8")
    return bool(outcomes.broken())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
