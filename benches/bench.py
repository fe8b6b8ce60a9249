#!/usr/bin/env python3
"""`make bench`: compares this server with other servers, in turns on one machine. See README.md."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import measure
import report
from report import Bar, at_least, at_most
from runs import WORK, Results, Row, folder_for, maker, one_round
from servers import DIALECTS, MODES, OTHER_SERVERS, Ours, Server

ROWS = (
    Row("single-c64", 1, 64, ("bare", "nginx", "journal", "os", "disk", "tls")),
    Row("single-c512", 1, 512, ("bare", "nginx", "journal", "os", "disk")),
    Row("single-c1", 1, 1, ("bare", "nginx", "journal", "os", "disk")),
    Row("batch100-c64", 100, 64, ("bare", "nginx", "journal", "os", "disk", *DIALECTS)),
    Row("batch1000-c64", 1000, 64, ("bare", "nginx", "journal", "os", "disk")),
)
LONE_SENDER = "single-c1"
OTHER = "-other"
"""Suffix of the peers that run the build given by `--other`"""


def main() -> int:
    arguments = parse()
    rows = chosen_rows(arguments)
    if not rows:
        print(f"no such row; there are {', '.join(row.name for row in ROWS)}", file=sys.stderr)
        return 2
    makers: dict[str, Callable[[Path], Server]] = dict(OTHER_SERVERS)
    for name, options in MODES.items():
        makers[name] = maker(**options)
        makers[name + OTHER] = maker(program=arguments.other, **options)
    WORK.mkdir(parents=True, exist_ok=True)
    machine = measure.machine(WORK)
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    print("wrk: one thread, pinned to one core; records with a message of 100 bytes\n", flush=True)

    begin = time.perf_counter()
    syncs: list[measure.Sync] = []
    results = Results([], {})
    # Batches leave gigabytes to write back and keep the machine busy for a while, so single records
    # come first.
    lighter, heavier = ([row for row in rows if (row.records > 1) is heavy] for heavy in (False, True))
    turns = [
        (number, row) for part in (lighter, heavier) for number in range(arguments.rounds) for row in part
    ]
    for number, row in turns:
        # The latency of a disk drifts, so its own fdatasync is measured right before and right
        # after the lone sender.
        before = probe() if row.name == LONE_SENDER else []
        # Batches fill a gigabyte of memory a second.
        seconds = max(1, arguments.seconds - 1) if row.records > 1 else arguments.seconds
        one_round(results, [row], makers, number, seconds)
        if row.name == LONE_SENDER:
            syncs.append(measure.Sync(before + probe()))
    starts = ready_times(arguments.starts)

    all_bars = bars(results, syncs, starts)
    yardsticks = [name for name in ("bare", "nginx") if results.has(name)]
    print(f"\n{report.rows(results, rows, yardsticks)}\n")
    if arguments.other:
        print(f"This build, of {arguments.other}\n\n{report.builds(results, rows, OTHER)}\n")
    if syncs:
        p50, p99 = (
            statistics.median(getattr(sync, field) for sync in syncs) for field in ("p50_ms", "p99_ms")
        )
        print(
            f"fdatasync of 150 bytes in the same folder: p50 {report.shown(p50)} ms, p99 {report.shown(p99)} ms"
        )
    print(f"start to READY, empty log: {', '.join(f'{value * 1e3:.1f}' for value in starts)} ms\n")
    print(report.bars(all_bars))
    for name, why in results.missing.items():
        print(f"\nleft out: {name}: {why}")
    print(report.quiet(results))
    problems = results.problems()
    print(
        "\nEvery acknowledged record is in its file, whole." if not problems else "\n" + "\n".join(problems)
    )
    path = report.save(
        "bench",
        {
            "machine": machine,
            "arguments": {name: str(value) for name, value in vars(arguments).items()},
            "results": results.as_json(),
            "fdatasync": [{"p50_ms": sync.p50_ms, "p99_ms": sync.p99_ms} for sync in syncs],
            "start_ms": [value * 1e3 for value in starts],
            "bars": report.as_json(all_bars),
        },
    )
    print(f"{time.perf_counter() - begin:.0f} s; all figures in {path}")
    return 1 if problems else 0


def parse() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", nargs="+", metavar="NAME", default=["single", "batch100", "batch1000"], help="loads"
    )
    parser.add_argument(
        "--peers", nargs="+", metavar="NAME", help="servers to run: bare, nginx, journal, os, disk, tls, or a dialect (all)"
    )
    parser.add_argument(
        "--other", type=program, metavar="FILE", help="a second build of moca-file-log to compare with"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all loads and servers (5)")
    parser.add_argument(
        "--seconds", type=int, default=3, help="of load in each run, one less for batches (3)"
    )
    parser.add_argument("--starts", type=int, default=5, help="starts that are timed (5)")
    return parser.parse_args()


def program(text: str) -> Path:
    """Returns the absolute path of an existing file."""
    path = Path(text).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path


def chosen_rows(arguments: argparse.Namespace) -> list[Row]:
    """Returns the rows that the options name.

    With `--other`, each mode of this server is followed by the other build.
    """
    rows = []
    for row in ROWS:
        if not any(row.name == name or row.name.startswith(name + "-") for name in arguments.rows):
            continue
        peers = [peer for peer in row.peers if arguments.peers is None or peer in arguments.peers]
        if arguments.other:
            peers = [name for peer in peers for name in ([peer, peer + OTHER] if peer in MODES else [peer])]
        if peers:
            rows.append(replace(row, peers=tuple(peers)))
    return rows


def probe() -> list[float]:
    """Returns the latencies of the disk's own fdatasync, in milliseconds."""
    with folder_for("fdatasync") as folder:
        return measure.fdatasync(folder, 0.5).times


