#!/usr/bin/env bash
# Tests the server with the logging libraries and HTTP clients that its users have: Python, Node,
# curl, logger, rsyslog, syslog-ng, Java, PHP. Each sends to one server, and each line in its file is parsed as a whole.
# Arguments are passed to pytest, as in: tests/senders/run.sh -k winston
#
# The clients are installed in pinned versions into target/senders; those of Debian in Debian's.
# Where one cannot be installed, the tests are skipped; in CI (CI=true) that is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=$PWD/tests/senders
target=$(realpath "${CARGO_TARGET_DIR:-target}")
folder=$target/senders
mkdir -p "$folder/node"

install_node_packages() {
    if cmp -s "$here/clients/node/package-lock.json" "$folder/node/installed.json"; then return; fi
    cp "$here"/clients/node/package*.json "$folder/node"
    (cd "$folder/node" && npm ci --omit=optional --ignore-scripts --no-audit --no-fund --silent)
    cp "$here/clients/node/package-lock.json" "$folder/node/installed.json"
}

if ! {
    tools/install-packages.sh 'the tests with real clients' python3:python3 curl:curl logger:bsdutils openssl:openssl node:nodejs npm:npm \
        php:php-cli /usr/share/php/Monolog/autoload.php:php-monolog perl:perl java:default-jdk-headless \
        /usr/lib/systemd/systemd-journal-upload:systemd-journal-remote /usr/lib/systemd/systemd-journal-remote:systemd-journal-remote \
        /usr/share/java/log4j-core.jar:liblog4j2-java /usr/share/java/jackson-databind.jar:libjackson2-databind-java &&
        tools/venv.sh "$folder/venv" tests/senders/requirements.txt &&
        tools/venv.sh "$folder/elasticsearch8" tests/senders/requirements-elasticsearch8.txt &&
        install_node_packages &&
        tests/senders/syslog-ng.sh "$folder/syslog-ng" &&
        tests/senders/rsyslog.sh "$folder/rsyslog"
}; then
    echo 'The senders are not tested: a client could not be installed.' >&2
    [[ ${CI:-} != true ]]
    exit
fi

# Node looks for packages beside the script.
cp "$here"/clients/node/*.{mjs,cjs} "$folder/node"
export MOCA_PROGRAM=${MOCA_PROGRAM:-$target/debug/moca-file-log}
export MOCA_NODE=$folder/node
export MOCA_ELASTICSEARCH8=$folder/elasticsearch8/bin/python
export MOCA_SYSLOG_NG=$folder/syslog-ng/syslog-ng
export MOCA_RSYSLOG=$folder/rsyslog/rsyslogd
export PYTHONDONTWRITEBYTECODE=1
cd "$here"
exec "$folder/venv/bin/pytest" --quiet -p no:cacheprovider --basetemp="$folder/run" "$@"
