"""pygelf over UDP, in chunks, over TCP and over TLS."""

import logging
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from pygelf import GelfTcpHandler, GelfTlsHandler, GelfUdpHandler

from service import Matching, Record, Service, free_port

DOCUMENT = Path(__file__).parents[2] / "docs" / "dialects.md"
LEVELS = [("DEBUG", "7"), ("INFO", "6"), ("WARNING", None), ("ERROR", None), ("CRITICAL", None)]
TRANSPORTS = ("udp", "tcp", "tls")
AT = Matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Sockets:
    """Holds a server with a socket of each transport, and a key for each."""

    def __init__(self, folder):
        certificate, key = folder / "cert.pem", folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        self.ports = {transport: free_port() for transport in TRANSPORTS}
        on = {transport: f"{transport}://127.0.0.1:{port}" for transport, port in self.ports.items()}
        listen = [{"type": "gelf", "on": on[transport], "key": transport} for transport in TRANSPORTS]
        server = {"ssl": {"cert": str(certificate), "key": str(key)}}
        self.service = Service(os.environ["MOCA_PROGRAM"], folder, listen, server)
        self.senders = {transport: self.service.sender(("", transport)) for transport in TRANSPORTS}

    def handler(self, transport, **options):
        kinds = {"udp": GelfUdpHandler, "tcp": GelfTcpHandler, "tls": GelfTlsHandler}
        return kinds[transport](host="127.0.0.1", port=self.ports[transport], **options)


@pytest.fixture
def sockets(tmp_path):
    sockets = Sockets(tmp_path)
    yield sockets
    sockets.service.stop()


def fields(level=None, **others):
    kept = {"level": level} if level else {}
    return {"at": AT, **kept, "version": "1.1", "host": socket.gethostname(), **others}


@pytest.mark.parametrize(
    "transport, options",
    [("udp", {}), ("udp", {"compress": False}), ("udp", {"chunk_size": 50}), ("tcp", {}), ("tls", {})],
)
def test_pygelf(sockets, transport, options):
    handler = sockets.handler(transport, _app="shop", include_extra_fields=True, **options)
    log = logging.Logger("shop")
    log.addHandler(handler)
    expected = []
    for name, level in LEVELS:
        log.log(getattr(logging, name), "käse %d", 1, extra={"user": {"id": 42}, "empty": None})
        expected.append(Record(name, "käse 1", fields(level, app="shop", **{"user.id": "42"})))
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    trace = Matching(r"failed\nTraceback .*\nValueError: broken\n")
    expected.append(Record("ERROR", trace, fields(app="shop")))
    handler.close()
    sockets.senders[transport].stored(*expected)


def test_long_messages_come_in_chunks(sockets):
    log = logging.Logger("shop")
    log.addHandler(sockets.handler("udp", compress=False))
    long = "".join(chr(ord("a") + number % 26) for number in range(100_000))
    for _ in range(20):
        log.error(long)
    sockets.senders["udp"].stored(*[Record("ERROR", long, fields())] * 20)


def test_the_handler_of_the_documentation(sockets):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    script = next(block for block in blocks if "GelfUdpHandler" in block)
    exec(script.replace("12201", str(sockets.ports["udp"])), {})
    logging.getLogger().warning("disk full")
    logging.getLogger().handlers = []
    sockets.senders["udp"].stored(Record("WARNING", "disk full", fields()))
