//! Tests of Server-Sent Events.

mod disturbed;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{End, Follow, KEY, Line, ROOT, Response, Server, Setup, each, eventually, route};

const CREDENTIALS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// Opens a stream with this query. The answer must be 200.
fn follow(server: &Server, query: &str) -> Follow {
    follow_with(server, query, &[]).unwrap_or_else(|answer| panic!("{query}: {answer:?}"))
}

fn follow_with(server: &Server, query: &str, headers: &[(&str, &str)]) -> Result<Follow, Response> {
    let headers = [&CREDENTIALS[..], headers].concat();
    Follow::on(server.connect(), &format!("{}?{query}", route("tail")), &headers)
}

fn refused(server: &Server, query: &str, headers: &[(&str, &str)]) -> Response {
    follow_with(server, query, headers).err().unwrap_or_else(|| panic!("{query}: let in"))
}

fn messages(events: &mut Follow, count: usize) -> Vec<String> {
    events.data(count).iter().map(|line| Line::parse(line).message).collect()
}

#[test]
fn records_are_sent_as_they_are_saved() {
    each(|setup| {
        let server = setup.start();
        server.save("before");
        let mut events = follow(&server, "");
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(events.head.header(name), Some(value), "{name}");
        }
        let start = events.head.expect_header("moca-cursor").to_owned();
        for message in ["one", "two\r\nlines\u{2028}or three", "\u{feff}data: id: \\ \t é"] {
            server.save(message);
            let event = events.next();
            let line = server.log_lines().pop().unwrap();
            assert_eq!(event.data, line);
            assert_eq!(Line::parse(&event.data).message, message);
            assert_ne!(event.id, start);
        }
        assert_eq!(events.retry.as_deref(), Some("1000"));
        assert_eq!(events.within(Duration::from_millis(100)), None);
        assert!(!events.has_ended());
    });
}

#[test]
fn the_latest_lines_come_first() {
    let server = Setup::new().start();
    for n in 0..5 {
        server.save(&format!("before {n}"));
    }
    let mut events = follow(&server, "lines=2");
    assert_eq!(messages(&mut events, 2), ["before 3", "before 4"]);
    server.save("after");
    assert_eq!(messages(&mut events, 1), ["after"]);
    for (query, first) in [("lines=100", "before 0"), ("lines=5&limit=1", "before 1")] {
        assert_eq!(messages(&mut follow(&server, query), 1), [first], "{query}");
    }
    let mut from_now = follow(&server, "lines=0");
    server.save("now");
    assert_eq!(messages(&mut from_now, 1), ["now"]);
    for query in ["lines=-1", "lines=x", "lines=1.5"] {
        assert!(refused(&server, query, &[]).problem(400).starts_with("lines"), "{query}");
    }
}

#[test]
fn a_stream_ends_after_its_limit() {
    let server = Setup::new().start();
    for n in 0..10 {
        server.save(&format!("m{n}"));
    }
    let mut events = follow(&server, "lines=10&limit=3");
    assert_eq!(messages(&mut events, 3), ["m0", "m1", "m2"]);
    assert_eq!(events.end(), End::Whole);
    let mut events = follow(&server, "limit=2");
    server.save("a");
    assert_eq!(messages(&mut events, 1), ["a"]);
    server.save_batch(&json!([{"msg": "b"}, {"msg": "c"}])).success();
    assert_eq!(messages(&mut events, 1), ["b"]);
    assert_eq!(events.end(), End::Whole);
}

