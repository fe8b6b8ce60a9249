"""syslog-ng, whose destination http() sends what a socket receives."""

import os
import socket
import subprocess
import time

import pytest

from service import Matching, Record, free_port

PRIORITIES = {
    "emerg": "CRITICAL",
    "alert": "CRITICAL",
    "crit": "CRITICAL",
    "err": "ERROR",
    "warning": "WARNING",
    "notice": "INFO",
    "info": "INFO",
    "debug": "DEBUG",
}
KEPT = ("emerg", "alert", "crit", "err", "notice")
USER = 1 << 3


class SyslogNg:
    """Runs syslog-ng with one source and one destination."""

    def __init__(self, folder, destination, name):
        """Starts it with a statement of the configuration that defines a destination."""
        self.port = free_port()
        config = folder / "syslog-ng.conf"
        config.write_text(
            f"""@version: 3.38
            options {{ keep-hostname(yes); stats-freq(0); time-reopen(1); }};
            source s {{ network(ip("127.0.0.1") port({self.port}) transport("tcp") log-msg-size(65536)); }};
            {destination}
            log {{ source(s); destination({name}); }};
            """
        )
        command = [os.environ["MOCA_SYSLOG_NG"], "--foreground", "--no-caps", f"--cfgfile={config}"]
        command += [f"--{name}={folder / name}" for name in ("persist-file", "control", "pidfile")]
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(command, stderr=self.errors, stdout=self.errors)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)

    def send(self, *lines):
        """Sends lines of syslog to the source."""
        deadline = time.monotonic() + 30
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                break
            except OSError:
                self.errors.seek(0)
                assert self.process.poll() is None, self.errors.read()
                assert time.monotonic() < deadline, "syslog-ng does not listen"
                time.sleep(0.05)
        with connection:
            connection.sendall("".join(line + "\n" for line in lines).encode())


def of_priority(number, text):
    return f"<{USER + number}>Nov 30 06:22:54 shop app[7]: {text}"


@pytest.fixture
def syslog_ng(sender, tmp_path):
    """Starts syslog-ng with a destination, and keeps its messages in order by one worker."""

    def start(route, options):
        http = f'http(url("{sender.url}/{route}") workers(1) {options});'
        return SyslogNg(tmp_path, f"destination d {{ {http} }};", "d")

    return start


def test_the_default_body(sender, syslog_ng):
    with syslog_ng(f"save-log?api_key={sender.key}", "") as client:
        client.send(*[of_priority(number, f"{name} & 100 % = käse") for number, name in enumerate(PRIORITIES)])
        sender.stored(*[Record("INFO", f"{name} & 100 % = käse") for name in PRIORITIES])


TEMPLATE = """headers("Content-Type: application/json") body("$(format-json --scope none
    level=$LEVEL message=$MESSAGE time=$ISODATE host=$HOST program=$PROGRAM pid=$PID)")"""


def of_template(name, message):
    fields = {"at": Matching(r"\d{4}-11-\d\dT.*"), "host": "shop", "program": "app", "pid": "7"}
    if name in KEPT:
        fields["level"] = name
    return Record(PRIORITIES[name], message, fields)


def test_a_template(sender, syslog_ng):
    login = f'user("anybody") password("{sender.key}")'
    with syslog_ng("save-log", f"{login} {TEMPLATE}") as client:
        client.send(*[of_priority(number, f'{name} "of" \\ käse') for number, name in enumerate(PRIORITIES)])
        sender.stored(*[of_template(name, f'{name} "of" \\ käse') for name in PRIORITIES])


def test_batches_of_lines(sender, syslog_ng):
    batches = 'batch-lines(10) batch-timeout(200) delimiter("\n")'
    with syslog_ng(f"save-logs?api_key={sender.key}", f"{batches} {TEMPLATE}") as client:
        client.send(*[of_priority(number % 8, f"line {number}") for number in range(96)])
        names = list(PRIORITIES)
        sender.stored(*[of_template(names[number % 8], f"line {number}") for number in range(96)])


def test_a_message_that_is_refused_does_not_stop_the_others(sender, syslog_ng):
    with syslog_ng(f"save-log?api_key={sender.key}", TEMPLATE) as client:
        texts = [f"before {number}" for number in range(10)]
        texts += ["x" * 9000] + [f"after {number}" for number in range(20)]
        client.send(*[of_priority(6, text) for text in texts])
        texts.pop(10)
        sender.stored(*[of_template("info", text) for text in texts])


def test_a_long_message_in_a_batch_is_stored(sender, syslog_ng):
    batches = 'batch-lines(10) batch-timeout(200) delimiter("\n")'
    with syslog_ng(f"save-logs?api_key={sender.key}", f"{batches} {TEMPLATE}") as client:
        texts = ["before", "x" * 9000, "after"]
        client.send(*[of_priority(6, text) for text in texts])
        sender.stored(*[of_template("info", text) for text in texts])
