"""Starts one server, and compares what clients sent with the lines in its file."""

import json
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import line

HERE = Path(__file__).parent
KEYS = 200
TIMEOUT_SECONDS = int(os.environ.get("MOCA_TIMEOUT", "60"))


def free_port():
    """Returns a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """Runs the server with its default options, and a key for each test."""

    def __init__(self, program, folder, listen=(), server=None):
        """Starts the server, with sockets that are not HTTP, and with the options of `server`."""
        self.port = free_port()
        self.file = folder / "log" / "sample1.log"
        self.given = 0
        self.senders = []
        configs = folder / "configs"
        configs.mkdir(parents=True)
        log = {"host": "127.0.0.1", "port": self.port, "file": "sample1.log", "level": 0}
        log["listen"] = list(listen)
        keys = [self.key(number) for number in range(KEYS)]
        keys.append({"key": "syslog-scale", "name": "syslog-scale", "status": True, "levels": "syslog"})
        names = {socket["key"] for socket in listen}
        keys += [{"key": f"key of {name}", "name": name, "status": True} for name in sorted(names)]
        (configs / "server.json").write_text(json.dumps(server or {}))
        (configs / "log.json").write_text(json.dumps({"sample1": log}))
        (configs / "api_key.json").write_text(json.dumps(keys))
        (configs / "system.json").write_text(json.dumps({"dos_detect": 0}))
        options = [f"--{name}-dir={folder / name}" for name in ("log", "state", "run")]
        self.errors = folder / "stderr"
        self.process = subprocess.Popen(
            [program, "sample1", f"--config-dir={configs}", *options], stderr=self.errors.open("w")
        )
        self.wait_until_it_serves()

    @staticmethod
    def key(number):
        return {"key": f"key-{number:03}", "name": f"sender-{number:03}", "status": True}

    def wait_until_it_serves(self):
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, f"the server ended: {self.errors.read_text()}"
                time.sleep(0.05)
        raise TimeoutError("the server does not serve")

    def sender(self, key=None):
        """Returns a sender with a key of its own."""
        if key is None:
            entry = self.key(self.given)
            self.given += 1
            assert self.given <= KEYS, "more keys are needed"
            key = entry["key"], entry["name"]
        sender = Sender(self, *key)
        self.senders.append(sender)
        return sender

    def lines(self, name):
        """Returns the lines of the key with this name."""
        text = self.file.read_bytes().decode() if self.file.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        # `str.splitlines` also splits at characters that are no line ends here.
        parsed = [line.parse(one) for one in whole.split("\n")[:-1]]
        return [one for one in parsed if one.key == name]

    def stop(self):
        """Stops the server. Fails when a line came that no test expected, or the server reported a panic."""
        self.process.terminate()
        status = self.process.wait(timeout=TIMEOUT_SECONDS)
        errors = self.errors.read_text()
        assert status == 0 and "panicked" not in errors, f"the server ended with {status}: {errors}"
        for sender in self.senders:
            lines = self.lines(sender.name)
            assert len(lines) == sender.expected, f"{sender.name}: lines came after the test: {lines}"


class Json:
    """Compares equal to any JSON text of this value."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        try:
            return json.loads(other) == self.value
        except (TypeError, ValueError):
            return False

    def __repr__(self):
        return f"Json({self.value!r})"


class Matching:
    """Compares equal to a text that the expression matches as a whole."""

    def __init__(self, expression):
        self.expression = re.compile(expression, re.DOTALL)

    def __eq__(self, other):
        return isinstance(other, str) and self.expression.fullmatch(other) is not None

    def __repr__(self):
        return f"Matching({self.expression.pattern!r})"


class At:
    """Compares equal to the field `at` of this time, to the microsecond."""

    def __init__(self, seconds):
        self.seconds = Decimal(seconds)

    @classmethod
    def iso(cls, text):
        """Reads a time with an offset."""
        parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
        whole = int(parsed.replace(microsecond=0).timestamp())
        return cls(whole + Decimal(parsed.microsecond) / 1_000_000)

    @classmethod
    def milliseconds(cls, number):
        return cls(Decimal(number) / 1000)

    def __eq__(self, other):
        if not isinstance(other, str) or not line.AT.fullmatch(other):
            return False
        seconds = datetime.fromisoformat(other[:19]).replace(tzinfo=timezone.utc).timestamp()
        return abs(int(seconds) + Decimal(other[19:26]) - self.seconds) <= Decimal("0.000001")

    def __repr__(self):
        return f"At({datetime.fromtimestamp(float(self.seconds), timezone.utc).isoformat()})"


class Number(str):
    """Holds a number of JSON as it was written."""


def load(text):
    """Parses JSON and keeps the text of each number."""
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=Number)


def flatten(members, prefix=""):
    """Returns the fields that an object becomes: dotted names, texts, and JSON for arrays and `{}`."""
    fields = {}
    for name, value in members.items():
        name = prefix + re.sub(r'[\s\x00-\x1f\x7f-\x9f="\\|]', "_", name)
        if value is None:
            continue
        if isinstance(value, dict) and value:
            fields.update(flatten(value, name + "."))
        elif isinstance(value, bool):
            fields[name] = "true" if value else "false"
        elif isinstance(value, (dict, list)):
            fields[name] = Json(plain(value))
        else:
            fields[name] = str(value)
    return fields


def plain(value):
    """Returns the value with its numbers as numbers."""
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(element) for element in value]
    return value


@dataclass
class Record:
    """Holds what a line must say of a record. Without `at` in `fields` the line has no `at`."""

    level: str
    message: object
    fields: dict = field(default_factory=dict)


class Sender:
    """Runs clients with the address and the key of one test, and checks the lines of that key."""

    def __init__(self, service, key, name):
        self.service = service
        self.key = key
        self.name = name
        self.expected = 0
        self.host = "127.0.0.1"
        self.port = service.port
        self.url = f"http://127.0.0.1:{service.port}/moca-file-log"
        self.environment = os.environ | {
            "MOCA_HOST": self.host,
            "MOCA_PORT": str(self.port),
            "MOCA_URL": self.url,
            "MOCA_KEY": key,
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    @staticmethod
    def client(name):
        """Returns the path of a client script."""
        return HERE / "clients" / name

    def run(self, *command, stdin=None, cwd=None, status=0):
        """Runs a client to its end, and returns the lines of its output."""
        ended = subprocess.run(
            [str(part) for part in command],
            input=stdin,
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        output = ended.stdout.decode() + ended.stderr.decode()
        assert ended.returncode == status, f"{command} ended with {ended.returncode}: {output}"
        return ended.stdout.decode().splitlines()

    def lines(self, count):
        """Waits for this many lines and returns them. More than these are a failure."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        lines = self.service.lines(self.name)
        while len(lines) < count and time.monotonic() < deadline:
            time.sleep(0.05)
            lines = self.service.lines(self.name)
        self.expected = count
        assert len(lines) == count, f"{len(lines)} lines instead of {count}: {lines}"
        return lines

    def stored(self, *records, ordered=True):
        """Checks that the log has exactly these records of the key, in this order."""
        lines = self.lines(len(records))
        if not ordered:
            lines.sort(key=lambda one: one.message)
            records = sorted(records, key=lambda one: one.message)
        for record, found in zip(records, lines, strict=True):
            assert Record(found.level, found.message, found.fields) == record
