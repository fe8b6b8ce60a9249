//! Tests of the operator's routes details, get-logs, get-latest-logs, download-logs and clear-logs.

use serde_json::{Value, json};

use crate::harness::{KEY, ROOT, Response, Server, Setup, route};

const ACCESS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

fn download(server: &Server, extra: &[(&str, &str)]) -> Response {
    let mut headers = ACCESS.to_vec();
    headers.extend_from_slice(extra);
    server.get_with(&route("download-logs"), &headers)
}

fn fill(server: &Server, count: usize) {
    for start in (0..count).step_by(1000) {
        let logs: Vec<Value> =
            (start..count.min(start + 1000)).map(|n| json!({"msg": format!("message {n}")})).collect();
        server.save_batch(&json!(logs)).success();
    }
}

#[test]
fn details_has_its_members_in_order() {
    let server = Setup::new().start();
    fill(&server, 10);
    let response = server.root_get("details");
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.expect_header("content-type").starts_with("application/json"), "{response:?}");
    let text = response.text();
    let places: Vec<usize> = ["name", "host", "port", "use_ipv6", "file", "count", "size", "size(MB)"]
        .iter()
        .map(|name| text.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name}: {text}")))
        .collect();
    assert!(places.is_sorted(), "{text}");
    for added in ["level", "format", "durability"] {
        let place = text.find(&format!("\"{added}\":")).unwrap_or_else(|| panic!("no {added}: {text}"));
        assert!(place > places[7], "{added} stands before what clients know: {text}");
    }
    let details = response.json();
    assert_eq!(details["name"], "sample1");
    assert_eq!(details["host"], "127.0.0.1");
    assert_eq!(details["port"], server.address().port());
    assert_eq!(details["use_ipv6"], false);
    assert_eq!(details["file"], "sample1.log", "as configured, not resolved");
    assert_eq!(details["count"], 10);
    assert_eq!(details["size"], std::fs::metadata(server.log_path()).unwrap().len());
    assert!(details["size(MB)"].as_f64().is_some_and(|size| (0.0..0.1).contains(&size)), "{details}");
}

#[test]
fn details_follow_every_change() {
    let mut server = Setup::new().start();
    let counted = |server: &Server, count: u64| {
        let details = server.root_get("details").json();
        assert_eq!(details["count"], count, "{details}");
        assert_eq!(details["size"], std::fs::metadata(server.log_path()).unwrap().len(), "{details}");
    };
    counted(&server, 0);
    server.save("one\nline");
    counted(&server, 1);
    fill(&server, 100);
    counted(&server, 101);
    server.save_with(&json!({"level": 99})).problem(422);
    counted(&server, 101);
    server.restart();
    crate::harness::eventually("counted after a start", std::time::Duration::from_secs(3), || {
        server.root_get("details").json()["count"] == 101
    });
    server.root_get("clear-logs").success();
    counted(&server, 0);
    server.save("again");
    counted(&server, 1);
}

#[test]
fn an_empty_log_reads_empty() {
    let server = Setup::new().start();
    let all = server.root_get("get-logs");
    assert_eq!((all.status, all.body.len()), (200, 0), "{all:?}");
    assert_eq!(server.root_get("get-latest-logs").json(), json!([]));
    assert_eq!(server.root_get("download-logs").status, 200);
    server.root_get("clear-logs").success();
}

#[test]
fn get_logs_returns_all_lines_oldest_first() {
    let server = Setup::new().start();
    fill(&server, 3000);
    let response = server.root_get("get-logs");
    assert_eq!(response.status, 200);
    assert!(response.expect_header("content-type").starts_with("text/plain"), "{response:?}");
    assert_eq!(response.body, std::fs::read(server.log_path()).unwrap());
    let messages: Vec<String> = (0..3000).map(|n| format!("message {n}")).collect();
    assert_eq!(server.messages(), messages);
    let body = json!({"api_key": KEY, "root_pass": ROOT});
    assert_eq!(server.post_json(&route("get-logs"), &body).body, response.body);
}

