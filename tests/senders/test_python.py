"""Clients of Python: the logging of the standard library, structured loggers, HTTP libraries."""

import json
import sys

import pytest

from service import At, Record, flatten, load

LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "critical": "CRITICAL"}


def run(sender, script, *arguments):
    return sender.run(sys.executable, sender.client(f"python/{script}.py"), *arguments)


def of_logging(line):
    """Returns the record that the contract makes of a LogRecord of Python."""
    shown = json.loads(line)
    fields = {"at": At(shown["created"])}
    number, name = shown["number"], shown["name"]
    level = name if name in LEVELS.values() else {5: "DEBUG", 45: "CRITICAL", 25: "INFO"}[number]
    if level != name:
        fields["level"] = name
    return Record(level, shown["message"], fields | shown["fields"])


@pytest.mark.parametrize("mode", ["POST", "GET", "credentials", "formatted"])
def test_http_handler(sender, mode):
    shown = run(sender, "stdlib", mode)
    assert len(shown) == 12
    sender.stored(*[of_logging(line) for line in shown])


def test_python_json_logger(sender):
    expected = []
    for text in run(sender, "python_json_logger"):
        sent = load(text)
        level, at, message = sent.pop("levelname"), sent.pop("timestamp"), sent.pop("message")
        expected.append(Record(level, message, {"at": At.iso(at)} | flatten(sent)))
    assert [record.level for record in expected] == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    sender.stored(*expected)


def test_loguru(sender):
    expected = []
    levels = {"TRACE": "DEBUG", "SUCCESS": "INFO"}
    for text in run(sender, "structured", "loguru"):
        sent = load(text)
        level = sent["record"]["level"].pop("name")
        at = sent["record"]["time"].pop("timestamp")
        fields = {"at": At(at)} | ({"level": level} if level in levels else {})
        message = sent.pop("text")
        expected.append(Record(levels.get(level, level), message, fields | flatten(sent)))
    assert len(expected) == 9
    sender.stored(*expected)


def test_structlog(sender):
    expected = []
    for text in run(sender, "structured", "structlog"):
        sent = load(text)
        level, at, message = sent.pop("level"), sent.pop("timestamp"), sent.pop("event")
        expected.append(Record(LEVELS[level], message, {"at": At.iso(at)} | flatten(sent)))
    assert len(expected) == 5
    sender.stored(*expected)


def test_ecs_logging(sender):
    expected = []
    for text in run(sender, "structured", "ecs"):
        sent = load(text)
        level, at, message = sent.pop("log.level"), sent.pop("@timestamp"), sent.pop("message")
        expected.append(Record(LEVELS[level], message, {"at": At.iso(at)} | flatten(sent)))
    assert len(expected) == 5
    sender.stored(*expected)


@pytest.mark.parametrize("mode", ["json", "form", "multipart", "query", "auth", "auth-user", "gzip", "chunked"])
def test_requests(sender, mode):
    run(sender, "requests_client", mode)
    fields = {"user": "bob smith", "order": "7"}
    sender.stored(Record("ERROR", f"requests {mode}: käse & 100 %", fields))


def test_requests_with_text(sender):
    run(sender, "requests_client", "text")
    sender.stored(Record("INFO", "requests text: käse & 100 %"))


def test_requests_with_an_array(sender):
    run(sender, "requests_client", "array")
    message = "requests array: käse & 100 %"
    sender.stored(*[Record("ERROR", message, {"user": "bob smith", "order": order}) for order in ("7", "8")])


@pytest.mark.parametrize("mode", ["json", "form", "multipart", "deflate", "gzip", "chunked", "expect", "auth"])
def test_aiohttp(sender, mode):
    run(sender, "aiohttp_client", mode)
    sender.stored(Record("WARNING", f"aiohttp {mode}", {"user": "bob", "order": "7"}))


@pytest.mark.parametrize("mode", ["http1", "http2", "auth"])
def test_httpx(sender, mode):
    run(sender, "httpx_client", mode)
    sender.stored(
        Record("INFO", "json", {"user": "bob", "order.id": "7"}),
        Record("ERROR", "form", {"user": "bob"}),
        Record("INFO", "multipart", {"user": "bob"}),
        Record("INFO", "text"),
    )
