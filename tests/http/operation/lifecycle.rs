//! Tests of start and stop, with sockets, readiness, hooks, signals and exit statuses.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Conn, KEY, Setup, cannot_run, each, eventually, route};

#[test]
fn it_notifies_the_service_manager() {
    let mut server = Setup::new().start();
    server.assert_alive();
    assert!(!server.status_text().is_empty(), "no STATUS: {:?}", server.notes());
    assert!(server.stop().success());
    eventually("STOPPING is said", Duration::from_secs(1), || {
        server.notes().iter().any(|note| note.lines().any(|line| line == "STOPPING=1"))
    });
}

#[test]
fn it_runs_without_a_service_manager() {
    let mut server = Setup::new().without_notify().start();
    server.assert_alive();
    assert!(server.stop().success());
}

#[test]
fn it_serves_a_passed_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::new().passing(listener);
    let configured = setup.port();
    // A client that connects before the server starts is served later.
    let mut early = Conn::open(setup.address()).unwrap();
    early.send("GET", "/status", &[], b"").unwrap();
    let mut server = setup.start();
    assert_eq!(early.receive("GET").unwrap().status, 200);
    server.assert_alive();
    assert!(TcpStream::connect(("127.0.0.1", configured)).is_err(), "it also binds a port of its own");
    assert!(server.stop().success());
    let mut between = server.connect();
    between.send("GET", &format!("{}?api_key={KEY}&message=between", route("save-log")), &[], b"").unwrap();
    server.respawn();
    between.receive("GET").unwrap().success();
    assert_eq!(server.messages(), ["still alive", "between"]);
}

#[test]
fn sigint_and_sigterm_stop_it() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Setup::new().start();
        server.save("m");
        let _idle = server.connect();
        let started = Instant::now();
        server.signal(signal);
        let status = server.wait_for_exit(Duration::from_secs(8));
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(started.elapsed() < Duration::from_secs(3), "an idle connection held the stop");
        assert_eq!(server.messages(), ["m"]);
    }
}

#[test]
fn a_request_in_flight_is_answered_at_the_stop() {
    let mut server = Setup::new().key("slow", &json!({"delay": 0.7})).start();
    let mut conn = server.connect();
    conn.send("GET", &format!("{}?api_key=slow&message=in+flight", route("save-log")), &[], b"").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    conn.receive("GET").unwrap().success();
    assert!(conn.is_closed_within(Duration::from_secs(3)), "still open");
    assert_eq!(server.wait_for_exit(Duration::from_secs(8)).code(), Some(0));
    assert_eq!(server.messages(), ["in flight"]);
}

#[test]
fn the_stop_waits_at_most_graceful_shutdown_timeout() {
    let mut server =
        Setup::new().http("graceful_shutdown_timeout = 1").key("slow", &json!({"delay": 30})).start();
    let mut conn = server.connect();
    conn.send("GET", &format!("{}?api_key=slow&message=m", route("save-log")), &[], b"").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    server.wait_for_exit(Duration::from_secs(8));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_taken_port_is_refused() {
    let setup = Setup::new();
    let _taken = TcpListener::bind(("127.0.0.1", setup.port())).unwrap();
    let port = setup.port();
    let stderr = setup.start_refused();
    assert!(stderr.contains(&port.to_string()), "{stderr}");
}

#[test]
fn a_log_directory_that_cannot_be_written_is_refused() {
    let setup = Setup::new();
    let file = setup.config_dir().join("not-a-directory");
    let setup = setup.config_file("not-a-directory", "");
    let stderr = setup.log("file", json!(file.join("sample1.log"))).start_refused();
    assert!(stderr.contains("not-a-directory"), "{stderr}");
}

/// Returns a setup with hooks that write their names to a file when they run.
fn hooks(order: &Path) -> Setup {
    let shell = |word: &str| format!("#!/bin/sh\necho {word} >> '{}'\n", order.display());
    let python =
        |word: &str| format!("#!/usr/bin/env python3\nopen('{}', 'a').write('{word}\\n')\n", order.display());
    Setup::new()
        .config_file("startup.sh", &shell("startup.sh"))
        .config_file("startup.py", &python("startup.py"))
        .config_file("atexit.sh", &shell("atexit.sh"))
        .config_file("atexit.py", &python("atexit.py"))
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn has_python() -> bool {
    let found = std::process::Command::new("python3").arg("--version").output().is_ok();
    if !found {
        cannot_run("no python3");
    }
    found
}

#[test]
fn hooks_run_before_and_after_in_order() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let order = folder.path().join("order");
    let mut server = hooks(&order).start();
    assert_eq!(lines(&order), ["startup.py", "startup.sh"]);
    server.assert_alive();
    assert!(server.stop().success());
    assert_eq!(lines(&order), ["startup.py", "startup.sh", "atexit.py", "atexit.sh"]);
}

#[test]
fn startup_hooks_end_before_the_server_is_ready() {
    let server = Setup::new().config_file("startup.sh", "#!/bin/sh\nsleep 0.4\n").start();
    assert!(server.ready_after() >= Duration::from_millis(400), "{:?}", server.ready_after());
}

#[test]
fn a_failing_startup_hook_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let order = folder.path().join("order");
    let failing = format!("#!/bin/sh\necho startup.sh >> '{}'\nexit 3\n", order.display());
    let (code, stderr) = Setup::new().config_file("startup.sh", &failing).start_expect_failure();
    assert_ne!(code, 0, "{stderr}");
    assert!(stderr.contains("startup.sh"), "{stderr}");
    assert_eq!(lines(&order), ["startup.sh"]);
    if has_python() {
        let (code, stderr) =
            hooks(&order).config_file("startup.py", "import sys\nsys.exit(1)\n").start_expect_failure();
        assert_ne!(code, 0, "{stderr}");
        assert!(stderr.contains("startup.py"), "{stderr}");
        assert!(lines(&order).len() < 3, "the next hook ran: {:?}", lines(&order));
    }
}

