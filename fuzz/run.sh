#!/usr/bin/env bash
# Runs fuzz targets with the stable compiler: run.sh [SECONDS of each target, default 30] [TARGET…]
# Each starts from its seeds and from what earlier runs found (corpus/). The exit status is 1 when a
# target fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${1:-30}
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
    for source in fuzz_targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi
for target in "${targets[@]}"; do
    [[ -d seeds/$target ]] || { echo "the target $target has no seeds: put one into fuzz/seeds/$target" >&2; exit 1; }
done

# The libraries in the versions of the server. Cargo adds libFuzzer to this copy and removes what is
# not needed.
cp ../Cargo.lock Cargo.lock
# These are the flags of cargo-fuzz without the sanitizer, which needs a nightly compiler. With
# `--target` they do not apply to build scripts.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
cargo build --quiet --release --target "$host"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    if ! "target/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" "corpus/$target" "seeds/$target" >"$log" 2>&1; then
        cat "$log"
        echo "$target failed; the input is in fuzz/artifacts/$target" >&2
        exit 1
    fi
    printf '%-12s %s inputs in %s s\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$seconds"
done
