#!/usr/bin/env bash
# Runs tests in Rust by cargo-nextest, which limits the time of each: run-tests.sh [OPTIONS of cargo
# test]… Without cargo-nextest it is `cargo test`, except in CI (CI=true), where that is a failure.
# TEST_THREADS is the number of tests that run at once; by default one for each core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if nextest=$(tools/cargo-tool.sh cargo-nextest); then
    options=(--locked)
    [[ ${CI:-} != true ]] || options+=(--profile ci)
    [[ -z ${TEST_THREADS:-} ]] || options+=(--test-threads "$TEST_THREADS")
    exec "$nextest" nextest run "${options[@]}" "$@"
fi
[[ ${CI:-} != true ]] || exit 1
echo 'These tests run by cargo test, without the time limits of .config/nextest.toml.' >&2
exec cargo test --locked --no-fail-fast "$@" -- --test-threads "${TEST_THREADS:-$(nproc)}"
