#!/usr/bin/env bash
# What a package has to be apart from working: lint.sh FILE.deb
set -euo pipefail
package=$1

if ! command -v lintian >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq lintian >/dev/null
    else
        echo "lintian is missing, so the package was not checked: sudo apt-get install -y lintian" >&2
        [ "${CI:-}" != true ]
        exit
    fi
fi
# As root, lintian warns of being root, which is none of the package's faults.
lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$package"

size=$(dpkg-deb -f "$package" Installed-Size)
if [ "$size" -ge 8000 ]; then
    echo "$package takes $size kB when installed; it has to stay below 8000" >&2
    exit 1
fi
echo "lintian finds nothing; $size kB installed"
