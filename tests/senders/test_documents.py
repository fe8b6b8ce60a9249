"""Runs each example of docs/senders/libraries.md as it is printed, with another address and key."""

import sys
from pathlib import Path

import pytest

from service import Matching, Record
from test_java_and_php import INCLUDE_PATH, log4j2
from test_syslog_ng import SyslogNg, of_priority

PAGE = Path(__file__).parents[2] / "docs/senders/libraries.md"
# The test of Go would need 500 MB of packages.
NOT_RUN = {"Go"}
AT = Matching(r"20\d\d-.*")
PROCESS = Matching(r"\d+")
TEXT = Matching(r".+")


def examples():
    """Returns the blocks of code below each heading, as pairs of language and text."""
    found, heading, language, text = {}, "", None, ""
    for line in PAGE.read_text().splitlines():
        if language is None and line.startswith("```"):
            language, text = line[3:], ""
        elif line == "```":
            found.setdefault(heading, []).append((language, text))
            language = None
        elif language is not None:
            text += line + "\n"
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    return found


def failed(message, **fields):
    return Record("ERROR", message, fields)


ORDER = {"order": "7", "user": "bob"}
PYTHON = {"at": AT, "process": PROCESS, "thread": "MainThread", "function": "<module>", "logger": "shop"}
EXPECTED = {
    "logging": [failed("order 7 failed", **PYTHON, file=TEXT, line=PROCESS, user="bob")],
    "python-json-logger": [failed("order 7 failed", at=AT, name="shop", user="bob")],
    "structlog": [failed("order failed", at=AT, **ORDER)],
    "requests": [failed("order 7 failed", user="bob")],
    "aiohttp": [failed("order 7 failed", user="bob")],
    "httpx": [failed("order 7 failed", user="bob")],
    "winston": [failed("order failed", at=AT, **ORDER)],
    "winston in batches": [failed("order failed", order=str(order), user="bob") for order in (1, 2, 3)],
    "pino": [Record("CRITICAL", "order failed", {"at": AT, "level": "60", "pid": PROCESS, "hostname": TEXT} | ORDER)],
    "bunyan": [failed("order failed", at=AT, level="50", name="shop", hostname=TEXT, pid=PROCESS, v="0", **ORDER)],
    "log4js": [failed("order failed", a="shop", t=PROCESS, g="cart")],
    "axios": [failed("order failed", **ORDER)],
    "undici": [failed("order failed", **ORDER)],
    "syslog-ng": [failed("order failed", at=AT, level="err", host="shop", program="app", pid="7")],
    "Shell": [failed("order failed", user="bob")] * 4
    + [Record("INFO", "order failed"), Record("INFO", "first line"), Record("INFO", "second line")],
    "Monolog": [
        failed("order failed", at=AT, channel="shop", extra="{}", **{"context.order": "7", "context.user": "bob"})
    ],
    "Perl": [failed("order failed", user="bob")],
    "log4j2": [
        Record(
            "ERROR",
            "order 7 failed",
            {"at": AT, "thread": "main", "loggerName": "shop", "endOfBatch": "false", "contextMap": "{}"}
            | {"loggerFqcn": TEXT, "threadId": PROCESS, "threadPriority": PROCESS},
        )
    ],
    "java.net.http": [Record("ERROR", "order failed", {"level": "SEVERE", "user": "bob"})],
}


def test_every_example_is_tested():
    assert set(examples()) == set(EXPECTED) | {"loguru"} | NOT_RUN


@pytest.fixture
def run_examples(sender, node_folder, tmp_path):
    """Runs the examples below a heading, each as its language does."""

    def run_one(language, text):
        text = text.replace("127.0.0.1:5700", f"127.0.0.1:{sender.port}").replace("5700", str(sender.port))
        text = text.replace("mochimochi", sender.key)
        match language:
            case "python":
                (tmp_path / "example.py").write_text(text)
                sender.run(sys.executable, tmp_path / "example.py")
            case "js" if "pino" in text:
                # The shell of the next example runs it.
                (node_folder / "app.mjs").write_text(text)
            case "js":
                example = node_folder / f"{sender.name}.mjs"
                example.write_text(text)
                sender.run("node", example, cwd=node_folder)
            case "sh":
                sender.run("bash", "-eu", "-o", "pipefail", "-c", text, cwd=node_folder)
            case "php":
                (tmp_path / "example.php").write_text(text)
                sender.run("php", "-d", INCLUDE_PATH, tmp_path / "example.php")
            case "perl":
                sender.run("perl", "-e", text)
            case "xml":
                (tmp_path / "log4j2.xml").write_text(text)
            case "java":
                (tmp_path / "Main.java").write_text(text)
                sender.run(*log4j2(tmp_path / "log4j2.xml", tmp_path / "Main.java"))
            case "text":
                with SyslogNg(tmp_path, text, "d_moca") as client:
                    client.send(of_priority(3, "order failed"))
                    sender.lines(1)
            case _:
                raise ValueError(f"no program runs {language}")

    def run(heading):
        for language, text in examples()[heading]:
            run_one(language, text)

    return run


@pytest.mark.parametrize("heading", EXPECTED)
def test_example(sender, run_examples, heading):
    run_examples(heading)
    sender.stored(*EXPECTED[heading])


def test_example_of_loguru(sender, run_examples):
    run_examples("loguru")
    (line,) = sender.lines(1)
    assert (line.level, line.message.rstrip("\n"), line.fields["at"]) == ("ERROR", "order 7 failed", AT)
    expected = {"record.extra.user": "bob", "record.function": "<module>", "record.message": "order 7 failed"}
    assert expected.items() <= line.fields.items()
