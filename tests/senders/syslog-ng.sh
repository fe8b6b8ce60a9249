#!/usr/bin/env bash
# Makes FOLDER/syslog-ng, a program that runs Debian's syslog-ng: syslog-ng.sh FOLDER
# Where syslog-ng is not installed, its packages are unpacked into FOLDER. They are not installed:
# Debian would remove rsyslog for it, and would start it as the syslog of the machine. No root is needed.
set -euo pipefail
folder=$1
[[ ! -x $folder/syslog-ng ]] || exit 0
mkdir -p "$folder"

installed=$(PATH=$PATH:/usr/sbin command -v syslog-ng || true)
if [[ -n $installed ]] && [[ -n $(find /usr/lib -name libhttp.so -path '*syslog-ng*') ]]; then
    ln -s "$installed" "$folder/syslog-ng"
    exit
fi
if ! command -v apt-get >/dev/null; then
    echo 'syslog-ng is missing. Install it with its module for HTTP.' >&2
    exit 1
fi

# Lists these packages and those that they need and that are not installed.
packages() {
    apt-get install --simulate --no-install-recommends syslog-ng-core syslog-ng-mod-http 2>/dev/null |
        awk '/^Inst / {print $2}'
}

rm -rf "$folder/packages" "$folder/root"
mkdir "$folder/packages"
cd "$folder/packages"
mapfile -t names < <(packages)
if [[ ${#names[@]} -eq 0 ]] || ! apt-get download -qq "${names[@]}" >/dev/null 2>&1; then
    # The list of packages is missing or out of date.
    ((EUID != 0)) || apt-get update -qq || true
    mapfile -t names < <(packages)
    [[ ${#names[@]} -gt 0 ]] || { echo 'syslog-ng is not among the packages of apt.' >&2; exit 1; }
    apt-get download -qq "${names[@]}" >/dev/null
fi
for package in *.deb; do dpkg-deb --extract "$package" "$folder/root"; done
rm -rf "$folder/packages"

modules=$(dirname "$(find "$folder/root" -name libhttp.so -path '*syslog-ng*')")
libraries=$(find "$folder/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
cat >"$folder/syslog-ng.new" <<SH
#!/bin/sh
# Runs the unpacked syslog-ng with its own libraries and modules.
LD_LIBRARY_PATH='$libraries' exec '$folder/root/usr/sbin/syslog-ng' --module-path='$modules' "\$@"
SH
chmod +x "$folder/syslog-ng.new"
mv "$folder/syslog-ng.new" "$folder/syslog-ng"
