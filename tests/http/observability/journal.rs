//! Tests of the entries of the journal and their fields, as journald receives them.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{cannot_run, free_port};

/// A stand-in for journald. It receives entries at its socket, in a private `/run`, and prints each
/// as a JSON line.
const JOURNALD: &str = r#"
import json, os, signal, socket, struct, subprocess, sys, time, urllib.request
program, folder, port = sys.argv[1:]
os.makedirs('/run/systemd/journal')
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind('/run/systemd/journal/socket')
journal.settimeout(5)

def fields(entry):
    found = {}
    while entry:
        line, _, entry = entry.partition(b'\n')
        name, equals, value = line.partition(b'=')
        if not equals:
            size, = struct.unpack('<Q', entry[:8])
            value, entry = entry[8:8 + size], entry[9 + size:]
        found[name.decode()] = value.decode()
    return found

def receive(event):
    while True:
        entry = fields(journal.recv(65536))
        if entry:
            print(json.dumps(entry), flush=True)
        if entry.get('MOCA_EVENT') == event:
            return

with open(folder + '/stderr', 'w') as stderr:
    status = os.fstat(stderr.fileno())
    stream = '%d:%d' % (status.st_dev, status.st_ino)
    places = ['--config-dir', folder, '--log-dir', folder + '/log', '--state-dir', folder + '/state',
              '--run-dir', folder + '/run']
    server = subprocess.Popen([program, 'a log', *places], stderr=stderr, env=dict(os.environ, JOURNAL_STREAM=stream))
receive('started')
try:
    url = 'http://127.0.0.1:%s/moca-file-log/save-log?api_key=s3cret&message=m' % port
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url)
except urllib.error.HTTPError as error:
    assert error.code == 403, error
receive('refused')
server.send_signal(signal.SIGUSR1)
receive('maintenance-on')
server.send_signal(signal.SIGTERM)
receive('stopped')
assert server.wait() == 0
"#;

#[test]
fn events_have_the_documented_fields() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let write = |name: &str, content: Value| {
        std::fs::write(folder.path().join(name), content.to_string()).unwrap();
    };
    write("log.json", json!({"a log": {"host": "127.0.0.1", "port": port, "file": "a.log"}}));
    let key = json!({"key": "s3cret", "name": "front desk", "status": true, "allowed_path": ["/x"]});
    write("api_key.json", json!([key]));
    write("server.json", json!({"debug": true}));
    let mut own_run = Command::new("unshare");
    own_run.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs tmpfs /run && exec python3 -c \"$@\"",
        "sh",
        JOURNALD,
    ]);
    own_run.arg(env!("CARGO_BIN_EXE_moca-file-log")).arg(folder.path()).arg(port.to_string());
    let output = own_run.env_remove("NOTIFY_SOCKET").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") || said.contains("mount:") {
        return cannot_run(&format!("a /run of its own: {said}"));
    }
    assert!(output.status.success(), "{said}");
    let entries: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |event: &str| entries.iter().find(|entry| entry["MOCA_EVENT"] == event).unwrap();
    // These are the identifiers of the manual page, which never change.
    for (event, id) in [
        ("started", "7eb92f54c5ab09610ce3a3e23ccaa4de"),
        ("refused", "3da84108a668356b6165b9f65c72900b"),
        ("maintenance-on", "afb7d9574aa5075580d4ee2d869673ec"),
        ("stopping", "7fe730df5e27614e5a50cb651cbe3348"),
        ("stopped", "4059b6e09541c217f4e5e599967c7961"),
    ] {
        assert_eq!(of(event)["MESSAGE_ID"], id);
    }
    assert!(entries.iter().all(|entry| entry["MOCA_LOG"] == "a log"), "{entries:?}");
    assert_eq!(of("refused")["MOCA_CLIENT"], "127.0.0.1");
    assert_eq!(of("refused")["MOCA_KEY"], "front desk");
    assert!(of("started").get("MOCA_KEY").is_none(), "{entries:?}");
    assert!(!format!("{entries:?}").contains("s3cret"), "{entries:?}");
}
