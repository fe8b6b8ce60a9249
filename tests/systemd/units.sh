#!/usr/bin/env bash
# Tests the units, the generator and mocactl apply on one booted system: units.sh bookworm|trixie
# FILE.deb Commands in single quotes run in the shell inside the machine.
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
echo "[{\"key\": \"$CLIENTS_KEY\", \"status\": true}]" | configure api_key.json
echo '{"root_pass": "root-pass"}' | configure system.json
logs='"sample1": {"host": "127.0.0.1", "port": 8101, "file": "sample1.log"},
    "two words": {"host": "127.0.0.1", "port": 8102, "file": "two words.log"},
    "-a;b $(touch c) ${HOME} $HOME %i %% \"q'"'"'": {"host": "127.0.0.1", "port": 8103, "file": "odd.log"},
    "größe.x-y": {"host": "::1", "port": 8104, "use_ipv6": true, "file": "/srv/new \"f\"/100% $x/groß.log"},
    "both": {"host": "::", "port": 8105, "use_ipv6": true, "file": "/home/moca logs/both.log"},
    "later": {"host": "192.0.2.7", "port": 8106, "file": "later.log"},
    "off": {"host": "127.0.0.1", "port": 8107, "file": "off.log", "status": false}'
echo "{$logs}" | configure log.json

unit='moca-file-log@sample1.service'
main_pid() { machine_exec systemctl show -P MainPID "${1:-$unit}"; }
state() { machine_exec systemctl is-active "$1"; }
crash() { machine_exec systemctl kill --kill-whom=main --signal="$1" "$unit"; }
unit_of() { echo "moca-file-log@$(systemd-escape -- "$1").$2"; }

echo "# serving"
check "an edited log.json is applied within 5 s" eventually 5 saved 8101
check "a record is acknowledged" equal "$(save 8101 first)" 200
check "and is in the file" machine_exec grep -q first /var/log/moca-file-log/sample1.log
check "a name with a space" equal "$(save 8102 hello)" 200
check "a name with everything" equal "$(save 8103 hello)" 200
check "no shell interpreted it" equal "$(machine_exec find / /tmp -xdev -name c -newer /etc/moca-file-log/log.json)" ""
check "its process has it as one argument" equal \
    "$(machine_exec sh -c "tr '\0' '|' </proc/$(main_pid "$(unit_of "-a;b \$(touch c) \${HOME} \$HOME %i %% \"q'" service)")/cmdline")" \
    "/usr/bin/moca-file-log|--|-a;b \$(touch c) \${HOME} \$HOME %i %% \"q'|"
check "IPv6, a new folder outside of /var/log" equal "$(save 8104 six '[::1]')" 200
check "its file" machine_exec grep -q six '/srv/new "f"/100% $x/groß.log'
check "both families" equal "$(save 8105 a) $(save 8105 b '[::1]')" "200 200"
check "a file in /home" machine_exec grep -q '>b$' '/home/moca logs/both.log'
check "an address that does not exist yet is listened on" \
    equal "$(state 'moca-file-log@later.socket')" active
machine_exec ip address add 192.0.2.7/32 dev lo 2>/dev/null || machine_net ip address add 192.0.2.7/32 dev lo
check "and served when it exists" equal "$(save 8106 late 192.0.2.7)" 200
check "a log that is switched off is not served" equal "$(save 8107 x)" 000
check "every operator's socket" equal "$(machine_exec sh -c 'stat -c "%a %U %G" /run/moca-file-log/*.sock | sort | uniq -c | tr -s " "')" \
    " 6 660 root moca-file-log"
check "answers" equal \
    "$(machine_exec curl -s -o /dev/null -w '%{http_code}' --unix-socket /run/moca-file-log/sample1.sock http://log/status)" 200
check "nothing failed" equal "$(machine_exec systemctl list-units --failed --no-legend 'moca*')" ""
# asked: asks every admin socket for the status and counts the answers.
asked() {
    machine_exec sh -c 'for socket in /run/moca-file-log/*.sock; do
        curl -s -m 10 -o /dev/null -w "%{http_code}\n" --unix-socket "$socket" http://log/status
    done | sort | uniq -c | tr -s " "'
}
forgotten() { machine_exec journalctl -b | grep -c 'no open socket'; }
before=$(forgotten)
machine_exec sh -c 'systemctl daemon-reload && systemctl daemon-reexec && systemctl restart "moca-file-log@*.service"'
check "all are passed on after a reload and a restart" equal "$(asked)" " 6 200"
check "no socket was forgotten" equal "$(forgotten)" "$before"
member() {
    machine_exec setpriv --reuid 65534 --regid 65534 "$@" \
        curl -s -o /dev/null -w '%{http_code}' --unix-socket /run/moca-file-log/sample1.sock http://log/status
}
check "the group may use it, others may not" equal "$(member --groups "$(machine_exec id -g moca-file-log)") $(member --clear-groups)" "200 000"

