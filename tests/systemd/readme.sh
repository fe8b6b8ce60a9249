#!/usr/bin/env bash
# The commands of the documents that need systemd, word by word, on one booted system:
# readme.sh bookworm|trixie FILE.deb
# First "Ten minutes with the package" in docs/getting-started.md, then blocks of other pages. They are
# run in one shell of an operator who may sudo. tests/ctl/documents.rs runs the other blocks, and says
# which blocks are run here.
set -u
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=tests/systemd/machine.sh
. "$here/machine.sh"
# shellcheck source=tests/systemd/checks.sh
. "$here/checks.sh"

machine_start "$1" || exit 1
machine_copy "$2" "/home/operator/${2##*/}"
# What sudo does for an operator, without the question for a password; the system in the container has none.
printf '#!/bin/sh\nexec "$@"\n' >"$MACHINE_WORK/sudo"
machine_copy "$MACHINE_WORK/sudo" /usr/local/bin/sudo 0755
awk '/^## / { in_part = ($0 == "## Ten minutes with the package") }
    in_part && /^```sh$/ { in_block = 1; print "echo; echo \"# block " ++n "\""; next }
    /^```$/ { in_block = 0 }
    in_block' "$here/../../docs/getting-started.md" >"$MACHINE_WORK/blocks"
# Prints the block N of a page: page_block PAGE N
page_block() {
    awk -v n="$2" '/^```sh$/ { in_block = (++found == n); next }
        /^```/ { in_block = 0 }
        in_block' "$here/../../$1"
}
{
    # So that the journal has what docs/monitoring.md looks for.
    echo "curl -sS -o /dev/null -H 'API-KEY: nobody' http://127.0.0.1:5710/moca-file-log/save-log; sleep 1"
    echo 'echo; echo "# block 8"'
    page_block docs/troubleshooting.md 1
    echo 'echo; echo "# block 9"'
    page_block docs/monitoring.md 3
    echo 'echo; echo "# block 10"'
    page_block docs/operating.md 1
    page_block docs/operating.md 2
    echo 'sleep 2; sudo mocactl status --table'
} >>"$MACHINE_WORK/blocks"
machine_copy "$MACHINE_WORK/blocks" /home/operator/blocks
blocks=$(grep -c '# block' "$MACHINE_WORK/blocks")

check "there are blocks to run" [ "$blocks" -ge 6 ]
machine_exec sh -c 'cd /home/operator && DEBIAN_FRONTEND=noninteractive bash -eu -o pipefail blocks </dev/null' >"$MACHINE_WORK/said" 2>&1
check "every command of them succeeds" equal $? 0 || tail -n 20 "$MACHINE_WORK/said"
block() { awk -v n="$1" '$0 ~ /^# block / { in_it = ($3 == n); next } in_it' "$MACHINE_WORK/said"; }
record='^\[[A-Z]+\]\([^)]+\)<127\.0\.0\.1\|shop\|save-log\|[0-9]+\|[0-9]+>'
check "the record is acknowledged, got and in the file" equal \
    "$(block 3 | sed 's/^success\./&\n/' | grep -cE "^success\.$|${record}hello world$")" 3
check "the edited file is in order" grep -q 'is in order: 0 errors' <<<"$(block 4)"
check "the new log is served and shown" equal "$(block 5 | grep -cE '^success\.|^shop  *running .*:5710 |^sample1  *running ')" 3
check "sample2 is not" equal "$(block 5 | grep -c sample2)" 0
check "the root password reads" grep -qE '^\["\[ERROR\]\(.*>out of stock"\]' <<<"$(block 6)"
check "maintenance went on and off" equal "$(block 7 | grep -cE '^shop: maintenance is (on|off)$')" 2
check "troubleshooting shows the check" grep -q 'is in order: 0 errors' <<<"$(block 8)"
check "it shows the status of both logs" equal "$(block 8 | grep -c 'Active: active')" 2
check "the journal has the unknown key" grep -q 'unknown' <<<"$(block 9)"
check "the restored logs are served" equal "$(block 10 | grep -cE '^(shop|sample1)  *running ')" 2
check "the journal tells of it" grep -q 'moca-file-log\[' <<<"$(block 7)"
checks_end
