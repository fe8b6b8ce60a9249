#!/usr/bin/env bash
# Tests every command of mocactl on one booted system: mocactl.sh bookworm|trixie FILE.deb NEWER.deb
# Commands in single quotes run in the shell inside the machine.
# shellcheck disable=SC2016
set -u
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=tests/systemd/machine.sh
. "$here/machine.sh"
# shellcheck source=tests/systemd/clients.sh
. "$here/clients.sh"
# shellcheck source=tests/systemd/checks.sh
. "$here/checks.sh"

machine_start "$1" || exit 1
machine_install "$2" || exit 1
odd='a;b $(touch c) `touch c`'
echo '{"sample1": {"host": "127.0.0.1", "port": 5700, "file": "sample1.log"},
    "'"$odd"'": {"host": "127.0.0.1", "port": 5701, "file": "odd.log"}}' | configure log.json
check "the log with the odd name is served" eventually 5 eval '[ "$(save 5701 x)" = 401 ]'

# mocactl ARGUMENT…: runs it with an empty standard input. Its output is in $out, its standard error
# in $err.
mocactl() {
    machine_exec mocactl "$@" >"$MACHINE_WORK/out" 2>"$MACHINE_WORK/err" </dev/null
    local status=$?
    out=$(cat "$MACHINE_WORK/out") err=$(cat "$MACHINE_WORK/err")
    return "$status"
}
# ends STATUS ARGUMENT…: succeeds when mocactl exits with this status.
ends() {
    local expected=$1
    shift
    mocactl "$@"
    equal $? "$expected"
}
prints() { equal "$out" "$1"; }
remarks() { grep -qF -- "$1" <<<"$err" || { echo "      $err"; return 1; }; }
json() { python3 -c "import json, sys; data = json.load(sys.stdin); sys.exit(not ($1))" <<<"$out" || { echo "      $out"; return 1; }; }
pid() { machine_exec systemctl show -P MainPID 'moca-file-log@sample1.service'; }
state() { machine_exec systemctl is-active "moca-file-log@$(systemd-escape -- "$1").service" "moca-file-log@$(systemd-escape -- "$1").socket" | tr '\n' ' '; }

echo "# version, usage, completions"
check "version" ends 0 version
check "is a line" prints "MocaFileLog ($(dpkg-deb -f "$2" Version | cut -d - -f 1))"
check "version --only-number" ends 0 version --only-number
check "is the number" prints "$(dpkg-deb -f "$2" Version | cut -d - -f 1)"
check "an unknown command is a matter of usage" ends 64 nosuch
for command in version run start stop restart status top turn-off turn-on maintenance clear-logs update update-system reset-system check \
    'key list' 'key add' 'key revoke' 'key explain' passwd 'block list' 'block add' 'block remove' get tail refusals apply completions; do
    # shellcheck disable=SC2086
    check "help of $command" ends 0 $command --help
    check "shows its usage" grep -q "^Usage: mocactl $command" <<<"$out"
done
for shell in bash zsh fish; do check "completions $shell" ends 0 completions "$shell"; done

echo "# keys"
check "check" ends 0 check
check "finds nothing" grep -qE '^/etc/moca-file-log is in order: 0 errors, [0-9]+ warning' <<<"$out"
check "check --json" ends 0 check --json
check "says so" json 'data["ok"] and not data["errors"]'
check "key add" ends 0 key add --name shop --rate 3/minute --path /moca-file-log/save-log
key=$out
check "prints the key and nothing else" grep -qxE 'moca_[A-Za-z0-9_-]{32,}' <<<"$key"
check "which no file contains" not machine_exec grep -rqF -- "$key" /etc/moca-file-log /var/lib/moca-file-log
CLIENTS_KEY=$key
check "it works within a second" eventually 2 saved 5700
check "in the log with the odd name as well" eventually 2 saved 5701
check "key list --json" ends 0 key list --json
check "shows it by name and hash" json 'any(key["name"] == "shop" and key["hash"].startswith("sha256:") and key["rate"] == "3 per minute" for key in data)'
check "key list" ends 0 key list
check "shows no key" not grep -qF -- "$key" <<<"$out"
check "key explain admits" ends 0 key explain --key "$key" --ip 192.0.2.9 --path /moca-file-log/save-log --log sample1
check "key explain refuses another path" not mocactl key explain --key "$key" --ip 192.0.2.9 --path /moca-file-log/clear-logs --log sample1
check "and says which rule" grep -qF allowed_path <<<"$out$err"
check "key explain refuses an unknown key" not mocactl key explain --key other --ip 192.0.2.9 --path save-log --log sample1
check "a second key of that name is refused" not mocactl key add --name shop
check "key revoke" ends 0 key revoke shop
check "it is refused within a second" eventually 2 eval '[ "$(save 5700 x)" = 401 ]'
check "what is revoked cannot be revoked" ends 66 key revoke shop
mocactl key add --name all
CLIENTS_KEY=$out
check "another key works" eventually 2 saved 5700

