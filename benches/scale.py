#!/usr/bin/env python3
"""`make bench-scale`: what growth costs, how long starts take, and what reads and neighbours do. See README.md."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import Request, urlopen

import measure
import report
from load import Wrk
from reads import Reader, Sendfile
from report import Bar, at_least, at_most
from runs import WORK, Companion, Results, Row, folder_for, maker, one_round, problems_of
from servers import BIN, KEY, MESSAGE, PASSWORD, Ours, Server

KEYS = 10_000
ADDRESSES = 100_000
IDLE = 10_000
FOLLOWERS = 1_000
ROUTES = "/moca-file-log"
# minutes
YEAR = 365 * 24 * 60
TIME = re.compile(rb"\]\([^)]*\)")


@dataclass
class Section:
    """What one part of the run found."""

    bars: list[Bar] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BigLog:
    """A large file of real lines, with the state that its last process left."""

    path: Path
    state: Path

    @property
    def name(self) -> str:
        """Its size in words."""
        return words(self.path.stat().st_size)


class IdleConnections(Companion):
    """Connections that asked something once and stay open."""

    def __init__(self, server: Server) -> None:
        self.sockets: list[socket.socket] = []
        for _ in range(IDLE):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(b"GET /status HTTP/1.1\r\nHost: bench\r\n\r\n")
            if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("an idle connection was refused")
            self.sockets.append(connection)

    def close(self) -> None:
        for connection in self.sockets:
            connection.close()


def growth(arguments: argparse.Namespace, big: BigLog) -> Section:
    """One load on a service with more of everything."""
    # idle connections are not to be closed while they are wanted, and all others are configured alike
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
    # Six servers take long enough for the host to change its mood within a round: shorter runs, and more of them.
    for number in range(2 * arguments.rounds):
        one_round(results, [row], makers, number, max(1, arguments.seconds - 1), {"idle": IdleConnections})
    print(f"\n{report.rows(results, [row], ['base'])}\n{report.quiet(results)}\n")
    asked = {
        "keys": (f"{KEYS:,} keys", 0.95),
        "blocked": (f"{ADDRESSES:,} blocked addresses in either list", 0.95),
        "big-file": (f"a file of {big.name}", 0.95),
        "limits": ("rate limits on every key", 0.95),
        "idle": (f"{IDLE:,} idle connections", 0.90),
    }
    bars = [
        at_least(f"{what}: of the base figure", bar, results.ratio(row.name, peer, "base"))
        for peer, (what, bar) in asked.items()
    ]
    return Section(bars, results.as_json(), results.problems())


def wait_until_counted(server: Ours) -> None:
    """The first process on a large file counts its lines; what is measured comes after that."""
    try:
        server.start_timed()
        while details(server)["counting"]:
            time.sleep(0.5)
    finally:
        server.stop()


def size(arguments: argparse.Namespace, big: BigLog) -> Section:
    """Starts and the two small reads with files of different sizes."""
    medians: dict[str, dict[str, float]] = {}
    figures: dict[str, object] = {}
    with folder_for("size") as folder:
        small, empty = folder / "small.log", folder / "empty.log"
        copy_lines(big.path, small, 10_000_000)
        empty.touch()
        for name, path in (("empty", empty), ("small", small), ("big", big.path)):
            times: dict[str, list[float]] = {"first start": [], "next start": [], "details": [], "get-latest-logs": []}
            for number in range(arguments.starts):
                state = folder / f"state-{name}-{number}"
                for start in ("first start", "next start"):
                    evict(path)
                    server = Ours(folder, "disk", log=path, state=state)
                    try:
                        times[start].append(server.start_timed() * 1e3)
                        if start == "next start":
                            for route in ("details", "get-latest-logs"):
                                times[route] += latencies(server, route, 100)
                    finally:
                        server.stop()
            figures[name] = times
            medians[name] = {what: statistics.median(values) for what, values in times.items()}
        names = {"empty": "empty", "small": words(small.stat().st_size), "big": big.name}
    lines = [[names[name], *(f"{value:.2f}" for value in row.values())] for name, row in medians.items()]
    print("Milliseconds; no file is in the page cache before a start; at the first one nothing is known of it.\n")
    print(report.table(["file", *medians["big"]], lines) + "\n")
    worst = max(medians["big"]["first start"], medians["big"]["next start"])
    bars = [at_most(f"start to READY with {big.name}, not in the page cache", 20, worst, " ms")]
    for route in ("details", "get-latest-logs"):
        ratio = medians["big"][route] / medians["small"][route]
        # twice is the noise of such short times; a search through the file would be a thousand times
        bars.append(at_most(f"{route}: time with {big.name}, of that with 10 MB", 2.0, ratio))
    return Section(bars, figures, [])


def reads(arguments: argparse.Namespace, big: BigLog) -> Section:
    """How fast a whole log is read, and what that costs those who write."""
    section = Section()
    with folder_for("reads") as folder:
        log = folder / "read.log"
        copy_lines(big.path, log, arguments.read_mb * 1_000_000)
        server = Ours(folder, "os", log=log)
        sendfile = Sendfile(log)
        speeds: dict[str, list[float]] = {"sendfile": [], "get-logs": [], "download-logs": []}
        try:
            server.start()
            for _ in range(arguments.rounds):
                for name, found in speeds.items():
                    port, path = (sendfile.port, "/") if name == "sendfile" else (server.port, f"{ROUTES}/{name}")
                    speed = Reader(port, arguments.seconds, path, server.root_headers()).finish()
                    if speed.bytes < speed.answers * log.stat().st_size:
                        section.problems.append(f"{name}: {speed.bytes} bytes in {speed.answers} answers")
                    found.append(speed.mb_s)
        finally:
            sendfile.close()
            server.stop()
    lines = [[name, f"{statistics.median(found):,.0f}"] for name, found in speeds.items()]
    print(report.table(["reader", "MB/s"], lines))
    for name in ("get-logs", "download-logs"):
        ratio = statistics.median(ours / raw for ours, raw in zip(speeds[name], speeds["sendfile"], strict=True))
        if name == "get-logs":
            section.bars.append(at_least("get-logs, file in the page cache: of a sendfile loop", 0.5, ratio))
        print(f"{name}: {ratio:.2f} of the sendfile loop")
    section.figures["MB/s"] = speeds

    results = Results([], {})
    makers: dict[str, Callable[[Path], Server]] = {"alone": with_lines(big), "read": with_lines(big)}
    row = Row("writers-c64", 1, 64, tuple(makers))
    for number in range(arguments.rounds):
        one_round(results, [row], makers, number, arguments.seconds, {"read": FullSpeedReader})
    print(f"\n{report.rows(results, [row], ['alone'])}\n")
    print(f"The reader, too, runs on the cores of writers and server.\n{report.quiet(results)}\n")
    kept = results.ratio(row.name, "read", "alone")
    section.bars.append(at_least("writers beside a reader at full speed: of alone", 0.8, kept))
    section.figures["writers"] = results.as_json()
    section.problems += results.problems()
    return section


class FullSpeedReader(Companion):
    """Reads the whole log over and over."""

    def __init__(self, server: Server) -> None:
        headers = {"API-KEY": KEY, "ROOT-PASS": PASSWORD}
        self.reader = Reader(server.port, 3600, f"{ROUTES}/get-logs", headers)

    def close(self) -> None:
        self.reader.close()


def with_lines(big: BigLog) -> Callable[[Path], Server]:
    """A log that has 200 MB already."""

    def make(folder: Path) -> Server:
        copy_lines(big.path, folder / "bench.log", 200_000_000)
        return Ours(folder, "os")

    return make


def search(_arguments: argparse.Namespace, big: BigLog) -> Section:
    """What of a large log is found, and what has to be read for it."""
    section = Section()
    size = big.path.stat().st_size
    first = datetime.fromtimestamp(int(time.time()) // 60 * 60, UTC) - timedelta(minutes=YEAR)
    ranges = {"start": 10, "middle": YEAR // 2, "end": YEAR - 30}
    lines: list[list[str]] = []
    with folder_for("search") as folder:
        evict(big.path)
        server = Ours(folder, "os", log=big.path, state=big.state)
        try:
            server.start_timed()
            while details(server)["counting"]:
                time.sleep(0.5)
            for name, minute in ranges.items():
                since, until = (first + timedelta(minutes=minute + more) for more in (0, 5))
                target = f"get-logs?since={since:%Y-%m-%dT%H:%MZ}&until={until:%Y-%m-%dT%H:%MZ}"
                evict(big.path)
                cold, read, found = timed(server, target)
                warm = statistics.median(timed(server, target)[0] for _ in range(20))
                lines.append([name, f"{cold:.1f}", f"{warm:.2f}", f"{read / 1e3:,.0f}", f"{found / 1e3:,.0f}"])
                section.figures[f"range at the {name}"] = {"cold ms": cold, "warm ms": warm, "read": read, "found": found}
                section.bars.append(at_most(f"5 minutes at the {name}, not in the page cache", 50, cold, " ms"))
                section.bars.append(at_most(f"5 minutes at the {name}: read", 1000, read / 1e3, " kB"))
                if found == 0:
                    section.problems.append(f"nothing was found at the {name}")
            print(report.table(["5 minutes at the", "cold ms", "warm ms", "kB read", "kB found"], lines) + "\n")
            measure.reset_peak(server.pids())
            # once more than is measured, so that what fits is in the page cache
            speeds = []
            for _ in range(3):
                before = measure.cpu_seconds(server.pids())
                taken, _, found = timed(server, "get-logs?contains=nobody+said+this")
                speeds.append((size / taken / 1e6, size / (measure.cpu_seconds(server.pids()) - before) / 1e9))
                if found != 0:
                    section.problems.append("a text was found that is not there")
            peak = measure.memory_mb(server.pids(), "VmHWM")
        finally:
            server.stop()
    gb_s, gb_cpu = max(speeds)
    print(f"a text that is not there: {gb_s:.1f} GB/s, {gb_cpu:.1f} GB for a second of a core, {peak:.0f} MB peak\n")
    section.bars.append(at_least(f"search for a text in {big.name}", 1, gb_s, " GB/s"))
    section.figures["search GB/s and GB per core second"] = speeds
    section.figures["peak MB"] = peak
    return section


def timed(server: Ours, target: str) -> tuple[float, int, int]:
    """Milliseconds of a request, bytes that the server read for it, and bytes of its answer."""

    def read() -> int:
        counted = (Path(f"/proc/{pid}/io").read_text() for pid in server.pids())
        return sum(int(text.split()[1]) for text in counted)

    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/status")
    connection.getresponse().read()
    before = read()
    begin = time.perf_counter()
    connection.request("GET", f"{ROUTES}/{target}", headers=server.root_headers())
    response = connection.getresponse()
    found = len(response.read())
    taken = (time.perf_counter() - begin) * 1e3
    if response.status != 200:
        raise RuntimeError(f"{target}: {response.status}")
    return taken, read() - before, found


def workers(arguments: argparse.Namespace, _big: BigLog) -> Section:
    """Two threads instead of one. Only a gzipped batch costs its sender so little that a second core is left for them."""
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
    """One sender of one log, alone and beside another log that takes batches from 64 senders."""
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
                problems += [f"{case}: {what}" for what in problems_of(load, load.acknowledged, quiet.stored())]
                samples.append({"requests_s": load.per_second, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms})
    medians = {
        case: {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}
        for case, samples in found.items()
    }
    lines = [[case, *(report.shown(value) for value in row.values())] for case, row in medians.items()]
    print(report.table(["one sender", "requests/s", "p50 ms", "p99 ms"], lines) + "\n")
    # Four busy programs on two cores: a quarter is what a fair scheduler would give at least.
    ratio = medians["beside"]["requests_s"] / medians["alone"]["requests_s"]
    bars = [at_least("one sender beside a hot log: requests/s of alone", 0.25, ratio)]
    return Section(bars, {"samples": found}, problems)


def followers(arguments: argparse.Namespace, _big: BigLog) -> Section:
    """Records at a fixed rate, and as fast as 64 senders can, with nobody who follows and with a thousand who do."""
    section = Section()
    cases = [("20,000/s", 100_000, 20_000), ("as fast as may be", 200_000, 0)]
    lines: list[list[str]] = []
    for what, records, rate in cases:
        medians: dict[int, dict[str, float]] = {}
        for count in (0, FOLLOWERS):
            samples = [followed(section, count, records, rate) for _ in range(max(1, arguments.rounds // 2))]
            medians[count] = {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}
            section.figures[f"{what}, {count} followers"] = samples
            row = medians[count]
            shown = ("records_per_s", "p50_us", "p99_us", "all_after_s", "peak_mb", "cpu_s")
            lines.append([f"{what}, {count:,} followers", *(report.shown(row[name]) for name in shown)])
        ratio = medians[FOLLOWERS]["records_per_s"] / medians[0]["records_per_s"]
        if rate:
            section.bars.append(at_least(f"{what} beside {FOLLOWERS:,} followers: of what comes without", 0.75, ratio))
            section.bars.append(at_most(f"memory with {FOLLOWERS:,} followers", 100, medians[FOLLOWERS]["peak_mb"], " MB"))
    heads = ["records", "stored/s", "p50 us", "p99 us", "all got all after s", "peak MB", "CPU s"]
    print(report.table(heads, lines) + "\n")
    return section


def followed(section: Section, count: int, records: int, rate: int) -> dict[str, float]:
    """One run; that each follower gets each record, in order, is looked at by the load itself."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with folder_for("followers") as folder:
        server = Ours(folder, "os")
        try:
            server.start()
            numbers = map(str, (count, records, rate, 64, MESSAGE))
            program = BIN / "examples" / "followers"
            run = subprocess.run(
                [str(program), str(server.port), KEY, PASSWORD, *numbers], capture_output=True, text=True, check=True
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
    print("\nEvery acknowledged record is in its file, whole." if not problems else "\n" + "\n".join(problems))
    content: dict[str, object] = {"machine": machine, "arguments": vars(arguments), "bars": report.as_json(bars)}
    path = report.save("bench-scale", content | {name: section.figures for name, section in sections.items()})
    print(f"{time.perf_counter() - begin:.0f} s; all figures in {path}")
    return 1 if problems else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured (all)")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of each comparison, twice as many of growth (6)")
    parser.add_argument("--seconds", type=int, default=2, help="of load in each run (2)")
    parser.add_argument("--starts", type=int, default=5, help="starts of each kind (5)")
    parser.add_argument("--gigabytes", type=float, default=10, help="size of the large file (10)")
    parser.add_argument("--read-mb", type=int, default=500, help="size of the file that is read (500)")
    return parser.parse_args()


