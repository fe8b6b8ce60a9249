# A Debian system that boots its own systemd in a container, for tests that need root on one.
#
# Source it from bash. It needs root, debootstrap and systemd-nspawn; machine_requirements says what
# is missing.
#   machine_start bookworm|trixie   boots a fresh copy and returns when it is up; one machine for each shell
#   machine_exec COMMAND…           runs inside, as root
#   machine_net COMMAND…            runs a program of the host in the network of the machine
#   machine_copy FILE PLACE [MODE]  puts a file of the host inside
#   machine_install FILE.deb        installs the package as an operator would
#   configure FILE                  replaces that configuration file by standard input, by rename
#   machine_reboot                  reboots and returns when it is up again
#   machine_stop                    ends it and removes everything that it wrote; runs on exit as well
# Each release is bootstrapped once, into $MOCA_TEST_CACHE, from the mirror that apt uses here.
# shellcheck shell=bash

MOCA_TEST_CACHE=${MOCA_TEST_CACHE:-$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)/target/systemd-roots}
MACHINE_PACKAGES=systemd,systemd-sysv,dbus,curl
MACHINE_PID=
MACHINE_WORK=

# Prints what is missing, one item a line. Fails when something is.
machine_requirements() {
    local missing=0 tool
    [ "$(id -u)" = 0 ] || { echo "root: run the tests as root"; missing=1; }
    for tool in debootstrap:debootstrap systemd-nspawn:systemd-container nsenter:util-linux curl:curl redis-server:redis-server redis-cli:redis-tools flock:util-linux; do
        command -v "${tool%%:*}" >/dev/null || { echo "${tool%%:*}: apt-get install ${tool##*:}"; missing=1; }
    done
    return $missing
}

# Prints the Debian mirror that apt uses on this system, so that local proxies and mirrors are used
# here as well.
machine_mirror() {
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' |
        grep -E '/debian/?$' | sort -u | head -n 1
}

# Prints the folder of a bootstrapped release. The first call for a release bootstraps it.
machine_base() {
    local release=$1 base key mirror
    key=$(printf '%s' "$release $MACHINE_PACKAGES" | sha256sum | cut -c 1-12)
    base=$MOCA_TEST_CACHE/$release-$key
    mkdir -p "$MOCA_TEST_CACHE"
    (
        flock 9
        [ -d "$base" ] && exit
        mirror=$(machine_mirror)
        [ -n "$mirror" ] || { echo "apt has no Debian mirror to bootstrap $release from" >&2; exit 1; }
        rm -rf "$base.new"
        debootstrap --variant=minbase --include="$MACHINE_PACKAGES" "$release" "$base.new" "$mirror" \
            >"$base.log" 2>&1 || { tail -n 20 "$base.log" >&2; exit 1; }
        rm -rf "$base.new"/var/cache/apt/archives/*.deb "$base.new/etc/machine-id"
        # A container has no use for this unit, which would slow down the boot.
        ln -sf /dev/null "$base.new/etc/systemd/system/systemd-networkd-wait-online.service"
        mv "$base.new" "$base"
    ) 9>"$MOCA_TEST_CACHE/lock" || return 1
    echo "$base"
}

machine_start() {
    local base
    MACHINE_RELEASE=$1
    base=$(machine_base "$MACHINE_RELEASE") || return 1
    MACHINE_WORK=$(mktemp -d "${TMPDIR:-/tmp}/moca-machine.XXXXXX")
    MACHINE_ROOT=$MACHINE_WORK/root
    trap machine_stop EXIT
    mkdir -p "$MACHINE_ROOT" "$MACHINE_WORK/upper" "$MACHINE_WORK/work"
    mount -t overlay overlay "$MACHINE_ROOT" \
        -o "lowerdir=$base,upperdir=$MACHINE_WORK/upper,workdir=$MACHINE_WORK/work" 2>/dev/null ||
        cp -a "$base/." "$MACHINE_ROOT/" || return 1
    machine_boot
}

# Boots the system in MACHINE_ROOT.
machine_boot() {
    # systemd 256 and later refuse the mixed control groups of older hosts. They get a unified tree
    # of their own.
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=$([ "$MACHINE_RELEASE" = bookworm ] && echo 0 || echo 1) \
        systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --machine="moca-$$" \
        --directory="$MACHINE_ROOT" </dev/null >"$MACHINE_WORK/console" 2>&1 &
    MACHINE_PID=$!
    machine_wait_up
}

# Prints the process id of the machine's init, as the host sees it.
machine_leader() {
    local child=''
    # read fails because the file has no line end.
    read -r child _ 2>/dev/null <"/proc/$MACHINE_PID/task/$MACHINE_PID/children" || true
    [ -n "$child" ] && echo "$child"
}

machine_wait_up() {
    local _ state
    for _ in $(seq 300); do
        kill -0 "$MACHINE_PID" 2>/dev/null || break
        state=$(machine_exec systemctl is-system-running 2>/dev/null)
        case $state in running | degraded) return 0 ;; esac
        sleep 0.1
    done
    echo "the machine does not come up (${state:-no answer}):" >&2
    tail -n 30 "$MACHINE_WORK/console" >&2
    return 1
}

machine_exec() {
    local leader
    leader=$(machine_leader) || return 1
    nsenter --target "$leader" --all \
        env --chdir=/ -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}

machine_net() {
    nsenter --target "$(machine_leader)" --net "$@"
}

machine_copy() {
    install -D -m "${3:-0644}" "$1" "$MACHINE_ROOT$2"
}

machine_install() {
    local said
    machine_copy "$1" /root/moca-file-log.deb
    said=$(machine_exec env DEBIAN_FRONTEND=noninteractive apt-get --yes install /root/moca-file-log.deb 2>&1 </dev/null) ||
        { echo "$said" >&2; return 1; }
}

configure() {
    machine_exec sh -c 'f=/etc/moca-file-log/$1 && cat >"$f.new" && chgrp moca-file-log "$f.new" &&
        chmod 0640 "$f.new" && mv "$f.new" "$f"' sh "$1"
}

machine_reboot() {
    machine_exec systemctl reboot
    # systemd-nspawn ends with the machine. The unit that would start it again does not exist here.
    wait "$MACHINE_PID"
    machine_boot
}

machine_stop() {
    local _ leader
    [ -n "$MACHINE_WORK" ] || return 0
    if [ -n "$MACHINE_PID" ] && kill -0 "$MACHINE_PID" 2>/dev/null; then
        leader=$(machine_leader) || true
        # No clean shutdown: all files of the machine are removed below.
        [ -z "$leader" ] || kill -KILL "$leader" || true
        for _ in $(seq 100); do
            kill -0 "$MACHINE_PID" 2>/dev/null || break
            sleep 0.1
        done
        # Under `set -e` this kill must not end the shell: the process may have ended already.
        kill -KILL "$MACHINE_PID" 2>/dev/null || true
        wait "$MACHINE_PID" 2>/dev/null || true
    fi
    ! mountpoint -q "$MACHINE_ROOT" || umount "$MACHINE_ROOT"
    rm -rf "$MACHINE_WORK"
    MACHINE_WORK='' MACHINE_PID=''
}