#[test]
fn a_client_resumes_after_its_last_event() {
    let server = Setup::new().start();
    let mut events = follow(&server, "");
    for n in 0..6 {
        server.save(&format!("m{n}"));
    }
    let seen: Vec<_> = (0..6).map(|_| events.next()).collect();
    for (n, event) in seen.iter().enumerate() {
        let rest: Vec<String> = (n + 1..6).map(|n| format!("m{n}")).collect();
        let cursor = format!("cursor={}&limit=9", event.id);
        assert_eq!(messages(&mut follow(&server, &cursor), rest.len()), rest, "as a parameter");
        let id = [("Last-Event-ID", event.id.as_str())];
        let mut resumed = follow_with(&server, "lines=2", &id).unwrap();
        assert_eq!(messages(&mut resumed, rest.len()), rest, "the last event's id goes before lines");
        let other = format!("cursor={}", seen[0].id);
        let mut resumed = follow_with(&server, &other, &id).unwrap();
        assert_eq!(messages(&mut resumed, rest.len()), rest, "and before the cursor");
        assert_eq!(resumed.head.header("moca-cursor"), Some(event.id.as_str()));
    }
    // The cursor of a save is that of its record.
    let saved = server.request(
        "POST",
        &format!("{}?message=mine", route("save-log")),
        &[("API-KEY", KEY), ("Accept", "application/json")],
        b"",
    );
    assert_eq!(events.next().id, saved.json()["cursor"].as_str().unwrap());
    for id in ["x", "AAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert!(
            refused(&server, "", &[("Last-Event-ID", id)]).problem(400).contains("Last-Event-ID"),
            "{id}"
        );
        assert!(refused(&server, &format!("cursor={id}"), &[]).problem(400).starts_with("cursor"), "{id}");
    }
    follow_with(&server, "", &[("Last-Event-ID", "")]).map(|_| ()).unwrap();
}

#[test]
fn a_clear_ends_old_cursors_and_no_open_stream() {
    let server = Setup::new().start();
    let mut open = follow(&server, "");
    server.save("old");
    let old = open.next();
    server.save("older than the clear");
    let newest = open.next();
    server.root_get("clear-logs").success();
    let gone = refused(&server, "", &[("Last-Event-ID", &old.id)]);
    assert!(!gone.problem(410).is_empty());
    let oldest = gone.json()["oldest"].as_str().unwrap().to_owned();
    assert_eq!(oldest, newest.id, "the very end of what was cleared stays valid");
    let mut resumed = follow(&server, &format!("cursor={oldest}"));
    server.save("new");
    for events in [&mut open, &mut resumed] {
        assert_eq!(messages(events, 1), ["new"]);
        assert_eq!(events.within(Duration::from_millis(50)), None);
    }
}

#[test]
fn records_can_be_sent_as_objects() {
    for format in ["text", "json"] {
        let server = Setup::new().log("format", json!(format)).start();
        let mut objects = follow(&server, "output=json");
        let mut lines = follow(&server, "");
        let message = "a \"quoted\" \u{2028}\r\nmessage \u{1F600}";
        server.save_with(&json!({"message": message, "level": "error"})).success();
        let event = objects.next();
        let object: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(object["message"], message);
        assert_eq!(object["cursor"], event.id.as_str());
        assert_eq!(object["level"], "ERROR");
        let names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names.len(), 9, "{names:?}");
        assert_eq!(lines.next().data, server.log_lines()[0], "{format}");
        let mut lines = follow(&server, "output=ndjson&lines=1");
        assert_eq!(lines.next().data, event.data, "{format}");
    }
}