echo "# stopping and starting"
machine_exec systemctl stop --quiet "$unit" 2>/dev/null
check "a request starts a stopped instance" equal "$(save 8101 wakes)" 200
machine_exec systemctl stop --quiet "$unit" 2>/dev/null
check "the operator's socket does too" equal \
    "$(machine_exec curl -s -o /dev/null -w '%{http_code}' --unix-socket /run/moca-file-log/sample1.sock http://log/status)" 200
clients_start 8 8101
for _ in 1 2 3 4; do sleep 1; machine_exec systemctl restart "$unit"; done
sleep 1
machine_exec systemctl reload "$unit"
sleep 0.5
found=$(clients_stop /var/log/moca-file-log/sample1.log)
echo "      4 restarts and a reload: $found"
check "4 restarts and a reload refuse and lose nothing" \
    grep -Eq 'refused=0 cut=0 errors=0 .* lost=0 twice=0' <<<"$found"
clients_start 8 8101
start=$SECONDS
machine_exec sh -c 'for n in $(seq 50); do systemctl restart "$1" || echo "      a restart was refused"; done' sh "$unit"
echo "      50 restarts took $((SECONDS - start)) s"
found=$(clients_stop /var/log/moca-file-log/sample1.log)
echo "      50 restarts: $found"
check "50 restarts refuse and lose nothing" grep -Eq 'refused=0 cut=0 errors=0 .* lost=0 twice=0' <<<"$found"
clients_start 8 8101
sleep 1
machine_exec systemctl restart moca-file-log.target
sleep 1
found=$(clients_stop /var/log/moca-file-log/sample1.log)
echo "      the target: $found"
check "a restart of the target refuses nothing" grep -Eq 'refused=0 cut=0 errors=0 .* lost=0 twice=0' <<<"$found"
clients_start 8 8101
sleep 1
start=$SECONDS
machine_exec sh -c 'for n in $(seq 40); do systemctl stop --quiet "$1" 2>/dev/null; done' sh "$unit"
echo "      40 stops took $((SECONDS - start)) s"
sleep 1
found=$(clients_stop /var/log/moca-file-log/sample1.log)
echo "      40 stops: $found"
check "40 stops under load refuse nothing" grep -Eq 'refused=0 cut=0 errors=0 .* lost=0 twice=0' <<<"$found"

machine_exec systemctl stop moca-file-log.target
all_down() { [ -z "$(machine_exec systemctl list-units --no-legend --state=active,activating,deactivating 'moca-file-log*@*')" ]; }
check "a stopped target has neither services nor sockets" eventually 5 all_down
check "no process listens" equal "$(save 8101 x)" 000
machine_exec systemctl start moca-file-log.target
check "and has them again when it is started" equal "$(save 8101 x) $(save 8102 x)" "200 200"
check "the operator's too" equal "$(asked)" " 6 200"

echo "# crashes"
clients_start 8 8101
sleep 1
crash KILL
sleep 2
found=$(clients_stop /var/log/moca-file-log/sample1.log)
echo "      kill -9: $found"
check "kill -9 refuses and loses nothing, cuts what was in flight" \
    grep -Eq 'refused=0 cut=[0-8] errors=0 .* lost=0 twice=0' <<<"$found"
before=$(main_pid)
crash STOP
start=$SECONDS
check "a hung process is replaced" equal "$(save 8101 hung)" 200
echo "      after $((SECONDS - start)) s"
check "by another" [ "$before" != "$(main_pid)" ]

