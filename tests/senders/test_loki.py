"""Clients of Loki's push API."""

import json
import sys

import pytest

from dialect_page import example
from service import At, Matching, Record


def run(sender, *arguments, status=0):
    return sender.run(sys.executable, sender.client("python/loki.py"), *arguments, status=status)


@pytest.mark.parametrize("version", ["0", "1"])
def test_python_logging_loki(sender, version):
    expected = []
    for line in run(sender, version):
        sent = json.loads(line)
        fields = {"at": At(repr(sent["time"])), "app": "shop", "logger": "cart"}
        fields |= {"order": sent["order"], "user": "bob smith"}
        expected.append(Record(sent["level"].upper(), sent["message"], fields))
    assert len(expected) == 5
    # The client takes the time anew when it sends.
    for record in expected if version == "1" else []:
        record.fields["at"] = Matching(r"20\d\d-.*")
    sender.stored(*expected)


def test_wrong_key(sender):
    run(sender, "1", "wrong", status=1)
    sender.stored()


def test_example_of_the_documents(sender, tmp_path):
    (tmp_path / "example.py").write_text(example(sender, "python-logging-loki", "python"))
    sender.run(sys.executable, tmp_path / "example.py")
    at = Matching(r"20\d\d-.*")
    sender.stored(Record("ERROR", "order 7 failed", {"at": at, "app": "shop", "logger": "cart"}))
