"""The load: wrk, which sends one prepared request over and over."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

# `init` prepares the request once. No Lua runs for a single request or answer.
SCRIPT = """
init = function(args)
  local file = assert(io.open(%(body)s, "rb"))
  wrk.method = %(method)s
  wrk.body = file:read("*a")
  file:close()
%(headers)s
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\nJSON{"requests":%%d,"micros":%%d,"refused":%%d,"broken":%%d,"timeouts":%%d,"p50":%%d,"p99":%%d,"max":%%d}\\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write,
    errors.timeout, latency:percentile(50), latency:percentile(99), latency.max))
end
"""


@dataclass(frozen=True)
class Request:
    """The request that wrk sends over and over."""

    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True)
class Load:
    """Counts and latencies of one run, as its clients saw them."""

    acknowledged: int
    seconds: float
    refused: int
    broken: int
    timeouts: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    client_cpu: float

    @property
    def per_second(self) -> float:
        """Returns the acknowledged requests per second."""
        return self.acknowledged / self.seconds


class Wrk:
    """A run of wrk in the background: one thread, kept-alive connections, each with one request at a time.

    `core` pins it to one core, so that it does not move to the core of the server, as a load from another machine would not.
    """

    def __init__(
        self,
        folder: Path,
        base: str,
        request: Request,
        connections: int,
        seconds: int,
        core: int | None = None,
    ) -> None:
        body = folder / "request.body"
        body.write_bytes(request.body)
        quoted = {json.dumps(name): json.dumps(value) for name, value in request.headers.items()}
        headers = [f"  wrk.headers[{name}] = {value}" for name, value in quoted.items()]
        script = folder / "request.lua"
        script.write_text(
            SCRIPT
            % {
                "body": json.dumps(str(body)),
                "method": json.dumps(request.method),
                "headers": "\n".join(headers),
            }
        )
        self.process = subprocess.Popen(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency"]
            + ["-s", str(script), base + request.path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )

    def finish(self) -> Load:
        """Waits for the end of the run and returns its figures."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        line = next((line for line in output.splitlines() if line.startswith("JSON")), None)
        if line is None:
            raise RuntimeError(f"wrk failed: {output.strip()}")
        seen = json.loads(line.removeprefix("JSON"))
        return Load(
            acknowledged=seen["requests"] - seen["refused"],
            seconds=seen["micros"] / 1e6,
            refused=seen["refused"],
            broken=seen["broken"],
            timeouts=seen["timeouts"],
            p50_ms=seen["p50"] / 1e3,
            p99_ms=seen["p99"] / 1e3,
            max_ms=seen["max"] / 1e3,
            client_cpu=usage.ru_utime + usage.ru_stime,
        )
