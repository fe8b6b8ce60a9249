//! Tests of the client's address. They check which headers count, and from which peers.

use std::net::IpAddr;

use serde_json::json;

use super::networks::in_own_network;
use crate::harness::{Conn, KEY, Setup, route};

/// Checks the client in the line of a request, for each set of headers.
fn client_of(setup: Setup, cases: &[(&[(&str, &str)], &str)]) {
    let server = setup.start();
    for (headers, expected) in cases {
        server.get_with(&format!("{}?api_key={KEY}&message=m", route("save-log")), headers).success();
        assert_eq!(server.parsed().pop().unwrap().client, *expected, "{headers:?}");
    }
}

#[test]
fn headers_count_only_when_configured() {
    let forwarded = ("Forwarded", "for=203.0.113.7;secret=s");
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[], "127.0.0.1"),
        (&[("X-Forwarded-For", "203.0.113.7")], "127.0.0.1"),
        (&[("X-Real-IP", "203.0.113.7")], "127.0.0.1"),
        (&[forwarded], "127.0.0.1"),
    ];
    client_of(Setup::new(), &cases);
}

#[test]
fn the_configured_real_ip_header_counts() {
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[("X-Real-IP", "203.0.113.7")], "203.0.113.7"),
        (&[("x-real-ip", "2001:db8::7")], "2001:db8::7"),
        (&[("X-Real-IP", "[2001:db8::7]")], "2001:db8::7"),
        (&[("X-Real-IP", "203.0.113.7:8080")], "203.0.113.7"),
        (&[("X-Real-IP", "[2001:db8::7]:8080")], "2001:db8::7"),
        (&[("X-Real-IP", "::ffff:203.0.113.7")], "203.0.113.7"),
        (&[("X-Real-IP", "nonsense")], "127.0.0.1"),
        (&[], "127.0.0.1"),
    ];
    client_of(Setup::new().posed(), &cases);
}

#[test]
fn proxies_count_counts_from_the_right() {
    let name = "X-Forwarded-For";
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[(name, "192.0.2.1, 203.0.113.7, 198.51.100.1")], "203.0.113.7"),
        (&[(name, "203.0.113.7, 198.51.100.1")], "203.0.113.7"),
        (&[(name, "192.0.2.1, 203.0.113.7"), (name, "198.51.100.1")], "203.0.113.7"),
        (&[(name, "203.0.113.7")], "127.0.0.1"),
        (&[(name, "nonsense, 198.51.100.1")], "127.0.0.1"),
        (&[], "127.0.0.1"),
    ];
    client_of(Setup::new().http("proxies_count = 2"), &cases);
}

#[test]
fn forwarded_for_header_names_the_header() {
    let cases: [(&[(&str, &str)], &str); 2] = [
        (&[("X-Client", "192.0.2.1, 203.0.113.7")], "203.0.113.7"),
        (&[("X-Forwarded-For", "203.0.113.7")], "127.0.0.1"),
    ];
    client_of(Setup::new().http("proxies_count = 1").http("forwarded_for_header = \"X-Client\""), &cases);
}

#[test]
fn the_forwarded_header_needs_the_secret() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("Forwarded", "for=203.0.113.7;secret=abcdefgh")], "203.0.113.7"),
        (&[("Forwarded", "secret=abcdefgh; for=\"[2001:db8::7]:4711\"")], "2001:db8::7"),
        (&[("Forwarded", "for=203.0.113.7;secret=wrong")], "127.0.0.1"),
        (&[("Forwarded", "for=203.0.113.7")], "127.0.0.1"),
        (&[("Forwarded", "for=_hidden;secret=abcdefgh")], "127.0.0.1"),
        (&[("Forwarded", "for=192.0.2.1, for=203.0.113.7;secret=abcdefgh")], "203.0.113.7"),
    ];
    client_of(Setup::new().http("forwarded_secret = \"abcdefgh\""), &cases);
}

