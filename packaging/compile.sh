#!/usr/bin/env bash
# Builds target/release/moca-file-log with the linker flags of the package. The benchmarks measure
# this build. Arguments are passed to `cargo rustc`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Packed relative relocations take 4 kB in the program, a plain table takes 340 kB. The dynamic
# loader reads either at each start. glibc 2.36 (Debian 12) and later understand the packed form.
cargo rustc --release --locked --bin moca-file-log "$@" -- -Clink-arg=-Wl,-z,pack-relative-relocs
