#!/usr/bin/env bash
# Builds target/release/moca-file-log as the package has it, and as it is measured.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Relocations take 300 kB less in this form, which the C library of every Debian that the package runs on understands.
cargo rustc --release --locked --bin moca-file-log "$@" -- -Clink-arg=-Wl,-z,pack-relative-relocs

# The order of functions has their names as one compiler made them. With another it may fit less, which costs memory.
used=$(size --format=sysv --radix=10 target/release/moca-file-log | awk '$1 == ".text.used" { print $2 }')
if [ "${used:-0}" -lt 1000000 ]; then
    echo "packaging/layout.ld does not fit this compiler, which costs 2 MB of memory; made anew by: make layout" >&2
fi
