//! Tests of a server whose places are all taken. The connection that has been silent longest makes
//! room, and a connection with a request never does.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, Server, Setup, each, eventually, raise_file_limit, route};

/// Maximum time until a new client is served.
const SOON: Duration = Duration::from_secs(5);

fn patient(setup: Setup, max_connections: u32) -> Setup {
    ["request_timeout", "body_timeout", "response_timeout", "keep_alive_timeout"]
        .into_iter()
        .fold(setup.http(&format!("max_connections = {max_connections}")), |setup, time| {
            setup.http(&format!("{time} = 60"))
        })
}

/// Starts a record whose body is incomplete, and waits until the server knows its head.
fn begin_a_record(server: &Server) -> Conn {
    let mut conn = server.connect();
    let headers = [
        ("Content-Length", "17"),
        ("Content-Type", "application/json"),
        ("API-KEY", KEY),
        ("Expect", "100-continue"),
    ];
    conn.send("POST", &route("save-log"), &headers, b"").unwrap();
    assert_eq!(conn.read_head().unwrap().status, 100);
    conn
}

fn end_the_record(conn: &mut Conn) {
    conn.send_raw(br#"{"message":"end"}"#).unwrap();
    assert_eq!(conn.receive("POST").unwrap().status, 200);
}

/// Sends a request on a new connection, which must be served soon.
fn is_served(server: &Server) -> Conn {
    let started = Instant::now();
    let mut conn = server.connect();
    assert_eq!(conn.get("/status").status, 200);
    assert!(started.elapsed() < SOON, "served after {:?}", started.elapsed());
    conn
}

#[test]
fn the_longest_silent_connection_makes_room() {
    each(|setup| {
        let server = patient(setup, 4).start();
        // The clock of the server is exact within 4 ms.
        let pause = || std::thread::sleep(Duration::from_millis(30));
        let mut silent = server.connect();
        pause();
        let mut between = is_served(&server);
        pause();
        let mut half_a_head = server.connect();
        half_a_head.send_raw(b"GET /status HTTP/1.1\r\nHo").unwrap();
        pause();
        let mut recent = is_served(&server);
        pause();
        let _first = is_served(&server);
        assert!(silent.is_closed_within(SOON), "the connection without a byte");
        let _second = is_served(&server);
        assert!(between.is_closed_within(SOON), "the connection between two requests");
        let _third = is_served(&server);
        assert!(half_a_head.is_closed_within(SOON), "the connection with half a head");
        assert_eq!(recent.get("/status").status, 200, "the others stay open");
    });
}

#[test]
fn a_handshake_in_progress_makes_room() {
    let server = patient(Setup::new().tls(), 2).start();
    let mut unstarted = server.connect_bare();
    let mut half = server.connect_bare();
    half.send_raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let (_first, _second) = (is_served(&server), is_served(&server));
    assert!(unstarted.is_closed_within(SOON) && half.is_closed_within(SOON));
}

#[test]
fn connections_with_requests_stay_and_new_ones_wait() {
    each(|setup| {
        let server = patient(setup, 3).start();
        let mut open: Vec<Conn> = (0..3).map(|_| begin_a_record(&server)).collect();
        std::thread::scope(|scope| {
            // With TLS, this client waits in the handshake.
            let waiting = scope.spawn(|| server.get("/status").status);
            std::thread::sleep(Duration::from_millis(400));
            assert!(!waiting.is_finished(), "more connections than allowed were served");
            // The connection becomes silent, and then it makes room.
            end_the_record(&mut open[0]);
            assert_eq!(waiting.join().unwrap(), 200);
        });
        assert!(open[0].is_closed_within(SOON));
        open[1..].iter_mut().for_each(end_the_record);
        assert_eq!(server.messages(), ["end"; 3]);
    });
}

#[test]
fn an_http2_connection_makes_room_between_its_streams() {
    let server = patient(Setup::new().tls(), 2).start();
    let mut idle = Frames::open(server.address(), &[]);
    idle.request(1, "GET", "/status", &[], true).unwrap();
    assert_eq!(idle.status().unwrap(), (1, 200));
    let mut busy = Frames::open(server.address(), &[]);
    let headers = [("api-key", KEY), ("content-type", "application/json")];
    busy.request(1, "POST", &route("save-log"), &headers, false).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..3 {
        is_served(&server);
    }
    idle.until_closed(SOON);
    busy.send(frames::DATA, frames::END_STREAM, 1, br#"{"message":"end"}"#).unwrap();
    assert_eq!(busy.status().unwrap(), (1, 200));
}

#[test]
fn silent_connections_of_one_client_shut_no_other_out() {
    const PLACES: u32 = 200;
    if !raise_file_limit(2000) {
        crate::harness::cannot_run("too few open files are allowed");
        return;
    }
    each(|setup| {
        let server = patient(setup, PLACES).server("backlog", json!(1000)).start();
        let flood: Vec<Conn> = (0..3 * PLACES).map(|_| server.connect_bare()).collect();
        let mut kept = is_served(&server);
        for _ in 0..50 {
            is_served(&server);
            // A client that sends now and then keeps its connection.
            assert_eq!(kept.get("/status").status, 200);
        }
        eventually("no more connections than allowed", SOON, || server.connections() <= PLACES as usize + 1);
        drop(flood);
        server.assert_alive();
    });
}

#[test]
fn a_client_above_its_own_limit_takes_no_place_of_others() {
    each(|setup| {
        let server = patient(setup, 4).http("max_connections_per_ip = 3").start();
        let other: IpAddr = "127.0.0.2".parse().unwrap();
        let mut silent = Conn::open_from(other, server.address()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let mut own: Vec<Conn> = (0..3).map(|_| is_served(&server)).collect();
        for _ in 0..50 {
            let mut refused = server.connect_bare();
            refused.half_close();
            drop(refused.read_to_end());
        }
        for conn in &mut own {
            assert_eq!(conn.get("/status").status, 200);
        }
        assert!(silent.is_silent_for(Duration::from_millis(50)), "the other client was closed");
    });
}

#[test]
fn the_admin_socket_is_served_when_all_places_are_taken() {
    let server = patient(Setup::new(), 3).with_admin_socket().start();
    let _silent: Vec<Conn> = (0..6).map(|_| server.connect()).collect();
    let mut stream = std::os::unix::net::UnixStream::connect(server.admin_socket()).unwrap();
    let request = b"GET /admin/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
