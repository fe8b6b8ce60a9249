#!/usr/bin/env bash
# Checks the package by lintian, and its size: lint.sh FILE.deb
set -euo pipefail
package=$1

if ! "$(dirname "$0")/../tools/install-packages.sh" 'the check of the package' lintian:lintian; then
    echo "The package was not checked." >&2
    [ "${CI:-}" != true ]
    exit
fi
# As root, lintian warns about root itself, which is no fault of the package.
lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$package"

size=$(dpkg-deb -f "$package" Installed-Size)
if [ "$size" -ge 8000 ]; then
    echo "$package takes $size kB when installed; it has to stay below 8000" >&2
    exit 1
fi
echo "lintian finds nothing; $size kB installed"