#[test]
fn the_latest_1024_come_newest_first() {
    let server = Setup::new().start();
    fill(&server, 5);
    let latest = |server: &Server| {
        let response = server.root_get("get-latest-logs");
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.expect_header("content-type").starts_with("application/json"), "{response:?}");
        response.json()
    };
    let mut lines = server.log_lines();
    lines.reverse();
    assert_eq!(latest(&server), json!(lines));
    fill(&server, 1200);
    let mut lines = server.log_lines();
    lines.reverse();
    lines.truncate(1024);
    assert_eq!(latest(&server), json!(lines));
}

#[test]
fn the_longest_lines_are_read_backwards_too() {
    let server = Setup::new().start();
    let longest = "\u{1b}".repeat(8192);
    for start in (0..1030).step_by(103) {
        let logs: Vec<Value> = (start..start + 103).map(|_| json!({"msg": longest})).collect();
        server.save_batch(&json!(logs)).success();
    }
    let lines = server.root_get("get-latest-logs").json();
    let expected: Vec<String> = server.log_lines().into_iter().rev().take(1024).collect();
    assert!(lines == json!(expected), "the latest lines differ from the file's last ones");
}

#[test]
fn a_download_is_an_attachment() {
    let server = Setup::new().start();
    fill(&server, 100);
    let response = download(&server, &[]);
    assert_eq!(response.status, 200);
    assert_eq!(response.body, std::fs::read(server.log_path()).unwrap());
    let disposition = response.expect_header("content-disposition");
    assert!(disposition.starts_with("attachment"), "{disposition}");
    assert!(disposition.contains("sample1.log") && !disposition.contains('/'), "{disposition}");
    assert!(response.expect_header("content-type").starts_with("text/plain"), "{response:?}");
    assert_eq!(response.expect_header("accept-ranges"), "bytes");
    let etag = response.expect_header("etag");
    assert!(etag.starts_with('"') && etag.ends_with('"'), "a range needs a strong tag: {etag}");
    let modified = response.expect_header("last-modified");
    assert!(modified.ends_with(" GMT") && modified.len() == 29, "{modified}");
    let head = server.request("HEAD", &route("download-logs"), &ACCESS, b"");
    assert_eq!(head.expect_header("content-length"), response.body.len().to_string());
    assert_eq!(head.header("etag"), response.header("etag"));
}

#[test]
fn ranges_return_their_bytes() {
    let server = Setup::new().start();
    fill(&server, 100);
    let file = std::fs::read(server.log_path()).unwrap();
    let total = file.len();
    let last = total - 1;
    for (range, first, end) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=0-99".to_owned(), 0, 100),
        ("bytes=100-199".to_owned(), 100, 200),
        (format!("bytes={last}-"), last, total),
        ("bytes=50-".to_owned(), 50, total),
        ("bytes=-1".to_owned(), last, total),
        ("bytes=-100".to_owned(), total - 100, total),
        (format!("bytes=-{}", total + 500), 0, total),
        (format!("bytes=10-{}", total + 500), 10, total),
    ] {
        let response = download(&server, &[("Range", &range)]);
        assert_eq!(response.status, 206, "{range}: {response:?}");
        assert_eq!(response.body, file[first..end], "{range}");
        let expected = format!("bytes {first}-{}/{total}", end - 1);
        assert_eq!(response.expect_header("content-range"), expected, "{range}");
        assert_eq!(response.expect_header("content-length"), (end - first).to_string(), "{range}");
    }
}

#[test]
fn a_range_outside_of_the_file_is_not_satisfiable() {
    let server = Setup::new().start();
    fill(&server, 10);
    let total = std::fs::metadata(server.log_path()).unwrap().len();
    for range in [format!("bytes={total}-"), format!("bytes={}-{}", total + 5, total + 9), "bytes=-0".into()]
    {
        let response = download(&server, &[("Range", &range)]);
        assert_eq!(response.status, 416, "{range}: {response:?}");
        assert_eq!(response.expect_header("content-range"), format!("bytes */{total}"), "{range}");
    }
}

