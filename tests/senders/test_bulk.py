"""The official clients of Elasticsearch, in the last version of two generations."""

import json
import os
import sys

import pytest

from dialect_page import example
from service import At, Matching, Record

PYTHONS = {"8": os.environ["MOCA_ELASTICSEARCH8"], "9": sys.executable}
LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR", "fatal": "CRITICAL"}


def run(sender, generation, mode):
    return sender.run(PYTHONS[generation], sender.client("python/bulk.py"), mode)


@pytest.mark.parametrize("generation", PYTHONS)
@pytest.mark.parametrize("mode", ["api_key", "basic", "bearer", "path", "gzip", "deletes"])
def test_helpers_bulk(sender, generation, mode):
    expected = []
    for line in run(sender, generation, mode):
        sent = json.loads(line)
        level = sent["log"]["level"]
        fields = {"at": At.iso(sent["@timestamp"]), "order": str(sent["order"]), "user.name": "bob smith"}
        fields |= {"index": "shop"} | ({"level": "fatal"} if level == "fatal" else {})
        expected.append(Record(LEVELS[level], sent["message"], fields))
    assert len(expected) == 250
    sender.stored(*expected)


@pytest.mark.parametrize("generation", PYTHONS)
def test_wrong_key(sender, generation):
    assert run(sender, generation, "wrong") == ["401 security_exception"]
    sender.stored()


def test_example_of_the_documents(sender, tmp_path):
    (tmp_path / "example.py").write_text(example(sender, "Elasticsearch's client for Python", "python"))
    sender.run(sys.executable, tmp_path / "example.py")
    at = Matching(r"20\d\d-.*")
    sender.stored(Record("ERROR", "order 7 failed", {"at": at, "user": "bob", "index": "shop"}))
