"""Tests the parser of lines that the other tests rely on."""

import pytest

from line import MalformedLine, parse

HEAD = "[INFO](2026-11-23 05:02:29.805789+00:00)<127.0.0.1|shop|save-log|4711|18>"


def test_a_line_without_fields_has_a_message_only():
    line = parse(HEAD + "hello world")
    assert (line.level, line.client, line.key, line.route) == ("INFO", "127.0.0.1", "shop", "save-log")
    assert (line.pid, line.seq, line.message, line.fields) == (4711, 18, "hello world", {})


def test_fields_follow_the_message():
    line = parse(HEAD + r'a | b \| at=2026-11-23T05:02:28.100000Z level=fatal user=bob note="two words" empty=""')
    assert line.message == "a | b"
    assert line.fields == {
        "at": "2026-11-23T05:02:28.100000Z",
        "level": "fatal",
        "user": "bob",
        "note": "two words",
        "empty": "",
    }


def test_a_message_may_be_empty():
    assert parse(HEAD).message == ""
    line = parse(HEAD + r" \| user=bob")
    assert (line.message, line.fields) == ("", {"user": "bob"})


def test_escapes_are_reversed():
    line = parse(HEAD + r'a\nb\\c\rd\u{0}e\u{2028} \\| x=1 \| q="say \"hi\"\n\\ \\| y=2"')
    assert line.message == "a\nb\\c\rd\0e\u2028 \\| x=1"
    assert line.fields == {"q": 'say "hi"\n\\ \\| y=2'}


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        HEAD.replace("INFO", "NOTICE") + "x",
        HEAD.replace("|18", "") + "x",
        HEAD.replace(".805789", "") + "x",
        HEAD + "a\nb",
        HEAD + "a\x85b",
        HEAD + "a\\qb",
        HEAD + 'a\\"b',
        HEAD + r"a\u{41}b",
        HEAD + "a\\",
        HEAD + r"a \| ",
        HEAD + r"a \| user",
        HEAD + r"a \| =bob",
        HEAD + r"a \| us|er=bob",
        HEAD + r"a \| user=",
        HEAD + r"a \| user=a\nb",
        HEAD + r"a \| user=a=b",
        HEAD + r'a \| user="bob"',
        HEAD + r'a \| user="two words',
        HEAD + r'a \| user="two words"x=1',
        HEAD + r"a \| user=bob  x=1",
        HEAD + r"a \| user=bob ",
        HEAD + r"a \| user=bob user=eve",
        HEAD + r"a \| user=bob at=2026-11-23T05:02:28.100000Z",
        HEAD + r"a \| level=fatal at=2026-11-23T05:02:28.100000Z",
        HEAD + r"a \| at=2026-11-23T05:02:28Z",
        HEAD + r"a \| " + "n" * 129 + "=1",
    ],
)
def test_a_malformed_line_is_refused(text):
    with pytest.raises(MalformedLine):
        parse(text)
