#!/usr/bin/env bash
# Tests units and package on booted systems: run.sh [bookworm|trixie]…; both when none is named. It
# needs root and the programs that machine.sh names. MOCA_DEB is the package to test instead of the
# one in target/debian. With CI=true a missing program is a failure. target/systemd-tests has a line
# for each check. The script prints the failures and the number of checks.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
target=$(readlink -f "$here/../..")/target
# shellcheck source=tests/systemd/machine.sh
. "$here/machine.sh"

if ! missing=$(machine_requirements); then
    echo "Units and package were not tested on a booted system. What is missing:" >&2
    echo "$missing" >&2
    [ "${CI:-}" != true ]
    exit
fi
packages=("$target"/debian/moca-file-log_*.deb)
[ -z "${MOCA_DEB:-}" ] || packages=("$MOCA_DEB")
if [ "${#packages[@]}" != 1 ] || [ ! -f "${packages[0]}" ]; then
    echo "target/debian must have exactly one package: make deb" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The same programs as a later version. It ships two of the configuration files with other contents.
newer=$work/newer.deb
dpkg-deb --raw-extract "${packages[0]}" "$work/package"
sed -i 's/^Version: .*/&+later/' "$work/package/DEBIAN/control"
for file in server.json http.toml; do
    echo >>"$work/package/etc/moca-file-log/$file"
done
dpkg-deb --root-owner-group -Zgzip --build "$work/package" "$newer" >/dev/null

reports=$target/systemd-tests
rm -rf "$reports"
mkdir -p "$reports"
suites=(units mocactl readme package)
[ $# -gt 0 ] || set -- bookworm trixie
for release; do
    machine_base "$release" >/dev/null
    for suite in "${suites[@]}"; do
        status=0
        "$here/$suite.sh" "$release" "${packages[0]}" "$newer" >"$reports/$release-$suite" 2>&1 || status=$?
        # A suite that stops before its last line has failed, even when all its checks until then
        # hold.
        [ "$status" = 0 ] || grep -q '^FAIL' "$reports/$release-$suite" || echo "FAIL  $suite ended with $status" >>"$reports/$release-$suite"
    done &
done
wait

for report in "$reports"/*; do
    echo "## ${report##*/}: $(grep -c '^ok' "$report" || true) checks hold"
    grep -B 2 '^FAIL' "$report" && tail -n 20 "$report"
done || true
passed=$(cat "$reports"/* | grep -c '^ok' || true)
failed=$(cat "$reports"/* | grep -c '^FAIL' || true)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
