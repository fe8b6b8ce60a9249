#!/usr/bin/env python3
"""Readers, each a process of its own: a client that reads at full speed, and a sendfile loop to compare with.

`reads.py fetch PORT SECONDS PATH [HEADER:VALUE ...]` prints the bytes and seconds of all whole answers as JSON.
`reads.py serve FILE` prints its port and sends the file to each client, until it is killed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


def fetch(port: int, seconds: float, path: str, headers: list[str]) -> tuple[int, float, int]:
    """Reads answers for `seconds`, at least one; returns their bytes, the seconds and their number."""
    request = "\r\n".join(
        [f"GET {path} HTTP/1.1", "Host: bench", "Connection: close", *headers, "", ""]
    ).encode()
    buffer = bytearray(1 << 18)
    total, answers = 0, 0
    begin = time.perf_counter()
    while answers == 0 or time.perf_counter() - begin < seconds:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            first = connection.recv_into(buffer)
            if not buffer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"refused: {bytes(buffer[:first])!r}")
            total += first
            while count := connection.recv_into(buffer):
                total += count
        answers += 1
    return total, time.perf_counter() - begin, answers


def serve(file: Path) -> None:
    """Sends a head, then the file by sendfile(2), to one client after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener, file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        print(listener.getsockname()[1], flush=True)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n".encode()
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head)
                sent = 0
                while sent < size:
                    sent += os.sendfile(connection.fileno(), opened.fileno(), sent, size - sent)


@dataclass(frozen=True)
class Speed:
    """The total of one reader."""

    bytes: int
    seconds: float
    answers: int

    @property
    def mb_s(self) -> float:
        """Returns the speed in 10^6 bytes per second."""
        return self.bytes / self.seconds / 1e6


class Reader:
    """Runs `fetch` in the background."""

    def __init__(self, port: int, seconds: float, path: str, headers: dict[str, str]) -> None:
        arguments = [f"{name}: {value}" for name, value in headers.items()]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "fetch", str(port), str(seconds), path, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> Speed:
        """Waits for the end of the last answer and returns the speed."""
        output, _ = self.process.communicate()
        if self.process.returncode != 0:
            raise RuntimeError("the reader failed")
        return Speed(**json.loads(output))

    def close(self) -> None:
        """Kills the reader."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Sendfile:
    """Runs `serve` in the background."""

    def __init__(self, file: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(file)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def close(self) -> None:
        """Kills the server."""
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fetch", port, seconds, path, *headers]:
            total, elapsed, answers = fetch(int(port), float(seconds), path, headers)
            print(json.dumps({"bytes": total, "seconds": elapsed, "answers": answers}))
        case ["serve", file]:
            serve(Path(file))
        case _:
            sys.exit(__doc__)
