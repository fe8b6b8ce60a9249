"""Clients of Node: winston, pino, bunyan, log4js, and HTTP clients."""

import json

import pytest

from service import At, Record, flatten, load

NPM_LEVELS = {
    "error": "ERROR",
    "warn": "WARNING",
    "info": "INFO",
    "http": "INFO",
    "verbose": "DEBUG",
    "debug": "DEBUG",
    "silly": "DEBUG",
}
SYSLOG_LEVELS = {
    "emerg": "CRITICAL",
    "alert": "CRITICAL",
    "crit": "CRITICAL",
    "error": "ERROR",
    "warning": "WARNING",
    "notice": "INFO",
    "info": "INFO",
    "debug": "DEBUG",
}
PINO_LEVELS = {"10": "DEBUG", "20": "DEBUG", "30": "INFO", "40": "WARNING", "50": "ERROR", "60": "CRITICAL"}
KEPT_AS_SENT = ("debug", "info", "warn", "warning", "error", "critical")


def node(sender, folder, script, *arguments):
    return sender.run("node", folder / script, *arguments, cwd=folder)


def of_winston(text, levels):
    """Returns the record that the contract makes of a record of winston."""
    sent = load(text)
    level, message = sent.pop("level"), sent.pop("message", "")
    if isinstance(message, dict):
        message = json.dumps(plain_numbers(message), separators=(",", ":"))
    fields = {"at": At.iso(sent.pop("timestamp"))} if "timestamp" in sent else {}
    if level not in KEPT_AS_SENT:
        fields["level"] = level
    return Record(levels[level], message, fields | flatten(sent))


def plain_numbers(members):
    return {name: int(value) for name, value in members.items()}


@pytest.mark.parametrize(
    ("mode", "count"), [("npm", 7), ("syslog", 8), ("meta", 7), ("error", 2), ("basic", 1), ("bearer", 1)]
)
def test_winston(sender, node_folder, mode, count):
    levels = SYSLOG_LEVELS if mode == "syslog" else NPM_LEVELS
    shown = node(sender, node_folder, "winston.mjs", mode)
    assert len(shown) == count
    sender.stored(*[of_winston(text, levels) for text in shown])


def test_winston_in_batches(sender, node_folder):
    shown = node(sender, node_folder, "winston.mjs", "batch")
    assert len(shown) == 10
    # The batches are sent at the same time.
    sender.stored(*[of_winston(text, NPM_LEVELS) for text in shown], ordered=False)


def test_winston_with_pauses_of_five_seconds_loses_no_record(pausing_winston):
    sender, process = pausing_winston
    assert process.wait(timeout=60) == 0
    lines = sender.lines(120)
    expected = {f"round {round} line {number}" for round in range(6) for number in range(20)}
    assert {line.message for line in lines} == expected
    assert {line.level for line in lines} == {"INFO"}


def of_pino(text):
    """Returns the record that the contract makes of a record of pino or bunyan."""
    sent = load(text)
    level, time, message = sent.pop("level"), sent.pop("time"), sent.pop("msg", "")
    at = At.iso(time) if "T" in time else At.milliseconds(time)
    return Record(PINO_LEVELS[level], message, {"at": at, "level": level} | flatten(sent))


@pytest.mark.parametrize("body", ["json", "ndjson"])
@pytest.mark.parametrize("auth", ["query", "basic"])
def test_pino_http_send(sender, node_folder, body, auth):
    shown = node(sender, node_folder, "pino.mjs")
    assert len(shown) == 12
    url = f"{sender.url}/save-logs"
    login = ["--username", "anybody", "--password", sender.key]
    if auth == "query":
        url, login = f"{url}?api_key={sender.key}", []
    program = node_folder / "node_modules/.bin/pino-http-send"
    options = ["--url", url, "--bodyType", body, "--batchSize", "5", "--timeout", "500", *login]
    sender.run(program, *options, stdin="\n".join([*shown, ""]).encode())
    # The batches are sent at the same time.
    sender.stored(*[of_pino(text) for text in shown], ordered=False)


def test_bunyan(sender, node_folder):
    shown = node(sender, node_folder, "bunyan.mjs")
    assert len(shown) == 8
    sender.stored(*[of_pino(text) for text in shown])


def test_log4js_by_logfaces(sender, node_folder):
    node(sender, node_folder, "log4js.cjs")
    levels = {
        "trace": "DEBUG",
        "debug": "DEBUG",
        "info": "INFO",
        "warn": "WARNING",
        "error": "ERROR",
        "fatal": "CRITICAL",
    }
    found = {line.message: line for line in sender.lines(len(levels))}
    for level, stored in levels.items():
        line = found[f"{level} of log4js"]
        kept = {} if level in KEPT_AS_SENT else {"level": level.upper()}
        time = {"t": line.fields["t"]}
        assert time["t"].isdigit()
        assert line.level == stored
        assert line.fields == kept | {"a": "shop", "g": "cart", "p_user": "bob"} | time


JSON = {"user": "bob smith", "order.id": "7"}
FORM = {"user": "bob smith"}
NONE = {}


@pytest.mark.parametrize(
    ("client", "records"),
    [
        (
            "axios",
            {
                "json": JSON,
                "form": FORM,
                "multipart": FORM,
                "auth": JSON,
                "array 1": JSON,
                "array 2": JSON,
                "text": NONE,
            },
        ),
        ("undici", {"json": JSON, "text": NONE} | {f"pipelined {number}": JSON for number in range(10)}),
        (
            "fetch",
            {"json": JSON, "json as text": JSON, "form": FORM, "multipart": FORM, "text": NONE, "bytes": NONE}
            | {"line 1": JSON, "line 2": JSON},
        ),
        ("superagent", {"json": JSON, "form": FORM, "multipart": FORM, "auth": JSON}),
        ("got", {"json": JSON, "form": FORM, "auth": JSON}),
        ("http", {"chunked without a type": JSON, "auth": JSON}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_http_client(sender, node_folder, client, records):
    node(sender, node_folder, "http_clients.mjs", client)
    sender.stored(*[Record("WARNING" if fields else "INFO", message, fields) for message, fields in records.items()])
