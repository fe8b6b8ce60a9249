//! Tests of the packaged lnav format. The real lnav parses the lines of the real server, with
//! level, time and fields.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Line, Server, Setup, cannot_run, route};

/// Makes a home directory with the packaged format and no other lnav file.
struct Lnav(tempfile::TempDir);

impl Lnav {
    fn new() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let formats = home.path().join("etc/formats/moca-file-log");
        fs::create_dir_all(&formats).unwrap();
        let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging/lnav/moca_file_log.json");
        fs::copy(ours, formats.join("moca_file_log.json")).unwrap();
        let this = Self(home);
        if let Err(error) = Command::new("lnav").arg("-V").output() {
            cannot_run(&format!("lnav: {error}"));
            return None;
        }
        Some(this)
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("lnav");
        command.arg("-I").arg(self.0.path().join("etc")).args(arguments).stdin(std::process::Stdio::null());
        let output = command.env("HOME", self.0.path()).env("TZ", "UTC").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the result of an SQL query over this file.
    fn query(&self, sql: &str, file: &Path) -> Value {
        let sql = format!(";{sql}");
        let out = self.run(&["-n", "-c", &sql, "-c", ":write-json-to -", file.to_str().unwrap()]);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

const MESSAGES: [&str; 6] = [
    "hello world",
    "",
    "[INFO](2020-01-01 00:00:00.000000+00:00)<a|b|c|1|2>not a second line",
    "two\nlines, \u{1b}[31m and a \\",
    "{\"level\":\"DEBUG\"} \u{2028} 日本語 🦀",
    "%s | ' \" ;",
];

fn server(format: &str) -> Server {
    let setup = Setup::new().log("format", json!(format)).env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    let server = setup.key("another-key", &json!({"name": "the shop"})).start();
    for (index, message) in MESSAGES.iter().enumerate() {
        let entry = json!({"level": index % 5, "message": message});
        let body = json!({"api_key": "another-key", "logs": [entry]});
        server.post_json(&route("save-logs"), &body).success();
    }
    server
}

/// Compares level, fields and times (in milliseconds) of lnav with these lines.
fn check(found: &Value, lines: &[Line], bodies: &[&str]) {
    let found = found.as_array().unwrap();
    assert_eq!((found.len(), lines.len()), (bodies.len(), bodies.len()), "{found:#?}");
    for ((row, line), body) in found.iter().zip(lines).zip(bodies) {
        let level = line.level.to_lowercase();
        let expected = json!({
            "log_level": level, "client": "127.0.0.1", "key": "the shop", "route": "save-logs", "pid": line.pid,
            "seq": line.seq, "log_body": body,
        });
        let mut row = row.clone();
        let time = row.as_object_mut().unwrap().remove("log_time").unwrap();
        let until_milliseconds = &line.time.replace('T', " ")[..23];
        assert!(time.as_str().unwrap().starts_with(until_milliseconds), "{time}, not {}", line.time);
        assert_eq!(row, expected);
    }
}

const COLUMNS: &str = "select log_time, log_level, client, key, route, pid, seq, log_body from";

#[test]
fn lnav_parses_text_lines() {
    let Some(lnav) = Lnav::new() else { return };
    let server = server("text");
    let found = lnav.query(&format!("{COLUMNS} moca_file_log"), &server.log_path());
    let lines = server.parsed();
    let bodies: Vec<&str> = lines.iter().map(|line| line.escaped.as_str()).collect();
    check(&found, &lines, &bodies);
}

#[test]
fn lnav_parses_json_lines() {
    let Some(lnav) = Lnav::new() else { return };
    let server = server("json");
    let found = lnav.query(&format!("{COLUMNS} moca_file_log_json"), &server.log_path());
    let lines = server.log_lines().into_iter().map(|line| {
        let value: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        let number = |name: &str| value[name].as_u64().unwrap();
        Line {
            level: text("level"),
            time: text("time"),
            client: text("client"),
            key: text("key"),
            route: text("route"),
            pid: u32::try_from(number("pid")).unwrap(),
            seq: number("seq"),
            escaped: String::new(),
            message: text("message"),
            fields: Vec::new(),
        }
    });
    check(&found, &lines.collect::<Vec<_>>(), &MESSAGES);
}

/// Messages and fields as they stand in lines. Without fields, lnav shows none.
const WITH_FIELDS: [(&str, &str, Option<&str>); 8] = [
    (
        r"hello",
        r"at=2026-11-23T05:02:28.100000Z user=bob",
        Some(r#"{"at":"2026-11-23T05:02:28.100000Z","user":"bob"}"#),
    ),
    ("an old line", "", None),
    ("", r#"path="C:\\new \"x\"""#, Some(r#"{"path":"C:\\new \"x\""}"#)),
    (r"an escaped \\| user=eve", "", None),
    (r"imitates \\| a=1 fields", "größe=日本", Some(r#"{"größe":"日本"}"#)),
    // Such lines come from other programs. Text that is not all fields belongs to the message.
    (r"x \| a=1", "b=2", None),
    ("x", "not all fields", None),
    ("x", "a=1 b", None),
];

#[test]
fn lnav_finds_the_fields_of_text_lines() {
    let Some(lnav) = Lnav::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let long = (r"long \\ ".repeat(2000), format!("a=1 b=\"{}\"", r#"\n \u{1b} \" "#.repeat(1500)));
    let lines =
        WITH_FIELDS.iter().map(|(message, fields, _)| (*message, *fields)).chain([(&*long.0, &*long.1)]);
    let lines: Vec<String> = lines
        .map(|(message, fields)| {
            let separator = if fields.is_empty() { "" } else { r" \| " };
            format!("[INFO](2026-11-23 05:02:29.805789+00:00)<203.0.113.7|web|save-log|7|1>{message}{separator}{fields}\n")
        })
        .collect();
    fs::write(&path, lines.concat()).unwrap();
    let found =
        lnav.query("select log_body, fields, logfmt2json(fields) as object from moca_file_log", &path);
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), lines.len(), "{found:?}");
    for (row, line) in found.iter().zip(&lines) {
        let body = line.split_once('>').unwrap().1.trim_end_matches('\n');
        assert_eq!(row["log_body"], body);
    }
    for (row, (message, fields, object)) in found.iter().zip(WITH_FIELDS) {
        assert_eq!(row["fields"], object.map_or(Value::Null, |_| json!(fields)), "{message} {fields}");
        let object = object.map_or(Value::Null, |object| serde_json::from_str(object).unwrap());
        assert_eq!(row["object"], object, "{message} {fields}");
    }
    assert_eq!(found.last().unwrap()["fields"], long.1);
}

#[test]
fn lnav_finds_the_fields_of_json_lines() {
    let Some(lnav) = Lnav::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    let line = |fields: &str| {
        format!(
            "{{\"time\":\"2026-11-23T05:02:29.805789+00:00\",\"level\":\"INFO\",\"message\":\"hello\",\"client\":\"::1\",\
            \"key\":\"web\",\"route\":\"save-log\",\"pid\":7,\"seq\":1{fields}}}\n"
        )
    };
    let fields =
        json!({"at": "2026-11-23T05:02:28.100000Z", "http.request.method": "GET", "path": "C:\\new \"x\"\n"});
    fs::write(&path, [line(&format!(",\"fields\":{fields}")), line("")].concat()).unwrap();
    let found = lnav.query("select log_body, fields from moca_file_log_json", &path);
    assert_eq!(
        found,
        json!([{"log_body": "hello", "fields": fields}, {"log_body": "hello", "fields": null}])
    );
    // They stand behind the message.
    let shown = lnav.run(&["-n", path.to_str().unwrap()]);
    assert!(shown.lines().next().unwrap().contains(r#">hello {"at":"#), "{shown}");
}

#[test]
fn lnav_accepts_the_format_file() {
    let Some(lnav) = Lnav::new() else { return };
    assert_eq!(lnav.run(&["-C"]), "");
}
