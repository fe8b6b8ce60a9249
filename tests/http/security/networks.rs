//! Tests of clients of IPv6. Limits count a /64 as one client, and rules compare addresses exactly.

use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::harness::{Conn, KEY, ROOT, Response, Server, Setup, cannot_run, encode, eventually, route};
use crate::security::admin_socket;

const BLOCKED: &str = "Your access was blocked by ip filter.";

/// Returns an address of a /64.
fn address(network: u16, host: u16) -> String {
    Ipv6Addr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]).to_string()
}

fn get(server: &Server, client: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    server.get_with(target, &[&[("X-Real-IP", client)], headers].concat())
}

fn details(server: &Server, client: &str, password: &str) -> Response {
    get(server, client, &route("details"), &[("API-KEY", KEY), ("ROOT-PASS", password)])
}

fn admin(server: &Server, method: &str, target: &str) -> (u16, Value) {
    let (status, body) = admin_socket::ask(server, method, target, "");
    (status, serde_json::from_str(&body).unwrap())
}

fn blocked(address: &str) -> String {
    format!("/admin/blocked?address={}", encode(address))
}

#[test]
fn wrong_root_passwords_count_by_network() {
    let server = Setup::new().posed().start();
    for host in 0..10 {
        details(&server, &address(1, host), "wrong").refused(403, "Invalid root password.");
    }
    details(&server, &address(1, 99), "wrong").refused(429, "Too many requests.");
    details(&server, &address(2, 1), "wrong").refused(403, "Invalid root password.");
    assert_eq!(details(&server, &address(2, 2), ROOT).status, 200);
}

#[test]
fn floods_count_by_network_and_block_it() {
    let mut server = Setup::new().posed().system("dos_detect", json!(20)).with_admin_socket().start();
    let flood = |server: &Server| {
        let mut conn = server.connect();
        for host in 0..400 {
            let client = address(1, host);
            let answer = conn.request("GET", "/status", &[("X-Real-IP", &client)], b"");
            if answer.status == 403 {
                return true;
            }
        }
        false
    };
    assert!(flood(&server), "400 addresses of one network were served");
    get(&server, &address(1, 0xffff), "/status", &[]).refused(403, BLOCKED);
    assert_eq!(get(&server, &address(2, 1), "/status", &[]).status, 200, "another network");
    server.restart();
    get(&server, &address(1, 7), "/status", &[]).refused(403, BLOCKED);
    let list = || admin(&server, "GET", "/admin/blocked").1;
    assert_eq!(list()[0]["address"], "2001:db8:0:1::/64");
    let remove = |address: &str| admin(&server, "DELETE", &blocked(address)).1;
    let answer = remove(&address(1, 7));
    assert_eq!(answer, json!({"changed": false, "blocked_by": "2001:db8:0:1::/64"}));
    get(&server, &address(1, 7), "/status", &[]).refused(403, BLOCKED);
    assert_eq!(remove("2001:db8:0:1::/64"), json!({"changed": true}));
    assert_eq!(get(&server, &address(1, 7), "/status", &[]).status, 200);
    assert_eq!(list(), json!([]));
}

#[test]
fn blocks_of_the_operator_are_exact() {
    let server = Setup::new().posed().with_admin_socket().start();
    let add = |address: &str| admin(&server, "POST", &blocked(address));
    assert_eq!(add(&address(1, 1)), (200, json!({"changed": true})));
    get(&server, &address(1, 1), "/status", &[]).refused(403, BLOCKED);
    assert_eq!(get(&server, &address(1, 2), "/status", &[]).status, 200);
    assert_eq!(add("2001:db8:0:1::/64"), (200, json!({"changed": true})));
    get(&server, &address(1, 2), "/status", &[]).refused(403, BLOCKED);
    for network in ["2001:db8::/48", "192.0.2.0/24"] {
        let (status, problem) = add(network);
        assert_eq!((status, &problem["detail"]), (400, &json!("address parameter format error.")));
    }
}

