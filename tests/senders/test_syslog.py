"""logger, rsyslog and syslog-ng, which send syslog over UDP, TCP, TLS and Unix sockets."""

import logging
import logging.handlers
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from service import Matching, Record, Service, free_port

LEVELS = {
    "emerg": "CRITICAL",
    "alert": "CRITICAL",
    "crit": "CRITICAL",
    "err": "ERROR",
    "warning": "WARNING",
    "notice": "INFO",
    "info": "INFO",
    "debug": "DEBUG",
}
OURS = ("warning", "info", "debug")
TRANSPORTS = ("udp", "tcp", "tls", "unix")
AT = Matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
DOCUMENT = Path(__file__).parents[2] / "docs" / "dialects.md"


def record(name, message, **fields):
    """Returns what a message with this severity and of the facility `user` is stored as."""
    kept = {} if name in OURS else {"level": name}
    return Record(LEVELS[name], message, {"at": AT, **kept, "facility": "user", **fields})


class Sockets:
    """Holds a server with a socket of each transport, and a key for each."""

    def __init__(self, folder):
        certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        certificate += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        self.certificate, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run([*certificate, "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        self.ports = {transport: free_port() for transport in ("udp", "tcp", "tls")}
        self.path = folder / "syslog"
        on = {transport: f"{transport}://127.0.0.1:{port}" for transport, port in self.ports.items()}
        on["unix"] = f"unix:{self.path}"
        listen = [{"type": "syslog", "on": on[transport], "key": transport} for transport in TRANSPORTS]
        server = {"ssl": {"cert": str(self.certificate), "key": str(key)}}
        self.service = Service(os.environ["MOCA_PROGRAM"], folder, listen, server)
        self.senders = {transport: self.service.sender(("", transport)) for transport in TRANSPORTS}


@pytest.fixture
def sockets(tmp_path):
    sockets = Sockets(tmp_path)
    yield sockets
    sockets.service.stop()


def document(word):
    """Returns the block of the documentation that holds a word."""
    blocks = re.findall(r"```\w*\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return next(block for block in blocks if word in block)


def logger(sockets, transport, *options, message="käse \"1\" = [2]"):
    place = {
        "udp": ("--server", "127.0.0.1", "--port", str(sockets.ports["udp"]), "--udp"),
        "tcp": ("--server", "127.0.0.1", "--port", str(sockets.ports["tcp"]), "--tcp"),
        "unix": ("--socket", str(sockets.path)),
    }[transport]
    subprocess.run(["logger", *place, *options, message], check=True, timeout=30)
    return message


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_logger_with_rfc_5424(sockets, transport):
    expected = []
    for name in LEVELS:
        options = ("--rfc5424", "--priority", f"user.{name}", "--tag", "shop", "--id=42", "--msgid", "ID47")
        message = logger(sockets, transport, *options, "--sd-id", "a@1", "--sd-param", 'b="c d"')
        host, quality = Matching(r"\S+"), {"timeQuality.tzKnown": "1", "timeQuality.isSynced": Matching("[01]")}
        fields = {"host": host, "app": "shop", "procid": "42", "msgid": "ID47", **quality, "a@1.b": "c d"}
        expected.append(record(name, message, **fields))
    found = sockets.senders[transport].lines(len(expected))
    for one, line in zip(expected, found, strict=True):
        fields = {key: value for key, value in line.fields.items() if key != "timeQuality.syncAccuracy"}
        assert Record(line.level, line.message, fields) == one


@pytest.mark.parametrize("transport", ["udp", "tcp", "unix"])
def test_logger_with_rfc_3164(sockets, transport):
    expected = []
    form = () if transport == "unix" else ("--rfc3164",)
    for name in LEVELS:
        message = logger(sockets, transport, *form, "--priority", f"user.{name}", "--tag", "shop", "--id=42")
        host = {} if transport == "unix" else {"host": Matching(r"\S+")}
        expected.append(record(name, message, **host, app="shop", procid="42"))
    sockets.senders[transport].stored(*expected)


def test_logger_with_octet_counting(sockets):
    message = logger(sockets, "tcp", "--octet-count", "--rfc3164", "--tag", "shop", message="one")
    sockets.senders["tcp"].stored(record("notice", message, host=Matching(r"\S+"), app="shop"))


def test_the_command_of_the_documentation(sockets):
    command = document("logger --server").replace("5514", str(sockets.ports["udp"]))
    subprocess.run(["sh", "-c", command], check=True)
    (line,) = sockets.senders["udp"].lines(1)
    assert (line.level, line.message) == ("INFO", "disk almost full")


def test_the_handler_of_python(sockets):
    log = logging.Logger("shop")
    kinds = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
    for transport, kind in kinds.items():
        handler = logging.handlers.SysLogHandler(("127.0.0.1", sockets.ports[transport]), socktype=kind)
        log.handlers = [handler]
        log.error("one %s", "käse")
        log.warning("two\nlines")
        handler.close()
        fields = {"facility": "user"}
        records = Record("ERROR", "one käse", {"level": "err", **fields}), Record("WARNING", "two\nlines", fields)
        if transport == "tcp":
            # A line end ends a message of a connection, and the rest has no priority.
            records = records[0], Record("WARNING", "two", fields), Record("INFO", "lines", {})
        sockets.senders[transport].stored(*records)
    log.handlers = [logging.handlers.SysLogHandler(str(sockets.path))]
    log.critical("down")
    sockets.senders["unix"].stored(Record("CRITICAL", "down", {"level": "crit", "facility": "user"}))


class Relay:
    """Runs a program that takes lines of syslog on a port and sends them on."""

    def __init__(self, folder, command, config, port):
        self.port = port
        (folder / "relay.conf").write_text(config)
        self.errors = (folder / "errors").open("w+")
        self.process = subprocess.Popen(command, stdout=self.errors, stderr=self.errors)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)

    def send(self, lines):
        deadline = time.monotonic() + 30
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                break
            except OSError:
                self.errors.seek(0)
                assert self.process.poll() is None, self.errors.read()
                assert time.monotonic() < deadline, "the relay does not listen"
                time.sleep(0.05)
        with connection:
            connection.sendall("".join(line + "\n" for line in lines).encode())


def rsyslog(folder, action):
    port = free_port()
    config = f"""
        module(load="imtcp")
        input(type="imtcp" port="{port}" address="127.0.0.1")
        global(workDirectory="{folder}" net.enableDNS="off")
        {action}
        """
    command = [os.environ["MOCA_RSYSLOG"], "-n", "-f", folder / "relay.conf", "-i", folder / "pid"]
    return Relay(folder, command, config, port)


def syslog_ng(folder, destination):
    port = free_port()
    config = f"""@version: 3.38
        options {{ keep-hostname(yes); stats-freq(0); time-reopen(1); }};
        source s_src {{ network(ip("127.0.0.1") port({port}) transport("tcp") log-msg-size(65536)); }};
        {destination}
        """
    command = [os.environ["MOCA_SYSLOG_NG"], "--foreground", "--no-caps", f"--cfgfile={folder}/relay.conf"]
    command += [f"--{name}={folder / name}" for name in ("persist-file", "control", "pidfile")]
    return Relay(folder, command, config, port)


def messages(count):
    """Returns lines for a relay, and the records that they are stored as."""
    names = list(LEVELS)
    lines = [f"<{8 + number % 8}>Nov 30 06:22:54 shop app[7]: line {number} käse" for number in range(count)]
    fields = {"host": "shop", "app": "app", "procid": "7"}
    return lines, [record(names[number % 8], f"line {number} käse", **fields) for number in range(count)]


def rsyslog_action(sockets, transport, framing):
    if transport == "unix":
        return f'module(load="omuxsock") $OMUxSockSocket {sockets.path}\n*.* :omuxsock:;RSYSLOG_ForwardFormat'
    protocol = "udp" if transport == "udp" else "tcp"
    options = f'target="127.0.0.1" port="{sockets.ports[transport]}" protocol="{protocol}" {framing}'
    if transport == "tls":
        options += f"""StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/certvalid"
            StreamDriver.CAFile="{sockets.certificate}" """
    return f'action(type="omfwd" {options})'


FRAMINGS = {
    "5424 counted": 'template="RSYSLOG_SyslogProtocol23Format" TCP_Framing="octet-counted"',
    "5424 lines": 'template="RSYSLOG_SyslogProtocol23Format"',
    "3164 lines": 'template="RSYSLOG_TraditionalForwardFormat"',
    "iso lines": 'template="RSYSLOG_ForwardFormat"',
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_rsyslog(sockets, tmp_path, transport, framing):
    if transport == "udp" and "counted" in framing or transport == "unix" and framing != "iso lines":
        pytest.skip("this transport has no such form")
    lines, records = messages(200)
    with rsyslog(tmp_path, rsyslog_action(sockets, transport, FRAMINGS[framing])) as relay:
        relay.send(lines)
        sockets.senders[transport].stored(*records)


def test_rsyslog_as_documented(sockets, tmp_path):
    lines, records = messages(16)
    action = document("omfwd").replace("5514", str(sockets.ports["tcp"]))
    with rsyslog(tmp_path, action) as relay:
        relay.send(lines)
        sockets.senders["tcp"].stored(*records)


def syslog_ng_destination(sockets, transport, driver):
    if transport == "unix":
        return f'destination d {{ unix-dgram("{sockets.path}"); }};'
    tls = f'tls(ca-file("{sockets.certificate}") peer-verify(required-trusted))' if transport == "tls" else ""
    port = sockets.ports[transport]
    return f'destination d {{ {driver}("127.0.0.1" port({port}) transport("{transport}") {tls}); }};'


@pytest.mark.parametrize("driver", ["syslog", "network"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_syslog_ng(sockets, tmp_path, transport, driver):
    if transport == "unix" and driver == "syslog":
        pytest.skip("unix-dgram() has no other form")
    lines, records = messages(200)
    destination = syslog_ng_destination(sockets, transport, driver)
    with syslog_ng(tmp_path, destination + " log { source(s_src); destination(d); };") as relay:
        relay.send(lines)
        sockets.senders[transport].stored(*records)


def test_syslog_ng_as_documented(sockets, tmp_path):
    lines, records = messages(16)
    destination = document("d_moca").replace("5514", str(sockets.ports["tcp"]))
    with syslog_ng(tmp_path, destination) as relay:
        relay.send(lines)
        sockets.senders["tcp"].stored(*records)
