//! Lets the process die, as by SIGKILL, between any two steps of a rotation, a compression, a
//! retention and a clear. Afterwards every acknowledged record is stored once and in order, cursors
//! name the same records, and no unfinished file is left.

use std::time::Duration;

use serde_json::{Value, json};

use super::segments::{
    assert_holds, messages_of, read_after, read_all, save, segments, text_of_all, try_save,
};
use crate::harness::{Conn, KEY, ROOT, Server, Setup, cannot_run, eventually, route};

/// Returns true in builds without crash points. Only debug builds have them.
fn lacks_crash_points() -> bool {
    if !cfg!(debug_assertions) {
        cannot_run("fault points are compiled into debug builds only");
    }
    !cfg!(debug_assertions)
}

fn server_that_dies(fault: &str, durability: &str, rotate: &Value) -> Server {
    let setup = Setup::new().durability(durability).log("rotate", rotate.clone());
    setup.env("MOCA_FAULT", fault).env("MOCA_MANIFEST_CHANGES", "4").start()
}

#[test]
fn failed_write_is_answered_as_unknown_when_it_is_not_undone() {
    if lacks_crash_points() {
        return;
    }
    for (steps, is_undone) in [("append.write", true), ("append.write,append.undo", false)] {
        let mut server = Setup::new().durability("disk").env("MOCA_FAIL", steps).start();
        let answer = server.save_with(&json!({"message": "perhaps"}));
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let unknown =
            "It is unknown whether the log was written. Another attempt may store the record twice.";
        let expected = if is_undone { "The log can't be written at the moment." } else { unknown };
        assert_eq!(detail, expected, "{steps}");
        server.kill9();
        server.without_env("MOCA_FAIL");
        server.respawn();
        let found = server.messages();
        assert_eq!(found.is_empty(), is_undone, "{steps}: {found:?}");
        server.save("certain");
        assert_eq!(server.messages().last().map(String::as_str), Some("certain"));
    }
}

/// Saves until the process dies. Returns the acknowledged messages with their cursors, and the
/// message that got no answer.
fn save_until_it_dies(server: &mut Server, label: &str) -> (Vec<(String, String)>, String) {
    let mut saved = Vec::new();
    for n in 0.. {
        assert!(n < 3000, "{label}: the process does not die\n{}", server.stderr());
        let message = format!("{label}-{n:04}-{}", "x".repeat(60));
        let body = json!({"api_key": KEY, "message": message}).to_string();
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        let answer = Conn::open(server.address())
            .and_then(|mut conn| conn.try_request("POST", &route("save-log"), &headers, body.as_bytes()));
        match answer {
            Ok(response) => {
                assert_eq!(response.status, 200, "{response:?}");
                saved.push((message, response.json()["cursor"].as_str().unwrap().to_owned()));
            }
            Err(_) => {
                assert_killed(server);
                return (saved, message);
            }
        }
    }
    unreachable!()
}

fn assert_killed(server: &mut Server) {
    use std::os::unix::process::ExitStatusExt;
    let status = server.wait_for_exit(Duration::from_secs(10));
    assert_eq!(status.signal(), Some(9), "{status}\n{}", server.stderr());
    wait_for_port(server);
}

/// Waits until the port of a killed server is free. A child of the process, between fork and exec,
/// holds the socket a moment longer.
fn wait_for_port(server: &Server) {
    eventually("the port is free", Duration::from_secs(5), || {
        std::net::TcpListener::bind(server.address()).is_ok()
    });
}

/// Asserts that the log holds the newest acknowledged records, or all of them if there is no
/// retention. Also asserts that each cursor returns the records after it, or gets 410 if its record
/// is gone.
fn assert_kept(
    server: &Server,
    saved: &[(String, String)],
    in_flight: Option<&str>,
    retires: bool,
) -> Vec<String> {
    let found = read_all(server);
    let mut expected: Vec<String> = saved.iter().map(|(message, _)| message.clone()).collect();
    if in_flight.is_some_and(|message| found.last().is_some_and(|last| last == message)) {
        expected.extend(in_flight.map(str::to_owned));
    }
    let gone = expected.len().checked_sub(found.len()).expect("something is there twice");
    assert!(found == expected[gone..], "the records that are left are not the newest");
    assert!(retires || gone == 0, "{gone} acknowledged records are missing");
    assert_holds(server, &found);
    for (place, (_, cursor)) in saved.iter().enumerate() {
        let response = read_after(server, cursor);
        if place + 1 < gone {
            assert_eq!(response.status, 410, "{place} of {gone}");
        } else {
            assert_eq!(response.status, 200, "{place} of {gone}: {response:?}");
            assert!(messages_of(&response.text()) == expected[place + 1..], "{place} of {gone}");
        }
    }
    found
}

fn dies_and_comes_back(fault: &str, durability: &str, rotate: &Value) {
    let retires = rotate.get("keep").is_some();
    let mut server = server_that_dies(fault, durability, rotate);
    let (mut saved, in_flight) = save_until_it_dies(&mut server, "a");
    server.without_env("MOCA_FAULT");
    server.respawn();
    wait_for_background_work(&server, rotate);
    let found = assert_kept(&server, &saved, Some(&in_flight), retires);
    if found.last() == Some(&in_flight) {
        let end = read_after(&server, &saved.last().unwrap().1);
        let cursor = end.header("moca-cursor").unwrap().to_owned();
        saved.push((in_flight, cursor));
    }
    // The log works as before the crash.
    for n in 0..60 {
        let message = format!("b-{n:04}-{}", "y".repeat(60));
        let cursor = save(&server, &message);
        saved.push((message, cursor));
    }
    wait_for_background_work(&server, rotate);
    assert_kept(&server, &saved, None, retires);
    server.restart();
    wait_for_background_work(&server, rotate);
    assert_kept(&server, &saved, None, retires);
}

