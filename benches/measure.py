"""Measures processor time, memory, the disk, the machine, and the time from a start to READY."""

from __future__ import annotations

import os
import platform
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: list[int]) -> float:
    """Returns the user and system time of all threads of these processes, in seconds."""
    total = 0
    for pid in pids:
        # The second field is the name in parentheses, and may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def busy_seconds() -> float:
    """Returns the seconds that all cores together were busy since the machine started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / TICK


def memory_mb(pids: list[int], field: str) -> float:
    """Returns `VmRSS` (now) or `VmHWM` (the peak since the start or `reset_peak`) of all processes,
    in 10^6 bytes.
    """
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                total += int(line.split()[1]) * 1024
    return total / 1e6


def reset_peak(pids: list[int]) -> None:
    """Sets `VmHWM` back to the present `VmRSS`."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


@dataclass(frozen=True)
class Sync:
    """Latencies of an append and its fdatasync, in milliseconds."""

    times: list[float]

    @property
    def p50_ms(self) -> float:
        """Returns the median."""
        return statistics.median(self.times)

    @property
    def p99_ms(self) -> float:
        """Returns the 99th percentile."""
        return percentile(self.times, 99)


def fdatasync(folder: Path, seconds: float, size: int = 150) -> Sync:
    """Appends lines of `size` bytes to a file in this folder and syncs each: the least that one
    sender can wait.
    """
    line = b"x" * (size - 1) + b"\n"
    times: list[float] = []
    path = folder / "fdatasync.probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        end = time.perf_counter() + seconds
        now = time.perf_counter()
        while now < end:
            os.write(descriptor, line)
            os.fdatasync(descriptor)
            then, now = now, time.perf_counter()
            times.append((now - then) * 1e3)
    finally:
        os.close(descriptor)
        path.unlink()
    return Sync(times)


def percentile(values: list[float], percent: float) -> float:
    """Returns the value below which `percent` of the values are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class ReadySocket:
    """The notify socket on which a service reports READY=1, as to systemd."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # A socket path has at most 107 bytes, so a deep folder needs an abstract address.
        self.address = str(self.path) if len(str(self.path)) < 100 else f"\0moca-file-log-bench-{os.getpid()}"
        self.socket.bind(self.address)

    def environment(self) -> dict[str, str]:
        """Returns the environment for the service."""
        return os.environ | {"NOTIFY_SOCKET": self.address.replace("\0", "@")}

    def wait(self, process: subprocess.Popen[bytes], seconds: float = 60.0) -> float:
        """Waits for READY and returns its time by `time.perf_counter`."""
        self.socket.settimeout(0.2)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            try:
                message = self.socket.recv(65536)
            except TimeoutError:
                if process.poll() is not None:
                    raise RuntimeError("the service ended before it was ready") from None
                continue
            if b"READY=1" in message.split(b"\n"):
                return time.perf_counter()
        raise RuntimeError(f"not ready within {seconds} s")

    def close(self) -> None:
        """Closes and removes the socket."""
        self.socket.close()
        self.path.unlink(missing_ok=True)


def free_port() -> int:
    """Returns a TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def machine(folder: Path) -> dict[str, str]:
    """Describes the machine."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = next(
        line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    probe = fdatasync(folder, 1.0)
    return {
        "processor": f"{os.cpu_count()} x {cpu}",
        "memory": f"{int(memory.split()[1]) / 1e6:.1f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "folder": f"{folder} ({filesystem(folder)})",
        "fdatasync": f"p50 {probe.p50_ms:.2f} ms, p99 {probe.p99_ms:.2f} ms (append of 150 bytes, one after the other)",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def filesystem(folder: Path) -> str:
    """Returns type and device of the file system of this folder."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, point, kind = line.split()[:3]
        if folder.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, f"{kind} on {device}")
    return best[1]
