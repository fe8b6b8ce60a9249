# HTTP clients that run on the host, in the network of the machine. Source it after machine.sh.
# shellcheck shell=bash

CLIENTS_KEY=test-key
CLIENTS_PIDS=()
CLIENTS_ROUND=0

# save PORT MESSAGE [HOST]: saves a record and prints the status of the answer, 000 when there was
# none.
save() {
    machine_net curl -s -m 60 -o /dev/null -w '%{http_code}' -H "API-KEY: $CLIENTS_KEY" \
        --data-urlencode "message=$2" "http://${3:-127.0.0.1}:$1/moca-file-log/save-log"
}

# saved PORT [HOST]: succeeds when a record is acknowledged there.
saved() { [ "$(save "$1" hello "${2:-}")" = 200 ]; }

# refused PORT [HOST]: succeeds when no process listens there.
refused() { [ "$(save "$1" hello "${2:-}")" = 000 ]; }

# clients_start COUNT PORT: starts clients that save records until clients_stop, each record over a
# new connection.
clients_start() {
    local client round=$((++CLIENTS_ROUND))
    CLIENTS_OUT=$(mktemp -d "$MACHINE_WORK/clients.XXXXXX")
    CLIENTS_PIDS=()
    for client in $(seq "$1"); do
        machine_net bash -c '
            for ((n = 0; ; n++)); do
                [ -e "$1/stop" ] && exit
                answer=$(curl -s -m 60 -o /dev/null -w "%{http_code} %{time_total}" -H "API-KEY: $2" \
                    --data "message=client-$4-$n-" "http://127.0.0.1:$3/moca-file-log/save-log")
                echo "$? $answer client-$4-$n-"
            done' bash "$CLIENTS_OUT" "$CLIENTS_KEY" "$2" "$round-$client" >"$CLIENTS_OUT/$client" &
        CLIENTS_PIDS+=($!)
    done
}

# clients_stop LOG: stops them and prints acknowledged=N refused=N cut=N errors=N slowest=SECONDS
# lost=N twice=N. The last two compare the answers with the file LOG inside the machine.
clients_stop() {
    local log=$1
    touch "$CLIENTS_OUT/stop"
    wait "${CLIENTS_PIDS[@]}"
    cat "$CLIENTS_OUT"/[0-9]* >"$CLIENTS_OUT/all"
    machine_exec cat "$log" | grep -o "client-$CLIENTS_ROUND-[0-9]*-[0-9]*-" | sort | uniq -c >"$CLIENTS_OUT/stored"
    awk '
        FILENAME == ARGV[1] { stored[$2] = $1; if ($1 > 1) twice++; next }
        $3 > slowest { slowest = $3 }
        $1 == 7 { refused++; next }
        $1 != 0 { cut++; next }
        $2 != 200 { errors++; next }
        { acknowledged++; if (!($4 in stored)) lost++ }
        END {
            printf "acknowledged=%d refused=%d cut=%d errors=%d slowest=%.2f lost=%d twice=%d\n",
                acknowledged, refused, cut, errors, slowest, lost, twice
        }' "$CLIENTS_OUT/stored" "$CLIENTS_OUT/all"
}
