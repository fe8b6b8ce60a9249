//! Tests of limits that instances share through a real Redis. The limits are exact and atomic, and
//! answers carry the same headers as with limits in memory.

mod unavailable;
mod urls;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Conn, Redis, Response, Server, Setup, eventually, route, sha256_hex};

/// Returns a setup with limits in the Redis at this URL.
fn with_redis(url: &str) -> Setup {
    Setup::new().server("rate_limiter_redis_storage", json!(url))
}

/// Returns how often the server logged that Redis counts its limits.
fn times_in_use(server: &Server) -> usize {
    server.stderr().matches("MOCA_EVENT=redis-back").count()
}

fn times_away(server: &Server) -> usize {
    server.stderr().matches("MOCA_EVENT=redis-away").count()
}

fn wait_until_in_use(server: &Server, times: usize) {
    eventually("Redis is in use", Duration::from_secs(8), || times_in_use(server) == times);
}

fn target(key: &str) -> String {
    format!("{}?api_key={key}&message=m", route("save-log"))
}

fn save(server: &Server, key: &str) -> Response {
    server.get(&target(key))
}

/// Returns the part of a counter's name between `LIMITER/` and the limit.
fn id(key: &str) -> String {
    sha256_hex(key)[..32].to_owned()
}

/// Sends requests with each key in turn over one connection. Returns how often each was accepted.
fn ask(address: SocketAddr, keys: &[&str], rounds: usize) -> Vec<usize> {
    let mut conn = Conn::open(address).unwrap();
    let mut accepted = vec![0; keys.len()];
    for _ in 0..rounds {
        for (key, accepted) in keys.iter().zip(&mut accepted) {
            match conn.get(&target(key)).status {
                200 => *accepted += 1,
                429 => {}
                other => panic!("{other}"),
            }
        }
    }
    accepted
}

/// Repeats an attempt a few times. A busy machine may delay Redis for longer than a request waits,
/// and the server is not the cause.
fn undisturbed(mut attempt: impl FnMut() -> Result<(), String>) {
    let disturbed: Vec<String> = (0..5).map_while(|_| attempt().err()).collect();
    assert!(disturbed.len() < 5, "{disturbed:#?}");
}

/// Returns the number of calls of a command that Redis counted.
fn calls(redis: &Redis, command: &str) -> u64 {
    let statistics = redis.say(&["INFO", "commandstats"]);
    let name = format!("cmdstat_{command}:calls=");
    let line = statistics.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn two_instances_share_the_limit_of_each_key_exactly() {
    undisturbed(|| {
        let Some(redis) = Redis::start(&[]) else { return Ok(()) };
        let setup = || {
            let setup = with_redis(&redis.url());
            setup.key("a", &json!({"rate": "50/hour"})).key("b", &json!({"rate": "30/hour;40/day"}))
        };
        let servers = [setup().start(), setup().named("other").start()];
        servers.iter().for_each(|server| wait_until_in_use(server, 1));
        let addresses = servers.each_ref().map(Server::address);
        let accepted: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let askers: Vec<_> =
                (0..8).map(|n| scope.spawn(move || ask(addresses[n % 2], &["a", "b"], 40))).collect();
            askers.into_iter().map(|asker| asker.join().unwrap()).collect()
        });
        if servers.iter().any(|server| times_away(server) > 0) {
            return Err(servers.each_ref().map(Server::stderr).concat());
        }
        let sum = |key: usize| accepted.iter().map(|of| of[key]).sum::<usize>();
        assert_eq!((sum(0), sum(1)), (50, 30), "{accepted:?}");
        assert_eq!(servers.iter().map(|server| server.messages().len()).sum::<usize>(), 80);
        let (a, b) = (id("a"), id("b"));
        let [a50, b30, b40] = [(&a, "50/1/hour"), (&b, "30/1/hour"), (&b, "40/1/day")]
            .map(|(id, l)| format!("LIMITER/{id}/{l}"));
        assert_eq!([&a50, &b30, &b40].map(|name| redis.say(&["GET", name])), ["50", "30", "30"]);
        assert_eq!(redis.counters().len(), 3);
        Ok(())
    });
}

