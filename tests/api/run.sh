#!/bin/bash
# Tests the OpenAPI document and the metrics against the server that serves them. Schemathesis makes valid and
# invalid requests from the document. An answer that the document does not describe is a failure.
#
# Without python3 or the packages this test fails in CI and is skipped elsewhere. EXAMPLES (default 250) is the number
# of requests that each operation gets in the fuzzing phase.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=$PWD/tests/api
target=$(realpath "${CARGO_TARGET_DIR:-target}")
venv=$target/schemathesis
program=$target/debug/moca-file-log

cannot_run() {
    if [[ -n ${CI:-} ]]; then
        echo "The OpenAPI document can't be tested: $1" >&2
        exit 1
    fi
    echo "skipped: the OpenAPI document against the server ($1)" >&2
    exit 0
}

command -v python3 >/dev/null || cannot_run 'python3 is missing'
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    if ! python3 -c 'import ensurepip' 2>/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv || true
    fi
    python3 -m venv "$venv" >/dev/null || cannot_run 'python3 has no venv; on Debian: apt-get install python3-venv'
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" ||
        cannot_run 'pip could not install schemathesis'
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

work=$(mktemp -d)
server=
cleanup() {
    [[ -z $server ]] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir -p "$work/configs"
cat >"$work/configs/log.json" <<JSON
{"sample1": {"host": "127.0.0.1", "port": $port, "file": "sample1.log", "level": 1, "durability": "os"}}
JSON
cat >"$work/configs/api_key.json" <<'JSON'
[{"key": "mochimochi", "name": "tester", "status": true, "rate": "1000000/second, 100000000/hour"}]
JSON
cat >"$work/configs/system.json" <<'JSON'
{"root_pass": "mochimochi", "dos_detect": 0}
JSON
cat >"$work/configs/http.toml" <<'TOML'
real_ip_header = "X-Real-IP"
keep_alive_timeout = 60
max_header_size = 262144
TOML

"$program" sample1 --config-dir "$work/configs" --log-dir "$work/log" --state-dir "$work/state" 2>"$work/stderr" &
server=$!
root=http://127.0.0.1:$port
for _ in {1..100}; do
    if curl -fs "$root/status" >/dev/null; then break; fi
    kill -0 "$server" 2>/dev/null || { cat "$work/stderr" >&2; exit 1; }
    sleep 0.1
done

# Schemathesis keeps a database of earlier runs in its working directory. A fresh directory makes runs repeatable.
cd "$work"

# The document allows 503 for an overloaded service. This service is not overloaded, so Schemathesis counts a 503 as a
# failure.
check() {
    local base=$1
    shift
    SCHEMATHESIS_HOOKS=$here/hooks.py PYTHONDONTWRITEBYTECODE=1 \
        "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$root/moca-file-log/openapi.json" \
        --url "$root$base" --seed 20201 --generation-database none --no-color "$@" | cut -c -1200
}

examples=${EXAMPLES:-250}
check /moca-file-log --exclude-path /status --exclude-path /metrics --exclude-path /tail --max-examples "$examples"
check /moca-file-log/sample1 --exclude-path /status --exclude-path /metrics --exclude-path /tail --max-examples $((examples / 10 + 1))
check '' --include-path /status --include-path /metrics --max-examples "$examples"
"$venv/bin/python" "$here/metrics.py" "$root/metrics" mochimochi mochimochi
kill -0 "$server"
