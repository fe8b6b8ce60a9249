"""Clients of Splunk, Seq, Datadog and Graylog over HTTP."""

import json
import sys

import pytest

from service import Matching, Record

TIME = Matching(r"20\d\d-.*")


def run(sender, name, *arguments, status=0):
    return sender.run(sys.executable, sender.client(f"python/{name}.py"), *arguments, status=status)


def test_splunk_handler(sender):
    fields = {"at": TIME, "host": "shop-1", "index": "main", "source": "cart", "sourcetype": "text"}
    messages = [json.loads(line) for line in run(sender, "splunk") if line.startswith('"')]
    assert len(messages) == 25
    sender.stored(*[Record("INFO", message, dict(fields)) for message in messages])


def test_splunk_handler_with_a_wrong_key(sender):
    run(sender, "splunk", "wrong", status=1)
    sender.stored()


@pytest.mark.parametrize("form", ["raw", "clef"])
def test_seqlog(sender, form):
    run(sender, "seq", form)
    lines = sender.lines(6)
    fields = {"order": "7", "user": "bob smith"}
    for one, level in zip(lines, ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")):
        assert (one.level, one.message) == (level, "Order 7 of bob smith: käse")
        assert fields.items() <= dict(one.fields).items() and one.fields["at"]
    assert lines[5].level == "ERROR"
    assert lines[5].message.startswith("Order 8 failed\n") and "no stock" in lines[5].message


def test_datadog(sender):
    run(sender, "datadog")
    fields = {"ddsource": "nginx", "ddtags": "env:prod,version:5.1", "hostname": "shop-1", "service": "cart"}
    sender.stored(
        Record("INFO", "line 0: käse", dict(fields)),
        Record("ERROR", "line 1: käse", dict(fields, order="7")),
        Record("WARNING", "line 2: käse", dict(fields)),
    )


def test_datadog_with_a_wrong_key(sender):
    run(sender, "datadog", "wrong", status=1)
    sender.stored()


def test_pygelf_over_http(sender):
    run(sender, "gelf_http")
    for one, level in zip(sender.lines(5), ("debug", "info", "warning", "error", "critical")):
        fields = dict(one.fields)
        assert (one.level, one.message) == (level.upper(), f"{level}: käse")
        assert (fields["app"], fields["order"]) == ("shop", "7") and fields["at"]
