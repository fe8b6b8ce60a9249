#!/usr/bin/env bash
# Tests the served OpenAPI document and the metrics against the server that serves them.
# Schemathesis makes requests of all kinds from the document, valid and invalid ones. Each answer
# must be one that the document describes.
#
# Where Python or its packages cannot be installed, the test is skipped; in CI (CI=true) that is a
# failure. EXAMPLES is the number of requests that the fuzzing phase makes for each operation
# (default 250).
set -euo pipefail
cd "$(dirname "$0")/../.."

here=$PWD/tests/api
target=$(realpath "${CARGO_TARGET_DIR:-target}")
venv=$target/schemathesis
program=$target/debug/moca-file-log

if ! tools/venv.sh "$venv" tests/api/requirements.txt; then
    echo 'The OpenAPI document is not tested: Schemathesis could not be installed.' >&2
    [[ ${CI:-} != true ]]
    exit
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

"$program" sample1 --config-dir "$work/configs" --log-dir "$work/log" --state-dir "$work/state" \
    --run-dir "$work/run" 2>"$work/stderr" &
server=$!
root=http://127.0.0.1:$port
for _ in {1..100}; do
    if curl -fs "$root/status" >/dev/null; then break; fi
    kill -0 "$server" 2>/dev/null || { cat "$work/stderr" >&2; exit 1; }
    sleep 0.1
done

# Schemathesis keeps a database of earlier runs in its working directory. A fresh directory makes
# runs repeatable.
cd "$work"

# The document allows 503 for an overloaded service. This service is not overloaded, so Schemathesis
# counts a 503 as a failure.
check() {
    local base=$1
    shift
    SCHEMATHESIS_HOOKS=$here/hooks.py PYTHONDONTWRITEBYTECODE=1 \
        "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$root/moca-file-log/openapi.json" \
        --url "$root$base" --seed 20201 --generation-database none --no-color "$@" | cut -c -1200
}

examples=${EXAMPLES:-250}
# The paths that lie below no prefix name their server in the document.
mapfile -t of_root < <(curl -fs "$root/moca-file-log/openapi.json" | python3 -c '
import json, sys
print(*(path for path, item in json.load(sys.stdin)["paths"].items() if "servers" in item), sep="\n")')
[[ " ${of_root[*]} " == *" /status "* ]]
excluded=(--exclude-path /tail) included=()
for path in "${of_root[@]}"; do
    excluded+=(--exclude-path "$path") included+=(--include-path "$path")
done
check /moca-file-log "${excluded[@]}" --max-examples "$examples"
check /moca-file-log/sample1 "${excluded[@]}" --max-examples $((examples / 10 + 1))
check '' "${included[@]}" --max-examples "$examples"
"$venv/bin/python" "$here/metrics.py" "$root/metrics" mochimochi mochimochi
kill -0 "$server"
