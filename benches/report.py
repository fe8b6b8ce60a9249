"""Tables of results, and bars: the goals with what was measured."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runs import WORK, Results, Row

MAX_FOREIGN_CORES = 0.3
"""Cores that the kernel's own threads need at most beside a server and its load, for write-back and
the network.
"""


@dataclass(frozen=True)
class Bar:
    """A goal and what was measured."""

    what: str
    least: str
    measured: str
    met: bool | None
    """None when nothing was measured."""


@dataclass
class Section:
    """The results of one part of `make bench-scale`."""

    bars: list[Bar] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def at_least(what: str, bar: float, value: float | None, unit: str = "") -> Bar:
    """Returns a bar that is met by values of `bar` and above."""
    return _bar(what, f">= {shown(bar)}{unit}", value, unit, lambda value: value >= bar)


def at_most(what: str, bar: float, value: float | None, unit: str = "") -> Bar:
    """Returns a bar that is met by values of `bar` and below."""
    return _bar(what, f"<= {shown(bar)}{unit}", value, unit, lambda value: value <= bar)


def _bar(what: str, least: str, value: float | None, unit: str, holds: Callable[[float], bool]) -> Bar:
    if value is None:
        return Bar(what, least, "not measured", None)
    # One digit more than elsewhere, so that a near miss does not look like the bar.
    measured = f"{value:.3f}" if value < 10 else shown(value)
    return Bar(what, least, f"{measured}{unit}", holds(value))


def shown(value: float) -> str:
    """Returns the value with about three digits, which is its precision."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 20 else f"{value:.2f}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table, aligned for terminals.

    The first column is text, the others are numbers.
    """
    widths = [max(len(row[column]) for row in [head, *lines]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join([first.strip().ljust(widths[0]), *others]) + " |"

    first, *others = widths
    rule = "|" + "|".join(["-" * (first + 2), *("-" * (width + 1) + ":" for width in others)]) + "|"
    return "\n".join([line(head), rule, *map(line, lines)])


def rows(results: Results, measured: Sequence[Row], to: Sequence[str]) -> str:
    """Returns one table for each load: medians over the rounds, and `Results.ratio` to each of
    `to`.
    """
    tables = []
    for row in measured:
        head = ["", "requests/s", "records/s", *(f"x {peer}" for peer in to), "p50 ms", "p99 ms"]
        head += ["CPU s/M rec.", "cores", "idle MB", "peak MB", "foreign cores"]
        lines = []
        for peer in row.peers:
            samples = results.of(row.name, peer)
            if not samples:
                continue
            middle = {
                name: shown(results.median(row.name, peer, name) or 0.0)
                for name in (
                    "requests_s",
                    "records_s",
                    "p50_ms",
                    "p99_ms",
                    "cpu_s_per_million",
                    "cores",
                    "idle_mb",
                )
            }
            line = [peer, middle.pop("requests_s"), middle.pop("records_s")]
            line += [optional(results.ratio(row.name, peer, other)) for other in to]
            line += middle.values()
            line += [shown(max(sample.peak_mb for sample in samples))]
            line += [shown(max(sample.foreign_cores for sample in samples))]
            lines.append(line)
        if lines:
            tables.append(f"{row.name}\n\n{table(head, lines)}")
    return "\n\n".join(tables)


def builds(results: Results, measured: Sequence[Row], suffix: str) -> str:
    """Returns a table of this build against the build whose peers have `suffix`: ratios, as medians over the rounds.

    `least` and `most` are the extremes of the ratio of requests.
    """
    head = ["row", "requests/s", "least", "most", "p50", "p99", "CPU", "idle MB", "peak MB"]
    lines = []
    for row in measured:
        for peer in row.peers:
            requests = results.ratios(row.name, peer, peer + suffix)
            if not requests:
                continue
            fields = ("p50_ms", "p99_ms", "cpu_s_per_million", "idle_mb", "peak_mb")
            others = [optional(results.ratio(row.name, peer, peer + suffix, name)) for name in fields]
            ratios = [statistics.median(requests), min(requests), max(requests)]
            lines.append([f"{row.name} {peer}", *(f"{ratio:.3f}" for ratio in ratios), *others])
    return table(head, lines)


def quiet(results: Results) -> str:
    """Returns a warning when other programs used the machine, and an empty text otherwise."""
    disturbed = [sample for sample in results.samples if sample.foreign_cores > MAX_FOREIGN_CORES]
    if not disturbed:
        return ""
    return (
        f"\nNOT A QUIET MACHINE: in {len(disturbed)} of {len(results.samples)} runs other programs used more than "
        f"{MAX_FOREIGN_CORES} cores. The figures are not valid."
    )


def optional(value: float | None) -> str:
    """Returns a dash for a missing value."""
    return "-" if value is None else shown(value)


def bars(all_bars: Sequence[Bar]) -> str:
    """Returns the table of bars."""
    words = {True: "met", False: "NOT MET", None: "not measured"}
    lines = [[bar.what, bar.least, bar.measured, words[bar.met]] for bar in all_bars]
    return table(["bar", "asked", "measured", ""], lines)


def save(name: str, content: dict[str, object]) -> Path:
    """Writes the figures to a new JSON file and returns its path."""
    path = WORK / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
    return path


def as_json(all_bars: Sequence[Bar]) -> list[dict[str, object]]:
    """Returns the bars for the JSON file."""
    return [asdict(bar) for bar in all_bars]
