#!/usr/bin/env bash
# Tests the page for operators in a real Chromium, and what axe-core says of its accessibility.
# Chromium and ChromeDriver are Debian's. axe-core is one file of JavaScript, which comes from a
# package of PyPI.
#
# Without axe-core its one test is skipped; in CI (CI=true) that is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

output=$(realpath "${CARGO_TARGET_DIR:-target}")/web
mkdir -p "$output"
rm -f "$output"/*.png

if tools/venv.sh "$output/venv" tests/web/requirements.txt --no-deps; then
    export MOCA_AXE
    MOCA_AXE=$(ls "$output"/venv/lib/python3*/site-packages/axe_playwright_python/axe.min.js)
elif [[ ${CI:-} == true ]]; then
    echo 'The page is not tested: axe-core could not be installed.' >&2
    exit 1
fi
# Each test starts a browser and a server.
exec tools/run-tests.sh --test web
