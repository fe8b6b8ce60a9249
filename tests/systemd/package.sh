#!/usr/bin/env bash
# Tests installation, upgrade, removal and purge on one system: package.sh bookworm|trixie FILE.deb
# NEWER.deb Commands in single quotes run in the shell inside the machine.
# shellcheck disable=SC2016
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=tests/systemd/machine.sh
. "$here/machine.sh"
# shellcheck source=tests/systemd/clients.sh
. "$here/clients.sh"
# shellcheck source=tests/systemd/checks.sh
. "$here/checks.sh"

machine_start "$1" || exit 1
machine_copy "$2" /root/this.deb
machine_copy "$3" /root/newer.deb

unit=moca-file-log@sample1.service
log=/var/log/moca-file-log/sample1.log
messages=$MACHINE_WORK/messages

# apt ARGUMENT…: runs apt-get. Its output is in the file $messages, and printed when it fails.
apt() {
    machine_exec env DEBIAN_FRONTEND=noninteractive apt-get --yes --option Dpkg::Options::=--force-confdef \
        --option Dpkg::Options::=--force-confold "$@" >"$messages" 2>&1 </dev/null && return
    sed 's/^/      /' "$messages"
    return 1
}
# apt_without_systemd ARGUMENT…: the same in a mount namespace where systemd does not seem to run.
apt_without_systemd() {
    machine_exec unshare --mount sh -c 'mount -t tmpfs tmpfs /run &&
        DEBIAN_FRONTEND=noninteractive apt-get --yes "$@"' sh "$@" >"$messages" 2>&1 </dev/null && return
    sed 's/^/      /' "$messages"
    return 1
}
# shell COMMAND: runs it in a shell inside the machine.
shell() { machine_exec sh -c "$1"; }
read_key() { shell "sed -n 's/.*\"key\": \"\\([^\"]*\\)\".*/\\1/p' /etc/moca-file-log/api_key.json"; }
read_password() { shell "sed -n 's/.*\"root_pass\": \"\\([^\"]*\\)\".*/\\1/p' /etc/moca-file-log/system.json"; }
state() { machine_exec systemctl is-active "$@" | tr '\n' ' '; }
enabled() { machine_exec systemctl is-enabled "$1" 2>/dev/null; }
main_pid() { machine_exec systemctl show --property=MainPID --value "$unit"; }
failed_units() { machine_exec systemctl list-units --failed --no-legend --plain | cut -d ' ' -f 1; }
listeners() { shell "awk '\$4 == \"0A\" { print \$2 }' /proc/net/tcp /proc/net/tcp6 | sort | tr '\n' ' '"; }
as() { machine_exec setpriv --reuid=nobody --regid="$1" --clear-groups -- cat "$2" >/dev/null 2>&1; }
said() { grep -q -- "$1" "$messages"; }
told() { shell "journalctl --quiet --no-pager; cat /var/log/apt/term.log /var/log/dpkg.log 2>/dev/null; true" | grep -qF -- "$1"; }
logged() { machine_exec grep -c -- "$1" "$log"; }

# Lists all files that a package could leave behind, without the files that apt, dpkg and the
# running system write.
everything() {
    shell 'find /etc /var /run /usr -xdev' | grep -Ev -e '^/run/(systemd|log|udev|dbus|mount|user|lock|credentials)(/|$)' \
        -e '^/var/(cache|log/(apt|journal|dpkg\.log)|lib/(apt|systemd/(catalog|random-seed|deb-systemd-helper[^/]*$))|tmp/systemd-private)' \
        -e '^/var/lib/dpkg/[^/]*(-old|lock.*)$' -e '^/etc/(passwd|group|shadow|gshadow)-$' -e '^/etc/\.(pwd|updated)' -e '^/run/agetty\.reload$' | sort
}

everything >"$MACHINE_WORK/before"

echo "# installation"
check "apt installs it" apt install /root/this.deb
check "and says where the secrets are" said 'sudo cat /etc/moca-file-log/api_key.json /etc/moca-file-log/system.json'
check "enabled and active" equal "$(enabled moca-file-log.target) $(state moca-file-log.target $unit)" "enabled active active "
check "nothing failed" equal "$(failed_units)" ""
check "nothing listens beyond loopback" equal "$(listeners)" "0100007F:1644 0100007F:1645 "
check "modes of the configuration" equal \
    "$(shell 'cd /etc/moca-file-log && stat -c "%n %a %U %G" *' | tr '\n' ,)" \
    "api_key.json 640 root moca-file-log,http.toml 640 root moca-file-log,ip_blacklist.json 644 root root,log.json 644 root root,server.json 640 root moca-file-log,system.json 640 root moca-file-log,"
