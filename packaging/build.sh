#!/usr/bin/env bash
# Builds target/debian/moca-file-log_VERSION_ARCH.deb and prints its name as the last line. Needs
# cargo and dpkg-dev. Installs cargo-deb into target/tools unless the wanted version is already
# there. The package runs on the Debian release that it is built on, and on later ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CARGO_DEB_VERSION=3.8.0

# Prints the path of a cargo-deb of the wanted version, which it installs when none is there.
cargo_deb() {
    local program
    for program in "$(command -v cargo-deb || true)" target/tools/bin/cargo-deb; do
        if [ -n "$program" ] && [ "$("$program" --version 2>/dev/null)" = "$CARGO_DEB_VERSION" ]; then
            echo "$program"
            return
        fi
    done
    cargo install cargo-deb --version "$CARGO_DEB_VERSION" --locked --quiet --root target/tools >&2
    echo target/tools/bin/cargo-deb
}

version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
if [ "$(sed -n '1s/.*(\(.*\)-[0-9.]*).*/\1/p' packaging/changelog)" != "$version" ]; then
    echo "packaging/changelog has no entry for version $version" >&2
    exit 1
fi
command -v dpkg-shlibdeps >/dev/null || { echo "dpkg-shlibdeps is missing: apt-get install dpkg-dev" >&2; exit 1; }
tool=$(cargo_deb)

packaging/compile.sh

rm -rf target/package target/debian
mkdir -p target/package/man target/package/completions
ln -s ../release/moca-file-log target/package/mocactl
target/package/mocactl generate man target/package/man
target/package/mocactl generate completions target/package/completions
packaging/notices.sh | gzip -9n >target/package/third-party-notices.gz

"$tool" --no-build --locked
ls target/debian/moca-file-log_"$version"-*_"$(dpkg --print-architecture)".deb
