"""Clients of OTLP: the OpenTelemetry SDKs of Python and of Node, over HTTP and over gRPC."""

import json
import sys
from decimal import Decimal

import pytest

from dialect_page import example
from service import At, Json, Matching, Record

SOME_TIME = Matching(r"20\d\d-.*")
RESOURCE_OF_PYTHON = {
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": Matching(r"[\d.]+"),
    "service.instance.id": Matching(r"[0-9a-f-]{36}"),
    "service.name": "shop",
    "process.pid": "7",
    "tags": Json(["a", "b"]),
}
CODE = {
    "code.file.path": Matching(r".+\.py"),
    "code.function.name": "<module>",
    "code.line.number": Matching(r"\d+"),
}


def python(sender, *arguments, status=0):
    return sender.run(sys.executable, sender.client("python/otel.py"), *arguments, status=status)


def node(sender, folder, *arguments, status=0):
    return sender.run("node", folder / "otel.mjs", *arguments, cwd=folder, status=status)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("coding", ["plain", "gzip"])
def test_python(sender, protocol, coding):
    (shown,) = python(sender, protocol, coding)
    common = {"at": SOME_TIME} | RESOURCE_OF_PYTHON
    logged = common | {"otel.scope.name": "cart"} | CODE
    given = {"order": "7", "user": "bob smith", "ratio": "0.5"}
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    # The SDK calls the highest level FATAL.
    kept = {"CRITICAL": {"level": "FATAL"}}
    records = [Record(level, f"{level.lower()} of otel", logged | given | kept.get(level, {})) for level in levels]
    records.append(Record("INFO", 'two\nlines | \\| "käse" 🎉', logged))
    event = common | {
        "at": At(Decimal(json.loads(shown)["now"]) / 10**9),
        "level": "WARN2",
        "otel.scope.name": "events",
        "otel.scope.version": "1.2",
        "nested.deep.list": Json([1, "two", None]),
        "flag": "true",
        "event_name": "signed.in",
        "user.name": "eve",
    }
    records.append(Record("WARNING", "an object", event))
    sender.stored(*records)


@pytest.mark.parametrize("protocol", ["http", "proto", "grpc"])
@pytest.mark.parametrize("coding", ["none", "gzip"])
def test_node(sender, node_folder, protocol, coding):
    node(sender, node_folder, protocol, coding)
    common = {
        "at": At("1795410148.1"),
        "service.name": "shop",
        "process.pid": "7",
        "otel.scope.name": "cart",
        "otel.scope.version": "1.2",
    }
    given = {"order": "7", "ratio": "0.5", "ok": "true", "list": Json([1, "two"]), "user.name": "eve", "user.age": "9"}
    levels = {"TRACE": "DEBUG", "DEBUG": "DEBUG", "INFO": "INFO", "WARN": "WARNING", "ERROR": "ERROR", "FATAL": "CRITICAL"}
    records = []
    for name, level in levels.items():
        kept = {"level": name} if name in ("TRACE", "FATAL") else {}
        records.append(Record(level, f"{name} of otel", common | kept | given))
    records.append(Record("INFO", "an object", common | {"user": "bob", "event_name": "signed.in"}))
    records.append(Record("INFO", 'two\nlines | \\| "käse" 🎉', common))
    sender.stored(*records, ordered=False)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_wrong_key_of_python(sender, protocol):
    python(sender, protocol, "plain", "wrong", status=1)
    sender.stored()


@pytest.mark.parametrize("protocol", ["http", "proto", "grpc"])
def test_wrong_key_of_node(sender, node_folder, protocol):
    node(sender, node_folder, protocol, "none", "wrong", status=1)
    sender.stored()


def test_example_of_python(sender, tmp_path):
    (tmp_path / "example.py").write_text(example(sender, "Python", "python"))
    sender.run(sys.executable, tmp_path / "example.py")
    resource = {name: value for name, value in RESOURCE_OF_PYTHON.items() if name not in ("process.pid", "tags")}
    fields = {"at": SOME_TIME} | resource | CODE | {"otel.scope.name": "cart", "order": "7"}
    sender.stored(Record("ERROR", "order failed", fields))


def test_example_of_node(sender, node_folder):
    (node_folder / "otel_example.mjs").write_text(example(sender, "Node", "js"))
    sender.run("node", node_folder / "otel_example.mjs", cwd=node_folder)
    fields = {"at": SOME_TIME, "service.name": "shop", "otel.scope.name": "cart", "order": "7"}
    sender.stored(Record("ERROR", "order failed", fields))
