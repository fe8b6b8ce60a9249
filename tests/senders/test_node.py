"""Clients of Node: winston."""

import json

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


def test_winston(sender, node_folder):
    shown = node(sender, node_folder, "winston.mjs", "bearer")
    assert len(shown) == 1
    sender.stored(*[of_winston(text, NPM_LEVELS) for text in shown])
