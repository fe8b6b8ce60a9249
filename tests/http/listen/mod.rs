//! Tests of the sockets that are not HTTP (`listen` in `log.json`).

mod docker;
mod forward;
mod gelf;
mod rules;
mod streams;
mod syslog;

use std::net::{TcpListener, UdpSocket};

use serde_json::{Value, json};

use crate::harness::{KEY, ROOT, Server, Setup};

/// Time in which a datagram or a message of a connection is stored.
const SOON: std::time::Duration = std::time::Duration::from_secs(10);

/// Returns a port that is free for UDP and for TCP.
fn free_port() -> u16 {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Returns a server with these sockets of syslog, whose key is `devices`.
fn listening(on: &[String]) -> Setup {
    listening_for("syslog", on)
}

/// Returns a server with these sockets of a format, whose key is `devices`.
fn listening_for(format: &str, on: &[String]) -> Setup {
    let listen: Vec<Value> =
        on.iter().map(|on| json!({"type": format, "on": on, "key": "devices"})).collect();
    Setup::new().key("dk", &json!({"name": "devices"})).log("listen", json!(listen))
}

fn send(port: u16, message: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(socket.send_to(message, ("127.0.0.1", port)).unwrap(), message.len());
}

/// Returns the value of a metric, with its labels.
fn metric(server: &Server, name: &str) -> u64 {
    let page = server.get_with("/metrics", &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]).text();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().unwrap() as u64
}