#[test]
fn unknown_keys_count_by_network_and_are_logged_once() {
    let server = Setup::new().posed().system("block_ip_when_received_invalid_system_auth", json!(3)).start();
    let guess = format!("{}?api_key=wrong&message=m", route("save-log"));
    let statuses: Vec<u16> =
        (0..60).map(|host| get(&server, &address(1, host), &guess, &[]).status).collect();
    assert!(statuses[..3].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses[4..].iter().all(|status| *status == 403), "{statuses:?}");
    get(&server, &address(2, 1), &guess, &[]).unauthorized("Unknown API-KEY.");
    let said = server.stderr();
    assert_eq!(said.matches("unknown key from 2001:db8:0:1:").count(), 1, "{said}");
    assert_eq!(said.matches("2001:db8:0:1::/64 is blocked").count(), 1, "{said}");
}

#[test]
fn path_rates_count_by_network() {
    let path = format!("{}:3 per hour", route("save-log"));
    let server = Setup::new().posed().key("k", &json!({"allowed_path": [path]})).start();
    let save =
        |client: &str| get(&server, client, &format!("{}?message=m", route("save-log")), &[("API-KEY", "k")]);
    (0..3).for_each(|host| save(&address(1, host)).success());
    save(&address(1, 9)).refused(429, "Too many requests.");
    save(&address(2, 1)).success();
}

#[test]
fn key_addresses_are_matched_exactly() {
    let ip = json!([address(1, 1), "2001:db8:0:2::/120"]);
    let server = Setup::new().posed().key("k", &json!({"ip": ip})).start();
    let save = |client: &str| {
        get(&server, client, &format!("{}?message=m", route("save-log")), &[("API-KEY", "k")]).status
    };
    assert_eq!(
        [(1, 1), (1, 2), (2, 0xff), (2, 0x100)].map(|(n, host)| save(&address(n, host))),
        [200, 403, 200, 403]
    );
}

/// Runs `test` with a network of its own, in which 2001:db8::/32 is local.
pub(super) fn in_own_network(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The server inherits the network of this thread.
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                return cannot_run(&format!("no network of its own: {error}"));
            }
            let ip = |arguments: &str| {
                let status = Command::new("ip").args(arguments.split(' ')).status();
                status.is_ok_and(|status| status.success())
            };
            let bind_any = std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1");
            if !ip("link set lo up") || !ip("-6 route add local 2001:db8::/32 dev lo") || bind_any.is_err() {
                return cannot_run("no addresses of IPv6");
            }
            test();
        });
    });
}

#[test]
fn connections_count_by_network() {
    in_own_network(|| {
        let server = Setup::new()
            .log("host", json!("::1"))
            .log("use_ipv6", json!(true))
            .http("max_connections_per_ip = 3")
            .http("keep_alive_timeout = 60")
            .start();
        let connect = |network: u16, host: u16| {
            let source: IpAddr = address(network, host).parse().unwrap();
            Conn::open_from(source, server.address()).unwrap()
        };
        let mut open: Vec<Conn> = (1..=3).map(|host| connect(1, host)).collect();
        for conn in &mut open {
            assert_eq!(conn.get("/status").status, 200);
        }
        assert_eq!(connect(1, 4).receive("GET").unwrap().status, 503, "the fourth of a network");
        assert_eq!(connect(2, 1).get("/status").status, 200, "another network");
        drop(open);
        eventually("the places are free again", std::time::Duration::from_secs(10), || {
            connect(1, 5).try_request("GET", "/status", &[], b"").is_ok_and(|answer| answer.status == 200)
        });
    });
}

#[test]
fn guesses_of_one_network_block_it_over_real_sockets() {
    in_own_network(|| {
        let server = Setup::new()
            .log("host", json!("::1"))
            .log("use_ipv6", json!(true))
            .system("block_ip_when_received_invalid_system_auth", json!(3))
            .start();
        let ask = |network: u16, host: u16, target: &str| {
            let source: IpAddr = address(network, host).parse().unwrap();
            Conn::open_from(source, server.address()).unwrap().get(target)
        };
        let guess = format!("{}?api_key=wrong&message=m", route("save-log"));
        (1..=4).for_each(|host| ask(1, host, &guess).unauthorized("Unknown API-KEY."));
        ask(1, 5, "/status").refused(403, BLOCKED);
        assert_eq!(ask(2, 1, "/status").status, 200);
    });
}
