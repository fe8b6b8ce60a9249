"""fluent-logger of Python over TCP and a Unix socket, and the protocol of Fluentd with its acknowledgements."""

import gzip
import hashlib
import logging
import os
import re
import socket
import time
from pathlib import Path

import msgpack
import pytest
from fluent.handler import FluentHandler, FluentRecordFormatter
from fluent.sender import EventTime, FluentSender

from service import At, Json, Record, Service, free_port

DOCUMENT = Path(__file__).parents[2] / "docs" / "dialects.md"


class Sockets:
    """Holds a server with sockets of Fluent Forward, one of which wants a secret."""

    def __init__(self, folder):
        self.port, self.secure_port, self.path = free_port(), free_port(), folder / "forward"
        on = {
            "tcp": {"on": f"tcp://127.0.0.1:{self.port}"},
            "secure": {"on": f"tcp://127.0.0.1:{self.secure_port}", "shared_key": "s3cret"},
            "unix": {"on": f"unix:{self.path}"},
        }
        listen = [{"type": "forward", "key": name, **options} for name, options in on.items()]
        self.service = Service(os.environ["MOCA_PROGRAM"], folder, listen)
        self.senders = {name: self.service.sender(("", name)) for name in on}


@pytest.fixture
def sockets(tmp_path):
    sockets = Sockets(tmp_path)
    yield sockets
    sockets.service.stop()


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_fluent_logger(sockets, transport):
    host = "127.0.0.1" if transport == "tcp" else f"unix://{sockets.path}"
    sender = FluentSender("app", host=host, port=sockets.port, nanosecond_precision=True)
    expected = []
    for number, level in enumerate(["debug", "info", "warning", "error", "critical"]):
        record = {"message": f"käse {number}", "level": level, "n": number, "o": {"a": 1.5}, "l": [1, "x"], "z": None}
        at = EventTime.from_unix_nano(1_795_410_148_123_456_000 + number * 1_000_000_000)
        assert sender.emit_with_time("web", at, record)
        fields = {"at": At(f"{1_795_410_148 + number}.123456"), "n": str(number), "o.a": "1.5", "l": Json([1, "x"])}
        expected.append(Record(level.upper(), f"käse {number}", {**fields, "tag": "app.web"}))
    assert sender.emit_with_time(None, 1_795_410_148, {"log": "a line"})
    expected.append(Record("INFO", "a line", {"at": At(1_795_410_148), "tag": "app"}))
    sender.close()
    sockets.senders[transport].stored(*expected)


def test_fluent_handler_of_logging(sockets):
    handler = FluentHandler("app", host="127.0.0.1", port=sockets.port)
    form = {"level": "%(levelname)s", "logger": "%(name)s"}
    handler.setFormatter(FluentRecordFormatter(form))
    log = logging.Logger("shop")
    log.addHandler(handler)
    log.warning("disk %s", "full")
    log.error({"message": "failed", "user": {"id": 42}})
    handler.close()
    lines = sockets.senders["tcp"].lines(2)
    shown = [(line.level, line.message, {**line.fields, "at": ""}) for line in lines]
    fields = {"at": "", "logger": "shop", "tag": "app"}
    assert shown == [("WARNING", "disk full", fields), ("ERROR", "failed", {**fields, "user.id": "42"})]


def test_the_sender_of_the_documentation(sockets):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    script = next(block for block in blocks if "FluentSender" in block)
    exec(script.replace("24224", str(sockets.port)), {})
    (line,) = sockets.senders["tcp"].lines(1)
    assert (line.level, line.message, line.fields["tag"]) == ("ERROR", "disk full", "app.web")


def read(connection):
    unpacker = msgpack.Unpacker()
    while True:
        bytes_ = connection.recv(4096)
        assert bytes_, "the connection was closed"
        unpacker.feed(bytes_)
        for message in unpacker:
            return message


def test_chunks_of_fluentd_are_acknowledged(sockets):
    events = [(1_795_410_148 + number, {"message": f"line {number}"}) for number in range(2_000)]
    packed = b"".join(msgpack.packb(event) for event in events)
    with socket.create_connection(("127.0.0.1", sockets.port), timeout=30) as connection:
        for chunk, second in [("a", events), ("b", packed), ("c", gzip.compress(packed))]:
            options = {"chunk": chunk, "size": len(events)} | ({"compressed": "gzip"} if chunk == "c" else {})
            connection.sendall(msgpack.packb(("web", second, options)))
            assert read(connection) == {"ack": chunk}
    expected = [Record("INFO", record["message"], {"at": At(at), "tag": "web"}) for at, record in events]
    sockets.senders["tcp"].stored(*expected * 3)


def handshake(connection, secret):
    """Does what Fluentd does with `<security>`, and returns the PONG and the digest that it must have."""
    helo, options = read(connection)
    assert (helo, options["keepalive"], len(options["auth"])) == ("HELO", True, 0)

    def digest(name):
        return hashlib.sha512(b"salt" + name.encode() + options["nonce"] + secret.encode()).hexdigest()

    connection.sendall(msgpack.packb(("PING", "client", "salt", digest("client"), "", "")))
    pong = read(connection)
    return pong, digest(pong[3])


def test_shared_key(sockets):
    with socket.create_connection(("127.0.0.1", sockets.secure_port), timeout=30) as connection:
        pong, digest = handshake(connection, "s3cret")
        assert pong == ["PONG", True, "", "moca-file-log", digest]
        connection.sendall(msgpack.packb(("web", 1_795_410_148, {"log": "a"}, {"chunk": "c"})))
        assert read(connection) == {"ack": "c"}
    with socket.create_connection(("127.0.0.1", sockets.secure_port), timeout=30) as connection:
        pong, _ = handshake(connection, "other")
        assert pong == ["PONG", False, "shared_key mismatch", "", ""]
        assert connection.recv(1) == b""
    sockets.senders["secure"].stored(Record("INFO", "a", {"at": At(1_795_410_148), "tag": "web"}))


def test_what_is_sent_while_the_server_is_away_comes_later(sockets, tmp_path):
    sender = FluentSender("app", host="127.0.0.1", port=free_port())
    assert not sender.emit_with_time("web", 1_795_410_148, {"message": "one"})
    sender.port = sockets.port
    time.sleep(0.01)
    assert sender.emit_with_time("web", 1_795_410_149, {"message": "two"})
    sender.close()
    fields = [{"at": At(1_795_410_148 + number), "tag": "app.web"} for number in range(2)]
    sockets.senders["tcp"].stored(Record("INFO", "one", fields[0]), Record("INFO", "two", fields[1]))
