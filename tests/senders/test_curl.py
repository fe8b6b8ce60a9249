"""curl, in the spellings of shells and scripts."""

import gzip
import json

import pytest

from service import At, Json, Record

MESSAGE = 'käse & "100 %" + \\ 🎉'
RECORD = {"level": "warn", "message": MESSAGE, "user": "bob smith", "order": {"id": 7, "items": [1, "two"]}}
TEXT = json.dumps(RECORD, ensure_ascii=False)
TWO_LINES = b"first line\nsecond line\n"
BROKEN = b"a\xffb"
BROKEN_JSON = b'{"message": "a\xffb"}'
STORED = Record("WARNING", MESSAGE, {"user": "bob smith", "order.id": "7", "order.items": Json([1, "two"])})


def curl(sender, *arguments, route="save-log", key=True, stdin=None):
    """Runs curl, and checks that the server stored what it sent."""
    header = ["-H", f"API-KEY: {sender.key}"] if key else []
    output = sender.run("curl", "-sS", "--fail-with-body", *header, *arguments, f"{sender.url}/{route}", stdin=stdin)
    assert output == ["success."] or json.loads(output[0])["saved"] > 0


@pytest.fixture
def file(tmp_path):
    """Writes the bytes to a file and returns its path."""

    def write(content):
        path = tmp_path / "body"
        path.write_bytes(content)
        return path

    return write


def test_json_by_d_without_a_type(sender):
    curl(sender, "-d", TEXT)
    sender.stored(STORED)


def test_json_by_json(sender):
    curl(sender, "--json", TEXT)
    sender.stored(STORED)


def test_json_with_its_type(sender):
    for kind in ("application/json", "application/json; charset=utf-8", "application/vnd.shop+json", "text/plain"):
        curl(sender, "-H", f"Content-Type: {kind}", "-d", TEXT)
    sender.stored(*[STORED] * 4)


def test_text_by_d(sender):
    curl(sender, "-d", "disk is warm: 100 %")
    curl(sender, "-H", "Content-Type: text/plain", "-d", MESSAGE)
    curl(sender, "-H", "Content-Type:", "-d", MESSAGE)
    sender.stored(Record("INFO", "disk is warm: 100 %"), Record("INFO", MESSAGE), Record("INFO", MESSAGE))


def test_form_by_d_and_data_urlencode(sender):
    curl(sender, "-d", "level=fatal", "--data-urlencode", f"message={MESSAGE}", "-d", "user=bob+smith")
    sender.stored(Record("CRITICAL", MESSAGE, {"level": "fatal", "user": "bob smith"}))


def test_query_by_get(sender):
    curl(sender, "-G", "-d", "level=notice", "--data-urlencode", f"message={MESSAGE}", "-d", "user=bob")
    sender.stored(Record("INFO", MESSAGE, {"level": "notice", "user": "bob"}))


def test_multipart_by_f(sender, file):
    text = file(MESSAGE.encode())
    curl(sender, "-F", "level=error", "-F", f"message=<{text}", "-F", "user=bob smith")
    sender.stored(Record("ERROR", MESSAGE, {"user": "bob smith"}))


def test_lines_by_data_binary(sender, file):
    lines = file(b"first line\r\nsecond line\n" + TEXT.encode() + b"\nlast line\n")
    curl(sender, "-H", "Content-Type: text/plain", "--data-binary", f"@{lines}", route="save-logs")
    stored = [Record("INFO", "first line"), Record("INFO", "second line"), STORED, Record("INFO", "last line")]
    sender.stored(*stored)


def test_file_by_data_binary(sender, file):
    curl(sender, "--data-binary", f"@{file(TWO_LINES)}")
    sender.stored(Record("INFO", "first line\nsecond line"))


def test_upload_by_t(sender, file):
    text = file(MESSAGE.encode() + b"\n")
    curl(sender, "-T", text)
    curl(sender, "-T", "-", stdin=TEXT.encode())
    sender.stored(Record("INFO", MESSAGE), STORED)


def test_ndjson_by_t(sender, file):
    records = file(
        b"".join(json.dumps({"message": f"line {number}", "number": number}).encode() + b"\n" for number in range(2000))
    )
    curl(sender, "-T", records, route="save-logs")
    sender.stored(*[Record("INFO", f"line {number}", {"number": str(number)}) for number in range(2000)])


@pytest.mark.parametrize("login", ["anybody:{key}", "{key}:", "{key}:anything"])
def test_basic_by_u(sender, login):
    curl(sender, "-u", login.format(key=sender.key), "--json", TEXT, key=False)
    sender.stored(STORED)


