"""Outcomes: what came of the faults of a campaign, and the table of it."""

from collections import Counter
from dataclasses import dataclass, field

HEAD = ["| fault | injected | exit codes of what met it | rows lost, doubled or changed |", "|---|--:|---|---|"]


@dataclass
class Tally:
    """What came of faults of one kind."""

    injected: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


@dataclass
class Outcomes:
    """All of them, by stage and kind, and for how long no launcher showed anything."""

    tallies: dict[str, dict[str, Tally]]
    reasons: dict[str, str] = field(default_factory=dict)  # of stages that there are none of here
    silence: dict[str, float] = field(default_factory=dict)  # the longest, in seconds, by stage

    @property
    def injected(self) -> int:
        """Faults of all kinds."""
        return sum(tally.injected for tallies in self.tallies.values() for tally in tallies.values())

    def broken(self) -> dict[str, list[str]]:
        """Return what did not hold, by stage and kind."""
        each = (
            (f"{stage}: {name}", tally) for stage, tallies in self.tallies.items() for name, tally in tallies.items()
        )
        return {name: tally.broken for name, tally in each if tally.broken}

    def lines(self) -> list[str]:
        """Return faults × outcomes, in Markdown, a table for each stage."""
        lines = []
        for stage, tallies in self.tallies.items():
            lines += [f"## {stage}", ""]
            if stage in self.reasons:
                lines += [f"Not disturbed: {self.reasons[stage]}.", ""]
                continue
            lines += [*HEAD, *(_row(name, tally) for name, tally in tallies.items() if tally.injected)]
            injected = sum(tally.injected for tally in tallies.values())
            lines += [f"| **all** | **{injected}** | | {_count(tallies)} |", ""]
            lines += [f"The longest time without a sign of life: {self.silence.get(stage, 0.0):.0f} s.", ""]
        kinds = len(self.broken())
        return [*lines, f"**{self.injected} faults in all; {f'{kinds} kinds' if kinds else 'none'} broke anything.**"]


def _row(name: str, tally: Tally) -> str:
    codes = ", ".join(f"{code} ({count})" for code, count in sorted(tally.codes.items()))
    return f"| {name} | {tally.injected} | {codes} | {'; '.join(tally.broken) or 'none'} |"


def _count(tallies: dict[str, Tally]) -> str:
    broken = sum(bool(tally.broken) for tally in tallies.values())
    return f"{broken} kinds" if broken else "none"