#[test]
fn only_selected_records_are_sent() {
    let server = Setup::new().key("other", &json!({"name": "second"})).start();
    let mut all = follow(&server, "");
    let mut errors = follow(&server, "level=error");
    let mut texts = follow(&server, "contains=needle&contains=hay");
    let mut patterns = follow(&server, "regex=%5En%5Ba-z%5D%2Bdle");
    let mut keys = follow(&server, "key=second");
    let mut clients = follow(&server, "client=127.0.0.0/8&limit=1");
    let mut other_client = follow(&server, "client=192.0.2.1");
    for (n, (level, key, message)) in [
        ("info", KEY, "needle in the hay"),
        ("error", KEY, "an error"),
        ("critical", "other", "needle"),
        ("debug", "other", "hay"),
    ]
    .into_iter()
    .enumerate()
    {
        server
            .post_json(&route("save-log"), &json!({"api_key": key, "level": level, "message": message}))
            .success();
        assert_eq!(messages(&mut all, 1), [message], "{n}");
    }
    assert_eq!(messages(&mut errors, 2), ["an error", "needle"]);
    assert_eq!(messages(&mut texts, 1), ["needle in the hay"]);
    assert_eq!(messages(&mut patterns, 2), ["needle in the hay", "needle"]);
    assert_eq!(messages(&mut keys, 2), ["needle", "hay"]);
    assert_eq!(messages(&mut clients, 1), ["needle in the hay"]);
    for events in [&mut other_client, &mut errors, &mut texts, &mut patterns, &mut keys] {
        assert_eq!(events.within(Duration::from_millis(20)), None);
    }
    assert_eq!(messages(&mut follow(&server, "lines=2&contains=needle"), 2), ["needle in the hay", "needle"]);
    assert_eq!(messages(&mut follow(&server, "lines=1&level=error"), 1), ["needle"]);
    assert_eq!(messages(&mut follow(&server, "since=1h&level=warning"), 2), ["an error", "needle"]);
    for (query, name) in [
        ("order=desc", "order"),
        ("regex=(", "regex"),
        ("level=9", "level"),
        ("client=x", "client"),
        ("output=xml", "output"),
        ("limit=0", "limit"),
    ] {
        assert!(refused(&server, query, &[]).problem(400).starts_with(name), "{query}");
    }
    follow(&server, "order=asc");
}

#[test]
fn unauthorized_clients_are_refused_before_the_stream_starts() {
    let server = Setup::new()
        .key("narrow", &json!({"allowed_path": ["/moca-file-log/save-log"]}))
        .key("listed", &json!({"allowed_path": ["/moca-file-log/tail"]}))
        .start();
    let ask = |headers: &[(&str, &str)]| {
        Follow::on(server.connect(), &route("tail"), headers)
            .map(|_| ())
            .err()
            .map(|answer| answer.problem(answer.status))
    };
    let told = |headers: &[(&str, &str)], detail: &str| assert_eq!(ask(headers).as_deref(), Some(detail));
    told(&[("ROOT-PASS", ROOT)], "Missing API-KEY.");
    told(&[("API-KEY", "unknown"), ("ROOT-PASS", ROOT)], "Unknown API-KEY.");
    told(&[("API-KEY", KEY)], "Invalid root password.");
    told(&[("API-KEY", KEY), ("ROOT-PASS", "wrong")], "Invalid root password.");
    told(&[("API-KEY", "narrow"), ("ROOT-PASS", ROOT)], "Your API-KEY can't access to this path.");
    assert_eq!(ask(&[("API-KEY", "listed"), ("ROOT-PASS", ROOT)]), None);
    let headers = [("API-KEY", "listed"), ("ROOT-PASS", ROOT)];
    Follow::on(server.connect(), "/moca-file-log/sample1/tail", &headers).map(|_| ()).expect("in both forms");
}