echo "# the configuration is edited"
others() { main_pid "$(unit_of 'two words' service)"; main_pid "$(unit_of größe.x-y service)"; }
before=$(others)
# edit WHAT COMMAND PORT: the command edits log.json so that sample1 is served on PORT.
edit() {
    machine_exec sh -c "cd /etc/moca-file-log && $2"
    check "$1 is applied within 5 s" eventually 5 saved "$3" || machine_exec systemctl status --no-pager moca-file-log-apply.path moca-file-log-apply.service
}
edit "a write in place" 'sed s/8101/8111/ log.json >/tmp/log && cat /tmp/log >log.json' 8111
edit "a rename" 'sed s/8111/8112/ log.json >new && mv new log.json' 8112
edit "sed -i" 'sed -i s/8112/8113/ log.json' 8113
edit "a backup and a new file" 'mv log.json log.json~ && sed s/8113/8114/ log.json~ >log.json' 8114
edit "a link to a file elsewhere" 'mkdir -p /srv/files && sed s/8114/8115/ log.json >/srv/files/log.json && ln -sf /srv/files/log.json log.json' 8115
check "the address before is left" refused 8114
for round in $(seq 8); do
    # The second edit comes while the first is being applied, at another moment in each round.
    machine_exec sh -c 'cd /etc/moca-file-log && sed "s/8115/$1/" /srv/files/log.json >new && mv new log.json && sleep "$2" &&
        sed "s/8115/$3/" /srv/files/log.json >new && mv new log.json' sh $((8120 + round)) "0.0$round" $((8140 + round))
    eventually 5 saved $((8140 + round)) || break
done
check "an edit while the last one is being applied is applied as well" saved $((8140 + round))
check "and the address in between is gone" refused $((8120 + round))
# An edit after apply has read the files and before systemd watches them again.
machine_exec sh -c 'unit=/run/systemd/system/moca-file-log-apply.service.d && mkdir -p "$unit" &&
    printf "[Service]\nExecStartPost=-+/bin/mv /root/late.json /etc/moca-file-log/log.json\n" >"$unit/late.conf" &&
    systemctl daemon-reload && cd /etc/moca-file-log && sed "s/$1/8152/" log.json >/root/late.json &&
    sed "s/$1/8151/" log.json >new && mv new log.json' sh $((8140 + round))
check "and one before systemd watches again" eventually 5 saved 8152
machine_exec sh -c 'rm -r /run/systemd/system/moca-file-log-apply.service.d && systemctl daemon-reload'
check "the processes of the other logs are the same" equal "$(others)" "$before"
more='"new words": {"host": "127.0.0.1", "port": 8108, "file": "new words.log"},
    "six": {"host": "::1", "port": 8109, "use_ipv6": true, "file": "/srv/deep er/six.log"}'
echo "{${logs/\"two words.log\"/\"two words.log\", \"status\": false}, $more}" | configure log.json
check "a new log with a space in its name is served within 5 s" eventually 5 saved 8108
check "a new log on IPv6 with a file outside of /var/log" eventually 5 saved 8109 '[::1]'
check "in its file" machine_exec grep -q hello '/srv/deep er/six.log'
check "a log that is switched off is refused" eventually 5 refused 8102
check "none of its units is left" equal "$(machine_exec systemctl list-units --no-legend --state=active "$(unit_of 'two words' '*')")" ""
check "the process of another log is the same" equal "$(main_pid "$(unit_of größe.x-y service)")" "$(tail -n 1 <<<"$before")"
echo "{$logs}" | configure log.json
check "switched on again, it is served" eventually 5 saved 8102
check "a log that is removed is not" eventually 5 refused 8108
check "nothing failed" equal "$(machine_exec systemctl list-units --failed --no-legend 'moca*')" ""

check "sample1 is where it was" eventually 5 saved 8101
printf '{\n  "sample1": {\n    "host": "127.0.0.1", "port": "x"' | configure log.json
machine_exec systemctl daemon-reload
check "broken file, reload: still served" equal "$(save 8101 broken)" 200
crash KILL
check "and after a crash" equal "$(save 8101 crashed)" 200
machine_exec systemctl restart "$unit"
check "and after a restart" equal "$(save 8101 restarted)" 200
check "mocactl check names the place" equal "$(machine_exec mocactl check | grep -c '^error: log.json:3:')" 1
check "the other logs are served as well" equal "$(save 8102 x) $(save 8104 x '[::1]')" "200 200"
# Without an apply, a reload of systemd by another program must not put the edited file in force.
machine_exec systemctl stop moca-file-log-apply.path
echo "{$logs}" | sed 's/8101/8201/' | configure log.json
machine_exec systemctl daemon-reload
crash KILL
check "another port, reload, crash: still served on the old one" equal "$(save 8101 moved)" 200
check "and not on the new one" equal "$(save 8201 moved)" 000
machine_exec systemctl start moca-file-log-apply.path
check "mocactl apply brings it" machine_exec sh -c 'mocactl apply >/dev/null'
check "on the new one now" equal "$(save 8201 moved) $(save 8101 moved)" "200 000"
echo "{$logs}" | configure log.json
check "and back" eventually 5 saved 8101