def test_bearer_and_query_keys(sender):
    curl(sender, "--oauth2-bearer", sender.key, "--json", TEXT, key=False)
    curl(sender, "--json", TEXT, route=f"save-log?api_key={sender.key}", key=False)
    curl(sender, "-d", f"api_key={sender.key}", "-d", "message=in the form", "-d", "user=bob", key=False)
    sender.stored(STORED, STORED, Record("INFO", "in the form", {"user": "bob"}))


def test_gzip(sender, file):
    body = file(gzip.compress(TEXT.encode()))
    curl(sender, "-H", "Content-Encoding: gzip", "-H", "Content-Type: application/json", "--data-binary", f"@{body}")
    # Some clients pad the stream.
    body = file(gzip.compress(TEXT.encode()) + bytes(16))
    curl(sender, "-H", "Content-Encoding: gzip", "--data-binary", f"@{body}")
    sender.stored(STORED, STORED)


def test_latin_1(sender, file):
    text = "Käse kostet 5 £"
    body = file(text.encode("latin-1"))
    curl(sender, "-H", "Content-Type: text/plain; charset=iso-8859-1", "--data-binary", f"@{body}")
    curl(sender, "-F", f"message=@{body};type=text/plain; charset=iso-8859-1;filename=", "-F", "user=bob")
    body = file(json.dumps({"message": text}, ensure_ascii=False).encode("latin-1"))
    curl(sender, "-H", "Content-Type: application/json; charset=latin1", "--data-binary", f"@{body}")
    body = file(b"message=K%E4se+kostet+5+%A3")
    curl(sender, "-H", "Content-Type: application/x-www-form-urlencoded; charset=iso-8859-1", "-d", f"@{body}")
    sender.stored(
        Record("INFO", text), Record("INFO", text, {"user": "bob"}), Record("INFO", text), Record("INFO", text)
    )


def test_shift_jis(sender, file):
    text = "ディスクが一杯です"
    body = file(text.encode("shift_jis"))
    curl(sender, "-H", "Content-Type: text/plain; charset=Shift_JIS", "--data-binary", f"@{body}")
    sender.stored(Record("INFO", text))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16(sender, file, encoding):
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    curl(sender, "-H", "Content-Type: text/plain", "--data-binary", f"@{file(mark + MESSAGE.encode(encoding))}")
    curl(sender, "-H", "Content-Type: application/json", "--data-binary", f"@{file(mark + TEXT.encode(encoding))}")
    sender.stored(Record("INFO", MESSAGE), STORED)


def test_byte_order_mark(sender, file):
    curl(sender, "-H", "Content-Type: application/json", "--data-binary", f"@{file(TEXT.encode('utf-8-sig'))}")
    curl(sender, "--data-binary", f"@{file('message=a+form&user=bob'.encode('utf-8-sig'))}")
    curl(sender, "-H", "Content-Type: text/plain", "--data-binary", f"@{file(MESSAGE.encode('utf-8-sig'))}")
    sender.stored(STORED, Record("INFO", "a form", {"user": "bob"}), Record("INFO", MESSAGE))


def test_invalid_utf_8(sender, file):
    curl(sender, "-H", "Content-Type: text/plain", "--data-binary", f"@{file(BROKEN)}")
    curl(sender, "--json", f"@{file(BROKEN_JSON)}")
    curl(sender, "-d", "message=a%FFb")
    curl(sender, "-F", f"message=<{file(BROKEN)}")
    sender.stored(*[Record("INFO", "a\ufffdb", {"utf8": "replaced"})] * 4)


def test_http_2_and_http_1_0(sender):
    curl(sender, "--http2-prior-knowledge", "--json", TEXT)
    curl(sender, "--http2", "--json", TEXT)
    curl(sender, "--http1.0", "--json", TEXT)
    sender.stored(STORED, STORED, STORED)


def test_the_time_of_the_sender(sender):
    seconds = "1796019774.720125"
    times = {
        "time": "2026-11-30T06:22:54.720125Z",
        "timestamp": "2026-11-30T15:22:54,720125+09:00",
        "@timestamp": 1796019774720.125,
        "ts": 1796019774.720125,
        "date": "2026-11-30 06:22:54.720125Z",
        "_time": "1796019774720125",
    }
    for name, value in times.items():
        curl(sender, "--json", json.dumps({"message": name, name: value}))
    curl(sender, "--json", '{"message": "unreadable", "time": "noon", "date": "2026-11-30"}')
    stored = [Record("INFO", name, {"at": At(seconds)}) for name in times]
    sender.stored(*stored, Record("INFO", "unreadable", {"time": "noon", "date": "2026-11-30"}))


def test_a_dry_run_stores_nothing(sender):
    output = sender.run(
        "curl", "-sS", "-H", f"API-KEY: {sender.key}", "--json", TEXT, f"{sender.url}/save-log?dry_run=1"
    )
    answer = json.loads("".join(output))
    assert answer["records"] == 1
    curl(sender, "-d", "message=stored")
    sender.stored(Record("INFO", "stored"))
