"""Parses the lines of a log by their documented grammar, without code of the server.

The parser is strict. It accepts one spelling of each record, so that a line that parses says exactly
what was stored:

    [LEVEL](TIME)<CLIENT|KEY|ROUTE|PID|SEQ>MESSAGE
    [LEVEL](TIME)<CLIENT|KEY|ROUTE|PID|SEQ>MESSAGE \\| NAME=VALUE NAME=VALUE
"""

import re
from dataclasses import dataclass, field

HEAD = re.compile(
    r"\[(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\]"
    r"\((?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d)\)"
    r"<(?P<client>[^|>]*)\|(?P<key>[^|>]*)\|(?P<route>[^|>]*)\|(?P<pid>\d+)\|(?P<seq>\d+)>"
)
SEPARATOR = " \\| "
ESCAPE = re.compile(r"\\(\\|n|r|\"|u\{([0-9a-f]{1,6})\})?", re.IGNORECASE)
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
MAX_NAME_CHARS = 128


class MalformedLine(ValueError):
    """Says why a text is not a line of the log."""


@dataclass
class Line:
    """Holds the parts of a line as the client sent them, without escapes."""

    level: str
    time: str
    client: str
    key: str
    route: str
    pid: int
    seq: int
    message: str
    fields: dict = field(default_factory=dict)


def parse(text):
    """Returns the `Line` of a text without its line end."""
    head = HEAD.match(text)
    if not head:
        raise MalformedLine(f"the head of the line is malformed: {text!r}")
    message, separator, fields = text[head.end() :].partition(SEPARATOR)
    return Line(
        level=head["level"],
        time=head["time"],
        client=head["client"],
        key=head["key"],
        route=head["route"],
        pid=int(head["pid"]),
        seq=int(head["seq"]),
        message=unescape(message, quoted=False),
        fields=parse_fields(fields) if separator else {},
    )


def must_be_escaped(c):
    """Tells whether a character never stands in a line by itself: C0 except TAB, DEL, C1, U+2028, U+2029."""
    return (c < " " and c != "\t") or "\x7f" <= c <= "\x9f" or c in "\u2028\u2029"


def unescape(text, quoted):
    """Reverses `\\\\`, `\\n`, `\\r`, `\\u{HEX}` and, in a quoted value, `\\"`."""
    for c in text:
        if must_be_escaped(c):
            raise MalformedLine(f"the character U+{ord(c):04X} stands unescaped in {text!r}")

    def character(escape):
        kind = escape[1]
        if kind == "\\":
            return "\\"
        if kind in ("n", "r"):
            return {"n": "\n", "r": "\r"}[kind]
        if kind == '"' and quoted:
            return '"'
        if escape[2] and must_be_escaped(chr(int(escape[2], 16))):
            return chr(int(escape[2], 16))
        raise MalformedLine(f"the escape {escape[0]!r} is unknown in {text!r}")

    return ESCAPE.sub(character, text)


def stands_bare(value):
    """Tells whether a value is written without quotation marks."""
    return value != "" and not any(c.isspace() or c in '"=\\' or must_be_escaped(c) for c in value)


def is_name(name):
    """Tells whether a text is a name of a field."""
    return 0 < len(name) <= MAX_NAME_CHARS and stands_bare(name) and "|" not in name


def parse_fields(text):
    """Returns the fields of a line in their order."""
    fields = {}
    rest = text
    while True:
        name, equals, rest = rest.partition("=")
        if not equals or not is_name(name):
            raise MalformedLine(f"{name!r} is no name of a field in {text!r}")
        if name in fields:
            raise MalformedLine(f"the field {name!r} stands twice in {text!r}")
        if rest.startswith('"'):
            quoted = re.match(r'"((?:[^"\\]|\\.)*)"', rest)
            if not quoted:
                raise MalformedLine(f"the value of {name!r} has no end in {text!r}")
            value, rest = unescape(quoted[1], quoted=True), rest[quoted.end() :]
            if stands_bare(value):
                raise MalformedLine(f"the value of {name!r} needs no quotation marks in {text!r}")
        else:
            value, space, after = rest.partition(" ")
            if not stands_bare(value):
                raise MalformedLine(f"the value of {name!r} needs quotation marks in {text!r}")
            rest = space + after
        fields[name] = value
        if not rest:
            break
        if not rest.startswith(" "):
            raise MalformedLine(f"text follows the value of {name!r} in {text!r}")
        rest = rest[1:]
    ours = [name for name in fields if name in ("at", "level")]
    if ours != [name for name in ("at", "level") if name in fields] or list(fields)[: len(ours)] != ours:
        raise MalformedLine(f"`at` and `level` do not come first in {text!r}")
    if "at" in fields and not AT.fullmatch(fields["at"]):
        raise MalformedLine(f"`at` has not the form of a time: {fields['at']!r}")
    return fields
