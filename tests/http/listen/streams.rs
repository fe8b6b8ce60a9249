//! Tests of the messages of a connection: framing, size, and what is stored when.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::{SOON, free_port, listening, metric};
use crate::harness::{Server, eventually};

fn open(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

fn stored(server: &Server, count: usize) {
    eventually("the messages are stored", SOON, || server.log_lines().len() == count);
}

#[test]
fn framing_is_found_out_for_each_message() {
    let port = free_port();
    let server = listening(&[format!("tcp://127.0.0.1:{port}")]).start();
    let mut stream = open(port);
    for byte in b"<14>one\n8 <14>\ntwo<14>three\r\n\n7 <14>4th\n12 monkeys\n<14>five\0" {
        stream.write_all(&[*byte]).unwrap();
    }
    stored(&server, 6);
    assert_eq!(server.messages(), ["one", "\ntwo", "three", "4th", "12 monkeys", "five"]);
    // The end of the connection ends a line.
    stream.write_all(b"<14>last").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.messages().last().map(String::as_str), Some("last"));
}

#[test]
fn a_counted_message_that_is_cut_off_is_counted() {
    let port = free_port();
    let server = listening(&[format!("tcp://127.0.0.1:{port}")]).start();
    let mut stream = open(port);
    stream.write_all(b"7 <14>one20 <14>tw").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.messages(), ["one"]);
    assert_eq!(metric(&server, "moca_refused_total{reason=\"incomplete_body\"}"), 1);
}

#[test]
fn a_long_message_is_cut_in_bounded_memory() {
    let port = free_port();
    let server = listening(&[format!("tcp://127.0.0.1:{port}")]).start();
    let mut stream = open(port);
    let long = "é".repeat(3_000_000);
    stream.write_all(format!("<14>{long}\n").as_bytes()).unwrap();
    stream.write_all(format!("{} <14>{long}", 4 + long.len()).as_bytes()).unwrap();
    stream.write_all(b"<14>next\n").unwrap();
    stored(&server, 3);
    let lines = server.parsed();
    for line in &lines[..2] {
        assert_eq!((line.message.chars().count(), line.field("cut")), (262_144, Some("3000000")));
    }
    assert_eq!(lines[2].message, "next");
}

#[test]
fn a_stop_stores_what_a_connection_has_sent() {
    let port = free_port();
    let mut server = listening(&[format!("tcp://127.0.0.1:{port}")]).start();
    let mut stream = open(port);
    let all: String = (0..2_000).map(|number| format!("<14>{number}\n")).collect();
    stream.write_all(all.as_bytes()).unwrap();
    stream.write_all(b"<14>open").unwrap();
    assert!(server.stop().success());
    assert_eq!(server.log_lines().len(), 2_001);
}
