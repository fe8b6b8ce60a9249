# A list of checks with one line each. Source it from bash.
# shellcheck shell=bash

CHECKS_FAILED=0

# check WHAT COMMAND…: the command has to succeed.
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

# equal FOUND EXPECTED
equal() {
    [ "$1" = "$2" ] || { echo "      found $1, expected $2"; return 1; }
}

# eventually SECONDS COMMAND…: the command has to succeed within that time.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# not COMMAND…: the command has to fail.
not() { ! "$@"; }

checks_end() {
    [ "$CHECKS_FAILED" = 0 ] || echo "$CHECKS_FAILED checks failed"
    [ "$CHECKS_FAILED" = 0 ]
}