/// Waits for the end of background work.
fn wait_for_background_work(server: &Server, rotate: &Value) {
    eventually("compressed, and no more than are kept", Duration::from_secs(20), || {
        let names: Vec<String> = segments(server).iter().map(|path| path.display().to_string()).collect();
        let compressed = match rotate["compress"].as_str() {
            Some("zstd") => names.iter().all(|name| name.ends_with(".zst")),
            Some("gzip") => names.iter().all(|name| name.ends_with(".gz")),
            _ => true,
        };
        compressed && rotate["keep"].as_u64().is_none_or(|keep| names.len() as u64 <= keep)
    });
    eventually("counted", Duration::from_secs(20), || server.root_get("details").json()["counting"] == false);
}

#[test]
fn crash_at_every_step_of_a_rotation() {
    if lacks_crash_points() {
        return;
    }
    let rotate = json!({"max_size": "2KB"});
    for durability in ["disk", "os"] {
        for step in ["created", "noted", "moved", "replaced", "published", "catalogued", "done"] {
            for time in [1, 3] {
                dies_and_comes_back(&format!("rotate.{step}:{time}"), durability, &rotate);
            }
        }
        dies_and_comes_back("catalogue.written:1", durability, &rotate);
        dies_and_comes_back("manifest.appended:1", durability, &rotate);
        dies_and_comes_back("manifest.appended:3", durability, &rotate);
    }
}

/// The line is in the file, but its fingerprint is not saved. A follower at the end must get the
/// line.
#[test]
fn crash_at_the_first_line_of_a_file() {
    if lacks_crash_points() {
        return;
    }
    let rotate = json!({"max_size": "2KB"});
    for durability in ["disk", "os"] {
        for time in [2, 3] {
            dies_and_comes_back(&format!("append.first:{time}"), durability, &rotate);
        }
    }
}

#[test]
fn crash_at_every_step_of_a_compression() {
    if lacks_crash_points() {
        return;
    }
    for compress in ["zstd", "gzip"] {
        let rotate = json!({"max_size": "2KB", "compress": compress});
        for step in ["begun", "written", "renamed", "published", "removed", "catalogued"] {
            for time in [1, 3] {
                dies_and_comes_back(&format!("compress.{step}:{time}"), "os", &rotate);
            }
        }
    }
}

#[test]
fn crash_at_every_step_of_a_retention() {
    if lacks_crash_points() {
        return;
    }
    for compress in ["zstd", "none"] {
        let rotate = json!({"max_size": "2KB", "keep": 2, "compress": compress});
        for step in [
            "retire.hidden",
            "retire.removed",
            "manifest.appended",
            "manifest.compacted",
            "manifest.replaced",
        ] {
            for time in [1, 2] {
                dies_and_comes_back(&format!("{step}:{time}"), "disk", &rotate);
            }
        }
    }
}

#[test]
fn crash_at_every_step_of_a_clear() {
    if lacks_crash_points() {
        return;
    }
    for compress in ["zstd", "none"] {
        let rotate = json!({"max_size": "2KB", "compress": compress});
        for fault in [
            "clear.noted",
            "clear.removed:1",
            "clear.removed:2",
            "clear.removed:5",
            "clear.cut",
            "clear.done",
        ] {
            let mut server = server_that_dies(fault, "disk", &rotate);
            let saved: Vec<(String, String)> = (0..110)
                .map(|n| {
                    let message = format!("{n}-{}", "x".repeat(60));
                    let cursor = save(&server, &message);
                    (message, cursor)
                })
                .collect();
            assert!(segments(&server).len() >= 5);
            wait_for_background_work(&server, &rotate);
            let headers = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];
            server.connect().try_request("POST", &route("clear-logs"), &headers, b"").unwrap_err();
            assert_killed(&mut server);
            server.without_env("MOCA_FAULT");
            for _ in 0..2 {
                server.respawn();
                // The clear was saved in the state, so the start finishes it.
                assert_holds(&server, &[]);
                assert!(segments(&server).is_empty());
                for (message, cursor) in &saved[..saved.len() - 1] {
                    assert_eq!(read_after(&server, cursor).status, 410, "{fault}: {message}");
                }
                assert_eq!(read_after(&server, &saved.last().unwrap().1).text(), "", "{fault}");
                server.kill9();
            }
            server.respawn();
            let message = "after".to_owned();
            save(&server, &message);
            assert_eq!(messages_of(&read_after(&server, &saved.last().unwrap().1).text()), [message]);
        }
    }
}

/// Kills the process at random moments instead of crash points.
#[test]
fn repeated_kills_under_load_lose_nothing() {
    let rotate = json!({"max_size": "3KB", "compress": "zstd"});
    let mut server = Setup::new().durability("os").log("rotate", rotate.clone()).start();
    let mut sent = Vec::new();
    for round in 0..15 {
        let pause = super::load::random_pause(30, 250);
        let (of_round, ()) = super::load::under_load(&mut server, 4, &format!("r{round}"), |server| {
            std::thread::sleep(pause);
            server.kill9();
        });
        sent.extend(of_round);
        wait_for_port(&server);
        server.respawn();
        let lines: Vec<String> = server.root_get("get-logs").text().lines().map(str::to_owned).collect();
        super::load::assert_kept(&lines, &sent);
    }
    wait_for_background_work(&server, &rotate);
    let messages = messages_of(&text_of_all(&server));
    assert_holds(&server, &messages);
    assert!(super::load::acknowledged(&sent) > 200 && segments(&server).len() > 5);
    try_save(&server, "alive").unwrap();
}
