#!/usr/bin/env bash
# Installs the Debian packages of programs that are missing:
#   install-packages.sh [--optional] PURPOSE PROGRAM:PACKAGE…
# PROGRAM is a command, a path, or python3/MODULE for a module of Python. As root with apt-get, the
# missing packages are installed. Elsewhere the command that installs them is printed. The exit
# status is 1 when a program is missing at the end; with --optional only in CI (CI=true).
set -euo pipefail

is_optional=false
if [[ $1 == --optional ]]; then
    is_optional=true
    shift
fi
purpose=$1
shift

# Sets `missing` to the packages of the programs that are not here.
find_missing() {
    local pair program
    missing=()
    for pair; do
        program=${pair%%:*}
        case $program in
        python3/*) python3 -c "import ${program#python3/}" 2>/dev/null && continue ;;
        /*) [[ -e $program ]] && continue ;;
        *) command -v "$program" >/dev/null && continue ;;
        esac
        missing+=("${pair##*:}")
    done
}

export PATH=$PATH:/usr/sbin:/sbin
find_missing "$@"
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ((EUID == 0)) && command -v apt-get >/dev/null; then
    echo "installing for $purpose: ${missing[*]}"
    installed=("${missing[@]}")
    # A list of packages that is out of date is reported below, by the package that it does not
    # have.
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null || true
    # Debian starts a server when it installs it. The tests start their own.
    for package in "${installed[@]}"; do
        if [[ $package == nginx || $package == redis-server ]] && [[ -d /run/systemd/system ]]; then
            systemctl disable --quiet --now "$package.service" || true
        fi
    done
    find_missing "$@"
    [[ ${#missing[@]} -gt 0 ]] || exit 0
fi

echo "Missing for $purpose: ${missing[*]}. On Debian: sudo apt-get install -y ${missing[*]}" >&2
[[ $is_optional == true && ${CI:-} != true ]]
