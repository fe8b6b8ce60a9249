#!/usr/bin/env bash
# Makes FOLDER/rsyslogd, a program that runs Debian's rsyslog with its modules for TLS and Unix sockets:
# rsyslog.sh FOLDER
# Its packages are unpacked into FOLDER. They are not installed: Debian would start it as the syslog of the
# machine. No root is needed.
set -euo pipefail
folder=$1
[[ ! -x $folder/rsyslogd ]] || exit 0
mkdir -p "$folder"
if ! command -v apt-get >/dev/null; then
    echo 'rsyslog is missing.' >&2
    exit 1
fi

# Lists these packages and those that they need and that are not installed.
packages() {
    apt-get install --simulate --no-install-recommends rsyslog rsyslog-gnutls 2>/dev/null | awk '/^Inst / {print $2}'
    # apt lists nothing of what is installed.
    for name in rsyslog rsyslog-gnutls; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) != installed ]] || echo "$name"
    done
}

rm -rf "$folder/packages" "$folder/root"
mkdir "$folder/packages"
cd "$folder/packages"
mapfile -t names < <(packages)
if [[ ${#names[@]} -eq 0 ]] || ! apt-get download -qq "${names[@]}" >/dev/null 2>&1; then
    # The list of packages is missing or out of date.
    ((EUID != 0)) || apt-get update -qq || true
    mapfile -t names < <(packages)
    [[ ${#names[@]} -gt 0 ]] || { echo 'rsyslog is not among the packages of apt.' >&2; exit 1; }
    apt-get download -qq "${names[@]}" >/dev/null
fi
for package in *.deb; do dpkg-deb --extract "$package" "$folder/root"; done
rm -rf "$folder/packages"

modules=$(dirname "$(find "$folder/root" -name lmnet.so)")
libraries=$(find "$folder/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
cat >"$folder/rsyslogd.new" <<SH
#!/bin/sh
# Runs the unpacked rsyslog with its own libraries and modules.
LD_LIBRARY_PATH='$libraries' exec '$folder/root/usr/sbin/rsyslogd' -M '$modules' "\$@"
SH
chmod +x "$folder/rsyslogd.new"
mv "$folder/rsyslogd.new" "$folder/rsyslogd"
