#!/usr/bin/env bash
# Checks a built package with lintian and limits its installed size. Usage: lint.sh FILE.deb
set -euo pipefail
package=$1

MAX_INSTALLED_KB=12000

if ! "$(dirname "$0")/../tools/install-packages.sh" 'the check of the package' lintian:lintian; then
    echo "The package was not checked." >&2
    [ "${CI:-}" != true ]
    exit
fi
# Without --allow-root, lintian warns when root runs it.
lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$package"

size=$(dpkg-deb -f "$package" Installed-Size)
if [ "$size" -ge "$MAX_INSTALLED_KB" ]; then
    echo "$package takes $size kB when installed; it has to stay below $MAX_INSTALLED_KB" >&2
    exit 1
fi
echo "lintian finds nothing; $size kB installed"
