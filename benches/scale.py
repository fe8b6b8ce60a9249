#!/usr/bin/env python3
"""`make bench-scale`: measures what growth, starts, reads, searches, neighbours and followers cost.

See README.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import measure
import report
from big_log import BigLog, make_big
from report import Section
from runs import WORK, folder_for
from scale_read import reads, search, size
from scale_write import followers, growth, neighbours, workers

PARTS: dict[str, Callable[[argparse.Namespace, BigLog], Section]] = {
    "size": size,
    "growth": growth,
    "reads": reads,
    "search": search,
    "workers": workers,
    "neighbours": neighbours,
    "followers": followers,
}


def main() -> int:
    arguments = parse()
    WORK.mkdir(parents=True, exist_ok=True)
    machine = measure.machine(WORK)
    print("\n".join(f"{name}: {value}" for name, value in machine.items()) + "\n", flush=True)
    begin = time.perf_counter()
    sections: dict[str, Section] = {}
    with folder_for("big") as folder:
        big = make_big(folder, int(arguments.gigabytes * 1e9))
        for name in arguments.parts:
            print(f"## {name}\n", flush=True)
            sections[name] = PARTS[name](arguments, big)
    bars = [bar for section in sections.values() for bar in section.bars]
    problems = [problem for section in sections.values() for problem in section.problems]
    print(report.bars(bars))
    print(
        "\nEvery acknowledged record is in its file, whole." if not problems else "\n" + "\n".join(problems)
    )
    content: dict[str, object] = {
        "machine": machine,
        "arguments": vars(arguments),
        "bars": report.as_json(bars),
    }
    path = report.save("bench-scale", content | {name: section.figures for name, section in sections.items()})
    print(f"{time.perf_counter() - begin:.0f} s; all figures in {path}")
    return 1 if problems else 0


def parse() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured (all)"
    )
    parser.add_argument(
        "--rounds", type=int, default=6, help="rounds of each comparison, twice as many of growth (6)"
    )
    parser.add_argument("--seconds", type=int, default=2, help="of load in each run (2)")
    parser.add_argument("--starts", type=int, default=5, help="starts of each kind (5)")
    parser.add_argument("--gigabytes", type=float, default=10, help="size of the large file (10)")
    parser.add_argument("--read-mb", type=int, default=500, help="size of the file that is read (500)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
