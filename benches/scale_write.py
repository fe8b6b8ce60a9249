"""The parts of `make bench-scale` that write: growth, workers, neighbours, followers."""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import measure
import report
from big_log import BigLog
from load import Wrk
from report import Section, at_least, at_most
from runs import Companion, Results, Row, folder_for, maker, one_round, problems_of
from servers import BIN, KEY, MESSAGE, PASSWORD, Ours, Server

KEYS = 10_000
ADDRESSES = 100_000
IDLE_CONNECTIONS = 10_000
FOLLOWERS = 1_000


def growth(arguments: argparse.Namespace, big: BigLog) -> Section:
    """Measures one load with more keys, addresses, limits, lines or connections than the base."""
    # Idle connections must stay open through the run. All servers have the same timeout, so that
    # they differ in one thing.
    patient = {"keep_alive_timeout": 600}
    makers: dict[str, Callable[[Path], Server]] = {
        "base": maker(http=patient),
        "keys": maker(http=patient, keys=KEYS),
        "blocked": maker(http=patient, blocked=ADDRESSES),
        "limits": maker(http=patient, rate="1000000000/hour"),
        "big-file": maker(http=patient, log=big.path, state=big.state),
        "idle": maker(http=patient),
    }
    with folder_for("count") as folder:
        wait_until_counted(Ours(folder, log=big.path, state=big.state))
    row = Row("growth-c64", 1, 64, tuple(makers))
    results = Results([], {})
    # A round of six servers takes long, and the host drifts meanwhile. Hence shorter runs, and more
    # of them.
    for number in range(2 * arguments.rounds):
        one_round(results, [row], makers, number, max(1, arguments.seconds - 1), {"idle": IdleConnections})
    print(f"\n{report.rows(results, [row], ['base'])}\n{report.quiet(results)}\n")
    asked = {
        "keys": (f"{KEYS:,} keys", 0.95),
        "blocked": (f"{ADDRESSES:,} blocked addresses in either list", 0.95),
        "big-file": (f"a file of {big.name}", 0.95),
        "limits": ("rate limits on every key", 0.95),
        "idle": (f"{IDLE_CONNECTIONS:,} idle connections", 0.90),
    }
    bars = [
        at_least(f"{what}: of the base figure", bar, results.ratio(row.name, peer, "base"))
        for peer, (what, bar) in asked.items()
    ]
    return Section(bars, results.as_json(), results.problems())


