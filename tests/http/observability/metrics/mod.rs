//! Tests of `/metrics`. They check the metrics, their values, and the permissions that they need.

mod exposition;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use self::exposition::Exposition;
use crate::harness::{KEY, ROOT, Response, Server, Setup, eventually, route};
use crate::security::admin_socket::ask;

const AUTH: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

fn metrics(server: &Server) -> Exposition {
    Exposition::of(&server.get_with("/metrics", &AUTH))
}

fn refused(server: &Server, reason: &str) -> f64 {
    metrics(server).labelled("moca_refused_total", "reason", reason)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn every_metric_has_one_help_and_one_type() {
    let before = now().floor();
    let server = Setup::new().durability("disk").start();
    server.save("one");
    let page = metrics(&server);
    let expected = [
        ("moca_blocked_addresses", "gauge"),
        ("moca_build_info", "gauge"),
        ("moca_bytes_total", "counter"),
        ("moca_clock_ahead_seconds", "gauge"),
        ("moca_clock_steps_total", "counter"),
        ("moca_connections", "gauge"),
        ("moca_cut_total", "counter"),
        ("moca_datagrams_dropped_total", "counter"),
        ("moca_datagrams_lost_total", "counter"),
        ("moca_datagrams_total", "counter"),
        ("moca_delayed_connections_total", "counter"),
        ("moca_disk_free_bytes", "gauge"),
        ("moca_fields_dropped_total", "counter"),
        ("moca_filtered_total", "counter"),
        ("moca_floods_total", "counter"),
        ("moca_followers", "gauge"),
        ("moca_foreign_lines", "gauge"),
        ("moca_http2_streams", "gauge"),
        ("moca_last_record_timestamp_seconds", "gauge"),
        ("moca_last_write_failure_timestamp_seconds", "gauge"),
        ("moca_limited_total", "counter"),
        ("moca_maintenance", "gauge"),
        ("moca_oldest_record_timestamp_seconds", "gauge"),
        ("moca_queue_bytes", "gauge"),
        ("moca_records_total", "counter"),
        ("moca_refused_total", "counter"),
        ("moca_reload_success", "gauge"),
        ("moca_reload_timestamp_seconds", "gauge"),
        ("moca_rotations_total", "counter"),
        ("moca_segments", "gauge"),
        ("moca_segments_retired_total", "counter"),
        ("moca_size_bytes", "gauge"),
        ("moca_state_saved", "gauge"),
        ("moca_sync_seconds", "histogram"),
        ("moca_unknown_levels_total", "counter"),
        ("moca_utf8_replaced_total", "counter"),
        ("process_start_time_seconds", "gauge"),
    ];
    let expected = expected.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    assert_eq!(page.kinds.clone().into_iter().collect::<Vec<_>>(), expected);
    let build = [("version", env!("CARGO_PKG_VERSION")), ("log", "sample1")];
    let build = build.map(|(label, value)| (label.to_owned(), value.to_owned())).to_vec();
    assert_eq!(page.all("moca_build_info"), [(build, 1.0)]);
    let start = page.value("process_start_time_seconds");
    assert!((before..=now()).contains(&start), "{start}");
    assert_eq!(page.value("moca_reload_timestamp_seconds"), start);
    for (name, value) in [
        ("moca_queue_bytes", 0.0),
        ("moca_segments", 0.0),
        ("moca_followers", 0.0),
        ("moca_foreign_lines", 0.0),
        ("moca_blocked_addresses", 0.0),
        ("moca_maintenance", 0.0),
        ("moca_reload_success", 1.0),
        ("moca_limited_total", 0.0),
        ("moca_filtered_total", 0.0),
        ("moca_unknown_levels_total", 0.0),
        ("moca_cut_total", 0.0),
        ("moca_fields_dropped_total", 0.0),
        ("moca_utf8_replaced_total", 0.0),
    ] {
        assert_eq!(page.value(name), value, "{name}");
    }
    assert!(page.value("moca_disk_free_bytes") > 0.0);
    assert_eq!(page.sum("moca_refused_total"), 0.0);
}

#[test]
fn times_of_records_and_what_maintenance_did_are_shown() {
    let times = ["moca_last_record_timestamp_seconds", "moca_oldest_record_timestamp_seconds"];
    let rotate = json!({"max_size": "1KB", "keep": 3});
    let mut server = Setup::new().log("rotate", rotate).start();
    let page = metrics(&server);
    assert!(times.iter().all(|name| page.all(name).is_empty()), "a new log has no record");
    assert!(page.all("moca_last_write_failure_timestamp_seconds").is_empty());
    assert_eq!(page.value("moca_state_saved"), 1.0);
    let before = now() - 0.001;
    server.save("first");
    let page = metrics(&server);
    assert!(times.iter().all(|name| (before..=now()).contains(&page.value(name))), "{page:?}");
    for _ in 0..100 {
        server.save(&"x".repeat(50));
    }
    eventually("retention has done its work", Duration::from_secs(10), || {
        let page = metrics(&server);
        let retired = page.value("moca_segments_retired_total");
        retired > 2.0 && retired == page.value("moca_rotations_total") - 3.0
    });
    let page = metrics(&server);
    assert_eq!(page.value("moca_segments"), 3.0);
    assert!(page.value(times[1]) > before && page.value(times[0]) > page.value(times[1]), "{page:?}");
    let last = page.value(times[0]);
    server.restart();
    let page = metrics(&server);
    assert!((page.value(times[0]) - last).abs() < 0.001, "known from the file after a start");
    assert!(page.value(times[1]) > before);
    assert_eq!((page.value("moca_rotations_total"), page.value("moca_clock_ahead_seconds")), (0.0, 0.0));
}

#[test]
fn the_log_name_is_escaped() {
    let name = "a \"quoted\" {name}, a\\b";
    let server = Setup::new().named(name).start();
    let labels = metrics(&server).all("moca_build_info").remove(0).0;
    assert_eq!(labels[1], ("log".to_owned(), name.to_owned()));
}

#[test]
fn records_are_counted_by_level_and_in_bytes() {
    let server = Setup::new().log("level", json!(1)).start();
    for (level, times) in [(0, 3), (1, 1), (2, 2), (3, 3), (4, 4)] {
        for _ in 0..times {
            server.save_with(&json!({"message": "m", "level": level})).success();
        }
    }
    let batch = json!([{"level": 0, "msg": "a"}, {"level": 3, "msg": "é\n"}, {"level": 4, "msg": "c"}]);
    server.save_batch(&batch).success();
    // Records that were not stored are not counted.
    server.save_batch(&json!([{"level": 4, "msg": "a"}, {"level": 4}])).problem(422);
    let head = format!("{}?message=m&level=0", route("save-log"));
    assert_eq!(server.request("HEAD", &head, &AUTH, b"").status, 200);
    let page = metrics(&server);
    let levels = ["debug", "info", "warning", "error", "critical"];
    let counts = levels.map(|level| page.labelled("moca_records_total", "level", level));
    assert_eq!(counts, [0.0, 1.0, 2.0, 4.0, 5.0]);
    assert_eq!(page.all("moca_records_total").len(), levels.len());
    assert_eq!(page.value("moca_filtered_total"), 4.0);
    let size = std::fs::metadata(server.log_path()).unwrap().len();
    assert_eq!((page.value("moca_bytes_total"), page.value("moca_size_bytes")), (size as f64, size as f64));
    server.get_with(&route("clear-logs"), &AUTH).success();
    let page = metrics(&server);
    assert_eq!((page.value("moca_bytes_total"), page.value("moca_size_bytes")), (size as f64, 0.0));
    assert_eq!(page.sum("moca_records_total"), 12.0);
}

#[test]
fn refusals_are_counted_by_reason() {
    let server = Setup::new()
        .posed()
        .http("request_max_size = 1000")
        .key("off", &json!({"status": false}))
        .key("narrow", &json!({"allowed_path": ["/elsewhere"]}))
        .key("far", &json!({"ip": "192.0.2.1"}))
        .key("header", &json!({"required": {"headers": {"X-Team": "red"}}}))
        .key("args", &json!({"required": {"args": {"team": "red"}}}))
        .blacklist(json!(["192.0.2.66"]))
        .start();
    let save = format!("{}?message=m", route("save-log"));
    let with_key = |key: &str| server.get_with(&save, &[("API-KEY", key)]);
    let wrong_password = || server.get_with(&route("details"), &[("API-KEY", KEY), ("ROOT-PASS", "wrong")]);
    let mut expected: BTreeSet<&str> = BTreeSet::new();
    let mut once = |reason: &'static str, status: u16, response: &dyn Fn() -> Response| {
        assert_eq!(refused(&server, reason), 0.0, "{reason}");
        response().problem(status);
        assert_eq!(refused(&server, reason), 1.0, "{reason}");
        expected.insert(reason);
    };
    once("missing_key", 401, &|| server.get(&save));
    once("unknown_key", 401, &|| with_key("secret-of-somebody"));
    once("key_offline", 403, &|| with_key("off"));
    once("path_not_allowed", 403, &|| with_key("narrow"));
    once("address_not_allowed", 403, &|| with_key("far"));
    once("missing_required_header", 403, &|| with_key("header"));
    once("missing_required_argument", 403, &|| with_key("args"));
    once("invalid_root_password", 403, &wrong_password);
    once("blocked", 403, &|| server.get_with("/status", &[("X-Real-IP", "192.0.2.66")]));
    let json = [AUTH[0], ("Content-Type", "application/json")];
    once("malformed_json", 400, &|| server.request("POST", &save, &json, b"{"));
    once("message_missing", 422, &|| server.request("POST", &route("save-log"), &json, b"{}"));
    once("invalid_parameter", 400, &|| server.get_with(&format!("{}?limit=0", route("get-logs")), &AUTH));
    once("not_found", 404, &|| server.get("/wp-login.php"));
    once("method_not_allowed", 405, &|| server.request("PATCH", &save, &AUTH, b""));
    once("body_too_large", 413, &|| server.request("POST", &save, &AUTH, &[b'x'; 2000]));
    once("target_too_long", 414, &|| server.get(&format!("{save}&x={}", "x".repeat(20_000))));
    once("unsupported_compression", 415, &|| {
        server.request("POST", &save, &[AUTH[0], ("Content-Encoding", "compress")], b"m")
    });
    once("range_not_satisfiable", 416, &|| {
        server.get_with(&route("download-logs"), &[AUTH[0], AUTH[1], ("Range", "bytes=9-")])
    });
    once("headers_too_large", 431, &|| server.get_with(&save, &[("Filler", &"x".repeat(20_000))]));
    once("not_implemented", 501, &|| {
        let coding = ("Transfer-Encoding", "gzip, chunked");
        server.request("POST", &save, &[AUTH[0], coding], b"0\r\n\r\n")
    });
    let page = metrics(&server);
    let counted = page.all("moca_refused_total").into_iter().filter(|(_, count)| *count > 0.0);
    let counted: BTreeSet<String> = counted.map(|(labels, _)| labels[0].1.clone()).collect();
    assert_eq!(counted, expected.into_iter().map(str::to_owned).collect());
    // A malformed request is not counted as a request.
    server.connect().send_raw(b"GARBAGE\r\n\r\n").unwrap();
    eventually("the garbage is counted", Duration::from_secs(5), || {
        refused(&server, "malformed_http") == 1.0
    });
    assert_eq!(metrics(&server).sum("moca_records_total"), 0.0);
}

