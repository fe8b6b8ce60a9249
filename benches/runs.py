"""One measured run: a server in a new folder, wrk against it, and whether everything acknowledged is in the file."""

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
    """A load."""

    name: str
    records: int
    connections: int
    peers: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """What one run of one server showed."""

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
    """Something that accompanies a load and ends with it."""

    def close(self) -> None:
        """Ends it."""


@contextmanager
def folder_for(name: str) -> Iterator[Path]:
    """An empty folder that is gone afterwards."""
    folder = WORK / "run" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def core_of_the_load() -> int | None:
    """The last of several."""
    cores = os.sched_getaffinity(0)
    return max(cores) if len(cores) > 1 else None


def touch_memory(path: Path, row: Row) -> None:
    """Fills as much of the page cache as the run will, and gives it back. Where a hypervisor takes free memory away, the
    first use of a page costs a fault of the host, several times as much as the copy: whoever came first would pay it.
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
    """Starts the server, loads it, stops it, and looks into its file."""
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
    """What must not be: lost or torn records, requests without a good answer."""
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
    """All rows, and all servers of a row one after the other, with another one first in each round."""
    for row in rows:
        first = number % len(row.peers)
        for peer in row.peers[first:] + row.peers[:first]:
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
    """The samples of a run, and ratios over their rounds."""

    samples: list[Sample]
    missing: dict[str, str]

    def of(self, row: str, peer: str) -> list[Sample]:
        """In the order of the rounds."""
        return [sample for sample in self.samples if (sample.row, sample.peer) == (row, peer)]

    def median(self, row: str, peer: str, field: str) -> float | None:
        """The median over the rounds; None where it was not measured."""
        values = [getattr(sample, field) for sample in self.of(row, peer)]
        return statistics.median(values) if values else None

    def most(self, peers: Sequence[str], field: str) -> float | None:
        """The largest value in any row and round."""
        values = [getattr(sample, field) for sample in self.samples if sample.peer in peers]
        return max(values, default=None)

    def ratio(self, row: str, peer: str, to: str, field: str = "records_s", to_row: str | None = None) -> float | None:
        """The median of the ratios of each round: a drift of the machine is in both of a round."""
        others = {sample.round: getattr(sample, field) for sample in self.of(to_row or row, to)}
        ratios = [
            getattr(sample, field) / others[sample.round] for sample in self.of(row, peer) if others.get(sample.round)
        ]
        return statistics.median(ratios) if ratios else None

    def problems(self) -> list[str]:
        """Everything that was lost or failed."""
        return [
            f"{sample.row} {sample.peer}, round {sample.round + 1}: {problem}"
            for sample in self.samples
            for problem in sample.problems
        ]

    def as_json(self) -> dict[str, object]:
        """For a file."""
        return {"samples": [asdict(sample) for sample in self.samples], "missing": self.missing}


def maker(**options: object) -> Callable[[Path], Server]:
    """Makes this service with these options."""
    return lambda folder: Ours(folder, **options)  # type: ignore[arg-type]