#[test]
fn head_and_post_are_answered() {
    let server = Setup::new().start();
    server.save("one");
    let answer = server.request("HEAD", &route("tail"), &CREDENTIALS, b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert!(!answer.expect_header("moca-cursor").is_empty());
    let body = json!({"api_key": KEY, "root_pass": ROOT, "lines": 1, "limit": 1}).to_string();
    let answer =
        server.request("POST", &route("tail"), &[("Content-Type", "application/json")], body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text().contains("\ndata: [INFO]"), "{answer:?}");
}

#[test]
fn an_http_1_0_client_gets_a_body_without_chunks() {
    let server = Setup::new().start();
    server.save("one");
    let mut conn = server.connect();
    let request =
        format!("GET {}?lines=1&limit=1&api_key={KEY}&root_pass={ROOT} HTTP/1.0\r\n\r\n", route("tail"));
    conn.send_raw(request.as_bytes()).unwrap();
    let answer = String::from_utf8(conn.read_to_end()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    let line = &server.log_lines()[0];
    assert!(
        body.starts_with("retry: 1000\n\nid: ") && body.ends_with(&format!("\ndata: {line}\n\n")),
        "{body:?}"
    );
}

#[test]
fn pipelined_requests_before_the_stream_are_answered_first() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    let tail = format!("{}?api_key={KEY}&root_pass={ROOT}&lines=1&limit=1", route("tail"));
    server.save("one");
    let both = format!(
        "GET /status HTTP/1.1\r\nHost: a\r\n\r\nGET {tail} HTTP/1.1\r\nHost: a\r\n\r\nGET /status HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    conn.send_raw(both.as_bytes()).unwrap();
    assert!(conn.receive("GET").unwrap().text().contains("working"));
    let answer = conn.receive("GET").unwrap();
    assert!(answer.text().contains("data: [INFO]"), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(conn.is_closed_within(Duration::from_secs(2)));
}

#[test]
fn a_stream_sends_heartbeats_and_outlasts_every_timeout() {
    let server = Setup::new()
        .http("keep_alive_timeout = 1\nresponse_timeout = 2\nrequest_timeout = 1\nbody_timeout = 1")
        .start();
    let mut events = follow(&server, "");
    assert_eq!(events.within(Duration::from_millis(16_500)), None);
    assert_eq!(events.comments, 1, "a comment every 15 seconds");
    server.save("still there");
    assert_eq!(messages(&mut events, 1), ["still there"]);
}

#[test]
fn a_client_that_does_not_read_is_cut_and_a_slow_one_is_not() {
    each(|setup| {
        const TIMEOUT: Duration = Duration::from_secs(3);
        let server = setup.http("response_timeout = 3").start();
        let block = "x".repeat(8000);
        let entries: Vec<Value> = (0..2000).map(|n| json!({"msg": format!("{n} {block}")})).collect();
        // The timeout applies to these requests too. On a busy machine, only small ones are
        // answered in time.
        for part in entries.chunks(100) {
            server.save_batch(&json!(part)).success();
        }
        let stalled = follow(&server, "lines=2000");
        let mut slow = follow(&server, "lines=2000");
        let started = Instant::now();
        // This is more than the buffers hold. The client reads it in pieces, over more time than
        // the timeout. It checks only the beginning of each record, because on a busy machine a
        // piece must not take as long as the timeout.
        for n in 0..2000 {
            let record = slow.next().data;
            assert!(record.contains(&format!(">{n} x")), "{n}");
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        assert!(started.elapsed() > TIMEOUT);
        server.save("the last one");
        assert_eq!(messages(&mut slow, 1), ["the last one"]);
        // The server cuts the other one.
        eventually("one connection less", Duration::from_secs(5), || server.connections() <= 1);
        drop((slow, stalled));
        eventually("none is left", Duration::from_secs(5), || server.connections() == 0);
    });
}

#[test]
fn a_disconnect_is_noticed_at_once() {
    each(|setup| {
        let server = setup.start();
        let clients: Vec<Follow> = (0..20).map(|_| follow(&server, "")).collect();
        // The connection that detected the start may still be closing.
        eventually("they are there", Duration::from_secs(2), || server.connections() == 20);
        drop(clients);
        eventually("they are gone", Duration::from_secs(2), || server.connections() == 0);
    });
}

#[test]
fn a_stop_ends_streams_so_that_clients_reconnect() {
    each(|setup| {
        let mut server = setup.start();
        let mut events = follow(&server, "");
        server.save("before");
        let last = events.next();
        let started = Instant::now();
        server.signal(Signal::SIGTERM);
        assert_eq!(events.end(), End::Whole);
        assert!(server.wait_for_exit(Duration::from_secs(8)).success());
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        server.respawn();
        server.save("after");
        let mut events = follow_with(&server, "", &[("Last-Event-ID", &last.id)]).unwrap();
        assert_eq!(messages(&mut events, 1), ["after"]);
    });
}

#[test]
fn a_stop_does_not_wait_for_a_client_that_does_not_read() {
    let mut server = Setup::new().http("graceful_shutdown_timeout = 2").start();
    let _stalled = follow(&server, "");
    let entries: Vec<Value> = (0..1000).map(|_| json!({"msg": "x".repeat(8000)})).collect();
    server.save_batch(&json!(entries)).success();
    server.signal(Signal::SIGTERM);
    let started = Instant::now();
    assert!(server.wait_for_exit(Duration::from_secs(8)).success());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn a_follower_that_loses_its_permission_is_disconnected() {
    let server = Setup::new().key("other", &json!({})).start();
    let other = [("API-KEY", "other"), ("ROOT-PASS", ROOT)];
    let mut kept = follow(&server, "");
    let mut revoked = Follow::on(server.connect(), &route("tail"), &other).unwrap();
    server.set("api_key.json", "/1/status", json!(false));
    assert_eq!(revoked.end(), End::Whole);
    server.save("still followed");
    assert_eq!(messages(&mut kept, 1), ["still followed"]);
    server.set("server.json", "/debug", json!(false));
    assert_eq!(kept.within(Duration::from_millis(2500)), None);
    assert!(!kept.has_ended(), "another reload ends nothing");
    server.signal(Signal::SIGUSR1);
    assert_eq!(kept.end(), End::Whole, "maintenance");
    server.signal(Signal::SIGUSR2);
    server.wait_for_status(200);
    let mut again = follow(&server, "");
    server.set("system.json", "/root_pass", json!("another"));
    assert_eq!(again.end(), End::Whole, "another root password");
}

#[test]
fn a_stream_writes_one_line_of_the_access_log() {
    let server = Setup::new().server("access_log", json!(true)).start();
    let mut events = follow(&server, "limit=1&lines=1");
    server.save("one");
    let event = events.next();
    assert_eq!(events.end(), End::Whole);
    let lines = server.access_lines(2);
    let line = lines.iter().find(|line| line.contains("/tail")).unwrap();
    let bytes = format!("retry: 1000\n\nid: {}\ndata: {}\n\n", event.id, event.data).len();
    assert!(line.contains(&format!("\" 200 {bytes} ")), "{line} {bytes}");
}

#[test]
fn streams_work_over_http_2() {
    use crate::harness::frames::{DATA, END_STREAM, Frames, HEADERS};
    let mut server = Setup::new().tls().start();
    let mut frames = Frames::open(server.address(), &[]);
    let headers = [("api-key", KEY), ("root-pass", ROOT)];
    frames.request(1, "GET", &route("tail"), &headers, true).unwrap();
    assert_eq!(frames.status().unwrap(), (1, 200));
    let mut text = String::new();
    let read_until = |frames: &mut Frames, text: &mut String, what: &str| {
        while !text.contains(what) {
            let frame = frames.receive_one_of(&[DATA]).unwrap();
            assert_eq!(frame.flags & END_STREAM, 0, "ended: {text}");
            text.push_str(&String::from_utf8(frame.payload).unwrap());
        }
    };
    read_until(&mut frames, &mut text, "retry: 1000\n\n");
    for message in ["one", "two"] {
        server.save(message);
        read_until(&mut frames, &mut text, &format!(">{message}\n\n"));
    }
    assert_eq!(text.matches("id: ").count(), 2, "{text}");
    // Meanwhile the server answers another request on the same connection.
    frames.request(3, "GET", "/status", &[], true).unwrap();
    assert_eq!(frames.status().unwrap(), (3, 200));
    // WebSocket is not available over HTTP/2, because the server does not announce RFC 8441.
    let upgrade = [&headers[..], &[("sec-websocket-version", "13")]].concat();
    frames
        .send(
            HEADERS,
            5,
            5,
            &crate::harness::frames::fields(
                &[
                    &[
                        (":method", "CONNECT"),
                        (":protocol", "websocket"),
                        (":scheme", "https"),
                        (":authority", "a"),
                        (":path", "/moca-file-log/tail"),
                    ],
                    &upgrade[..],
                ]
                .concat(),
            ),
        )
        .unwrap();
    let refused = frames.receive_one_of(&[HEADERS, crate::harness::frames::RST_STREAM]).unwrap();
    assert_eq!(refused.stream, 5);
    frames.request(7, "GET", "/status", &[], true).unwrap();
    assert_eq!(frames.status().unwrap(), (7, 200), "the connection lives");
    server.signal(Signal::SIGTERM);
    loop {
        let frame = frames.receive_one_of(&[DATA]).unwrap();
        if frame.stream == 1 && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert!(server.wait_for_exit(Duration::from_secs(8)).success());
}