#[test]
fn a_window_is_fixed_from_its_first_hit() {
    let Some(redis) = Redis::start(&[]) else { return };
    let server = with_redis(&redis.url()).key("k", &json!({"rate": "3 per 2 seconds"})).start();
    wait_until_in_use(&server, 1);
    let counter = format!("LIMITER/{}/3/2/second", id("k"));
    let mut conn = server.connect();
    let mut windows = 0;
    for _ in 0..2 {
        let first_hit = Instant::now();
        let mut left = i64::MAX;
        for _ in 0..3 {
            conn.get(&target("k")).success();
            // Neither an accepted nor a refused hit moves the end of the window.
            let now: i64 = redis.say(&["PTTL", &counter]).parse().unwrap();
            assert!(now <= left && now <= 2000, "a hit moved the end: {now} after {left}");
            std::thread::sleep(Duration::from_millis(100));
            left = now - 100;
        }
        loop {
            let now: i64 = redis.say(&["PTTL", &counter]).parse().unwrap();
            assert!(now <= left && now <= 2000, "a hit moved the end: {now} after {left}");
            left = now;
            if now < 300 {
                break;
            }
            let told = conn.get(&target("k")).retry_after();
            let after: u64 = redis.say(&["PTTL", &counter]).parse().unwrap();
            let seconds = |left: u64| left.div_ceil(1000).max(1);
            assert!(
                (seconds(after)..=seconds(now as u64)).contains(&told),
                "{told} s between {now} and {after} ms"
            );
            assert_eq!(redis.say(&["GET", &counter]), "3", "a refused hit was counted");
            // The traffic stays above the limit.
            std::thread::sleep(Duration::from_millis(90));
        }
        eventually("the counter is gone", Duration::from_secs(2), || redis.say(&["EXISTS", &counter]) == "0");
        assert!(first_hit.elapsed() >= Duration::from_millis(1950), "{:?}", first_hit.elapsed());
        windows += 1;
    }
    assert_eq!((windows, server.messages().len()), (2, 6));
}

#[test]
fn several_limits_count_together_or_not_at_all() {
    let Some(redis) = Redis::start(&[]) else { return };
    let options = json!({
        "rate": "2/3 seconds; 5/minute",
        "allowed_path": ["/moca-file-log/save-log:4/hour", "/moca-file-log/save-logs"],
    });
    let server = with_redis(&redis.url()).posed().key("k", &options).start();
    wait_until_in_use(&server, 1);
    let ask = |address: &str, name: &str| {
        let headers = [("API-KEY", "k"), ("X-Real-IP", address)];
        server.get_with(&format!("{}?message=m&logs=%5B%5D", route(name)), &headers).status
    };
    let of_key = |limit: &str| redis.say(&["GET", &format!("LIMITER/{}/{limit}", id("k"))]);
    let of_client = |client: &str| {
        redis.say(&["GET", &format!("LIMITER/{}/{client}/moca-file-log/save-log/4/1/hour", id("k"))])
    };
    let asked = Instant::now();
    let one = "192.0.2.1";
    assert_eq!((0..10).map(|_| ask(one, "save-log")).filter(|status| *status == 200).count(), 2);
    assert_eq!(
        (of_key("2/3/second"), of_key("5/1/minute"), of_client(one)),
        ("2".into(), "2".into(), "2".into())
    );
    assert_eq!(ask("2001:db8::1", "save-log"), 429);
    assert_eq!(of_client("2001:db8::1"), "", "refused by the key's limit, the client's window was opened");
    assert!(asked.elapsed() < Duration::from_secs(3), "too slow a machine for this test");
    eventually("the short window is over", Duration::from_secs(4), || of_key("2/3/second").is_empty());
    assert_eq!([ask(one, "save-log"), ask(one, "save-log")], [200, 200]);
    eventually("the short window is over", Duration::from_secs(4), || of_key("2/3/second").is_empty());
    // Now the limit of the path refuses, and the others do not count.
    assert_eq!(ask(one, "save-log"), 429);
    assert_eq!((of_key("2/3/second"), of_key("5/1/minute")), (String::new(), "4".into()));
    assert_eq!(ask(one, "save-logs"), 200, "another path of the same key");
    assert_eq!(ask("2001:db8::1", "save-log"), 429, "five in a minute");
    assert_eq!((of_key("2/3/second"), of_key("5/1/minute")), ("1".into(), "5".into()));
}

#[test]
fn headers_are_the_same_with_and_without_redis() {
    let Some(redis) = Redis::start(&[]) else { return };
    let keyed = |setup: Setup| {
        let paths = json!(["/moca-file-log/save-log:2/minute", "/"]);
        setup
            .key("one", &json!({"rate": "3/hour"}))
            .key("many", &json!({"rate": "4/minute, 3/hour | 100/day", "allowed_path": paths}))
            .key("shut", &json!({"rate": "0/minute"}))
            .key("free", &json!({}))
            .key("late", &json!({"rate": "2/minute", "required": {"args": {"tag": "x"}}}))
            .start()
    };
    let (memory, shared) = (keyed(Setup::new()), keyed(with_redis(&redis.url())));
    wait_until_in_use(&shared, 1);
    let told = |response: &Response| {
        let of = |name| response.header(name).map(str::to_owned);
        (response.status, of("ratelimit"), of("ratelimit-policy"), of("retry-after"), response.text())
    };
    // The requests must fall within one second, because the remaining seconds would differ
    // otherwise.
    let sequence = |server: &Server| {
        let (mut conn, mut all) = (server.connect(), Vec::new());
        for key in ["one", "many", "shut", "free"] {
            all.extend((0..5).map(|_| told(&conn.get(&target(key)))));
        }
        for key in ["one", "many", "late"] {
            for tag in ["y", "x", "x", "x"] {
                let body = json!({"api_key": key, "tag": tag, "logs": []});
                all.push(told(&conn.post_json(&route("save-logs"), &body)));
                let body = json!({"tag": tag, "message": "m"}).to_string();
                let headers = [("API-KEY", key), ("Content-Type", "application/json")];
                all.push(told(&conn.request("POST", &route("save-log"), &headers, body.as_bytes())));
            }
        }
        all
    };
    let without = sequence(&memory);
    assert_eq!(sequence(&shared), without);
    assert!(without.iter().any(|told| told.0 == 429) && without.iter().any(|told| told.0 == 403));
    assert_eq!(redis.say(&["GET", &format!("LIMITER/{}/2/1/minute", id("late"))]), "2");
}

