# Puts the programs of a build and the units into a machine by hand, without a package. Source it after machine.sh.
# shellcheck shell=bash

# install_by_hand BUILD-FOLDER [MOCACTL]: MOCACTL stands in for the real one.
install_by_hand() {
    local build=$1 mocactl=${2:-$1/mocactl} repository program unit
    repository=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
    for program in "$build/moca-file-log:/usr/bin/moca-file-log" "$mocactl:/usr/bin/mocactl" \
        "$build/moca-file-log-generator:/usr/lib/systemd/system-generators/moca-file-log-generator"; do
        machine_copy "${program%%:*}" "${program##*:}" 0755
        # what is in them for a debugger is ten times the program
        strip "$MACHINE_ROOT${program##*:}" 2>/dev/null || true
    done
    for unit in "$repository"/systemd/*.{service,socket,target,path}; do
        machine_copy "$unit" "/usr/lib/systemd/system/${unit##*/}"
    done
    machine_copy "$repository/systemd/moca-file-log.sysusers" /usr/lib/sysusers.d/moca-file-log.conf
    machine_exec systemd-sysusers
    machine_exec install -d -m 0755 /etc/moca-file-log
}

# configure FILE: puts standard input in the place of that configuration file, by rename.
configure() {
    machine_exec sh -c 'f=/etc/moca-file-log/$1 && cat >"$f.new" && chgrp moca-file-log "$f.new" &&
        chmod 0640 "$f.new" && mv "$f.new" "$f"' sh "$1"
}
