"""A log of several gigabytes, made of lines that the server wrote."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from load import Wrk
from runs import folder_for
from servers import Ours

YEAR_MINUTES = 365 * 24 * 60
TIME = re.compile(rb"\]\([^)]*\)")


@dataclass(frozen=True)
class BigLog:
    """A large file of real lines, and the state folder of the last process that used it."""

    path: Path
    state: Path

    @property
    def name(self) -> str:
        """Returns its size with a unit."""
        return words(self.path.stat().st_size)


def make_big(folder: Path, wanted: int) -> BigLog:
    """Makes a file of lines that the server wrote, repeated with new times as if written through a
    year.
    """
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
            minute = [source.readline() for _ in range(max(1, wanted // YEAR_MINUTES // size))]
    block = b"".join(
        TIME.sub(b"](@@@@@@@@@@@@@@@@:%09.6f+00:00)" % (60 * number / len(minute)), line, count=1)
        for number, line in enumerate(minute)
    )
    time_of = (datetime.now(UTC) - timedelta(minutes=YEAR_MINUTES)).replace(second=0, microsecond=0)
    with path.open("wb", buffering=1 << 22) as out:
        for _ in range(YEAR_MINUTES):
            out.write(block.replace(b"@@@@@@@@@@@@@@@@", time_of.strftime("%Y-%m-%d %H:%M").encode()))
            time_of += timedelta(minutes=1)
        os.fsync(out.fileno())
    print(f"{words(path.stat().st_size)} of lines\n", flush=True)
    return BigLog(path, folder / "state")


def copy_lines(source: Path, target: Path, wanted: int) -> None:
    """Copies the first lines of a file, at most `wanted` bytes."""
    with source.open("rb") as file, target.open("wb") as out:
        left = wanted
        while left > 0 and (piece := file.read(min(left, 1 << 24))):
            left -= len(piece)
            if left == 0:
                piece = piece[: piece.rindex(b"\n") + 1]
            out.write(piece)


def evict(path: Path) -> None:
    """Drops the file from the page cache, as after a boot."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def words(size: int) -> str:
    """Returns a size in GB (10^9 bytes) or MB (10^6 bytes)."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
