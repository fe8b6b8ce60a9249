//! Tests that the operator learns of each refused request: the list on the admin socket, the line of
//! a minute in the journal, and the reasons of the metrics.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, ROOT, Response, Server, Setup, each, eventually, route};
use crate::security::admin_socket::ask;

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A header field that the fast path does not know.
const DETOUR: (&str, &str) = ("X-Detour", "please");

const SOON: Duration = Duration::from_secs(5);

fn list(server: &Server) -> Vec<Value> {
    let answer = ask(server, "GET", "/refusals", "");
    assert_eq!(answer.0, 200, "{answer:?}");
    serde_json::from_str(&answer.1).expect("a JSON array")
}

/// Returns the last refused request, without its time.
fn last(server: &Server) -> Value {
    let mut last = list(server).pop().expect("a refused request");
    let time = last.as_object_mut().unwrap().remove("time").unwrap();
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(time);
    assert!(age.as_secs() < 60, "{age:?}");
    last
}

/// Checks the last refused request.
fn assert_last(server: &Server, key: Option<&str>, method: &str, at: &str, status: u16, reason: &str) {
    let last = last(server);
    let expected =
        json!({"client": "127.0.0.1", "key": key, "method": method, "route": at, "status": status});
    let mut shown = last.clone();
    let text = shown.as_object_mut().unwrap().remove("reason").unwrap();
    assert_eq!(shown, expected, "{last}");
    assert!(text.as_str().unwrap().starts_with(reason), "{last}");
}

fn save(conn: &mut Conn, headers: &[(&str, &str)], body: &str) -> Response {
    conn.request("POST", &route("save-log"), &[&[JSON], headers].concat(), body.as_bytes())
}

