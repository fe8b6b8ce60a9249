#!/bin/bash
# Runs fuzz targets with the stable compiler: fuzz/run.sh [SECONDS for each] [TARGET…]
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-30}
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
    for source in fuzz_targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi
# What cargo-fuzz sets, but for the sanitizer, which needs a nightly compiler. `--target` keeps build scripts out of it.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
cargo build --quiet --release --target "$host"
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    seeds=()
    [[ -d seeds/$target ]] && seeds=("seeds/$target")
    echo "== $target"
    "target/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" "corpus/$target" "${seeds[@]}"
done
