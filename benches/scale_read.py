"""The parts of `make bench-scale` that read: size, reads, search."""

from __future__ import annotations

import argparse
import http.client
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import measure
import report
from big_log import YEAR_MINUTES, BigLog, copy_lines, evict, words
from reads import Reader, Sendfile
from report import Section, at_least, at_most
from runs import Companion, Results, Row, folder_for, one_round
from servers import KEY, PASSWORD, ROUTES, Ours, Server


def size(arguments: argparse.Namespace, big: BigLog) -> Section:
    """Measures starts and the two small reads with files of different sizes."""
    medians: dict[str, dict[str, float]] = {}
    figures: dict[str, object] = {}
    with folder_for("size") as folder:
        small, empty = folder / "small.log", folder / "empty.log"
        copy_lines(big.path, small, 10_000_000)
        empty.touch()
        for name, path in (("empty", empty), ("small", small), ("big", big.path)):
            times: dict[str, list[float]] = {
                "first start": [],
                "next start": [],
                "details": [],
                "get-latest-logs": [],
            }
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
    print("Milliseconds. No file is in the page cache before a start. A first start has no state.\n")
    print(report.table(["file", *medians["big"]], lines) + "\n")
    worst = max(medians["big"]["first start"], medians["big"]["next start"])
    bars = [at_most(f"start to READY with {big.name}, not in the page cache", 20, worst, " ms")]
    for route in ("details", "get-latest-logs"):
        ratio = medians["big"][route] / medians["small"][route]
        # Such short times vary by up to two. A search through the file would take a thousand times
        # as long.
        bars.append(at_most(f"{route}: time with {big.name}, of that with 10 MB", 2.0, ratio))
    return Section(bars, figures, [])


def latencies(server: Ours, route: str, count: int) -> list[float]:
    """Sends requests one after the other over one connection and returns their milliseconds."""
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
    # The first request pays for the connection and the hash of the password.
    return times[1:]


def reads(arguments: argparse.Namespace, big: BigLog) -> Section:
    """Measures how fast a whole log is read, and how much a reader slows writers down."""
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
                    port, path = (
                        (sendfile.port, "/") if name == "sendfile" else (server.port, f"{ROUTES}/{name}")
                    )
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
        ratio = statistics.median(
            ours / raw for ours, raw in zip(speeds[name], speeds["sendfile"], strict=True)
        )
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
    print(f"The reader shares the cores of writers and server.\n{report.quiet(results)}\n")
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
    """Returns a function that makes a server whose log has 200 MB already."""

    def make(folder: Path) -> Server:
        copy_lines(big.path, folder / "bench.log", 200_000_000)
        return Ours(folder, "os")

    return make


def search(_arguments: argparse.Namespace, big: BigLog) -> Section:
    """Measures searches by time and by text in a large log, and the bytes that the server reads for
    them.
    """
    section = Section()
    size = big.path.stat().st_size
    first = datetime.fromtimestamp(int(time.time()) // 60 * 60, UTC) - timedelta(minutes=YEAR_MINUTES)
    ranges = {"start": 10, "middle": YEAR_MINUTES // 2, "end": YEAR_MINUTES - 30}
    lines: list[list[str]] = []
    with folder_for("search") as folder:
        evict(big.path)
        server = Ours(folder, "os", log=big.path, state=big.state)
        try:
            server.start_timed()
            while server.details()["counting"]:
                time.sleep(0.5)
            for name, minute in ranges.items():
                since, until = (first + timedelta(minutes=minute + more) for more in (0, 5))
                target = f"get-logs?since={since:%Y-%m-%dT%H:%MZ}&until={until:%Y-%m-%dT%H:%MZ}"
                evict(big.path)
                cold, read, found = timed(server, target)
                warm = statistics.median(timed(server, target)[0] for _ in range(20))
                lines.append(
                    [name, f"{cold:.1f}", f"{warm:.2f}", f"{read / 1e3:,.0f}", f"{found / 1e3:,.0f}"]
                )
                section.figures[f"range at the {name}"] = {
                    "cold ms": cold,
                    "warm ms": warm,
                    "read": read,
                    "found": found,
                }
                section.bars.append(
                    at_most(f"5 minutes at the {name}, not in the page cache", 50, cold, " ms")
                )
                section.bars.append(at_most(f"5 minutes at the {name}: read", 1000, read / 1e3, " kB"))
                if found == 0:
                    section.problems.append(f"nothing was found at the {name}")
            print(
                report.table(["5 minutes at the", "cold ms", "warm ms", "kB read", "kB found"], lines) + "\n"
            )
            measure.reset_peak(server.pids())
            # The best of three counts. The first one fills the page cache.
            speeds = []
            for _ in range(3):
                before = measure.cpu_seconds(server.pids())
                taken, _, found = timed(server, "get-logs?contains=no+such+text")
                speeds.append(
                    (size / taken / 1e6, size / (measure.cpu_seconds(server.pids()) - before) / 1e9)
                )
                if found != 0:
                    section.problems.append("a text was found that is not in the log")
            peak = measure.memory_mb(server.pids(), "VmHWM")
        finally:
            server.stop()
    gb_s, gb_cpu = max(speeds)
    print(
        f"a text that is not in the log: {gb_s:.1f} GB/s, {gb_cpu:.1f} GB for a second of a core, {peak:.0f} MB peak\n"
    )
    section.bars.append(at_least(f"search for a text in {big.name}", 1, gb_s, " GB/s"))
    section.figures["search GB/s and GB per core second"] = speeds
    section.figures["peak MB"] = peak
    return section


def timed(server: Ours, target: str) -> tuple[float, int, int]:
    """Returns the milliseconds of a request, the bytes that the server read for it, and the bytes
    of its answer.
    """

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
