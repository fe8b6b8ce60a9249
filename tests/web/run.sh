#!/bin/bash
# The operator's page in a real Chromium, and axe-core's opinion of it. ChromeDriver and Chromium come from Debian;
# axe-core, one file of JavaScript, from a package of PyPI, since Python is needed for other tests anyway.
#
# Where they can't be had, this is a failure in CI and a remark elsewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=$PWD/tests/web
output=$(realpath "${CARGO_TARGET_DIR:-target}")/web
mkdir -p "$output"
rm -f "$output"/*.png

fetch_axe() {
    cmp -s "$here/requirements.txt" "$output/requirements.txt" && [[ -s $output/axe.min.js ]] && return
    rm -rf "$output/venv" "$output/wheel"
    if ! python3 -c 'import ensurepip' 2>/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv || return 1
    fi
    python3 -m venv "$output/venv" >/dev/null &&
        "$output/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$output/wheel" \
            --require-hashes --requirement "$here/requirements.txt" &&
        python3 -m zipfile -e "$output"/wheel/*.whl "$output/wheel" &&
        cp "$output/wheel/axe_playwright_python/axe.min.js" "$output/axe.min.js" &&
        cp "$here/requirements.txt" "$output/requirements.txt"
    local result=$?
    rm -rf "$output/venv" "$output/wheel"
    return $result
}

if fetch_axe; then
    export MOCA_AXE=$output/axe.min.js
elif [[ -n ${CI:-} ]]; then
    echo "The page can't be tested: axe-core could not be fetched" >&2
    exit 1
fi
# Each test runs a browser and a server: more at once than cores make all of them slow.
cargo test --locked --test web -- --test-threads "${TEST_THREADS:-$(nproc)}"