echo "# the sandbox"
exposure=$(machine_exec systemd-analyze security --no-pager "$unit" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\).*/\1/p')
echo "      exposure $exposure"
check "exposure at most 1.0" awk "BEGIN { exit !(${exposure:-9} <= 1.0) }"
for apply in moca-file-log-apply.service moca-file-log-apply-late.service; do
    exposure=$(machine_exec systemd-analyze security --no-pager "$apply" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\).*/\1/p')
    check "exposure of $apply at most 1.2, it is $exposure" awk "BEGIN { exit !(${exposure:-9} <= 1.2) }"
done
verified=$(machine_exec env SYSTEMD_UNIT_PATH=/run/systemd/generator:/usr/lib/systemd/system systemd-analyze verify --man=no moca-file-log.target "$unit" moca-file-log@sample1.socket \
    moca-file-log-admin@sample1.socket moca-file-log-apply.path 2>&1 | grep moca)
check "systemd-analyze reports nothing about the units" equal "$verified" ""
machine_exec sh -c 'printf "%s\n" "id -un >\$STATE_DIRECTORY/hook; echo \"\$MOCA_LOG\" >>\$STATE_DIRECTORY/hook" >/etc/moca-file-log/startup.sh'
machine_exec systemctl restart "$(unit_of 'two words' service)"
check "a startup hook runs as the service's user" equal \
    "$(machine_exec cat /var/lib/moca-file-log/hook)" "moca-file-log
two words"
machine_exec rm /etc/moca-file-log/startup.sh
processes_net() { machine_exec readlink "/proc/$(main_pid)/ns/net"; }
check "the process is in a network namespace of its own" [ "$(processes_net)" != "$(machine_exec readlink /proc/1/ns/net)" ]
echo '{"rate_limiter_redis_storage": "redis://127.0.0.1:6379"}' | configure server.json
of_all() { [ "$(processes_net)" = "$(machine_exec readlink /proc/1/ns/net)" ]; }
check "with Redis over TCP it is in that of the host" eventually 5 of_all
check "and the log is served" equal "$(save 8101 redis)" 200
# Not through a function: the process id must be that of Redis itself.
nsenter --target "$(machine_leader)" --net redis-server --port 6379 --save '' --appendonly no >/dev/null 2>&1 &
redis=$!
trap 'kill "$redis" 2>/dev/null; machine_stop' EXIT
echo "[{\"key\": \"$CLIENTS_KEY\", \"status\": true, \"rate\": \"100000/hour\"}]" | configure api_key.json
counted() { save 8101 counted >/dev/null && [ -n "$(machine_net redis-cli --raw keys 'LIMITER/*/100000/*')" ]; }
check "limits are counted in it" eventually 15 counted
kill "$redis"
check "it can be stopped" eventually 5 not machine_net redis-cli ping
check "and without it the log is served" equal "$(save 8101 alone)" 200
echo "[{\"key\": \"$CLIENTS_KEY\", \"status\": true}]" | configure api_key.json
machine_exec rm /etc/moca-file-log/server.json
its_own() { ! of_all; }
check "and only then" eventually 5 its_own

echo "# auto_reload"
echo '{"auto_reload": true}' | configure server.json
sleep 1
before=$(main_pid)
clients_start 8 8101
machine_exec sh -c 'cd /usr/bin && cp -p moca-file-log .moca-new && echo >>.moca-new && mv .moca-new moca-file-log'
another() { [ "$(main_pid)" != "$before" ] && [ "$(main_pid)" != 0 ]; }
check "a replaced program is started" eventually 15 another
sleep 1
found=$(clients_stop /var/log/moca-file-log/sample1.log)
echo "      auto_reload: $found"
check "and refuses and loses nothing" grep -Eq 'refused=0 cut=0 errors=0 .* lost=0 twice=0' <<<"$found"
machine_exec rm /etc/moca-file-log/server.json

echo "# reboot"
machine_reboot
check "both sockets are back" equal "$(state moca-file-log@sample1.socket) $(state moca-file-log-admin@sample1.socket)" "active active"
check "the service runs" equal "$(state "$unit")" active
check "served" equal "$(save 8101 rebooted)" 200
check "nothing failed" equal "$(machine_exec systemctl list-units --failed --no-legend 'moca*')" ""
[ -z "${KEEP:-}" ] || { echo "kept: nsenter -t $(machine_leader) -a"; sleep "$KEEP"; }
checks_end