#[test]
fn rate_limits_and_wrong_passwords_are_counted_separately() {
    let server = Setup::new().posed().key("k", &json!({"rate": "2/hour"})).start();
    let save = format!("{}?message=m", route("save-log"));
    for status in [200, 200, 429, 429, 429] {
        assert_eq!(server.get_with(&save, &[("API-KEY", "k")]).status, status);
    }
    let wrong = [("API-KEY", KEY), ("ROOT-PASS", "wrong"), ("X-Real-IP", "192.0.2.1")];
    for status in [403; 10].into_iter().chain([429, 429]) {
        server.get_with("/metrics", &wrong).problem(status);
    }
    let page = metrics(&server);
    let reason = |reason| page.labelled("moca_refused_total", "reason", reason);
    assert_eq!(page.value("moca_limited_total"), 3.0);
    assert_eq!(
        ["too_many_requests", "too_many_passwords", "invalid_root_password"].map(reason),
        [3.0, 2.0, 10.0]
    );
}

#[test]
fn syncs_are_timed_with_durability_disk() {
    let server = Setup::new().durability("disk").start();
    for _ in 0..5 {
        server.save("m");
    }
    let page = metrics(&server);
    assert_eq!(page.value("moca_sync_seconds_count"), 5.0);
    let sum = page.value("moca_sync_seconds_sum");
    assert!(sum > 0.0 && sum < 5.0, "{sum}");
    assert_eq!(page.labelled("moca_sync_seconds_bucket", "le", "10"), 5.0);
    let server = Setup::new().durability("os").start();
    server.save("m");
    assert_eq!(metrics(&server).value("moca_sync_seconds_count"), 0.0);
}

