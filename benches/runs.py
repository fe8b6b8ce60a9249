"""One measured run: starts a server in a new folder, loads it with wrk, and checks its file for the
acknowledged records.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from load import Load, Wrk
from measure import busy_seconds, cpu_seconds, memory_mb, reset_peak
from servers import ROOT, Ours, Server, Stored, UnavailableError

WORK = ROOT / "target" / "bench"


@dataclass(frozen=True)
class Row:
    """A load: records in each request, connections, and the servers that get it."""

    name: str
    records: int
    connections: int
    peers: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """The figures of one run of one server."""

    row: str
    peer: str
    round: int
    requests_s: float
    records_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_million: float
    cores: float
    client_cores: float
    foreign_cores: float
    idle_mb: float
    peak_mb: float
    acknowledged: int
    stored: int | None
    problems: list[str]


class Companion:
    """Something that runs beside a load and ends with it."""

    def close(self) -> None:
        """Ends the companion."""


@contextmanager
def folder_for(name: str) -> Iterator[Path]:
    """Makes an empty folder and removes it afterwards."""
    folder = WORK / "run" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def core_of_the_load() -> int | None:
    """Returns the last core, or None on a machine with one core."""
    cores = os.sched_getaffinity(0)
    return max(cores) if len(cores) > 1 else None


def touch_memory(path: Path, row: Row) -> None:
    """Fills as much of the page cache as the run will, and frees it again.

    Many hypervisors take back free memory. The first use of such a page costs a fault of the host, which takes several
    times as long as the copy, and the first server would pay for it.
    """
    piece = bytes(1024 * 1024)
    with path.open("wb", buffering=0) as file:
        for _ in range(2048 if row.records > 1 else 128):
            file.write(piece)
    path.unlink()


def measure(
    make: Callable[[Path], Server],
    row: Row,
    peer: str,
    number: int,
    seconds: int,
    accompany: Callable[[Server], Companion] | None = None,
) -> Sample:
    """Starts the server, loads it, stops it, and checks its file."""
    with folder_for(f"{row.name}-{peer}") as folder:
        server = make(folder)
        companion = None
        touch_memory(folder / "touched", row)
        try:
            server.start()
            time.sleep(0.1)
            pids = server.pids()
            idle = memory_mb(pids, "VmRSS")
            reset_peak(pids)
            companion = accompany(server) if accompany else None
            cpu, busy, begin = cpu_seconds(pids), busy_seconds(), time.perf_counter()
            request = server.request(row.records)
            load = Wrk(folder, server.base, request, row.connections, seconds, core_of_the_load()).finish()
            cpu, busy, elapsed = cpu_seconds(pids) - cpu, busy_seconds() - busy, time.perf_counter() - begin
            peak = memory_mb(pids, "VmHWM")
        finally:
            if companion:
                companion.close()
            server.stop()
        acknowledged = load.acknowledged * row.records
        found = server.stored()
        return Sample(
            row=row.name,
            peer=peer,
            round=number,
            requests_s=load.per_second,
            records_s=load.per_second * row.records,
            p50_ms=load.p50_ms,
            p99_ms=load.p99_ms,
            cpu_s_per_million=cpu / acknowledged * 1e6 if acknowledged else float("inf"),
            cores=cpu / elapsed,
            client_cores=load.client_cpu / elapsed,
            foreign_cores=max(0.0, (busy - cpu - load.client_cpu) / elapsed),
            idle_mb=idle,
            peak_mb=peak,
            acknowledged=acknowledged,
            stored=found.records,
            problems=problems_of(load, acknowledged, found),
        )


def problems_of(load: Load, acknowledged: int, found: Stored) -> list[str]:
    """Returns lost and torn records, and requests that failed."""
    problems = list(found.problems)
    if found.records is not None and found.records < acknowledged:
        problems.append(f"{acknowledged - found.records} acknowledged records are not in the file")
    for count, what in ((load.refused, "refused"), (load.broken, "broken off"), (load.timeouts, "overdue")):
        if count:
            problems.append(f"{count} requests {what}")
    if acknowledged == 0:
        problems.append("nothing was acknowledged")
    return problems


def one_round(
    results: Results,
    rows: Sequence[Row],
    makers: Mapping[str, Callable[[Path], Server]],
    number: int,
    seconds: int,
    companions: Mapping[str, Callable[[Server], Companion]] | None = None,
) -> None:
    """Runs every row with each of its servers. Odd rounds run the servers in reverse order."""
    for row in rows:
        for peer in row.peers if number % 2 == 0 else row.peers[::-1]:
            if peer in results.missing:
                continue
            try:
                sample = measure(makers[peer], row, peer, number, seconds, (companions or {}).get(peer))
            except UnavailableError as why:
                results.missing[peer] = str(why).splitlines()[-1]
                print(f"  {peer}: left out: {results.missing[peer]}", flush=True)
                continue
            results.samples.append(sample)
            print(
                f"  round {number + 1}  {row.name:15} {peer:10} {sample.requests_s:9,.0f} requests/s"
                f"  p50 {sample.p50_ms:7.2f} ms  p99 {sample.p99_ms:7.2f} ms"
                + "".join(f"  PROBLEM: {problem}" for problem in sample.problems),
                flush=True,
            )


@dataclass
class Results:
    """All samples, and the servers that could not run with the reason."""

    samples: list[Sample]
    missing: dict[str, str]

    def has(self, peer: str) -> bool:
        """Returns whether this server was measured in any row."""
        return any(sample.peer == peer for sample in self.samples)

    def of(self, row: str, peer: str) -> list[Sample]:
        """Returns the samples of one row and server, in the order of the rounds."""
        return [sample for sample in self.samples if (sample.row, sample.peer) == (row, peer)]

    def median(self, row: str, peer: str, field: str) -> float | None:
        """Returns the median over the rounds, or None where nothing was measured."""
        values = [getattr(sample, field) for sample in self.of(row, peer)]
        return statistics.median(values) if values else None

    def most(self, peers: Sequence[str], field: str) -> float | None:
        """Returns the largest value of all rows and rounds."""
        values = [getattr(sample, field) for sample in self.samples if sample.peer in peers]
        return max(values, default=None)

    def ratios(
        self, row: str, peer: str, to: str, field: str = "records_s", to_row: str | None = None
    ) -> list[float]:
        """Returns the ratio of each round. A drift of the machine is in both samples of a round."""
        others = {sample.round: getattr(sample, field) for sample in self.of(to_row or row, to)}
        return [
            getattr(sample, field) / others[sample.round]
            for sample in self.of(row, peer)
            if others.get(sample.round)
        ]

    def ratio(
        self, row: str, peer: str, to: str, field: str = "records_s", to_row: str | None = None
    ) -> float | None:
        """Returns the median of `ratios`, or None where a server was not measured."""
        ratios = self.ratios(row, peer, to, field, to_row)
        return statistics.median(ratios) if ratios else None

    def problems(self) -> list[str]:
        """Returns the problems of all samples."""
        return [
            f"{sample.row} {sample.peer}, round {sample.round + 1}: {problem}"
            for sample in self.samples
            for problem in sample.problems
        ]

    def as_json(self) -> dict[str, object]:
        """Returns the results for the JSON file."""
        return {"samples": [asdict(sample) for sample in self.samples], "missing": self.missing}


def maker(**options: object) -> Callable[[Path], Server]:
    """Returns a function that makes this server with these options, in the folder given to it."""
    return lambda folder: Ours(folder, **options)  # type: ignore[arg-type]