#[test]
fn a_failing_exit_hook_does_not_fail_the_stop() {
    let mut server = Setup::new().config_file("atexit.sh", "#!/bin/sh\nexit 9\n").start();
    server.save("m");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn the_environment_can_name_the_directories() {
    // The environment names directories that do not exist, so the flags must take precedence.
    let server = Setup::new()
        .env("CONFIGURATION_DIRECTORY", "/nonexistent/config")
        .env("LOGS_DIRECTORY", "/nonexistent/log")
        .env("STATE_DIRECTORY", "/nonexistent/state")
        .start();
    server.assert_alive();
}

#[test]
fn use_ipv6_makes_it_listen_on_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        cannot_run("no IPv6 on loopback");
        return;
    }
    let server = Setup::new().log("host", json!("::")).log("use_ipv6", json!(true)).start();
    server.assert_alive();
    let port = server.address().port();
    let mut conn = Conn::open(format!("[::1]:{port}").parse().unwrap()).unwrap();
    assert_eq!(conn.get("/status").status, 200);
    server.save("over IPv4");
    assert_eq!(server.parsed().pop().unwrap().client, "127.0.0.1", "a mapped address is an IPv4 one");
}

#[test]
fn a_broken_configuration_with_passed_sockets_starts_with_the_last_good_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Setup::new().passing(listener).start();
    server.save("before");
    eventually("the files are kept", Duration::from_secs(5), || {
        std::fs::read_dir(server.root_dir().join("state"))
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(".config"))
    });
    let good = std::fs::read_to_string(server.config_path("log.json")).unwrap();
    server.kill9();
    server.edit("log.json", "{ half an edit");
    server.respawn();
    server.save("after");
    assert_eq!(server.messages(), ["before", "after"]);
    eventually("the status says so", Duration::from_secs(5), || server.status_text().contains("log.json"));
    server.edit("log.json", &good);
    eventually("the mended file is in force", Duration::from_secs(5), || {
        !server.status_text().contains("log.json")
    });
}

#[test]
fn a_broken_configuration_without_passed_sockets_refuses_the_start() {
    let stderr = Setup::new().config_file("log.json", "{ half an edit").start_refused();
    assert!(stderr.contains("log.json:1:"), "{stderr}");
}

#[test]
fn an_incomplete_head_or_handshake_does_not_delay_a_stop() {
    each(|setup| {
        let mut server = setup.start();
        let parts: &[&[u8]] =
            if server.has_tls() { &[&[22], &[22, 3, 1]] } else { &[b"P", b"G", b"PRI * HT"] };
        let mut waiting: Vec<Conn> = parts
            .iter()
            .map(|part| {
                let mut conn = server.connect_bare();
                conn.send_raw(part).unwrap();
                conn
            })
            .collect();
        let mut encrypted = server.connect();
        encrypted.send_raw(b"POST / HTTP/1.1\r\nHo").unwrap();
        // The answer to a later connection shows that the server has seen the others.
        server.assert_alive();
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        assert!(server.stop().success());
        assert!(began.elapsed() < Duration::from_secs(8), "the stop took {:?}", began.elapsed());
        encrypted.receive("POST").unwrap().problem(408);
        if !server.has_tls() {
            for conn in &mut waiting {
                conn.receive("GET").unwrap().problem(408);
            }
        }
    });
}