check "and nothing else is there" equal "$(shell 'ls -A /etc/moca-file-log | wc -l')" 6
check "folders of logs and state" equal "$(shell 'stat -c "%a %U %G" /var/log/moca-file-log /var/lib/moca-file-log' | tr '\n' ,)" \
    "750 moca-file-log moca-file-log,750 moca-file-log moca-file-log,"
key=$(read_key)
password=$(read_password)
check "a key and a password of some length" [ "${#key}" -ge 32 -a "${#password}" -ge 32 -a "$key" != "$password" ]
check "the public ones of the samples are gone" not shell 'grep -rq mochi /etc/moca-file-log'
check "the journal and the logs tell of the installation" told moca-file-log
check "the key is nowhere in them" not told "$key"
check "nor the password" not told "$password"
check "nor in what apt said" not said "$key\|$password"
check "others cannot read them" not as nogroup /etc/moca-file-log/system.json
check "the operators can" as moca-file-log /etc/moca-file-log/system.json
check "the group adm cannot" not as adm /etc/moca-file-log/api_key.json
check "mocactl finds the configuration in order" shell 'mocactl check >/dev/null'
check "mocactl has the version of the package" equal "$(machine_exec mocactl version --only-number)" \
    "$(dpkg-deb -f "$2" Version | cut -d - -f 1)"
check "files are as shipped" equal "$(machine_exec dpkg --verify moca-file-log)" ""
check "every program has its page" shell 'for page in man8/moca-file-log.8 man8/moca-file-log-generator.8 man1/mocactl.1; do
    [ -s "/usr/share/man/$page.gz" ] || exit; done'
check "bash reads the completions" machine_exec bash -n /usr/share/bash-completion/completions/mocactl

echo "# first records"
CLIENTS_KEY=$key
check "start by name" machine_exec systemctl start moca-file-log@sample1
check "a record with the key" equal "$(save 5700 first)" 200
check "it is in the file" equal "$(logged '>first$')" 1
check "adm reads the log" as adm "$log"
check "others do not" not as nogroup "$log"
check "a root route with the password" equal "$(machine_net curl -s -o /dev/null -w '%{http_code}' -H "API-KEY: $key" \
    -H "ROOT-PASS: $password" http://127.0.0.1:5700/moca-file-log/get-latest-logs)" 200
shell "systemctl stop $unit 2>/dev/null"
check "stopped" equal "$(state $unit)" "inactive "
check "a request starts it" equal "$(save 5700 second)" 200
check "the other log is served too" equal "$(save 5701 other)" 200

before=$(main_pid)
shell 'sed -i s/5701/5702/ /etc/moca-file-log/log.json'
saved() { equal "$(save "$1" moved)" 200; }
check "an edited address is served within 5 s" eventually 5 saved 5702
check "and the old one is not" equal "$(save 5701 moved)" 000
check "the process of the other log is the same" equal "$(main_pid)" "$before"

echo "# upgrade"
shell 'cd /etc/moca-file-log && echo "# mine" >>http.toml && sed -i "s/\"level\": 0/\"level\": 1/" log.json && rm ip_blacklist.json'
check "one log is stopped" shell 'mocactl stop sample2 >/dev/null 2>&1'
before=$(main_pid)
clients_start 8 5700
sleep 1
check "to the newer one, with 8 clients" apt install /root/newer.deb
sleep 1
found=$(clients_stop "$log")
echo "      $found"
check "refuses and loses nothing" grep -Eq '^acknowledged=[1-9][0-9]+ refused=0 cut=0 errors=0 .* lost=0 twice=0$' <<<"$found"
check "another process" [ "$before" != "$(main_pid)" ]
check "of the new program" equal "$(machine_exec readlink "/proc/$(main_pid)/exe")" /usr/bin/moca-file-log
check "a stopped log stays stopped" equal "$(state moca-file-log@sample2.socket moca-file-log@sample2.service)" "inactive inactive "
check "edits survive" shell 'cd /etc/moca-file-log && grep -q "# mine" http.toml && grep -q "\"level\": 1" log.json'
check "a deleted file stays deleted" not shell '[ -e /etc/moca-file-log/ip_blacklist.json ]'
check "a file without edits is the new one, with its mode" equal \
    "$(shell 'tail -c 2 /etc/moca-file-log/server.json | tr "\n" N; stat -c " %a %U %G" /etc/moca-file-log/server.json')" \
    "NN 640 root moca-file-log"
