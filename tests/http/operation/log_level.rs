//! Tests of `log_level`, which says which messages the server shows. A change applies at once.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Setup, eventually, route};

/// Returns the levels that a server with this `log_level` shows in a run with a message of each
/// level.
fn shown_levels(level: u8) -> Vec<&'static str> {
    let mut server = Setup::new()
        .posed()
        .server("log_level", json!(level))
        .server("unheard_of", json!(1))
        .config_file("atexit.sh", "exit 1\n")
        .start();
    // A reload gives an info message, an unknown key gives a warning, and a refused configuration
    // gives an error.
    let key = [("API-KEY", "wrong"), ("X-Real-IP", "203.0.113.7")];
    server.get_with(&route("save-log"), &key).problem(401);
    server.edit("http.toml", "keep_alive_timeout = 7\n");
    std::thread::sleep(Duration::from_millis(500));
    server.edit("http.toml", "keep_alive_timeout = \"long\"\n");
    eventually("it is refused", Duration::from_secs(2), || server.status_text().contains("refused"));
    assert!(server.stop().success());
    let stderr = server.stderr();
    let levels: Vec<_> =
        stderr.lines().filter_map(|line| line.split_once(' ')).map(|(level, _)| level).collect();
    let known = ["DEBUG", "INFO", "WARN", "ERROR"];
    assert!(levels.iter().all(|level| known.contains(level)), "{stderr}");
    let expected = |event: &str, least: u8| {
        assert_eq!(
            stderr.contains(&format!("MOCA_EVENT={event}\n")),
            level <= least,
            "{event} at {level}: {stderr}"
        );
    };
    ["started", "reloaded", "stopping", "stopped"].iter().for_each(|event| expected(event, 20));
    expected("hook-failed", 30);
    assert_eq!(stderr.contains("MOCA_EVENT=unknown-key"), level <= 30, "{stderr}");
    assert_eq!(stderr.contains("unheard_of"), level <= 30, "{stderr}");
    expected("reload-refused", 50);
    known.into_iter().filter(|level| levels.contains(level)).collect()
}

#[test]
fn info_shows_info_warnings_and_errors() {
    assert_eq!(shown_levels(20), ["INFO", "WARN", "ERROR"]);
}

#[test]
fn warning_hides_info() {
    assert_eq!(shown_levels(30), ["WARN", "ERROR"]);
}

#[test]
fn errors_are_always_shown() {
    assert_eq!(shown_levels(40), ["ERROR"]);
    assert_eq!(shown_levels(50), ["ERROR"]);
}

#[test]
fn debug_shows_additional_messages() {
    // The server starts without a service manager and then writes debug messages.
    let debug = |level: u8| {
        let missing = ("NOTIFY_SOCKET", "/nonexistent/notify");
        let setup = Setup::new().server("log_level", json!(level)).env(missing.0, missing.1).without_notify();
        let mut server = setup.start();
        assert!(server.stop().success());
        server.stderr().lines().any(|line| line.starts_with("DEBUG "))
    };
    assert!(debug(10) && !debug(20));
}

#[test]
fn it_changes_at_a_reload() {
    let mut server = Setup::new().server("log_level", json!(40)).start();
    let maintenance = |event: &str| server.stderr().contains(&format!("MOCA_EVENT={event}"));
    server.signal(Signal::SIGUSR1);
    server.wait_for_status(503);
    assert!(!maintenance("maintenance-on"), "{}", server.stderr());
    server.set("server.json", "/log_level", json!(20));
    eventually("the change itself is logged", Duration::from_secs(2), || maintenance("reloaded"));
    server.signal(Signal::SIGUSR2);
    server.wait_for_status(200);
    eventually("info is seen", Duration::from_secs(2), || maintenance("maintenance-off"));
    server.set("server.json", "/log_level", json!(50));
    std::thread::sleep(Duration::from_secs(1));
    assert!(server.stop().success());
    assert!(!server.stderr().contains("MOCA_EVENT=stopped"), "{}", server.stderr());
}
