//! Tests of `debug`. The option shows the times of the parts of a request and the reasons of
//! refusals, without a secret. Without the option there are none.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Conn, KEY, ROOT, Server, Setup, eventually, route};

fn debugging() -> Setup {
    Setup::new().server("debug", json!(true))
}

/// Returns the names and milliseconds of a `Server-Timing` header.
fn timing(header: &str) -> Vec<(String, f64)> {
    let metric = |text: &str| {
        let (name, duration) = text.split_once(";dur=").unwrap_or_else(|| panic!("{header}"));
        assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{header}");
        (name.to_owned(), duration.parse().unwrap())
    };
    header.split(", ").map(metric).collect()
}

#[test]
fn the_parts_of_a_request_are_timed() {
    let server = debugging().key("slow", &json!({"delay": 0.2})).durability("disk").start();
    let body = json!({"api_key": "slow", "message": "m"});
    let answer = server.post_json(&route("save-log"), &body);
    answer.success();
    let parts = timing(answer.expect_header("server-timing"));
    let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["total", "check", "body", "auth", "store"]);
    let took = |name: &str| parts.iter().find(|(part, _)| part == name).unwrap().1;
    assert!(took("auth") >= 195.0 && took("total") >= took("auth") + took("store"), "{parts:?}");
    assert!(took("store") > 0.0, "{parts:?}");
    for (answer, expected) in [
        (server.get("/status"), vec!["total", "check"]),
        (server.get("/nothing"), vec!["total", "check"]),
        (server.root_get("get-logs"), vec!["total", "check", "body", "auth"]),
    ] {
        let names = timing(answer.expect_header("server-timing")).into_iter().map(|(name, _)| name);
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn it_is_switched_at_a_reload_and_silent_when_off() {
    let server = Setup::new().start();
    let refused = || server.get(&route("save-log")).problem(401);
    refused();
    assert!(server.get("/status").header("server-timing").is_none());
    server.set("server.json", "/debug", json!(true));
    let within = Duration::from_secs(2);
    eventually("it is on", within, || server.get("/status").header("server-timing").is_some());
    refused();
    eventually("a refusal is explained", within, || server.stderr().contains("MOCA_EVENT=refused"));
    server.set("server.json", "/debug", json!(false));
    eventually("it is off", within, || server.get("/status").header("server-timing").is_none());
    let before = server.stderr().matches("MOCA_EVENT=refused").count();
    refused();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.stderr().matches("MOCA_EVENT=refused").count(), before);
}

/// Returns the latest explanation with these words.
fn wait_for_explanation(server: &Server, words: &str) -> String {
    let mut found = None;
    eventually(&format!("an explanation with {words:?}"), Duration::from_secs(3), || {
        let said = server.stderr();
        found = said
            .lines()
            .rfind(|line| line.contains("MOCA_EVENT=refused") && line.contains(words))
            .map(str::to_owned);
        found.is_some()
    });
    found.unwrap_or_default()
}

