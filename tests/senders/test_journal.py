"""systemd-journal-upload, which sends a journal that systemd-journal-remote made."""

import subprocess

import pytest

from service import At, Record

UPLOAD = "/usr/lib/systemd/systemd-journal-upload"
REMOTE = "/usr/lib/systemd/systemd-journal-remote"
BOOT = "9d1aaa27d60140bd96365438aad20286"
MACHINE = "bd30fa1a9b1c44c8bcb7b1bb8f2e3a11"
BEGIN = 1795410148100000
PRIORITIES = ("CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG")
MESSAGES = ["disk failed", "käse & \"100 %\" 🎉", "two\nlines", "tab\tand \x01 control", "", "x" * 5000]


def entry(number, message):
    """Returns an entry in the Journal Export Format."""
    fields = [
        f"__REALTIME_TIMESTAMP={BEGIN + number}",
        f"__MONOTONIC_TIMESTAMP={1000 + number}",
        f"_BOOT_ID={BOOT}",
        f"_MACHINE_ID={MACHINE}",
        f"PRIORITY={number % 8}",
        "SYSLOG_IDENTIFIER=smartd",
        f"_PID={number + 1}",
        "_COMM=smartd",
    ]
    text = "\n".join(fields).encode() + b"\nMESSAGE\n"
    value = message.encode()
    return text + len(value).to_bytes(8, "little") + value + b"\n\n"


def record(number, message):
    fields = {
        "at": At(f"{BEGIN + number}e-6"),
        "__monotonic_timestamp": str(1000 + number),
        "_boot_id": BOOT,
        "_machine_id": MACHINE,
        "syslog_identifier": "smartd",
        "_pid": str(number + 1),
        "_comm": "smartd",
    }
    if number % 8 > 4:
        fields["level"] = str(number % 8)
    return Record(PRIORITIES[number % 8], message, fields)


@pytest.fixture
def make_journal(tmp_path):
    """Returns a function that makes a journal of these messages."""

    def make(messages):
        folder = tmp_path / "journal"
        folder.mkdir()
        body = b"".join(entry(number, message) for number, message in enumerate(messages))
        command = [REMOTE, "--split-mode=none", f"--output={folder / 'remote.journal'}", "-"]
        subprocess.run(command, input=body, check=True, capture_output=True, timeout=60)
        return folder

    return make


def upload(sender, folder, url=None, status=0):
    url = url or f"http://127.0.0.1:{sender.port}/k/{sender.key}"
    state = folder.parent / "state"
    return sender.run(UPLOAD, f"--url={url}", f"--directory={folder}", f"--save-state={state}", "--follow=no", status=status)


def ordered(sender, count):
    """Returns the records by their number. A journal need not keep the order of their fields."""
    lines = sender.lines(count)
    return [Record(line.level, line.message, line.fields) for line in lines]


def test_each_entry_is_stored_once(sender, make_journal):
    messages = MESSAGES * 4
    folder = make_journal(messages)
    upload(sender, folder)
    assert ordered(sender, len(messages)) == [record(number, text) for number, text in enumerate(messages)]


def test_large_journal_is_uploaded_in_one_request(sender, make_journal):
    messages = [f"message {number} {'x' * 200}" for number in range(20_000)]
    folder = make_journal(messages)
    upload(sender, folder)
    assert [line.message for line in sender.lines(len(messages))] == messages


def test_wrong_key_is_told(sender, make_journal):
    folder = make_journal(["never stored"])
    upload(sender, folder, url=f"http://127.0.0.1:{sender.port}/k/nobody", status=1)
    assert sender.lines(0) == []
    upload(sender, folder)
    assert [line.message for line in sender.lines(1)] == ["never stored"]