echo "# the root password"
latest() { machine_net curl -s -o /dev/null -w '%{http_code}' -H "API-KEY: $CLIENTS_KEY" -H "ROOT-PASS: $1" http://127.0.0.1:5700/moca-file-log/get-latest-logs; }
check "passwd takes a line" machine_exec sh -c 'echo "correct horse battery" | mocactl passwd 2>/dev/null'
check "and keeps its Argon2id hash" machine_exec grep -qF '"root_pass": "$argon2id$' /etc/moca-file-log/system.json
check "it is the password within a second" eventually 2 eval '[ "$(latest "correct horse battery")" = 200 ]'
check "another one is not" equal "$(latest wrong)" 403

echo "# services"
check "status --table" ends 0 status --table
check "shows both logs as running" equal "$(grep -c ' running ' <<<"$out")" 2
check "status --json" ends 0 status --json
check "names them as they are" json '[log["name"] for log in data] == sorted(["sample1", "a;b $(touch c) `touch c`"]) and all(log["state"] == "running" for log in data)'
check "status of one" ends 0 status sample1
check "has what systemd says" grep -q 'Active: active (running)' <<<"$out"
check "top --once" ends 0 top --once --interval 0.5
check "shows both logs as running" equal "$(grep -c ' running ' <<<"$out")" 2
check "top --json" ends 0 top --json --interval 0.5
check "has figures of both" json 'len(data) == 2 and all(log["records_per_second"] is not None and log["disk_free_bytes"] > 0 for log in data)'
metrics() { machine_exec curl -sS --unix-socket "/run/moca-file-log/sample1.sock" http://localhost/metrics; }
check "the admin socket gives the metrics" eval 'metrics | grep -q "^moca_build_info{.*log=\"sample1\"} 1$"'
check "stop of the odd one" ends 0 stop "$odd"
check "stops its socket as well" equal "$(state "$odd")" "inactive inactive "
check "status says so by its status" not mocactl status "$odd"
check "start" ends 0 start "$odd"
check "starts both" equal "$(state "$odd")" "active active "
before=$(pid)
check "restart" ends 0 restart sample1
check "is another process" [ "$before" != "$(pid)" ]
before=$(pid)
check "restart of all" ends 0 restart
check "is of this one too" [ "$before" != "$(pid)" ]
check "stop of all" ends 0 stop
check "no process listens" refused 5700
check "get from a log that is stopped" ends 69 get sample1
check "says how to start it" remarks '`mocactl start sample1`'
check "the same for the odd one" ends 69 get "$odd"
check "in words that a shell takes" remarks "\`mocactl start '$odd'\`"
check "start of all" ends 0 start
check "both are served" saved 5700
check "an unknown name" ends 66 restart nosuch
check "is named, with those that there are" remarks 'unknown log "nosuch"'

echo "# maintenance"
answer() { save "$1" x; }
# Requests from this machine are let through by the sample's whitelist.
machine_exec sed -i 's/"maintenance_mode_whitelist": \[.*\]/"maintenance_mode_whitelist": []/' /etc/moca-file-log/system.json
sleep 1
check "turn-off of one" ends 0 turn-off sample1
check "it answers 503" eventually 2 eval '[ "$(answer 5700)" = 503 ]'
check "the other one does not" equal "$(answer 5701)" 200
check "status shows it" eval 'mocactl status --json; json "[log[\"live\"][\"maintenance\"][\"on\"] for log in data if log[\"name\"] == \"sample1\"] == [True]"'
check "systemctl status too" eval 'machine_exec systemctl status moca-file-log@sample1.service | grep -qi "Status:.*maintenance"'
check "the journal too" eval 'machine_exec journalctl -q -t moca-file-log MOCA_LOG=sample1 | grep -qi maintenance'
machine_exec systemctl restart moca-file-log@sample1.service
check "it is kept across a restart" equal "$(answer 5700)" 503
mocactl stop sample1
check "turn-on of a log that does not run" ends 0 turn-on sample1
mocactl start sample1
check "counts when it runs again" equal "$(answer 5700)" 200
mocactl stop "$odd"
check "turn-off of a log that does not run" ends 0 turn-off "$odd"
mocactl start "$odd"
check "counts as well" equal "$(answer 5701)" 503
check "turn-off of all" ends 0 turn-off
check "is for all" eventually 2 eval '[ "$(answer 5700) $(answer 5701)" = "503 503" ]'
machine_reboot || exit 1
check "it is kept across a reboot" eventually 5 eval '[ "$(answer 5700) $(answer 5701)" = "503 503" ]'
check "turn-on of all" ends 0 turn-on
check "ends it" eventually 2 eval '[ "$(answer 5700) $(answer 5701)" = "200 200" ]'
machine_exec sed -i 's/"maintenance_mode": false/"maintenance_mode": true/' /etc/moca-file-log/system.json
check "maintenance_mode of the file" eventually 2 eval '[ "$(answer 5700)" = 503 ]'
mocactl turn-on
check "turn-on says that the file keeps it on" eval 'grep -q system.json <<<"$out$err"'
machine_exec sed -i 's/"maintenance_mode": true/"maintenance_mode": false/' /etc/moca-file-log/system.json
check "the file ends it" eventually 2 saved 5700

echo "# lines"
mocactl clear-logs --all --yes
save 5700 'first line' >/dev/null
save 5700 'second line' >/dev/null
save 5701 'another log' >/dev/null
check "get" ends 0 get sample1
check "prints the lines, the oldest first" equal "$(sed 's/.*>//' <<<"$out")" "$(printf 'first line\nsecond line')"
check "get --json" ends 0 get --json -n 1 sample1
check "is an object a line" json 'data["message"] == "second line"'
machine_exec sh -c 'timeout 4 mocactl tail -n 1 sample1 >/tmp/tail' &
sleep 1
save 5700 'while it follows' >/dev/null
wait $!
check "tail prints the latest lines and those that come" equal "$(machine_exec sed 's/.*>//' /tmp/tail)" "$(printf 'second line\nwhile it follows')"
check "clear-logs asks first" ends 64 clear-logs sample1
check "nothing is removed without an answer" eval 'mocactl get sample1; [ "$(wc -l <<<"$out")" = 3 ]'
check "clear-logs of one" ends 0 clear-logs --yes sample1
check "removes its lines" eval 'mocactl get sample1 && [ -z "$out" ]'
check "and no other ones" eval 'mocactl get "$odd" && [ -n "$out" ]'
check "clear-logs of all needs --all" ends 64 clear-logs --yes
check "clear-logs of all" ends 0 clear-logs --all --yes
check "removes those too" eval 'mocactl get "$odd" && [ -z "$out" ]'

echo "# refusals"
machine_net curl -s -o /dev/null -H 'API-KEY: not-a-key' -d message=refused http://127.0.0.1:5700/moca-file-log/save-log
check "refusals" ends 0 refusals sample1
check "shows the latest one with its reason" grep -q "save-log.* 40[13]" <<<"$out"
check "refusals --json" ends 0 refusals --json sample1
check "names client, route and status" json 'data[-1]["route"] == "save-log" and data[-1]["status"] in (401, 403) and data[-1]["client"]'
check "and no secret" not grep -q not-a-key <<<"$out"

echo "# blocked addresses"
check "block add" ends 0 block add 192.0.2.1 sample1
check "block list --json" ends 0 block list --json
check "has it" json '[(entry["log"], entry["address"]) for entry in data] == [("sample1", "192.0.2.1")]'
machine_net ip address add 192.0.2.1/32 dev lo
from() { machine_net curl -s -o /dev/null -w '%{http_code}' --interface 192.0.2.1 http://127.0.0.1:5700/status; }
check "it is refused" equal "$(from)" 403
check "block remove" ends 0 block remove 192.0.2.1
check "it is let in again" equal "$(from)" 200
check "what is no address" ends 64 block add nonsense

echo "# configuration"
check "apply" ends 0 apply
check "does nothing where nothing changed" prints "nothing to start, stop or restart"
machine_exec sh -c 'cd /etc/moca-file-log && cp -p log.json /root/ && printf "{\n  \"sample1\": {\"host\": 5}\n}" >log.json'
check "check of a broken file" ends 78 check
check "names the place" grep -qE '^error: log.json:2:[0-9]+' <<<"$out"
check "check --json does too" ends 78 check --json
check "with line and column" json 'data["errors"][0]["file"] == "log.json" and data["errors"][0]["line"] == 2 and data["errors"][0]["column"] > 0'
check "apply of a broken file" ends 78 apply
check "changes nothing" saved 5700
machine_exec cp -p /root/log.json /etc/moca-file-log/
check "run of an unknown log" ends 78 run nosuch
machine_exec sh -c 'printf "touch \$MOCA_RAN\n" >/etc/moca-file-log/startup.sh'
mocactl stop sample1
machine_exec sh -c 'MOCA_RAN=/var/lib/moca-file-log/ran exec timeout -s INT 3 mocactl run sample1 >/tmp/ran 2>&1' &
check "run serves in the foreground" eventually 3 saved 5700
wait $!
check "hooks included" machine_exec test -e /var/lib/moca-file-log/ran
check "not as root" equal "$(machine_exec stat -c %U /var/lib/moca-file-log/ran)" moca-file-log
machine_exec rm /etc/moca-file-log/startup.sh /var/lib/moca-file-log/ran
mocactl start sample1

echo "# updates"
check "update-system of what is no package" ends 65 update-system --deb /etc/passwd
machine_copy "$3" /root/repository/newer.deb
(cd "$MACHINE_ROOT/root/repository" && dpkg-scanpackages . >Packages 2>/dev/null)
machine_exec sh -c 'rm -rf /etc/apt/sources.list /etc/apt/sources.list.d && echo "deb [trusted=yes] copy:/root/repository ./" >/etc/apt/sources.list'
check "update takes the newer package of apt" ends 0 update --yes
check "which is installed" equal "$(machine_exec dpkg-query -W -f '${Version}' moca-file-log)" "$(dpkg-deb -f "$3" Version)"
check "update when there is none" ends 0 update --yes
machine_copy "$2" /root/this.deb
check "update-system --deb" ends 0 update-system --yes --deb /root/this.deb
check "installs that file" equal "$(machine_exec dpkg-query -W -f '${Version}' moca-file-log)" "$(dpkg-deb -f "$2" Version)"
check "and is served" saved 5700
check "reset-system asks first" ends 64 reset-system
check "reset-system" ends 0 reset-system --yes
check "keeps an archive" machine_exec sh -c 'ls /var/backups/moca-file-log-*.tar.gz >/dev/null'
check "the old key is none any more" equal "$(save 5700 x)" 401

echo "# rights"
as_nobody() { machine_exec setpriv --reuid=nobody --regid=nogroup --clear-groups mocactl "$@" >/dev/null 2>"$MACHINE_WORK/err" </dev/null; }
for command in 'restart sample1' 'turn-off sample1' 'clear-logs --yes sample1' 'get sample1' 'key add' 'block add 192.0.2.7' 'update --yes' 'reset-system --yes' apply; do
    # shellcheck disable=SC2086
    check "$command is refused without rights" not as_nobody $command
done
check "a member of the group reads without a password" machine_exec setpriv --reuid=nobody --regid=nogroup \
    --groups="$(machine_exec getent group moca-file-log | cut -d : -f 3)" mocactl get -n 1 sample1
check "no shell interpreted a name" equal "$(machine_exec find / -xdev -name c -newer /root/moca-file-log.deb)" ""
check "no zombie is left" equal "$(machine_exec sh -c 'grep -l "^State:.Z" /proc/[0-9]*/status 2>/dev/null')" ""
check "nothing failed" equal "$(machine_exec systemctl list-units --failed --no-legend 'moca*')" ""
checks_end
