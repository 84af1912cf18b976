"""How long a spec of a million runs takes to expand, each run checked and named, and how much memory that needs."""

import resource
import time

from relusweep.sweep.spec import Spec

TEXT = """
name = "million"
[fixed]
problem = "pyramid"
[[block]]
grid = { lr = { log = [0.01, 1.0, 1000] }, seed = { range = [0, 1000] } }
"""


def main() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    count = sum(len(run.id) == 32 for run in Spec.parse(TEXT, "million").expand())
    seconds = time.process_time() - start
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{count:,} runs in {seconds:.1f} s, {seconds / count * 1e6:.1f} µs a run; {more / 1024:.1f} MiB of memory")


if __name__ == "__main__":
    main()
