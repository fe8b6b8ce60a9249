"""The servers that are compared: how to configure, start and stop each, and how to count its
records.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from load import Request
from measure import ReadySocket, free_port

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "target" / "release"
JOURNAL_REMOTE = "/lib/systemd/systemd-journal-remote"

# One hundred bytes, the same in every record, because wrk prepares its request once.
MESSAGE = (
    "payment 4711 accepted: 129.90 EUR, order 2026-11-0815, customer 99120, gateway answered within 81 ms"
)
assert len(MESSAGE) == 100

ROUTES = "/moca-file-log"
KEY = "bench-key"
PASSWORD = "bench-password"


@dataclass(frozen=True)
class Stored:
    """The records that the file of a server holds."""

    records: int | None
    """None for a server that stores nothing."""
    problems: list[str] = field(default_factory=list)


class UnavailableError(Exception):
    """The program is not installed, or does not start."""


class Server:
    """A server in a folder of its own."""

    scheme = "http"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def base(self) -> str:
        """Returns its address as a URL without a path."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Writes the configuration and returns the command line."""
        raise NotImplementedError

    def request(self, records: int) -> Request:
        """Returns a request that stores this many records."""
        route, body = ("save-log", record()) if records == 1 else ("save-logs", batch(records))
        return Request(f"{ROUTES}/{route}", {"Content-Type": "application/json", "API-KEY": KEY}, body)

    def stored(self) -> Stored:
        """Counts what it stored. Call it after `stop`."""
        return Stored(None)

    def start(self) -> None:
        """Starts the program and waits until it accepts connections."""
        command = self.command()
        if shutil.which(command[0]) is None:
            raise UnavailableError(f"{command[0]} is not installed")
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=output)
        for _ in range(500):
            if self.process.poll() is not None:
                raise UnavailableError(f"{command[0]} ended: {self.output()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise UnavailableError(f"{command[0]} does not listen: {self.output()}")

    def output(self) -> str:
        """Returns what the program printed."""
        return (self.folder / "output").read_text(errors="replace").strip()

    def pids(self) -> list[int]:
        """Returns its processes."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def stop(self) -> None:
        """Sends SIGTERM and waits for the end; kills the program after 30 seconds."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


def record() -> bytes:
    """Returns one record as a client sends it."""
    return json.dumps({"level": 1, "message": MESSAGE}, separators=(",", ":")).encode()


def batch(records: int) -> bytes:
    """Returns the body of a request with this many records."""
    return b'{"logs":[' + b",".join([record()] * records) + b"]}"


def otlp(records: int) -> Request:
    """Returns an export of OpenTelemetry in protobuf, with a time and an attribute for each record."""

    def part(number: int, value: bytes) -> bytes:
        length, size = b"", len(value)
        while size >= 0x80:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + value

    def attribute(name: str, value: str) -> bytes:
        return part(1, name.encode()) + part(2, part(1, value.encode()))

    time = b"\x09" + (1_795_410_148_100_000_000).to_bytes(8, "little")
    severity = b"\x10\x09" + part(3, b"INFO")
    record = part(2, time + severity + part(5, part(1, MESSAGE.encode())) + part(6, attribute("order", "4711")))
    resource = part(1, part(1, attribute("service.name", "bench")))
    body = part(1, resource + part(2, part(1, part(1, b"shop")) + record * records))
    return Request("/v1/logs", {"Content-Type": "application/x-protobuf", "API-KEY": KEY}, body)


def loki(records: int) -> Request:
    """Returns a push of Loki in JSON: one stream, and a time for each line."""
    values = [[str(1_795_410_148_100_000_000 + number), MESSAGE] for number in range(records)]
    push = {"streams": [{"stream": {"app": "bench", "level": "info"}, "values": values}]}
    body = json.dumps(push, separators=(",", ":")).encode()
    return Request("/loki/api/v1/push", {"Content-Type": "application/json", "API-KEY": KEY}, body)


def bulk(records: int) -> Request:
    """Returns a bulk request of Elasticsearch, with a time for each document."""
    document = {"@timestamp": "2026-11-23T05:02:28.100Z", "message": MESSAGE, "level": "info"}
    lines = json.dumps({"create": {"_index": "bench"}}), json.dumps(document, separators=(",", ":"))
    body = ("\n".join(lines) + "\n").encode() * records
    return Request("/_bulk", {"Content-Type": "application/x-ndjson", "API-KEY": KEY}, body)


DIALECTS: dict[str, Callable[[int], Request]] = {"otlp": otlp, "loki": loki, "bulk": bulk}
"""The requests of other systems' senders, by the name of the mode."""


class BareHyper(Server):
    """hyper on one thread that reads each request, stores nothing, and answers."""

    def command(self) -> list[str]:
        return [str(BIN / "examples" / "bare_hyper"), f"127.0.0.1:{self.port}"]


class Nginx(Server):
    """nginx with one worker that writes each body, unparsed, to its access log.

    nginx reads a body only to pass it on. Here it passes it to a second server in the same worker, which answers at
    once, over kept-alive connections. With a connection for each request it is half as fast.
    """

    CONFIG = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  log_format body escape=none '$request_body';
  keepalive_requests 1000000000;
  client_max_body_size 10m;
  client_body_buffer_size 1m;
  client_body_temp_path {folder}/temp; proxy_temp_path {folder}/temp; fastcgi_temp_path {folder}/temp;
  uwsgi_temp_path {folder}/temp; scgi_temp_path {folder}/temp;
  upstream answer {{ server unix:{socket}; keepalive 600; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    access_log {folder}/access.log body;
    location / {{ proxy_pass http://answer; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
  server {{ listen unix:{socket} backlog=1024; access_log off; location / {{ return 204; }} }}
}}
"""

    def command(self) -> list[str]:
        config = self.folder / "nginx.conf"
        values = {
            "folder": self.folder,
            "port": self.port,
            "socket": f"/tmp/moca-file-log-bench-{self.port}.sock",
            "user": "user root;" if os.geteuid() == 0 else "",
        }
        config.write_text(self.CONFIG.format(**values))
        return ["nginx", "-p", str(self.folder), "-c", str(config), "-e", str(self.folder / "error.log")]

    def stored(self) -> Stored:
        Path(f"/tmp/moca-file-log-bench-{self.port}.sock").unlink(missing_ok=True)
        return Stored(count(self.folder / "access.log", b'"message":'))


class JournalRemote(Server):
    """systemd-journal-remote: one journal file for all senders."""

    def command(self) -> list[str]:
        output = self.folder / "remote.journal"
        return [
            JOURNAL_REMOTE,
            f"--listen-http=127.0.0.1:{self.port}",
            "--split-mode=none",
            "--compress=no",
            f"--output={output}",
        ]

    def request(self, records: int) -> Request:
        now = time.time_ns() // 1000
        entry = (
            f"__REALTIME_TIMESTAMP={now}\n__MONOTONIC_TIMESTAMP=1000000\n_BOOT_ID={'a' * 32}\n"
            f"PRIORITY=6\nMESSAGE={MESSAGE}\n\n"
        )
        return Request("/upload", {"Content-Type": "application/vnd.fdo.journal"}, entry.encode() * records)

    def stored(self) -> Stored:
        header = subprocess.run(
            ["journalctl", "--header", "--directory", str(self.folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        # There is a header for the active file and for each rotated one.
        lines = [line for line in header.stdout.splitlines() if line.startswith("Entry objects:")]
        lines = lines or [line for line in header.stdout.splitlines() if line.startswith("Entry Objects:")]
        return Stored(sum(int(line.split(":")[1]) for line in lines))


class Ours(Server):
    """This server. Options that are not named here have their defaults."""

    def __init__(
        self,
        folder: Path,
        durability: str = "os",
        *,
        tls: bool = False,
        keys: int = 1,
        rate: str | None = None,
        blocked: int = 0,
        log: Path | None = None,
        state: Path | None = None,
        http: dict[str, int] | None = None,
        gzipped: bool = False,
        dialect: str | None = None,
        program: Path = BIN / "moca-file-log",
    ) -> None:
        super().__init__(folder)
        self.program = program
        self.durability = durability
        self.tls = tls
        self.keys = keys
        self.rate = rate
        self.blocked = blocked
        self.log = log or folder / "bench.log"
        self.http = http or {}
        self.state = state or folder / "state"
        self.gzipped = gzipped
        self.dialect = dialect
        self.began_at = 0
        if tls:
            self.scheme = "https"

    def command(self) -> list[str]:
        config = self.folder / "config"
        config.mkdir(exist_ok=True)
        log = {"host": "127.0.0.1", "port": self.port, "file": str(self.log), "durability": self.durability}
        # The default backlog without systemd is small: 512 clients that connect at once would wait
        # for a second.
        server: dict[str, object] = {"backlog": 1024}
        if self.tls:
            server["ssl"] = certificate(config)
        files: dict[str, object] = {
            "log.json": {"bench": log},
            "api_key.json": self.key_list(),
            "server.json": server,
            "system.json": {"root_pass": PASSWORD},
            "ip_blacklist.json": [address(n) for n in range(self.blocked)],
        }
        for name, content in files.items():
            (config / name).write_text(json.dumps(content))
        (config / "http.toml").write_text("".join(f"{name} = {value}\n" for name, value in self.http.items()))
        if self.blocked:
            # The server keeps the addresses that it blocks itself in a second list.
            self.state.mkdir(exist_ok=True)
            entry: dict[str, object] = {"since": 1_700_000_000, "reason": "bench"}
            blocked = [{"address": address(n + 2**24)} | entry for n in range(self.blocked)]
            (self.state / "bench.blocked.json").write_text(json.dumps(blocked))
        self.began_at = self.log.stat().st_size if self.log.exists() else 0
        places = ["--config-dir", config, "--log-dir", self.folder, "--state-dir", self.state]
        return [str(self.program), "bench", *map(str, places)]

    def request(self, records: int) -> Request:
        request = DIALECTS[self.dialect](records) if self.dialect else super().request(records)
        if not self.gzipped:
            return request
        headers = request.headers | {"Content-Encoding": "gzip"}
        return replace(request, headers=headers, body=gzip.compress(request.body))

    def key_list(self) -> list[dict[str, object]]:
        """Returns the key of the load in the middle of other keys."""
        names = [f"other-{n}" for n in range(self.keys - 1)]
        names.insert(len(names) // 2, KEY)
        common: dict[str, object] = {"status": True} | ({"rate": self.rate} if self.rate else {})
        return [{"key": name, "name": "bench" if name == KEY else name} | common for name in names]

    def start_timed(self) -> float:
        """Starts the program, waits for READY, and returns the seconds that this took."""
        command = self.command()
        listener = ReadySocket(self.folder)
        try:
            with (self.folder / "output").open("ab") as output:
                begin = time.perf_counter()
                self.process = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    stdout=output,
                    stderr=output,
                    env=listener.environment(),
                    close_fds=False,
                )
                return listener.wait(self.process) - begin
        finally:
            listener.close()

    def root_headers(self) -> dict[str, str]:
        """Returns the headers that the operator's routes ask for."""
        return {"API-KEY": KEY, "ROOT-PASS": PASSWORD}

    def details(self) -> dict[str, object]:
        """Returns the answer of the route `details`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", f"{ROUTES}/details", headers=self.root_headers())
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"details: {response.status}")
        found: dict[str, object] = json.load(response)
        connection.close()
        return found

    def stored(self) -> Stored:
        check = subprocess.run(
            [str(BIN / "examples" / "check_lines"), str(self.log), MESSAGE, str(self.began_at)],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(check.stdout)
        words = {
            "foreign": "lines that are not of this server",
            "other": "records with another message",
            "gaps": "gaps in the sequence numbers",
            "torn_bytes": "bytes of a torn line",
        }
        return Stored(
            found["lines"], [f"{found[name]} {text}" for name, text in words.items() if found[name]]
        )


def address(number: int) -> str:
    """Returns an IPv4 address of 10.0.0.0/7, a different one for each number."""
    number += 10 << 24
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def certificate(folder: Path) -> dict[str, str]:
    """Makes a self-signed certificate for 127.0.0.1."""
    if shutil.which("openssl") is None:
        raise UnavailableError("openssl is not installed")
    if not (folder / "cert.pem").exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
            + ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
            check=True,
            capture_output=True,
        )
    return {"cert": "cert.pem", "key": "key.pem"}


def count(path: Path, text: bytes) -> int:
    """Counts how often `text` occurs in the file."""
    total, rest = 0, b""
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            piece = rest + piece
            total += piece.count(text)
            # An occurrence may cross the border of two pieces. The rest is too short to count one
            # twice.
            rest = piece[-(len(text) - 1) :]
    return total


OTHER_SERVERS = {"bare": BareHyper, "nginx": Nginx, "journal": JournalRemote}
"""The other programs, by the name in the tables."""

MODES: dict[str, dict[str, object]] = {
    "os": {},
    "disk": {"durability": "disk"},
    "tls": {"tls": True},
    **{dialect: {"dialect": dialect} for dialect in DIALECTS},
}
"""The ways this server is run, by the name in the tables, with the options of `Ours`."""