check "the secrets are the same" equal "$(read_key) $(read_password)" "$key $password"
clients_start 8 5700
sleep 1
check "back, by mocactl" shell 'mocactl update-system --yes --deb /root/this.deb >/dev/null 2>&1'
sleep 1
found=$(clients_stop "$log")
echo "      $found"
check "refuses and loses nothing" grep -Eq '^acknowledged=[1-9][0-9]+ refused=0 cut=0 errors=0 .* lost=0 twice=0$' <<<"$found"
before=$(main_pid)
shell 'cp -p /etc/moca-file-log/system.json /root && echo "{" >/etc/moca-file-log/system.json'
check "with a broken file" apt install /root/newer.deb
check "the process goes on" equal "$(main_pid)" "$before"
check "and apt says so" said 'not valid for this version'
check "still served" equal "$(save 5700 broken)" 200
shell 'cp -p /root/system.json /etc/moca-file-log/'
check "corrected, restarted" shell 'mocactl restart sample1'
check "by the newer one" [ "$before" != "$(main_pid)" ]
check "nothing failed" equal "$(failed_units)" ""

echo "# back to what was shipped"
check "mocactl resets" shell 'mocactl reset-system --yes >/root/reset 2>&1 || { cat /root/reset; exit 1; }'
check "configuration as shipped, secrets as in a new installation" equal \
    "$(shell 'cd /etc/moca-file-log && stat -c "%n %a %U %G" * && for f in *; do cmp -s $f /usr/share/moca-file-log/configs/$f || echo $f; done' | tr '\n' ,)" \
    "api_key.json 640 root moca-file-log,http.toml 640 root moca-file-log,ip_blacklist.json 640 root moca-file-log,log.json 644 root root,server.json 640 root moca-file-log,system.json 640 root moca-file-log,api_key.json,system.json,"
check "another key" [ "$(read_key)" != "$key" ]
key=$(read_key) password=$(read_password) CLIENTS_KEY=$(read_key)
check "works" equal "$(save 5700 reset)" 200
check "and is the only one that does" equal "$(logged .)" 1
check "adm reads the new log" as adm "$log"
check "the archive has what was there" shell 'tar -tzf /var/backups/moca-file-log-*.tar.gz | grep -q var/log/moca-file-log/sample1.log'
check "for root only" equal "$(shell 'stat -c "%a %U" /var/backups/moca-file-log-*.tar.gz')" "600 root"
shell 'rm /var/backups/moca-file-log-*.tar.gz /root/reset; echo "# mine" >>/etc/moca-file-log/http.toml'

echo "# removal"
records=$(logged .)
check "apt removes it" apt remove moca-file-log
check "nothing listens" equal "$(listeners)" ""
check "no process" not shell 'grep -l moca-file-log /proc/[0-9]*/comm'
check "no unit but the masked target" equal \
    "$(machine_exec systemctl list-units --all --no-legend --plain 'moca*' | grep -v not-found | tr -s ' ' | cut -d ' ' -f 1,2)" \
    "moca-file-log.target masked"
check "configuration, log and state are kept" equal "$(read_key) $(logged .) $(shell 'ls /var/lib/moca-file-log/sample1.state')" \
    "$key $records /var/lib/moca-file-log/sample1.state"
check "nothing in /run" equal "$(shell 'find /run -name "moca*"')" ""
check "it can be installed again" apt install /root/this.deb
check "with the same secrets" equal "$(read_key) $(read_password)" "$key $password"
check "and says nothing of new ones" not said 'sudo cat'
check "served" equal "$(save 5700 again)" 200
check "edits are still there" shell 'grep -q "# mine" /etc/moca-file-log/http.toml'
check "all logs run again" equal "$(state moca-file-log@sample2.service)" "active "
check "apt purges it" apt purge moca-file-log
check "nothing listens" equal "$(listeners)" ""
check "nothing is left" diff "$MACHINE_WORK/before" <(everything)
check "but the user" shell 'getent passwd moca-file-log >/dev/null'
check "nothing failed" equal "$(failed_units)" ""

echo "# installation after that"
shell 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d'
check "where nothing may be started" apt install /root/this.deb
check "nothing is" equal "$(enabled moca-file-log.target) $(state moca-file-log.target $unit)" "enabled inactive inactive "
shell 'rm /usr/sbin/policy-rc.d'
check "apt purges it" apt purge moca-file-log
# As in the build of an image: /run is empty.
check "where systemd does not run" apt_without_systemd install /root/this.deb
check "it is enabled" equal "$(enabled moca-file-log.target)" enabled
check "with secrets of its own" [ "$(read_key)" != "$key" ]
check "purge there" apt_without_systemd purge moca-file-log
check "nothing is left" diff "$MACHINE_WORK/before" <(everything)
check "once more" apt_without_systemd install /root/this.deb
CLIENTS_KEY=$(read_key)
machine_reboot || exit 1
check "served after the boot" equal "$(save 5700 booted)" 200
check "everything is up" equal "$(state moca-file-log.target moca-file-log@sample1.socket moca-file-log-admin@sample1.socket $unit)" \
    "active active active active "
check "only on loopback" equal "$(listeners)" "0100007F:1644 0100007F:1645 "
check "nothing failed" equal "$(failed_units)" ""
checks_end
