"""Tables and bars."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runs import WORK, Results, Row

FOREIGN = 0.3
"""Cores that the kernel's own threads may use beside a server and its load, for writing back and the network"""


@dataclass(frozen=True)
class Bar:
    """What has to be reached, and what was."""

    what: str
    least: str
    measured: str
    met: bool | None
    """None: not measured"""


def at_least(what: str, bar: float, value: float | None, unit: str = "") -> Bar:
    """The value must not be smaller."""
    return _bar(what, f">= {shown(bar)}{unit}", value, unit, lambda value: value >= bar)


def at_most(what: str, bar: float, value: float | None, unit: str = "") -> Bar:
    """The value must not be larger."""
    return _bar(what, f"<= {shown(bar)}{unit}", value, unit, lambda value: value <= bar)


def _bar(what: str, least: str, value: float | None, unit: str, holds: Callable[[float], bool]) -> Bar:
    if value is None:
        return Bar(what, least, "not measured", None)
    # one digit more than elsewhere: what is missed by little must not look as if it were met
    measured = f"{value:.3f}" if value < 10 else shown(value)
    return Bar(what, least, f"{measured}{unit}", holds(value))


def shown(value: float) -> str:
    """Three digits are all that such figures are worth."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 20 else f"{value:.2f}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown that is readable in a terminal too; the first column is text, the others are numbers."""
    widths = [max(len(row[column]) for row in [head, *lines]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join([first.strip().ljust(widths[0]), *others]) + " |"

    first, *others = widths
    rule = "|" + "|".join(["-" * (first + 2), *("-" * (width + 1) + ":" for width in others)]) + "|"
    return "\n".join([line(head), rule, *map(line, lines)])


def rows(results: Results, measured: Sequence[Row], to: Sequence[str]) -> str:
    """A table a load: medians over the rounds, ratios as medians of the rounds' ratios to each of `to`."""
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
                field: shown(results.median(row.name, peer, field) or 0.0)
                for field in ("requests_s", "records_s", "p50_ms", "p99_ms", "cpu_s_per_million", "cores", "idle_mb")
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


def quiet(results: Results) -> str:
    """A warning where other programs took part."""
    disturbed = [sample for sample in results.samples if sample.foreign_cores > FOREIGN]
    if not disturbed:
        return ""
    return (
        f"\nNOT A QUIET MACHINE: in {len(disturbed)} of {len(results.samples)} runs other programs used more than "
        f"{FOREIGN} cores. Believe none of these figures."
    )


def optional(value: float | None) -> str:
    """A dash for what there is not."""
    return "-" if value is None else shown(value)


def bars(all_bars: Sequence[Bar]) -> str:
    """Each with whether it is met."""
    words = {True: "met", False: "NOT MET", None: "not measured"}
    lines = [[bar.what, bar.least, bar.measured, words[bar.met]] for bar in all_bars]
    return table(["bar", "asked", "measured", ""], lines)


def save(name: str, content: dict[str, object]) -> Path:
    """Keeps the figures."""
    path = WORK / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
    return path


def as_json(all_bars: Sequence[Bar]) -> list[dict[str, object]]:
    """For a file."""
    return [asdict(bar) for bar in all_bars]
