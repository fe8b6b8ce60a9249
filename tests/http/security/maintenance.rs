//! Tests of maintenance. A signal or a file begins it, it refuses all clients outside the
//! whitelist, and it lasts over a restart.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{KEY, Server, Setup, eventually, route};

const TEXT: &str = "MocaSystem is currently undergoing maintenance.";

fn has_maintenance_status(server: &Server) -> bool {
    server.status_text().to_lowercase().contains("maintenance")
}

#[test]
fn signals_switch_it_on_and_off() {
    let server = Setup::new().start();
    server.save("before");
    server.signal(Signal::SIGUSR1);
    server.wait_for_status(503);
    let save = format!("{}?api_key={KEY}&message=refused", route("save-log"));
    for target in ["/status", "/nothing", &save, "/moca-file-log/get-logs"] {
        let response = server.get(target);
        response.refused(503, TEXT);
        assert!(response.retry_after() > 0, "{response:?}");
    }
    eventually("STATUS says maintenance", Duration::from_secs(2), || has_maintenance_status(&server));
    server.signal(Signal::SIGUSR1);
    std::thread::sleep(Duration::from_millis(50));
    server.get("/status").refused(503, TEXT);
    server.signal(Signal::SIGUSR2);
    server.wait_for_status(200);
    server.save("after");
    assert_eq!(server.messages(), ["before", "after"]);
}

#[test]
fn it_survives_restart_and_crash() {
    let mut server = Setup::new().start();
    server.signal(Signal::SIGUSR1);
    server.wait_for_status(503);
    server.restart();
    server.get("/status").refused(503, TEXT);
    eventually("STATUS says maintenance", Duration::from_secs(2), || has_maintenance_status(&server));
    server.kill9();
    server.respawn();
    server.get("/status").refused(503, TEXT);
    server.signal(Signal::SIGUSR2);
    server.wait_for_status(200);
    server.restart();
    assert_eq!(server.get("/status").status, 200);
    assert!(!has_maintenance_status(&server), "{}", server.status_text());
}

#[test]
fn the_whitelist_is_served() {
    let server = Setup::new()
        .posed()
        .system("maintenance_mode", json!(true))
        .system("maintenance_mode_whitelist", json!(["203.0.113.7", "198.51.100.0/24"]))
        .start();
    let save = format!("{}?api_key={KEY}&message=m", route("save-log"));
    for address in ["203.0.113.7", "198.51.100.200"] {
        let headers = [("X-Real-IP", address)];
        assert_eq!(server.get_with("/status", &headers).status, 200, "{address}");
        server.get_with(&save, &headers).success();
    }
    for address in ["203.0.113.8", "198.51.101.1", "127.0.0.1"] {
        server.get_with("/status", &[("X-Real-IP", address)]).refused(503, TEXT);
        server.get_with(&save, &[("X-Real-IP", address)]).refused(503, TEXT);
    }
    assert_eq!(server.messages().len(), 2);
}

#[test]
fn the_file_switches_it_on_and_off_at_a_reload() {
    let server = Setup::new().start();
    server.set("system.json", "/maintenance_mode", json!(true));
    server.wait_for_status(503);
    eventually("STATUS says maintenance", Duration::from_secs(2), || has_maintenance_status(&server));
    server.set("system.json", "/maintenance_mode", json!(false));
    server.wait_for_status(200);
    server.assert_alive();
}

#[test]
fn the_file_or_a_signal_is_enough() {
    let server = Setup::new().system("maintenance_mode", json!(true)).start();
    server.get("/status").refused(503, TEXT);
    server.signal(Signal::SIGUSR2);
    std::thread::sleep(Duration::from_millis(150));
    server.get("/status").refused(503, TEXT);
    server.signal(Signal::SIGUSR1);
    // A signal has no answer. The STATUS of the next change shows that it was handled.
    std::thread::sleep(Duration::from_millis(150));
    server.set("system.json", "/maintenance_mode", json!(false));
    std::thread::sleep(Duration::from_millis(1200));
    server.get("/status").refused(503, TEXT);
    server.signal(Signal::SIGUSR2);
    server.wait_for_status(200);
}

#[test]
fn preflights_are_refused_too() {
    let server = Setup::new().system("maintenance_mode", json!(true)).start();
    server.request("OPTIONS", &route("save-log"), &[], b"").refused(503, TEXT);
}