#[test]
fn a_malformed_range_is_ignored() {
    let server = Setup::new().start();
    fill(&server, 10);
    let file = std::fs::read(server.log_path()).unwrap();
    for range in ["bytes=abc", "bytes=9-3", "lines=0-5", "nonsense", "bytes="] {
        let response = download(&server, &[("Range", range)]);
        assert_eq!(response.status, 200, "{range}: {response:?}");
        assert_eq!(response.body, file, "{range}");
    }
}

#[test]
fn if_range_requires_the_same_file() {
    let server = Setup::new().start();
    fill(&server, 10);
    let etag = download(&server, &[]).expect_header("etag").to_owned();
    let range = ("Range", "bytes=0-9");
    assert_eq!(download(&server, &[range, ("If-Range", &etag)]).status, 206);
    let weak = format!("W/{etag}");
    assert_eq!(download(&server, &[range, ("If-Range", &weak)]).status, 200, "a weak tag matches no range");
    assert_eq!(download(&server, &[range, ("If-Range", "\"other\"")]).status, 200);
    server.save("one more");
    let changed = download(&server, &[range, ("If-Range", &etag)]);
    assert_eq!(changed.status, 200, "the file has changed: {changed:?}");
    assert_eq!(changed.body, std::fs::read(server.log_path()).unwrap());
    assert_ne!(changed.expect_header("etag"), etag);
}

#[test]
fn a_cleared_and_refilled_log_has_another_etag() {
    let server = Setup::new().start();
    server.save("aaa");
    let first = download(&server, &[]).expect_header("etag").to_owned();
    server.root_get("clear-logs").success();
    server.save("bbb");
    assert_ne!(download(&server, &[]).expect_header("etag"), first);
}

#[test]
fn clear_removes_every_line_and_saving_continues() {
    let server = Setup::new().start();
    for round in 0..5 {
        fill(&server, 50);
        let response = server.post_json(&route("clear-logs"), &json!({"api_key": KEY, "root_pass": ROOT}));
        response.success();
        assert_eq!(server.root_get("get-latest-logs").json(), json!([]));
        server.save(&format!("after clear {round}"));
        assert_eq!(server.messages(), [format!("after clear {round}")]);
    }
}

#[test]
fn a_wrong_password_clears_nothing() {
    let server = Setup::new().start();
    server.save("kept");
    server.get_with(&route("clear-logs"), &[("API-KEY", KEY), ("ROOT-PASS", "no")]).problem(403);
    server.get_with(&route("clear-logs"), &[("API-KEY", KEY)]).problem(403);
    server.request("OPTIONS", &route("clear-logs"), &ACCESS, b"");
    assert_eq!(server.messages(), ["kept"]);
}

#[test]
fn a_missing_folder_of_the_log_file_is_created() {
    let server = Setup::new().log("file", json!("deep/er/sample1.log")).start();
    server.assert_alive();
    assert_eq!(server.root_get("details").json()["file"], "deep/er/sample1.log");
    let disposition = download(&server, &[]);
    assert!(!disposition.expect_header("content-disposition").contains('/'), "{disposition:?}");
}

#[test]
fn the_log_file_may_have_an_absolute_path() {
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("absolute.log");
    let server = Setup::new().log("file", json!(path)).start();
    server.save("absolute");
    assert!(std::fs::read_to_string(&path).unwrap().ends_with(">absolute\n"));
}

#[test]
fn a_log_of_an_earlier_run_is_continued() {
    let mut server = Setup::new().start();
    server.save("first run");
    server.restart();
    server.save("second run");
    assert_eq!(server.messages(), ["first run", "second run"]);
    let latest = server.root_get("get-latest-logs").json();
    assert_eq!(latest.as_array().map(Vec::len), Some(2));
}
