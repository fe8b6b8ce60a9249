#!/usr/bin/env python3
"""Checks that no library of the programs declares a newer Rust than `rust-version` in Cargo.toml."""

import json
import subprocess
import sys

COMMAND = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]


def number(version):
    """Returns 1.89.0 of "1.89", so that versions compare by their numbers."""
    parts = [int(part) for part in version.split("-")[0].split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


metadata = json.loads(subprocess.run(COMMAND, check=True, stdout=subprocess.PIPE).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]
oldest = packages[root]["rust_version"]

# Tests and benchmarks run on the current toolchain, so their libraries do not count.
reached, waiting = {root}, [root]
while waiting:
    for dependency in nodes[waiting.pop()]["deps"]:
        is_for_users = any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
        if is_for_users and dependency["pkg"] not in reached:
            reached.add(dependency["pkg"])
            waiting.append(dependency["pkg"])

too_new = [package for key, package in packages.items() if key in reached]
too_new = [package for package in too_new if number(package["rust_version"] or "1.0") > number(oldest)]
for package in too_new:
    print(f"{package['name']} {package['version']} needs Rust {package['rust_version']}", file=sys.stderr)
if too_new:
    sys.exit(f"rust-version in Cargo.toml is {oldest}: raise it, or take an older version of these libraries")
print(f"{len(reached) - 1} libraries build with Rust {oldest}, by what they declare")