def make_big(folder: Path, wanted: int) -> BigLog:
    """A file of lines that the service wrote, some of them over and over, as if it had written them through a year."""
    path = folder / "big.log"
    print(f"making a log of {words(wanted)}", flush=True)
    with folder_for("lines") as lines:
        server = Ours(lines, "os")
        try:
            server.start()
            Wrk(lines, server.base, server.request(1000), 8, 1).finish()
        finally:
            server.stop()
        with server.log.open("rb") as source:
            size = len(source.readline())
            source.seek(0)
            minute = [source.readline() for _ in range(max(1, wanted // YEAR // size))]
    block = b"".join(
        TIME.sub(b"](@@@@@@@@@@@@@@@@:%09.6f+00:00)" % (60 * number / len(minute)), line, count=1)
        for number, line in enumerate(minute)
    )
    time_of = (datetime.now(UTC) - timedelta(minutes=YEAR)).replace(second=0, microsecond=0)
    with path.open("wb", buffering=1 << 22) as out:
        for _ in range(YEAR):
            out.write(block.replace(b"@@@@@@@@@@@@@@@@", time_of.strftime("%Y-%m-%d %H:%M").encode()))
            time_of += timedelta(minutes=1)
        os.fsync(out.fileno())
    print(f"{words(path.stat().st_size)} of lines\n", flush=True)
    return BigLog(path, folder / "state")


def copy_lines(source: Path, target: Path, wanted: int) -> None:
    """The first lines of a file, about so many bytes."""
    with source.open("rb") as file, target.open("wb") as out:
        left = wanted
        while left > 0 and (piece := file.read(min(left, 1 << 24))):
            left -= len(piece)
            if left == 0:
                piece = piece[: piece.rindex(b"\n") + 1]
            out.write(piece)


def evict(path: Path) -> None:
    """Out of the page cache, so that a start is one after a boot."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def latencies(server: Ours, route: str, count: int) -> list[float]:
    """Milliseconds of requests one after the other over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    times = []
    for _ in range(count + 1):
        begin = time.perf_counter()
        connection.request("GET", f"{ROUTES}/{route}", headers=server.root_headers())
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{route}: {response.status}")
        times.append((time.perf_counter() - begin) * 1e3)
    # the first one pays for the connection and the hash of the password
    return times[1:]


def details(server: Ours) -> dict[str, object]:
    """What the service says of its log."""
    with urlopen(Request(f"{server.base}{ROUTES}/details", headers=server.root_headers()), timeout=20) as response:
        found: dict[str, object] = json.load(response)
    return found


def words(size: int) -> str:
    """10^9 or 10^6 bytes, whichever reads better."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
