//! Tests with the real nginx in front of the server. They check which address counts under each
//! setting, also when the client sends forged headers.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Conn, KEY, Response, Server, Setup, cannot_run, free_port, route};

/// The address of the client, the address of the outer of two proxies, and a forged address.
const CLIENT: &str = "127.0.0.5";
const PROXY: &str = "127.0.0.9";
/// The addresses that nginx reports for both. A reported loopback address would mean the peer.
const REPORTED_CLIENT: &str = "192.0.2.5";
const REPORTED_PROXY: &str = "192.0.2.9";
const VICTIM: &str = "203.0.113.7";

/// The headers of a client that forges its address.
const SPOOFED: [(&str, &str); 3] = [
    ("X-Forwarded-For", VICTIM),
    ("X-Real-IP", VICTIM),
    ("Forwarded", "for=203.0.113.7;secret=guessed, for=203.0.113.7"),
];

const APPENDS: &str = "proxy_set_header X-Forwarded-For $appended;";
const REPLACES: &str = "proxy_set_header X-Real-IP $client;";
const FORWARDS: &str = r#"proxy_set_header Forwarded "$http_forwarded, $element;secret=between-us";"#;

/// Runs one nginx process, which ends on drop.
struct Nginx {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx in front of `upstream`, with these directives next to `proxy_pass`. Returns
    /// `None` and reports that the test cannot run when nginx is missing.
    fn before(upstream: u16, directives: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
        let ipv6 = if has_ipv6 { format!("listen [::1]:{port};") } else { String::new() };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", dir.path().display()))
            .concat();
        // nginx runs as a single process, so that it ends with this process. The maps replace
        // loopback addresses, and quote the elements of Forwarded (RFC 7239).
        let config = format!(
            r#"daemon off; master_process off; pid {dir}/pid; error_log stderr warn;
            events {{}}
            http {{
                access_log off;
                {temporary}
                map $remote_addr $client {{
                    ~^127\.0\.0\.(?<last>[0-9]+)$ 192.0.2.$last;
                    ::1 2001:db8::1;
                    default $remote_addr;
                }}
                map $http_x_forwarded_for $appended {{
                    "" $client;
                    default "$http_x_forwarded_for, $client";
                }}
                map $client $element {{
                    ~^[0-9.]+$ "for=$client";
                    ~: "for=\"[$client]\"";
                    default "for=unknown";
                }}
                server {{
                    listen 127.0.0.1:{port}; {ipv6}
                    location / {{ proxy_pass http://127.0.0.1:{upstream}; {directives} }}
                }}
            }}"#,
            dir = dir.path().display()
        );
        let path = dir.path().join("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let programs = ["nginx", "/usr/sbin/nginx"];
        let child = programs.iter().find_map(|program| {
            let mut command = Command::new(program);
            command.arg("-p").arg(dir.path()).arg("-e").arg("stderr").arg("-c").arg(&path);
            command.stdin(Stdio::null()).spawn().ok()
        });
        let Some(child) = child else {
            cannot_run("nginx is missing");
            return None;
        };
        let mut nginx = Self { child, port, _dir: dir };
        let until = Instant::now() + Duration::from_secs(10);
        // nginx listens on the address of IPv6 after that of IPv4.
        let last = if has_ipv6 { "::1" } else { "127.0.0.1" };
        while TcpStream::connect((last, port)).is_err() {
            assert!(nginx.child.try_wait().unwrap().is_none(), "nginx ended");
            assert!(Instant::now() < until, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(nginx)
    }

    fn address(&self, ip: IpAddr) -> SocketAddr {
        let here = if ip.is_ipv6() { "::1".parse().unwrap() } else { "127.0.0.1".parse().unwrap() };
        SocketAddr::new(here, self.port)
    }

    /// Saves a record through this proxy from the address `source`.
    fn save(&self, source: &str, headers: &[(&str, &str)]) -> Response {
        let source: IpAddr = source.parse().unwrap();
        let mut conn = Conn::open_from(source, self.address(source)).unwrap();
        let headers: Vec<_> = [("API-KEY", KEY)].iter().chain(headers).copied().collect();
        conn.request("GET", &format!("{}?message=m", route("save-log")), &headers, b"")
    }

    /// Returns the client in the record's line. It must be the same with and without forged
    /// headers.
    fn names(&self, server: &Server, source: &str) -> String {
        self.save(source, &[]).success();
        let honest = server.parsed().pop().unwrap().client;
        self.save(source, &SPOOFED).success();
        let spoofed = server.parsed().pop().unwrap().client;
        assert_eq!(honest, spoofed, "a client talked the server into another address");
        honest
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the client in the line of a request through one nginx with these directives.
fn through_one(setup: Setup, directives: &str) -> Option<String> {
    let server = setup.start();
    let nginx = Nginx::before(server.address().port(), directives)?;
    Some(nginx.names(&server, CLIENT))
}

#[test]
fn without_an_option_the_proxy_is_the_client() {
    let Some(client) = through_one(Setup::new(), &format!("{APPENDS} {REPLACES} {FORWARDS}")) else { return };
    assert_eq!(client, "127.0.0.1");
}

#[test]
fn one_appending_proxy_is_counted() {
    let Some(client) = through_one(Setup::new().http("proxies_count = 1"), APPENDS) else { return };
    assert_eq!(client, REPORTED_CLIENT);
}

#[test]
fn forwarded_for_header_may_have_any_name() {
    let setup = Setup::new().http("proxies_count = 1\nforwarded_for_header = \"X-Way\"");
    let Some(client) = through_one(setup, "proxy_set_header X-Way \"$http_x_way, $client\";") else {
        return;
    };
    assert_eq!(client, REPORTED_CLIENT);
}

#[test]
fn two_appending_proxies_are_counted() {
    for (count, expected) in [(1, REPORTED_PROXY), (2, REPORTED_CLIENT)] {
        let server = Setup::new().http(&format!("proxies_count = {count}")).start();
        let Some(inner) = Nginx::before(server.address().port(), APPENDS) else { return };
        let Some(outer) = Nginx::before(inner.port, &format!("{APPENDS} proxy_bind {PROXY};")) else {
            return;
        };
        assert_eq!(outer.names(&server, CLIENT), expected, "proxies_count = {count}");
        // A request that bypasses the outer proxy has fewer entries than proxies, so no entry
        // counts.
        inner.save(CLIENT, &[]).success();
        let past = server.parsed().pop().unwrap().client;
        assert_eq!(past, if count == 1 { REPORTED_CLIENT } else { "127.0.0.1" });
    }
}

#[test]
fn the_real_ip_header_that_a_proxy_replaces_counts() {
    let Some(client) = through_one(Setup::new().posed(), REPLACES) else { return };
    assert_eq!(client, REPORTED_CLIENT);
}

#[test]
fn forwarded_counts_with_the_secret() {
    let secret = || Setup::new().http("forwarded_secret = \"between-us\"");
    let Some(client) = through_one(secret(), FORWARDS) else { return };
    assert_eq!(client, REPORTED_CLIENT);
    // The element comes from a proxy with another secret.
    let other = FORWARDS.replace("between-us", "between-others");
    assert_eq!(through_one(secret(), &other).unwrap(), "127.0.0.1");
    // The headers of the other options do not count then.
    assert_eq!(through_one(secret(), &format!("{APPENDS} {REPLACES}")).unwrap(), "127.0.0.1");
}

#[test]
fn text_of_the_client_cannot_hide_the_element_of_the_proxy() {
    let server = Setup::new().http("forwarded_secret = \"between-us\"").start();
    let Some(nginx) = Nginx::before(server.address().port(), FORWARDS) else { return };
    for attack in [
        "for=\"203.0.113.7",
        "for=203.0.113.7;secret=\"",
        "for=\"203.0.113.7\\",
        "for=203.0.113.7;by=\"\\\"",
        ",,,;;;===",
        "for=203.0.113.7;secret=between-u",
    ] {
        nginx.save(CLIENT, &[("Forwarded", attack)]).success();
        let client = server.parsed().pop().unwrap().client;
        assert!([REPORTED_CLIENT, "127.0.0.1"].contains(&client.as_str()), "{attack}: {client}");
    }
}

#[test]
fn only_proxies_in_trusted_proxies_count() {
    let ways = [
        ("proxies_count = 1", APPENDS),
        ("real_ip_header = \"X-Real-IP\"", REPLACES),
        ("forwarded_secret = \"between-us\"", FORWARDS),
    ];
    for (option, directives) in ways {
        for (trusted, own_address, expected) in [
            ("[\"127.0.0.9\"]", PROXY, REPORTED_CLIENT),
            ("[\"127.0.0.8/30\"]", PROXY, REPORTED_CLIENT),
            ("[\"127.0.0.9\"]", "127.0.0.1", "127.0.0.1"),
            ("[]", PROXY, PROXY),
        ] {
            let setup = Setup::new().http(option).http(&format!("trusted_proxies = {trusted}"));
            let directives = format!("{directives} proxy_bind {own_address};");
            let Some(client) = through_one(setup, &directives) else { return };
            assert_eq!(client, expected, "{option}, trusted_proxies = {trusted}, the proxy at {own_address}");
        }
        // The client bypasses the proxy.
        let server = Setup::new().http(option).http("trusted_proxies = [\"127.0.0.9\"]").start();
        let mut conn = Conn::open_from(CLIENT.parse().unwrap(), server.address()).unwrap();
        let own_way = [("API-KEY", KEY), ("X-Forwarded-For", VICTIM), ("X-Real-IP", VICTIM)];
        let forwarded = [("Forwarded", "for=203.0.113.7;secret=between-us")];
        let headers: Vec<_> = own_way.into_iter().chain(forwarded).collect();
        conn.request("GET", &format!("{}?message=m", route("save-log")), &headers, b"").success();
        assert_eq!(server.parsed().pop().unwrap().client, CLIENT, "{option}");
    }
}

#[test]
fn ipv6_clients_have_their_own_address() {
    if TcpListener::bind("[::1]:0").is_err() {
        return cannot_run("there is no IPv6");
    }
    let ways = [
        ("proxies_count = 1", APPENDS),
        ("real_ip_header = \"X-Real-IP\"", REPLACES),
        ("forwarded_secret = \"between-us\"", FORWARDS),
    ];
    for (option, directives) in ways {
        let server = Setup::new().http(option).start();
        let Some(nginx) = Nginx::before(server.address().port(), directives) else { return };
        assert_eq!(nginx.names(&server, "::1"), "2001:db8::1", "{option}");
        assert_eq!(nginx.names(&server, CLIENT), REPORTED_CLIENT, "{option}");
    }
}

#[test]
fn rules_apply_to_the_client_behind_the_proxy() {
    let server = Setup::new()
        .http("proxies_count = 1")
        .keys(json!([{"key": KEY, "status": true, "ip": ["192.0.2.5", "192.0.2.6"], "rate": "100/hour",
            "allowed_path": ["/moca-file-log/save-log:1/hour"]}]))
        .blacklist(json!(["192.0.2.6"]))
        .start();
    let Some(nginx) = Nginx::before(server.address().port(), APPENDS) else { return };
    nginx.save(CLIENT, &SPOOFED).success();
    assert_eq!(
        nginx.save(CLIENT, &[("X-Forwarded-For", "198.51.100.1")]).status,
        429,
        "one limit for one client"
    );
    nginx.save("127.0.0.6", &SPOOFED).refused(403, "Your access was blocked by ip filter.");
    nginx
        .save("127.0.0.7", &[("X-Forwarded-For", REPORTED_CLIENT)])
        .refused(403, "Your API-KEY can't use from this ip address. (192.0.2.7)");
    // The proxy itself is not counted as a client.
    server
        .get_with(&format!("{}?message=m", route("save-log")), &[("API-KEY", KEY)])
        .refused(403, "Your API-KEY can't use from this ip address. (127.0.0.1)");
}
