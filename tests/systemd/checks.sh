# Functions for a list of checks that prints one line for each. Source it from bash.
# shellcheck shell=bash

CHECKS_FAILED=0

# check FACT COMMAND…: prints ok when the command succeeds, FAIL otherwise.
check() {
    local what=$1
    shift
    if "$@"; then
        echo "ok    $what"
    else
        echo "FAIL  $what"
        CHECKS_FAILED=$((CHECKS_FAILED + 1))
    fi
}

# equal FOUND EXPECTED: succeeds when both are the same text, and prints them otherwise.
equal() {
    [ "$1" = "$2" ] || { echo "      found $1, expected $2"; return 1; }
}

# eventually SECONDS COMMAND…: repeats the command until it succeeds, for that time at most.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# not COMMAND…: succeeds when the command fails.
not() { ! "$@"; }

# checks_end: prints the number of failures and fails when there is one.
checks_end() {
    [ "$CHECKS_FAILED" = 0 ] || echo "$CHECKS_FAILED checks failed"
    [ "$CHECKS_FAILED" = 0 ]
}