#[test]
fn each_refusal_names_its_rule() {
    let secret = "t0p-s3cret";
    let server = debugging()
        .posed()
        .system("force_headers", json!({"X-Proxy": secret, "X-Any": null}))
        .system(
            "referer",
            json!({"allowed_referer": ["https://good.test"], "force": true}),
        )
        .blacklist(json!(["203.0.113.66"]))
        .keys(json!([
            {"key": "off", "name": "switched-off"},
            {"key": "far", "name": "far", "status": true, "ip": ["192.0.2.0/24"]},
            {"key": "path", "name": "reader", "status": true, "allowed_path": ["/moca-file-log/details", "/x"]},
            {"key": "head", "name": "head", "status": true, "required": {"headers": {"X-Need": secret}, "args": {}}},
            {"key": "args", "name": "args", "status": true,
                "required": {"headers": {}, "args": {"app": secret, "who": null}}},
            {"key": "rate", "name": "limited", "status": true, "rate": "1 per minute"},
            {"key": KEY, "name": "good", "status": true},
        ]))
        .start();
    let save = format!("{}?message=m", route("save-log"));
    let forced = [("X-Proxy", secret), ("X-Any", "1"), ("Referer", "https://good.test/p?api_key=t0p-s3cret")];
    let ask = |target: &str, more: &[(&str, &str)]| {
        let mut headers = forced.to_vec();
        headers.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        headers.extend(more.iter().copied().filter(|(_, value)| !value.is_empty()));
        server.get_with(target, &headers).status
    };
    let keyed = |key: &str| ask(&save, &[("API-KEY", key)]);
    let expect = |status: u16, expected: u16, words: &str, key: Option<&str>| {
        assert_eq!(status, expected, "{words}");
        let line = wait_for_explanation(&server, words);
        assert!(line.starts_with("INFO ") && line.contains(&format!(": {expected}, ")), "{line}");
        assert_eq!(line.split_once(" MOCA_KEY=").map(|(_, key)| key), key, "{line}");
    };
    expect(keyed("off"), 403, "status of the key switched-off is not true", Some("switched-off"));
    expect(keyed("far"), 403, "ip of the key far does not hold 127.0.0.1", Some("far"));
    let path =
        "allowed_path of the key reader admits [/moca-file-log/details, /x], not /moca-file-log/save-log";
    expect(keyed("path"), 403, path, Some("reader"));
    expect(
        keyed("head"),
        403,
        "required.headers of the key head: x-need is missing or different",
        Some("head"),
    );
    expect(
        keyed("args"),
        403,
        "required.args of the key args: app, who are missing or different",
        Some("args"),
    );
    let one = ask(&format!("{save}&who=me"), &[("API-KEY", "args")]);
    expect(one, 403, "required.args of the key args: app is missing or different", Some("args"));
    assert_eq!(keyed("rate"), 200);
    expect(keyed("rate"), 429, "rate of the key limited is used up: 1 in 60 s", Some("limited"));
    expect(keyed(secret), 401, "the key is not in api_key.json", None);
    expect(ask(&save, &[]), 401, "no key of 1 to 1024 characters", None);
    expect(ask(&save, &[("X-Proxy", "wrong")]), 403, "force_headers: x-proxy is missing or different", None);
    let both = ask(&save, &[("X-Proxy", ""), ("X-Any", "")]);
    expect(both, 403, "force_headers: x-any, x-proxy are missing or different", None);
    expect(ask(&save, &[("Referer", "")]), 403, "referer.force: there is no Referer", None);
    let bad = ask(&save, &[("Referer", "https://bad.test/p?root_pass=t0p-s3cret")]);
    expect(bad, 403, "referer.allowed_referer does not hold https://bad.test:".trim_end_matches(':'), None);
    let user = ask(&save, &[("Referer", "https://u:t0p-s3cret@bad.test/")]);
    expect(user, 403, "referer.allowed_referer does not hold the Referer of the request", None);
    expect(ask(&save, &[("X-Real-IP", "203.0.113.66")]), 403, "ip_blacklist.json holds the address", None);
    let line = wait_for_explanation(&server, "ip_blacklist.json");
    assert!(line.contains(" MOCA_CLIENT=203.0.113.66"), "{line}");
    let details = route("details");
    let root = ask(&details, &[("API-KEY", KEY), ("ROOT-PASS", secret)]);
    expect(root, 403, "root_pass of the request is missing or wrong", Some("good"));
    expect(ask(&format!("/nothing/api_key={secret}"), &[]), 404, "Requested URL /nothing/api_key=***", None);
    let empty = ask(&format!("{}?level=9", route("save-log")), &[("API-KEY", KEY)]);
    expect(empty, 422, "message parameter format error. The message is missing", Some("good"));
    let mut broken = server.connect();
    broken.send_raw(b"nonsense\r\n\r\n").unwrap();
    broken.read_to_end();
    let line = wait_for_explanation(&server, "no request, from 127.0.0.1: 400, Malformed HTTP request.");
    assert!(line.contains("MOCA_CLIENT=127.0.0.1"), "{line}");
    for secret in [secret, KEY, ROOT] {
        assert!(!server.stderr().contains(secret), "{}", server.stderr());
    }
}

#[test]
fn maintenance_and_closed_root_routes_are_explained() {
    let server = debugging().without_system("root_pass").start();
    server.root_get("details").problem(403);
    wait_for_explanation(&server, "no root_pass in system.json: the root routes are closed");
    server.signal(nix::sys::signal::Signal::SIGUSR1);
    server.wait_for_status(503);
    wait_for_explanation(&server, "503, maintenance was switched on by signal");
}

/// A flood of refusals writes at most a hundred messages a second to the journal, and the number of
/// the others.
#[test]
fn explanations_of_a_flood_are_limited() {
    let server = debugging().start();
    let address = server.address();
    let began = Instant::now();
    let sent: usize = std::thread::scope(|scope| {
        let flood = || {
            let mut conn = Conn::open(address).unwrap();
            let mut count = 0;
            while began.elapsed() < Duration::from_secs(2) {
                assert_eq!(conn.get("/nothing").status, 404);
                count += 1;
            }
            count
        };
        let floods = [scope.spawn(flood), scope.spawn(flood)];
        floods.into_iter().map(|flood| flood.join().unwrap()).sum()
    });
    let seconds = began.elapsed().as_secs() as usize + 1;
    assert!(sent > 100 * (seconds + 1), "{sent} requests are no flood");
    let said = || server.stderr();
    let one_by_one = || said().lines().filter(|line| line.contains(": 404, ")).count();
    let summed = || -> usize {
        let number =
            |line: &str| line.strip_prefix("INFO ")?.split_once(" more refusals")?.0.parse::<usize>().ok();
        said().lines().filter_map(number).sum()
    };
    eventually("all are logged or counted", Duration::from_secs(4), || one_by_one() + summed() == sent);
    assert!((100..=100 * (seconds + 1)).contains(&one_by_one()), "{} in {seconds} s", one_by_one());
}