#[test]
fn only_requests_with_limits_ask_redis_and_once_each() {
    let Some(redis) = Redis::start(&[]) else { return };
    let options =
        json!({"rate": "100/hour, 200/day", "ip": ["127.0.0.1"], "required": {"headers": {"X-App": "a"}}});
    let server = with_redis(&redis.url()).key("k", &options).start();
    wait_until_in_use(&server, 1);
    let headers = [("API-KEY", "k"), ("X-App", "a")];
    for _ in 0..10 {
        server.get_with(&target(""), &headers[..1]).problem(403);
        server.get(&target("unknown")).problem(401);
        server.save("a key without limits");
    }
    assert_eq!((calls(&redis, "evalsha"), redis.counters()), (0, Vec::new()));
    let mut conn = server.connect();
    for _ in 0..25 {
        let saved = conn.request("GET", &format!("{}?message=m", route("save-log")), &headers, b"");
        assert_eq!(saved.status, 200);
    }
    // There is one more call at the start, and one each time that a busy machine delays Redis.
    assert_eq!(calls(&redis, "evalsha"), 25);
    assert_eq!(calls(&redis, "eval"), u64::try_from(times_in_use(&server)).unwrap());
    assert_eq!(calls(&redis, "script|load"), 0);
    let connections = redis.say(&["CLIENT", "LIST", "TYPE", "normal"]);
    assert_eq!(connections.lines().filter(|line| !line.contains("cmd=client")).count(), 1, "{connections}");
}

#[test]
fn counting_continues_after_redis_lost_its_data() {
    let Some(redis) = Redis::start(&[]) else { return };
    let server = with_redis(&redis.url()).key("k", &json!({"rate": "3/hour"})).start();
    wait_until_in_use(&server, 1);
    let three_of_five = || (0..5).filter(|_| save(&server, "k").status == 200).count() == 3;
    assert!(three_of_five());
    redis.say(&["FLUSHALL"]);
    assert!(three_of_five(), "counters begin anew");
    redis.say(&["SCRIPT", "FLUSH"]);
    assert_eq!(save(&server, "k").status, 429, "the counters stay");
    redis.say(&["FLUSHALL"]);
    redis.say(&["SCRIPT", "FLUSH"]);
    assert!(three_of_five());
    // A foreign value of a counter never refuses a key permanently.
    let counter = format!("LIMITER/{}/3/1/hour", id("k"));
    for nonsense in ["-1", "x", "1.5", "99"] {
        redis.say(&["SET", &counter, nonsense]);
        assert!(three_of_five(), "{nonsense}");
        assert!(redis.say(&["TTL", &counter]).parse::<u64>().is_ok_and(|left| left > 3500), "{nonsense}");
    }
    assert_eq!((times_in_use(&server), times_away(&server)), (1, 0), "{}", server.stderr());
}

#[test]
fn a_changed_url_switches_the_redis() {
    let (Some(one), Some(other)) = (Redis::start(&[]), Redis::start(&[])) else { return };
    let server = Setup::new().key("k", &json!({"rate": "2/hour"})).start();
    let two_of_four = || assert_eq!((0..4).filter(|_| save(&server, "k").status == 200).count(), 2);
    two_of_four();
    let switch = |url: Value| server.set("server.json", "/rate_limiter_redis_storage", url);
    switch(json!(one.url()));
    wait_until_in_use(&server, 1);
    two_of_four();
    switch(json!(other.url()));
    wait_until_in_use(&server, 2);
    two_of_four();
    assert_eq!((one.counters().len(), other.counters().len()), (1, 1));
    eventually("the first connection is closed", Duration::from_secs(2), || {
        one.say(&["CLIENT", "LIST", "TYPE", "normal"]).lines().count() == 1
    });
    // The windows in memory are still open.
    switch(Value::Null);
    eventually("in memory again", Duration::from_secs(3), || {
        other.say(&["FLUSHALL"]);
        save(&server, "k").status == 429 && other.counters().is_empty()
    });
    // A change of another option keeps the connection.
    switch(json!(one.url()));
    wait_until_in_use(&server, 3);
    server.set("server.json", "/headers", json!({"X-New": "1"}));
    eventually("reloaded", Duration::from_secs(3), || save(&server, "k").header("x-new").is_some());
    assert_eq!(times_in_use(&server), 3);
    // An invalid value keeps it too, with a message that does not repeat the value.
    switch(json!("redis://:hunter2@"));
    let refused = || server.stderr().contains("rate_limiter_redis_storage");
    eventually("refused", Duration::from_secs(3), refused);
    assert!(!server.stderr().contains("hunter2"), "{}", server.stderr());
}
