"""Which functions the linker puts side by side: writes `packaging/layout.ld`, which `build.rs` hands to the linker.

The kernel maps a program in windows of 64 kB. What a start and a record take is a fifth of the program, but lies in
nearly every window; side by side, the rest is not mapped at all. The list is what callgrind saw: first what requests
took, the costliest function first, then what only the start took. It has no hashes, so that another compiler finds most
of the names again; those that it does not find cost nothing but what they would save.
"""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import servers
from runs import folder_for
from servers import ROOT, Ours

TARGET = ROOT / "target" / "layout"
LAYOUT = ROOT / "packaging" / "layout.ld"

LONGEST = 110
"""Characters of a name. Those that are the same so far are few, and put side by side as well."""

HEAD = """/* Made by `make layout`: what a request takes, then what a start takes, side by side. See benches/layout.py. */
SECTIONS
{
  .text.used :
  {
"""

FOOT = """  }
}
INSERT BEFORE .text;
"""


class Watched(Ours):
    """The service under callgrind, which says at each `dump` what ran since the last."""

    def command(self) -> list[str]:
        options = ["--tool=callgrind", "--demangle=no", f"--callgrind-out-file={self.folder / 'calls'}"]
        return ["valgrind", *options, *super().command()]

    def dump(self) -> Counter[str]:
        """The instructions of each function since the last time."""
        assert self.process is not None
        before = set(self.folder.glob("calls.*"))
        subprocess.run(["callgrind_control", "--dump", str(self.process.pid)], check=True, capture_output=True)
        (path,) = set(self.folder.glob("calls.*")) - before
        return costs(path)

    def send(self, requests: int) -> None:
        """Single records and batches over one connection."""
        if self.tls:
            context = ssl.create_default_context(cafile=str(self.folder / "config" / "cert.pem"))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
        for number in range(requests):
            request = self.request(100 if number % 4 == 3 else 1)
            connection.request("POST", request.path, request.body, request.headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {answer.read().decode()}")
            answer.read()
        connection.close()


def costs(path: Path) -> Counter[str]:
    """Instructions by function, as callgrind wrote them; what it calls is not counted."""
    names: dict[str, str] = {}
    found: Counter[str] = Counter()
    function = ""
    called = False
    for line in path.read_text().splitlines():
        if entry := re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line):
            if entry[2]:
                # 'name'2 is a recursion of name
                names[entry[1]] = entry[2].split("'")[0]
            if line.startswith("fn"):
                function = names[entry[1]]
        elif line.startswith("calls="):
            called = True
        elif entry := re.match(r"[+\-*\d]\S* (\d+)$", line):
            if not called:
                found[function] += int(entry[1])
            called = False
    return found


def sections(functions: list[str]) -> Iterator[str]:
    """The patterns of their sections, each once."""
    seen = set()
    for name in functions:
        if not name.startswith(("_ZN", "_R")):
            continue
        pattern = re.sub(r"17h[0-9a-f]{16}E", "17h*", name)
        if name.startswith("_R"):
            pattern = re.sub(r"Cs[0-9a-zA-Z]+_", "Cs*_", pattern)
        if len(pattern) > LONGEST:
            pattern = pattern[:LONGEST].rstrip("*") + "*"
        if pattern not in seen:
            seen.add(pattern)
            yield pattern


def main() -> None:
    """Builds the program with its symbols, runs it and writes the list."""
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--bin", "moca-file-log", "--target-dir", str(TARGET)]
        + ["--config", "profile.release.strip=false"],
        check=True,
        cwd=ROOT,
    )
    servers.BIN = TARGET / "release"
    start: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    for name, tls, durability in (("plain", False, "disk"), ("tls", True, "os")):
        with folder_for(f"layout-{name}") as folder:
            server = Watched(folder, durability, tls=tls)
            try:
                server.start()
                time.sleep(2)
                start += server.dump()
                server.send(400)
                time.sleep(1)
                requests += server.dump()
            finally:
                server.stop()
    listing = subprocess.run(
        ["nm", "--defined-only", "--numeric-sort", str(servers.BIN / "moca-file-log")],
        check=True,
        capture_output=True,
        text=True,
    )
    place = {line.split()[-1]: number for number, line in enumerate(listing.stdout.splitlines())}
    hot = [name for name, _ in requests.most_common() if name in place]
    once = sorted((name for name in start if name in place), key=lambda name: place[name])
    patterns = list(sections(hot + once))
    LAYOUT.write_text(HEAD + "".join(f"    *(.text*.{pattern})\n" for pattern in patterns) + FOOT)
    print(f"{LAYOUT.relative_to(ROOT)}: {len(hot)} functions of requests, {len(once)} of the start")


if __name__ == "__main__":
    sys.exit(main())
