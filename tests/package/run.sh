#!/usr/bin/env bash
# The package on real systems: run.sh [bookworm|trixie]…; both when none is named. Needs root and what machine.sh names.
# MOCA_DEB is the package to test instead of the one in target/debian. CI=true: it is a failure when this cannot run.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=tests/systemd/machine.sh
. "$here/../systemd/machine.sh"

if ! missing=$(machine_requirements); then
    echo "The package was not tested on a booted system. What is missing:" >&2
    echo "$missing" >&2
    [ "${CI:-}" != true ]
    exit
fi
packages=("$here"/../../target/debian/moca-file-log_*.deb)
[ -z "${MOCA_DEB:-}" ] || packages=("$MOCA_DEB")
if [ "${#packages[@]}" != 1 ] || [ ! -f "${packages[0]}" ]; then
    echo "there has to be one package: make deb" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The same programs as a later version, which ships two of the configuration files with other contents.
newer=$work/newer.deb
dpkg-deb --raw-extract "${packages[0]}" "$work/package"
sed -i 's/^Version: .*/&+later/' "$work/package/DEBIAN/control"
for file in server.json http.toml; do
    echo >>"$work/package/etc/moca-file-log/$file"
done
dpkg-deb --root-owner-group -Zgzip --build "$work/package" "$newer" >/dev/null

failed=0
[ $# -gt 0 ] || set -- bookworm trixie
for release; do
    echo "## $release"
    "$here/operator.sh" "$release" "${packages[0]}" "$newer" || failed=1
done
exit "$failed"