#[test]
fn each_refusal_is_listed_by_both_paths() {
    each(|setup| {
        let server = setup
            .with_admin_socket()
            .key("off", &json!({"status": false, "name": "switched off"}))
            .key("few", &json!({"rate": "1 per hour", "name": "few"}))
            .start();
        assert_eq!(list(&server).len(), 0);
        let message = r#"{"message":"secret words"}"#;
        save(&mut server.connect(), &[("API-KEY", "few")], message).success();
        for detour in [&[][..], &[DETOUR]] {
            let mut conn = server.connect();
            let mut refused = |key: &str, body: &str| {
                let headers = [&[("API-KEY", key)], detour].concat();
                save(&mut conn, &headers, body).status
            };
            assert_eq!(refused("no-such-key", message), 401);
            assert_last(&server, None, "POST", "save-log", 401, "Unknown API-KEY.");
            assert_eq!(refused("off", message), 403);
            assert_last(
                &server,
                Some("switched off"),
                "POST",
                "save-log",
                403,
                "Your API-KEY is not online.",
            );
            assert_eq!(refused("few", message), 429);
            assert_last(&server, Some("few"), "POST", "save-log", 429, "Too many requests.");
            assert_eq!(refused(KEY, r#"{"message":"secret words"#), 400);
            assert_eq!(last(&server)["reason"].as_str().unwrap().find("secret"), None);
        }
        assert_eq!(list(&server).len(), 8);
    });
}

#[test]
fn every_way_of_refusing_is_listed() {
    let server = Setup::new()
        .with_admin_socket()
        .blacklist(json!(["127.0.0.66"]))
        .http("request_timeout = 1")
        .http("max_connections_per_ip = 20")
        .http("max_header_size = 2000")
        .start();
    let mut blocked = Conn::open_from("127.0.0.66".parse().unwrap(), server.address()).unwrap();
    for headers in [&[("API-KEY", KEY)][..], &[("API-KEY", KEY), DETOUR]] {
        let before = list(&server).len();
        assert_eq!(save(&mut blocked, headers, r#"{"message":"m"}"#).status, 403);
        assert_eq!(list(&server).len(), before + 1);
        let last = last(&server);
        assert_eq!((&last["client"], &last["key"]), (&json!("127.0.0.66"), &Value::Null));
        assert_eq!(last["reason"], "Your access was blocked by ip filter.");
    }
    let unparsed = |bytes: &[u8], status: u16| {
        let before = list(&server).len();
        let mut conn = server.connect();
        conn.send_raw(bytes).unwrap();
        assert_eq!(conn.receive("GET").unwrap().status, status);
        assert_eq!(list(&server).len(), before + 1);
        assert_eq!(last(&server)["status"], status);
    };
    unparsed(b"GARBAGE\r\n\r\n", 400);
    unparsed(b"GET /status HTTP/1.1\r\n\r\n", 400);
    unparsed(b"GET /status HTTP/1.1\r\nHo", 408);
    unparsed(b"POST /moca-file-log/save-log HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", 408);
    unparsed(format!("GET /status HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(3000)).as_bytes(), 431);
    unparsed(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(3000)).as_bytes(), 414);
    server.get("/wp-login.php?password=hunter2").problem(404);
    assert_last(&server, None, "GET", "/wp-login.php", 404, "The path is no route");
    server.request("DELETE", &route("save-log"), &[], b"").problem(405);
    assert_last(&server, None, "DELETE", "save-log", 405, "The route has no such method.");
    server.get_with(&route("get-logs"), &[("API-KEY", KEY), ("ROOT-PASS", "wrong")]).problem(403);
    let key = last(&server)["key"].as_str().unwrap().to_owned();
    assert_eq!(key.len(), 8, "the begin of its hash");
    assert_last(&server, Some(&key), "GET", "get-logs", 403, "Invalid root password.");
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("API-KEY", KEY),
        ("ROOT-PASS", ROOT),
    ];
    server.get_with(&route("tail"), &upgrade).problem(400);
    assert_last(&server, Some(&key), "GET", "tail", 400, "Not a WebSocket handshake.");
    let mut frames = Frames::open_plain(server.address(), &[]);
    let target = format!("{}?message=m", route("save-log"));
    frames.request(1, "GET", &target, &[("api-key", "no-such-key")], true).unwrap();
    assert_eq!(frames.status().unwrap().1, 401);
    assert_last(&server, None, "GET", "save-log", 401, "Unknown API-KEY.");
    drop(frames);
    let open: Vec<Conn> = (0..40).map(|_| server.connect()).collect();
    eventually("a connection is refused", SOON, || last(&server)["status"] == 503);
    assert_eq!(last(&server)["method"], Value::Null);
    drop(open);
    assert!(!ask(&server, "GET", "/refusals", "").1.contains("hunter2"));
}

#[test]
fn too_many_streams_are_listed() {
    let server =
        Setup::new().with_admin_socket().http("max_streams = 1").key("slow", &json!({"delay": 2})).start();
    let mut frames = Frames::open_plain(server.address(), &[]);
    let target = format!("{}?message=m&api_key=slow", route("save-log"));
    for stream in [1, 3] {
        frames.request(stream, "GET", &target, &[], true).unwrap();
    }
    assert_eq!(frames.receive_one_of(&[frames::RST_STREAM]).unwrap().stream, 3);
    let last = last(&server);
    assert_eq!((&last["route"], &last["status"]), (&json!(route("save-log")), &json!(503)));
}

#[test]
fn the_list_holds_the_latest_200_and_no_secret() {
    let server = Setup::new().with_admin_socket().start();
    let mut conn = server.connect();
    for n in 0..230 {
        let key = if n < 225 { "secret-key" } else { KEY };
        let headers = [("API-KEY", key), ("ROOT-PASS", "secret-pass"), ("Cookie", "secret-cookie")];
        let body = br#"{"message":"secret-body","level":["#;
        let target = format!("{}?api_key={key}&root_pass=secret-pass&n={n}", route("save-log"));
        assert_ne!(conn.request("POST", &target, &[&[JSON], &headers[..]].concat(), body).status, 200);
    }
    server.get("/x/api_key=secret-path/save-log").problem(404);
    let all = list(&server);
    assert_eq!(all.len(), 200);
    let text = json!(all).to_string();
    assert!(!text.contains("secret") && !text.contains(KEY), "{text}");
    for entry in &all {
        let members: Vec<&String> = entry.as_object().unwrap().keys().collect();
        let mut expected = ["time", "client", "key", "method", "route", "status", "reason"];
        expected.sort_unstable();
        assert_eq!(members, expected, "{entry}");
    }
    // The list is for the operator only.
    server.get("/refusals").problem(404);
}

#[test]
fn control_characters_of_a_client_are_escaped() {
    let server =
        Setup::new().with_admin_socket().key("k", &json!({"status": false, "name": "a\u{202e}b"})).start();
    server.get_with(&route("save-log"), &[("API-KEY", "k")]).problem(403);
    assert_eq!(last(&server)["key"], "a\\u{202e}b");
    server.get("/%1b[31m/%0a").problem(404);
    assert_eq!(last(&server)["route"], "/%1b[31m/%0a");
}

#[test]
fn new_refusals_are_read_after_a_cursor() {
    let server = Setup::new().with_admin_socket().start();
    server.get("/one").problem(404);
    let head = ask_with_head(&server, "/refusals");
    let cursor = head.lines().find_map(|line| line.strip_prefix("moca-cursor: ")).unwrap().to_owned();
    let after = format!("/refusals?after={cursor}");
    assert_eq!(ask(&server, "GET", &after, "").1, "[]");
    server.get("/two").problem(404);
    let new: Vec<Value> = serde_json::from_str(&ask(&server, "GET", &after, "").1).unwrap();
    assert_eq!(new.len(), 1);
    assert_eq!(new[0]["route"], "/two");
    assert_eq!(ask(&server, "GET", "/refusals?after=x", "").0, 400);
    // The cursor of another process is behind nothing.
    let other = ask(&server, "GET", "/refusals?after=7.1000", "").1;
    assert!(other.contains("/one") && other.contains("/two"));
}

/// Returns the whole answer of the admin socket.
fn ask_with_head(server: &Server, target: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(server.admin_socket()).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the lines of the journal that sum up refusals.
fn minutes(server: &Server) -> Vec<String> {
    let stderr = server.stderr();
    stderr.lines().filter(|line| line.contains("MOCA_EVENT=refused")).map(str::to_owned).collect()
}

#[test]
fn a_stop_writes_the_line_of_the_last_minute() {
    let mut server = Setup::new().key("off", &json!({"status": false, "name": "shop"})).start();
    for n in 0..20 {
        let detour: &[(&str, &str)] = if n % 2 == 0 { &[] } else { &[DETOUR] };
        let mut conn = server.connect();
        save(&mut conn, &[&[("API-KEY", "off")], detour].concat(), r#"{"message":"m"}"#);
        save(&mut conn, &[&[("API-KEY", "secret")], detour].concat(), r#"{"message":"m"}"#);
    }
    assert_eq!(minutes(&server), [""; 0], "a line before the minute ends");
    server.stop();
    let lines = minutes(&server);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let of_key = lines.iter().find(|line| line.contains("MOCA_KEY=shop")).unwrap();
    assert!(of_key.contains("refused 20 requests with the key shop"), "{of_key}");
    assert!(of_key.contains("403, Your API-KEY is not online.") && of_key.contains("MOCA_CLIENT=127.0.0.1"));
    let of_client = lines.iter().find(|line| !line.contains("MOCA_KEY")).unwrap();
    assert!(of_client.contains("refused 20 requests from 127.0.0.1 without a known key"), "{of_client}");
    assert!(of_client.contains("401, Unknown API-KEY.") && !server.stderr().contains("secret"));
}

#[test]
fn the_line_of_a_minute_comes_when_refusals_have_stopped() {
    let server = Setup::new().start();
    let started = Instant::now();
    for _ in 0..3 {
        server.get(&route("save-log")).problem(401);
    }
    eventually("the line is written", Duration::from_secs(90), || !minutes(&server).is_empty());
    assert!(started.elapsed() >= Duration::from_secs(60), "after {:?}", started.elapsed());
    let lines = minutes(&server);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("refused 3 requests from 127.0.0.1"), "{lines:?}");
}

#[test]
fn accepted_requests_are_no_refusals() {
    let server = Setup::new().with_admin_socket().start();
    server.save("fast");
    assert_eq!(server.get("/status").status, 200);
    server.get_with(&format!("{}?message=m", route("save-log")), &[("API-KEY", KEY)]).success();
    assert_eq!(list(&server).len(), 0);
}

#[test]
fn bodies_that_cannot_be_stored_have_their_own_reasons() {
    let server = Setup::new().server("pyjs_secret", json!("0123456789abcdef")).start();
    let count = |reason: &str| {
        let metrics = server.get_with("/metrics", &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]).text();
        let line = format!("moca_refused_total{{reason=\"{reason}\"}} ");
        metrics.lines().find_map(|text| text.strip_prefix(&line)).unwrap().parse::<u64>().unwrap()
    };
    let long = json!({"message": "x".repeat(9000)}).to_string();
    let entries: Vec<Value> = vec![json!({"message": "m"}); 1025];
    let too_many = json!({"logs": entries}).to_string();
    for (reason, name, field, body) in [
        ("malformed_json", "save-log", DETOUR, r#"{"message":"#),
        ("message_missing", "save-log", DETOUR, "{}"),
        ("message_too_long", "save-log", DETOUR, long.as_str()),
        ("batch_too_long", "save-logs", DETOUR, too_many.as_str()),
        ("malformed_compression", "save-log", ("Content-Encoding", "gzip"), "no gzip"),
        ("unsupported_compression", "save-log", ("Content-Encoding", "compress"), "?"),
        ("malformed_encryption", "save-log", ("Moca-Encryption", "true"), "?"),
    ] {
        let before = count(reason);
        let headers = [JSON, ("API-KEY", KEY), field];
        let answer = server.request("POST", &route(name), &headers, body.as_bytes());
        assert!((400..500).contains(&answer.status), "{reason} {answer:?}");
        assert_eq!(count(reason), before + 1, "{reason} {answer:?}");
    }
}
