//! Contains helpers for the tests of rotation. They read the files of a log directly, and the
//! records through the server.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::harness::{KEY, Line, ROOT, Response, Server, cannot_run, encode_pairs, eventually, route};

/// Saves a message. Returns its cursor.
pub(crate) fn save(server: &Server, message: &str) -> String {
    try_save(server, message).unwrap_or_else(|response| panic!("{response:?}"))
}

pub(crate) fn try_save(server: &Server, message: &str) -> Result<String, Response> {
    let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
    let body = json!({"api_key": KEY, "message": message}).to_string();
    let response = server.request("POST", &route("save-log"), &headers, body.as_bytes());
    match response.status {
        200 => Ok(response.json()["cursor"].as_str().unwrap().to_owned()),
        _ => Err(response),
    }
}

/// Returns the rotated segments of the log, oldest first.
pub(crate) fn segments(server: &Server) -> Vec<PathBuf> {
    let path = server.log_path();
    let prefix = format!("{}.", path.file_name().unwrap().to_str().unwrap());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let Some(rest) = name.strip_prefix(&prefix) else { continue };
        let Some((stamp, seq)) = rest.split_once('-').filter(|_| !rest.ends_with(".tmp")) else { continue };
        let seq = seq.trim_end_matches(".zst").trim_end_matches(".gz");
        let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "00000000T000000Z", "{name}");
        found.push((seq.parse::<u64>().unwrap_or_else(|_| panic!("{name}")), entry.path()));
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Returns the lines in a file. `zstd` or `gzip` decompresses it if it is compressed.
pub(crate) fn text_of(path: &Path) -> String {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => "zstdcat",
        Some("gz") => "zcat",
        _ => "cat",
    };
    let bytes = match Command::new(program).arg(path).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}: {output:?}", path.display());
            output.stdout
        }
        Err(error) => {
            cannot_run(&format!("{program}: {error}"));
            let file = std::fs::File::open(path).unwrap();
            let mut bytes = Vec::new();
            match program {
                "zstdcat" => zstd::stream::Decoder::new(file).unwrap().read_to_end(&mut bytes).unwrap(),
                _ => flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap(),
            };
            bytes
        }
    };
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{} ends within a line", path.display());
    text
}

/// Returns the lines of all files, in order.
pub(crate) fn text_of_all(server: &Server) -> String {
    let mut text: String = segments(server).iter().map(|path| text_of(path)).collect();
    text.push_str(&std::fs::read_to_string(server.log_path()).unwrap());
    text
}

pub(crate) fn messages_of(text: &str) -> Vec<String> {
    text.lines().map(|line| Line::parse(line).message).collect()
}

/// Reads every message from the server, oldest first.
pub(crate) fn read_all(server: &Server) -> Vec<String> {
    let response = server.root_get("get-logs");
    assert_eq!(response.status, 200, "{response:?}");
    messages_of(&response.text())
}

/// Reads the records after a cursor.
pub(crate) fn read_after(server: &Server, cursor: &str) -> Response {
    let target = format!("{}?{}", route("get-logs"), encode_pairs(&[("cursor", cursor)]));
    server.get_with(&target, &[("API-KEY", KEY), ("ROOT-PASS", ROOT)])
}

/// Asserts that the files hold and the server returns exactly `messages`, and that no unfinished
/// file is left.
pub(crate) fn assert_holds(server: &Server, messages: &[String]) {
    let text = text_of_all(server);
    assert_eq!(
        server.root_get("get-logs").text(),
        text,
        "the server reads something else than stands in the files"
    );
    let found = messages_of(&text);
    assert!(found == messages, "stored: {:?}\nexpected: {:?}", short(&found), short(messages));
    let details = server.root_get("details").json();
    let files = segments(server);
    let on_disk = |path: &Path| std::fs::metadata(path).unwrap().len();
    let size_on_disk: u64 = files.iter().map(|path| on_disk(path)).sum::<u64>() + on_disk(&server.log_path());
    assert_eq!(details["size"], text.len(), "{details}");
    assert_eq!(details["segments"], files.len(), "{details}");
    assert_eq!(details["size_on_disk"], size_on_disk, "{details}");
    if details["counting"] == false {
        assert_eq!(details["count"], messages.len(), "{details}");
    }
    let times: Vec<String> = text.lines().map(|line| Line::parse(line).time).collect();
    assert!(times.is_sorted(), "times decrease");
    for folder in [server.log_path().parent().unwrap(), &server.state_dir()] {
        let unfinished = || {
            let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_str().unwrap().ends_with(".tmp")).count()
        };
        // A compression may be writing one.
        eventually("nothing unfinished is left", Duration::from_secs(3), || unfinished() == 0);
    }
}

fn short(messages: &[String]) -> Vec<String> {
    messages.iter().map(|message| message.chars().take(12).collect()).collect()
}
