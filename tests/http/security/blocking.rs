//! Tests of automatic blocking. Floods and unknown keys block an address permanently, except
//! loopback.

use std::time::Duration;

use serde_json::json;

use crate::harness::{KEY, Response, Server, Setup, eventually, route};

const BLOCKED: &str = "Your access was blocked by ip filter.";
const FLOODER: &str = "203.0.113.7";
const OTHER: &str = "203.0.113.8";

fn from(server: &Server, address: &str, target: &str) -> Response {
    server.get_with(target, &[("X-Real-IP", address)])
}

/// Sends requests on one connection until one is refused as blocked. Returns whether one was.
fn flood(server: &Server, address: &str, target: &str, limit: usize) -> bool {
    let mut conn = server.connect();
    for _ in 0..limit {
        // The server may also close the connection of a blocked client.
        let Ok(response) = conn.try_request("GET", target, &[("X-Real-IP", address)], b"") else {
            conn = server.connect();
            continue;
        };
        if response.status == 403 && response.text().contains(BLOCKED) {
            return true;
        }
    }
    false
}

#[test]
fn more_than_dos_detect_requests_in_a_second_block_the_address() {
    let server = Setup::new().posed().system("dos_detect", json!(20)).start();
    assert!(flood(&server, FLOODER, "/status", 300), "never blocked");
    from(&server, FLOODER, "/status").refused(403, BLOCKED);
    from(&server, FLOODER, &format!("{}?api_key={KEY}&message=m", route("save-log"))).refused(403, BLOCKED);
    assert_eq!(from(&server, OTHER, "/status").status, 200, "another address is not concerned");
    server.assert_alive();
}

#[test]
fn refused_requests_count_too() {
    let server = Setup::new().posed().system("dos_detect", json!(20)).start();
    assert!(flood(&server, "203.0.113.1", "/nothing", 300), "unknown routes are not counted");
    let no_key = route("save-log");
    assert!(flood(&server, "203.0.113.2", &no_key, 300), "refused requests are not counted");
}

#[test]
fn a_client_below_the_limit_is_never_blocked() {
    let server = Setup::new().posed().system("dos_detect", json!(50)).start();
    for _ in 0..3 {
        for _ in 0..20 {
            assert_eq!(from(&server, FLOODER, "/status").status, 200);
        }
        std::thread::sleep(Duration::from_millis(1100));
    }
}

#[test]
fn a_block_survives_a_restart() {
    let mut server = Setup::new().posed().system("dos_detect", json!(20)).start();
    assert!(flood(&server, FLOODER, "/status", 300), "never blocked");
    server.restart();
    from(&server, FLOODER, "/status").refused(403, BLOCKED);
    assert_eq!(from(&server, OTHER, "/status").status, 200);
}

#[test]
fn loopback_is_never_blocked() {
    let mut setup = Setup::new().posed().system("dos_detect", json!(5));
    setup = setup.system("block_ip_when_received_invalid_system_auth", json!(2));
    let server = setup.start();
    let mut conn = server.connect();
    for _ in 0..200 {
        assert_eq!(conn.get("/status").status, 200);
    }
    for _ in 0..10 {
        conn.get(&format!("{}?api_key=wrong&message=m", route("save-log"))).unauthorized("Unknown API-KEY.");
    }
    for address in ["127.0.0.2", "::1", "::ffff:127.0.0.1"] {
        assert!(!flood(&server, address, "/status", 60), "{address} was blocked");
    }
    server.assert_alive();
}

#[test]
fn zero_turns_the_detection_off() {
    let server = Setup::new().posed().system("dos_detect", json!(0)).start();
    assert!(!flood(&server, FLOODER, "/status", 500), "blocked without a limit");
}

#[test]
fn unknown_keys_block_the_address_when_configured() {
    let mut server =
        Setup::new().posed().system("block_ip_when_received_invalid_system_auth", json!(3)).start();
    let guess = format!("{}?api_key=wrong&message=m", route("save-log"));
    for _ in 0..3 {
        from(&server, FLOODER, &guess).unauthorized("Unknown API-KEY.");
    }
    // The third request may be the last allowed one or the first refused one.
    from(&server, FLOODER, &guess);
    from(&server, FLOODER, &guess).refused(403, BLOCKED);
    let right = format!("{}?api_key={KEY}&message=m", route("save-log"));
    from(&server, FLOODER, &right).refused(403, BLOCKED);
    from(&server, OTHER, &right).success();
    server.restart();
    from(&server, FLOODER, &right).refused(403, BLOCKED);
}

#[test]
fn unknown_keys_do_not_block_by_default() {
    let absent = Setup::new().posed().start();
    let zero = Setup::new().posed().system("block_ip_when_received_invalid_system_auth", json!(0)).start();
    for server in [absent, zero] {
        for _ in 0..20 {
            let target = format!("{}?api_key=wrong&message=m", route("save-log"));
            from(&server, FLOODER, &target).unauthorized("Unknown API-KEY.");
        }
        from(&server, FLOODER, &format!("{}?api_key={KEY}&message=m", route("save-log"))).success();
    }
}

#[test]
fn a_changed_limit_applies_at_once() {
    let server = Setup::new().posed().system("dos_detect", json!(100_000)).start();
    assert!(!flood(&server, FLOODER, "/status", 100));
    server.set("system.json", "/dos_detect", json!(10));
    eventually("the new limit blocks", Duration::from_secs(4), || flood(&server, FLOODER, "/status", 60));
}
