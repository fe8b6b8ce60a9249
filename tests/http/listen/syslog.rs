//! Tests of the type `syslog` on each kind of socket.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};

use super::{SOON, free_port, listening, send};
use crate::harness::{Conn, Server, eventually};

/// Returns the stored records as `LEVEL message | NAME=VALUE …`.
fn records(server: &Server) -> Vec<String> {
    let parsed = server.parsed();
    assert!(parsed.iter().all(|line| line.route == "syslog" && line.key == "devices"));
    parsed.iter().map(|line| format!("{} {} | {}", line.level, line.message, line.shown_fields())).collect()
}

const MESSAGE: &[u8] = b"<165>1 2026-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 \
    [exampleSDID@32473 iut=\"3\" eventSource=\"Application\"] \xef\xbb\xbfAn application event";

const RECORD: &str = "INFO An application event | at=2026-10-11T22:14:15.003000Z level=notice facility=local4 \
    host=mymachine.example.com app=evntslog msgid=ID47 exampleSDID@32473.iut=3 \
    exampleSDID@32473.eventSource=Application";

#[test]
fn every_socket_stores_what_it_gets() {
    let (udp, tcp, tls) = (free_port(), free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let (datagrams, stream) = (folder.path().join("dgram"), folder.path().join("stream"));
    let on = [
        format!("udp://127.0.0.1:{udp}"),
        format!("tcp://127.0.0.1:{tcp}"),
        format!("tls://127.0.0.1:{tls}"),
        format!("unix:{}", datagrams.display()),
        format!("unix-stream:{}", stream.display()),
    ];
    let mut server = listening(&on).tls().start();
    let count = |server: &Server, expected: usize| {
        eventually("the record is stored", SOON, || server.log_lines().len() == expected);
        assert_eq!(records(server), vec![RECORD; expected]);
    };
    send(udp, MESSAGE);
    count(&server, 1);
    let counted = [format!("{} ", MESSAGE.len()).as_bytes(), MESSAGE].concat();
    TcpStream::connect(("127.0.0.1", tcp)).unwrap().write_all(&counted).unwrap();
    count(&server, 2);
    let mut encrypted = Conn::open_tls(([127, 0, 0, 1], tls).into(), "http/1.1").unwrap();
    encrypted.send_raw(&[MESSAGE, b"\n"].concat()).unwrap();
    count(&server, 3);
    UnixDatagram::unbound().unwrap().send_to(MESSAGE, &datagrams).unwrap();
    count(&server, 4);
    UnixStream::connect(&stream).unwrap().write_all(&[MESSAGE, b"\r\n"].concat()).unwrap();
    count(&server, 5);
    let clients: Vec<String> = server.parsed().into_iter().map(|line| line.client).collect();
    assert_eq!(clients, ["127.0.0.1", "127.0.0.1", "127.0.0.1", "local", "local"]);
    assert!(server.stop().success());
    assert!(!datagrams.exists() && !stream.exists());
}

#[test]
fn a_message_that_is_neither_is_text() {
    let port = free_port();
    let server = listening(&[format!("udp://127.0.0.1:{port}")]).start();
    send(port, b"no priority\n");
    send(port, b"<14>\xff\n");
    eventually("both are stored", SOON, || server.log_lines().len() == 2);
    assert_eq!(records(&server), ["INFO no priority | ", "INFO \u{fffd} | facility=user utf8=replaced"]);
}

#[test]
fn datagrams_that_arrive_while_it_stops_are_stored() {
    let port = free_port();
    let mut server = listening(&[format!("udp://127.0.0.1:{port}")]).start();
    for number in 0..500 {
        send(port, format!("<14>{number}").as_bytes());
    }
    assert!(server.stop().success());
    assert_eq!(server.log_lines().len(), 500);
}