#[test]
fn reloads_are_counted() {
    let server = Setup::new().start();
    let page = metrics(&server);
    let started = page.value("moca_reload_timestamp_seconds");
    let success = |wanted| {
        eventually("the reload shows", Duration::from_secs(5), || {
            metrics(&server).value("moca_reload_success") == wanted
        });
    };
    let good = std::fs::read_to_string(server.config_path("http.toml")).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    server.edit("http.toml", "request_timeout = \"never\"\n");
    success(0.0);
    assert_eq!(metrics(&server).value("moca_reload_timestamp_seconds"), started, "nothing new is in force");
    server.edit("http.toml", &good);
    success(1.0);
    server.edit("http.toml", &format!("{good}request_timeout = 59\n"));
    eventually("the time of the reload shows", Duration::from_secs(5), || {
        metrics(&server).value("moca_reload_timestamp_seconds") > started
    });
    assert!(metrics(&server).value("moca_reload_timestamp_seconds") <= now());
}

#[test]
fn gauges_show_the_current_state() {
    let server = Setup::new().with_admin_socket().posed().start();
    let idle: Vec<_> = (0..5).map(|_| server.connect()).collect();
    eventually("the connections are counted", Duration::from_secs(5), || {
        metrics(&server).value("moca_connections") >= 6.0
    });
    drop(idle);
    eventually("they are gone", Duration::from_secs(5), || metrics(&server).value("moca_connections") == 1.0);
    assert_eq!(ask(&server, "POST", "/admin/blocked", r#"{"address":"192.0.2.9"}"#).0, 200);
    assert_eq!(metrics(&server).value("moca_blocked_addresses"), 1.0);
}

#[test]
fn metrics_need_a_key_and_the_root_password() {
    let server = Setup::new()
        .key("scraper", &json!({"allowed_path": ["/metrics"]}))
        .key("sender", &json!({"allowed_path": ["/moca-file-log"]}))
        .start();
    server.get("/metrics").unauthorized("Missing API-KEY.");
    server.get_with("/metrics", &[AUTH[0]]).refused(403, "Invalid root password.");
    server.get_with("/metrics", &[AUTH[1]]).unauthorized("Missing API-KEY.");
    let bad = server.get_with("/metrics", &[("API-KEY", KEY), ("ROOT-PASS", "wrong")]);
    bad.refused(403, "Invalid root password.");
    let sender = server.get_with("/metrics", &[("API-KEY", "sender"), AUTH[1]]);
    sender.refused(403, "Your API-KEY can't access to this path.");
    // The first request is of the form that Prometheus sends.
    Exposition::of(&server.get_with("/metrics", &[("Authorization", "Bearer scraper"), AUTH[1]]));
    Exposition::of(&server.get(&format!("/metrics/?api_key={KEY}&root_pass={ROOT}")));
    Exposition::of(&server.post_json("/metrics", &json!({"api_key": KEY, "root_pass": ROOT})));
    let head = server.request("HEAD", "/metrics", &AUTH, b"");
    assert_eq!((head.status, head.body.len()), (200, 0), "{head:?}");
    for target in [route("metrics"), "/moca-file-log/sample1/metrics".to_owned(), "/metrics//".to_owned()] {
        server.get_with(&target, &AUTH).problem(404);
    }
}

#[test]
fn the_admin_socket_answers_without_credentials_and_in_maintenance() {
    let server = Setup::new().with_admin_socket().system("maintenance_mode", json!(true)).start();
    server.wait_for_status(503);
    server.get_with("/metrics", &AUTH).refused(503, "MocaSystem is currently undergoing maintenance.");
    let (status, body) = ask(&server, "GET", "/metrics", "");
    assert_eq!(status, 200);
    let page = Exposition::parse(&body);
    assert_eq!(page.value("moca_maintenance"), 1.0);
    assert!(page.labelled("moca_refused_total", "reason", "maintenance") >= 2.0);
}

#[test]
fn changes_of_records_are_counted_when_they_are_stored() {
    let server = Setup::new().log("max_message", json!(3)).log("long_messages", json!("cut")).start();
    let many: serde_json::Map<String, Value> = (0..130).map(|n| (format!("n{n}"), json!(n))).collect();
    let mut record = json!({"message": "long", "level": "noise"});
    record.as_object_mut().unwrap().extend(many);
    // The first is saved on the fast path, if the body is short, and the others are not.
    server.save_with(&json!({"message": "m", "level": 7})).success();
    server.save_with(&record).success();
    server.save_batch(&json!([record, {"message": "long"}, {"msg": "m"}])).success();
    server.save_batch(&json!([record, {}])).problem(422);
    let head = format!("{}?message=long&level=noise", route("save-log"));
    assert_eq!(server.request("HEAD", &head, &AUTH, b"").status, 200);
    let page = metrics(&server);
    let counts = ["moca_unknown_levels_total", "moca_cut_total", "moca_fields_dropped_total"];
    assert_eq!(counts.map(|name| page.value(name)), [3.0, 3.0, 4.0]);
}

#[test]
fn labels_contain_no_text_of_clients() {
    let server = Setup::new().posed().start();
    let text = "Xyzzy";
    let hostile = format!("/{text}\"}} 1");
    server.connect().send_raw(format!("GET {hostile} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    server.get(&format!("/{text}")).problem(404);
    server.get_with(&route("save-log"), &[("API-KEY", text)]).problem(401);
    server.get_with(&route("details"), &[("API-KEY", KEY), ("ROOT-PASS", text)]).problem(403);
    server.save_with(&json!({"message": text})).success();
    server.save_with(&json!({"message": "m", "level": text})).success();
    server.request("PUT", "/status", &[("Referer", text), ("X-Real-IP", text)], b"").problem(405);
    let page = server.get_with("/metrics", &AUTH).text();
    for unwanted in [text, KEY, ROOT, "127.0.0.1"] {
        assert!(!page.contains(unwanted), "{unwanted}: {page}");
    }
}

#[test]
fn the_counters_of_all_threads_are_added() {
    let server = Setup::new().http("workers = 4").start();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut conn = server.connect();
                for _ in 0..25 {
                    let save = format!("{}?message=m", route("save-log"));
                    conn.request("POST", &save, &[AUTH[0]], b"").success();
                    conn.request("GET", &save, &[("API-KEY", "unknown")], b"").problem(401);
                }
            });
        }
    });
    let page = metrics(&server);
    assert_eq!(page.sum("moca_records_total"), 200.0);
    assert_eq!(page.labelled("moca_refused_total", "reason", "unknown_key"), 200.0);
    let details: Value = server.root_get("details").json();
    assert_eq!(details["size"].as_f64(), Some(page.value("moca_bytes_total")));
}

#[test]
fn segments_and_followers_are_counted() {
    let server = Setup::new().log("rotate", json!({"max_size": "1KB", "compress": null})).start();
    for _ in 0..20 {
        server.save(&"x".repeat(150));
    }
    let page = metrics(&server);
    let folder = server.log_path().parent().unwrap().to_owned();
    let files = || {
        std::fs::read_dir(&folder)
            .unwrap()
            .map(|file| file.unwrap())
            .filter(|file| file.file_name().to_string_lossy().starts_with("sample1.log"))
    };
    assert!(page.value("moca_segments") > 2.0);
    assert_eq!(page.value("moca_segments") + 1.0, files().count() as f64, "all but the active one");
    let size: u64 = files().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!((page.value("moca_size_bytes"), page.value("moca_bytes_total")), (size as f64, size as f64));
    let mut follower = server.connect();
    follower.send("GET", &route("tail"), &AUTH, b"").unwrap();
    eventually("the follower is counted", Duration::from_secs(5), || {
        metrics(&server).value("moca_followers") == 1.0
    });
    drop(follower);
    eventually("it is gone", Duration::from_secs(5), || metrics(&server).value("moca_followers") == 0.0);
}