def ready_times(count: int) -> list[float]:
    """Returns the seconds from the start of the process to READY with an empty log, once for each
    start.
    """
    times = []
    for _ in range(count):
        with folder_for("start") as folder:
            server = Ours(folder, "disk")
            try:
                times.append(server.start_timed())
            finally:
                server.stop()
    return times


def bars(results: Results, syncs: list[measure.Sync], starts: list[float]) -> list[Bar]:
    """Returns the goals of this server and what was measured.

    Ratios are those of `Results.ratio`.
    """
    single, batch, large = "single-c64", "batch100-c64", "batch1000-c64"
    lone = [
        sample.p50_ms / sync.p50_ms
        for sample, sync in zip(results.of(LONE_SENDER, "disk"), syncs, strict=False)
    ]
    larger = results.ratio(large, "os", "os", to_row=batch)
    modes = tuple(MODES)
    return [
        at_least("single c64, os: of bare hyper", 0.80, results.ratio(single, "os", "bare")),
        at_least("single c64, os: of nginx logging the body", 1.5, results.ratio(single, "os", "nginx")),
        at_most(
            "single c64, os: CPU per million records",
            12,
            results.median(single, "os", "cpu_s_per_million"),
            " s",
        ),
        at_least("single c64, disk: of bare hyper", 0.45, results.ratio(single, "disk", "bare")),
        at_least("single c512, disk: of bare hyper", 0.60, results.ratio("single-c512", "disk", "bare")),
        at_most(
            "single c1, disk: p50 of the disk's own fdatasync", 1.5, statistics.median(lone) if lone else None
        ),
        at_least("batch of 100 c64, os: records/s", 2e6, results.median(batch, "os", "records_s")),
        at_least("batch of 100 c64, os: of nginx logging the body", 1.0, results.ratio(batch, "os", "nginx")),
        at_least("batch of 100 c64, disk: of os", 0.85, results.ratio(batch, "disk", "os")),
        *(
            at_least(f"batch of 100 c64, {dialect}: of os", 0.5, results.ratio(batch, dialect, "os"))
            for dialect in DIALECTS
        ),
        at_least("batch of 1000 c64, os: records/s of the batch of 100", 1.0, larger),
        at_most("single c64, os: p99 of bare hyper's", 3.0, results.ratio(single, "os", "bare", "p99_ms")),
        at_most("idle memory", 12, results.most(modes, "idle_mb"), " MB"),
        at_most("peak memory in every row", 32, results.most(modes, "peak_mb"), " MB"),
        at_most("start to READY, empty log", 20, statistics.median(starts) * 1e3 if starts else None, " ms"),
        at_least("single c64 over kept-alive TLS: of plain", 0.7, results.ratio(single, "tls", "os")),
    ]


if __name__ == "__main__":
    sys.exit(main())
