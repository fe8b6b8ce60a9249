//! Tests of the checks of senders: the key, its addresses and limits, block lists, maintenance.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{SOON, free_port, listening, metric, send};
use crate::harness::{Server, Setup, eventually};

fn both() -> (u16, Setup) {
    let port = free_port();
    (port, listening(&[format!("udp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{port}")]))
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SOON)).unwrap();
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

fn refused(server: &Server, reason: &str) -> u64 {
    metric(server, &format!("moca_refused_total{{reason=\"{reason}\"}}"))
}

fn datagram_is_stored(server: &Server, port: u16, message: &str) {
    eventually("a datagram is stored", SOON, || {
        send(port, message.as_bytes());
        std::thread::sleep(Duration::from_millis(50));
        server.messages().iter().any(|stored| stored == message)
    });
}

#[test]
fn the_rules_of_the_key_apply_live() {
    let (port, setup) = both();
    let server = setup.start();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"one\n").unwrap();
    eventually("it is stored", SOON, || server.messages() == ["one"]);
    let keys = std::fs::read_to_string(server.config_path("api_key.json")).unwrap();
    let set = |options: serde_json::Value| {
        let mut entry = json!({"key": "dk", "name": "devices"});
        entry.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let mut keys: Vec<serde_json::Value> = serde_json::from_str(&keys).unwrap();
        *keys.last_mut().unwrap() = entry;
        server.edit("api_key.json", &json!(keys).to_string());
    };
    set(json!({"status": false}));
    eventually("datagrams are refused", SOON, || {
        send(port, b"two");
        refused(&server, "key_offline") > 0
    });
    let stored = server.messages().len();
    stream.write_all(b"three\n").unwrap();
    assert!(is_closed(&mut stream));
    assert!(is_closed(&mut TcpStream::connect(("127.0.0.1", port)).unwrap()));
    set(json!({"status": true, "ip": ["192.0.2.0/24"]}));
    eventually("the address is refused", SOON, || {
        send(port, b"four");
        refused(&server, "address_not_allowed") > 0
    });
    assert!(is_closed(&mut TcpStream::connect(("127.0.0.1", port)).unwrap()));
    assert_eq!(server.messages().iter().filter(|message| *message != "two").count(), stored.min(1));
    set(json!({"status": true}));
    datagram_is_stored(&server, port, "five");
    assert_eq!(metric(&server, "moca_datagrams_lost_total"), 0);
    assert!(metric(&server, "moca_datagrams_dropped_total") >= 2);
}

#[test]
fn the_limit_of_the_key_drops_datagrams_and_stops_connections() {
    let port = free_port();
    let on = [format!("udp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{port}")];
    let listen = json!(on.map(|on| json!({"type": "syslog", "on": on, "key": "devices"})));
    let key = json!({"name": "devices", "rate": "3 per 2 seconds"});
    let server = Setup::new().key("dk", &key).log("listen", listen).start();
    for number in 0..5 {
        send(port, number.to_string().as_bytes());
    }
    eventually("two are refused", SOON, || refused(&server, "too_many_requests") == 2);
    assert_eq!(server.messages(), ["0", "1", "2"]);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"a\nb\nc\nd\ne\nf\n").unwrap();
    eventually("all are stored", SOON, || server.messages().len() == 9);
    assert_eq!(server.messages()[3..], ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn maintenance_drops_datagrams_and_stops_connections() {
    let (port, setup) = both();
    let server = setup.start();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"one\n").unwrap();
    eventually("it is stored", SOON, || server.messages() == ["one"]);
    server.set("system.json", "/maintenance_mode", json!(true));
    eventually("maintenance is on", SOON, || server.get("/status").status == 503);
    send(port, b"two");
    let before = server.messages().len();
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(b"three\n").unwrap();
    let mut new = TcpStream::connect(("127.0.0.1", port)).unwrap();
    new.write_all(b"four\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    // The read that was waiting when maintenance began may have taken one message.
    assert!(server.messages().len() <= before + 1);
    server.set("system.json", "/maintenance_mode", json!(false));
    eventually("the connections are read", SOON, || {
        ["three", "four"].iter().all(|wanted| server.messages().iter().any(|message| message == wanted))
    });
    assert!(!server.messages().iter().any(|message| message == "two"));
    assert!(refused(&server, "maintenance") >= 3);
    assert_eq!(metric(&server, "moca_datagrams_dropped_total"), 1);
}

#[test]
fn a_blocked_address_is_refused() {
    let (port, setup) = both();
    let server = setup.blacklist(json!(["127.0.0.1"])).start();
    send(port, b"one");
    assert!(is_closed(&mut TcpStream::connect(("127.0.0.1", port)).unwrap()));
    // The log of an instance that refuses everything stays empty.
    std::thread::sleep(Duration::from_millis(200));
    assert!(server.log_lines().is_empty());
}