#[test]
fn only_headers_of_trusted_proxies_count() {
    let posing: [(&[(&str, &str)], &str); 1] = [(&[("X-Real-IP", "203.0.113.7")], "203.0.113.7")];
    client_of(Setup::new().posed().http("trusted_proxies = [\"127.0.0.0/8\"]"), &posing);
    let ignored: [(&[(&str, &str)], &str); 1] = [(&[("X-Real-IP", "203.0.113.7")], "127.0.0.1")];
    client_of(Setup::new().posed().http("trusted_proxies = [\"192.0.2.0/24\"]"), &ignored);
    client_of(Setup::new().posed().http("trusted_proxies = []"), &ignored);
    let forwarded: [(&[(&str, &str)], &str); 1] = [(&[("X-Forwarded-For", "203.0.113.7")], "127.0.0.1")];
    client_of(Setup::new().http("proxies_count = 1").http("trusted_proxies = []"), &forwarded);
    let secret: [(&[(&str, &str)], &str); 1] =
        [(&[("Forwarded", "for=203.0.113.7;secret=abcdefgh")], "127.0.0.1")];
    client_of(Setup::new().http("forwarded_secret = \"abcdefgh\"").http("trusted_proxies = []"), &secret);
}

#[test]
fn a_reported_loopback_address_means_the_peer() {
    let loopback = ["127.0.0.1", "127.8.8.8", "::1", "[::1]:80", "::ffff:127.0.0.1"];
    let peer: IpAddr = "127.0.0.9".parse().unwrap();
    let setups = [
        (Setup::new().posed(), "X-Real-IP", ""),
        (Setup::new().http("proxies_count = 1"), "X-Forwarded-For", ""),
        (Setup::new().http("forwarded_secret = \"abcdefgh\""), "Forwarded", "secret=abcdefgh;for="),
    ];
    for (setup, name, before) in setups {
        let server = setup.start();
        for address in loopback {
            let mut conn = Conn::open_from(peer, server.address()).unwrap();
            let target = format!("{}?api_key={KEY}&message=m", route("save-log"));
            let value = format!("{before}\"{address}\"");
            conn.request("GET", &target, &[(name, &value)], b"").success();
            assert_eq!(server.parsed().pop().unwrap().client, "127.0.0.9", "{name}: {value}");
        }
    }
}

#[test]
fn a_reported_loopback_address_has_no_privileges() {
    in_own_network(|| {
        let ip = json!(["127.0.0.1", "::1"]);
        let server = Setup::new()
            .log("host", json!("::1"))
            .log("use_ipv6", json!(true))
            .posed()
            .system("dos_detect", json!(20))
            .key("local", &json!({"ip": ip}))
            .start();
        let peer: IpAddr = "2001:db8::9".parse().unwrap();
        let mut conn = Conn::open_from(peer, server.address()).unwrap();
        let target = format!("{}?api_key=local&message=m", route("save-log"));
        let answer = conn.request("GET", &target, &[("X-Real-IP", "127.0.0.1")], b"");
        answer.refused(403, "Your API-KEY can't use from this ip address. (2001:db8::9)");
        let mut ask = || conn.request("GET", "/status", &[("X-Real-IP", "::1")], b"").status;
        assert!((0..200).any(|_| ask() == 403), "a flood that claims to be local is not counted");
    });
}

#[test]
fn a_header_that_every_client_may_send_is_warned_of_at_the_start() {
    let warning = "trusted_proxies: a client that connects directly may claim any address";
    for (host, line, warns) in [
        ("0.0.0.0", "proxies_count = 1", true),
        ("0.0.0.0", "real_ip_header = \"X-Real-IP\"", true),
        ("0.0.0.0", "proxies_count = 1\ntrusted_proxies = [\"10.0.0.1\"]", false),
        ("0.0.0.0", "forwarded_secret = \"a long and random text\"", false),
        ("127.0.0.1", "proxies_count = 1", false),
    ] {
        let server = Setup::new().log("host", json!(host)).http(line).start();
        assert_eq!(server.stderr().contains(warning), warns, "{host} {line}: {}", server.stderr());
    }
}