class IdleConnections(Companion):
    """Connections that sent one request and stay open."""

    def __init__(self, server: Server) -> None:
        self.sockets: list[socket.socket] = []
        for _ in range(IDLE_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: bench\r\n\r\n")
            if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("an idle connection was refused")
            self.sockets.append(connection)

    def close(self) -> None:
        for connection in self.sockets:
            connection.close()


def wait_until_counted(server: Ours) -> None:
    """Waits until the first process on a large file has counted its lines, before anything is
    measured.
    """
    try:
        server.start_timed()
        while server.details()["counting"]:
            time.sleep(0.5)
    finally:
        server.stop()


def workers(arguments: argparse.Namespace, _big: BigLog) -> Section:
    """Compares `workers = 2` with one.

    Only gzipped batches cost wrk so little that a second core is free for the server.
    """
    makers: dict[str, Callable[[Path], Server]] = {
        f"{name}{suffix}": maker(http={"workers": count}, gzipped=gzipped)
        for name, count in (("one", 1), ("two", 2))
        for suffix, gzipped in (("", False), ("-gzip", True))
    }
    plain, gzipped = ("one", "two"), ("one-gzip", "two-gzip")
    rows = [
        Row("single-c64", 1, 64, plain),
        Row("batch100-c64", 100, 64, plain),
        Row("gzip-batch100-c64", 100, 64, gzipped),
    ]
    results = Results([], {})
    for number in range(arguments.rounds):
        one_round(results, rows, makers, number, arguments.seconds)
    print(f"\n{report.rows(results, rows, ['one', 'one-gzip'])}\n")
    ratio = results.ratio(rows[-1].name, "two-gzip", "one-gzip")
    bars = [at_least("workers = 2: throughput of workers = 1, gzipped batches", 1.1, ratio)]
    return Section(bars, results.as_json(), results.problems())


def neighbours(arguments: argparse.Namespace, _big: BigLog) -> Section:
    """Measures one sender of one log, alone and beside another log that 64 senders send batches to."""
    found: dict[str, list[dict[str, float]]] = {"alone": [], "beside": []}
    problems: list[str] = []
    for _ in range(arguments.rounds):
        for case, samples in found.items():
            with folder_for("quiet") as folder, folder_for("hot") as hot_folder:
                quiet, hot = Ours(folder, "os"), Ours(hot_folder, "os")
                try:
                    quiet.start()
                    hot.start()
                    noise = None
                    if case == "beside":
                        noise = Wrk(hot_folder, hot.base, hot.request(100), 64, arguments.seconds + 1)
                        time.sleep(0.5)
                    load = Wrk(folder, quiet.base, quiet.request(1), 1, arguments.seconds).finish()
                    if noise:
                        noise.finish()
                finally:
                    quiet.stop()
                    hot.stop()
                problems += [
                    f"{case}: {what}" for what in problems_of(load, load.acknowledged, quiet.stored())
                ]
                samples.append({"requests_s": load.per_second, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms})
    medians = {
        case: {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}
        for case, samples in found.items()
    }
    lines = [[case, *(report.shown(value) for value in row.values())] for case, row in medians.items()]
    print(report.table(["one sender", "requests/s", "p50 ms", "p99 ms"], lines) + "\n")
    # Four busy programs share two cores. A fair scheduler gives the sender at least a quarter of
    # its speed.
    ratio = medians["beside"]["requests_s"] / medians["alone"]["requests_s"]
    bars = [at_least("one sender beside a hot log: requests/s of alone", 0.25, ratio)]
    return Section(bars, {"samples": found}, problems)


def followers(arguments: argparse.Namespace, _big: BigLog) -> Section:
    """Sends records at a fixed rate and at full speed, without followers and with a thousand."""
    section = Section()
    cases = [("20,000/s", 100_000, 20_000), ("as fast as may be", 200_000, 0)]
    lines: list[list[str]] = []
    for what, records, rate in cases:
        medians: dict[int, dict[str, float]] = {}
        for count in (0, FOLLOWERS):
            samples = [followed(section, count, records, rate) for _ in range(max(1, arguments.rounds // 2))]
            medians[count] = {
                name: statistics.median(sample[name] for sample in samples) for name in samples[0]
            }
            section.figures[f"{what}, {count} followers"] = samples
            row = medians[count]
            shown = ("records_per_s", "p50_us", "p99_us", "all_after_s", "peak_mb", "cpu_s")
            lines.append([f"{what}, {count:,} followers", *(report.shown(row[name]) for name in shown)])
        ratio = medians[FOLLOWERS]["records_per_s"] / medians[0]["records_per_s"]
        if rate:
            section.bars.append(
                at_least(f"{what} beside {FOLLOWERS:,} followers: of what comes without", 0.75, ratio)
            )
            section.bars.append(
                at_most(f"memory with {FOLLOWERS:,} followers", 100, medians[FOLLOWERS]["peak_mb"], " MB")
            )
    heads = ["records", "stored/s", "p50 us", "p99 us", "all got all after s", "peak MB", "CPU s"]
    print(report.table(heads, lines) + "\n")
    return section


def followed(section: Section, count: int, records: int, rate: int) -> dict[str, float]:
    """Runs one load. The load itself checks that each follower gets each record, in order."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with folder_for("followers") as folder:
        server = Ours(folder, "os")
        try:
            server.start()
            numbers = map(str, (count, records, rate, 64, MESSAGE))
            program = BIN / "examples" / "followers"
            run = subprocess.run(
                [str(program), str(server.port), KEY, PASSWORD, *numbers],
                capture_output=True,
                text=True,
                check=True,
            )
            found: dict[str, float] = json.loads(run.stdout)
            found["peak_mb"] = measure.memory_mb(server.pids(), "VmHWM")
            found["cpu_s"] = measure.cpu_seconds(server.pids())
        finally:
            server.stop()
        if found["whole"] != count or found["saved"] != records:
            section.problems.append(f"{found['whole']} of {count} followers got all of {records:,} records")
        section.problems += server.stored().problems
    return found
