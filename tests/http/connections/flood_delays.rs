//! Tests of the delay of new connections from a network that has sent floods.

use std::net::IpAddr;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, ROOT, Server, Setup, each, eventually};

/// Number of floods after which a new connection waits for two seconds.
const MANY_FLOODS: usize = 6;

const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Time without a flood after which the floods are forgotten.
const CALM: Duration = Duration::from_secs(10);

fn flooder() -> IpAddr {
    "127.0.3.1".parse().unwrap()
}

fn other() -> IpAddr {
    "127.0.3.2".parse().unwrap()
}

/// Sends a flood on a new connection and waits until the server closes it.
fn flood(server: &Server, source: IpAddr) {
    let mut frames = Frames::open_from(source, server);
    frames.conn.send_raw(&frames::frame(frames::PING, 0, 0, b"12345678").repeat(1100)).unwrap();
    let end = frames.receive_one_of(&[frames::GOAWAY]).unwrap();
    assert_eq!(end.error_code(), frames::ENHANCE_YOUR_CALM);
    frames.until_closed(Duration::from_secs(10));
}

/// Sends a request on a new connection in another thread. Returns the time until its answer.
fn request_of(server: &Server, source: IpAddr) -> JoinHandle<Duration> {
    let (address, has_tls) = (server.address(), server.has_tls());
    spawn(move || {
        let began = Instant::now();
        let conn = if has_tls {
            Conn::open_tls_from(source, address, "http/1.1")
        } else {
            Conn::open_from(source, address)
        };
        assert_eq!(conn.unwrap().get("/status").status, 200);
        began.elapsed()
    })
}

fn metric(conn: &mut Conn, name: &str) -> u64 {
    let page = conn.request("GET", "/metrics", &[("API-KEY", KEY), ("ROOT-PASS", ROOT)], b"").text();
    let line = page.lines().find(|line| line.starts_with(&format!("{name} "))).expect("a metric");
    line[name.len() + 1..].parse().unwrap()
}

#[test]
fn a_new_connection_of_a_flooder_waits_and_no_other_one() {
    each(|setup| {
        let server = setup.http("keep_alive_timeout = 60").start();
        let mut kept = server.connect_from(flooder());
        assert_eq!(kept.get("/status").status, 200);
        assert_eq!(metric(&mut kept, "moca_delayed_connections_total"), 0);
        for _ in 0..MANY_FLOODS {
            flood(&server, flooder());
        }
        let waiting = request_of(&server, flooder());
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(kept.get("/status").status, 200);
        assert_eq!(server.connect_from(other()).get("/status").status, 200);
        assert!(!waiting.is_finished(), "the new connection of the flooder did not wait");
        let delay = waiting.join().unwrap();
        assert!(delay >= LONGEST_DELAY - Duration::from_millis(20), "{delay:?}");
        assert_eq!(metric(&mut kept, "moca_floods_total"), MANY_FLOODS as u64);
        // The first flood had no delay.
        assert_eq!(metric(&mut kept, "moca_delayed_connections_total"), MANY_FLOODS as u64);

        std::thread::sleep(CALM);
        assert_eq!(server.connect_from(flooder()).get("/status").status, 200);
        assert_eq!(metric(&mut kept, "moca_delayed_connections_total"), MANY_FLOODS as u64, "not forgotten");
    });
}

#[test]
fn a_connection_that_waits_gives_way_when_all_places_are_taken() {
    each(|setup| {
        let server = setup.http("max_connections = 4").start();
        for _ in 0..MANY_FLOODS {
            flood(&server, flooder());
        }
        let waiting: Vec<Conn> = (0..4)
            .map(|_| {
                let mut conn = Conn::open_from(flooder(), server.address()).unwrap();
                // The begin of a handshake, or of a request.
                conn.send_raw(if server.has_tls() { &[22] } else { b"GET" }).unwrap();
                conn
            })
            .collect();
        let began = Instant::now();
        let mut served: Vec<Conn> = (0..3).map(|_| server.connect_from(other())).collect();
        for conn in &mut served {
            assert_eq!(conn.get("/status").status, 200);
        }
        assert!(began.elapsed() < LONGEST_DELAY, "{:?}", began.elapsed());
        drop(waiting);
    });
}

#[test]
fn a_client_that_closes_while_it_waits_leaves_its_place() {
    let server = Setup::new().tls().http("keep_alive_timeout = 60").start();
    let mut kept = server.connect_from(other());
    for _ in 0..MANY_FLOODS {
        flood(&server, flooder());
    }
    eventually("the floods have ended", CALM, || metric(&mut kept, "moca_connections") == 1);
    let mut left = Conn::open_from(flooder(), server.address()).unwrap();
    left.send_raw(&[22]).unwrap();
    eventually("it waits", CALM, || {
        metric(&mut kept, "moca_delayed_connections_total") == MANY_FLOODS as u64
    });
    let waiting = request_of(&server, flooder());
    eventually("both are there", CALM, || metric(&mut kept, "moca_connections") == 3);
    drop(left);
    eventually("one has left", CALM, || metric(&mut kept, "moca_connections") < 3);
    assert!(!waiting.is_finished(), "the place was taken as long as that of a client that waits");
    waiting.join().unwrap();
}

#[test]
fn a_stop_answers_a_client_that_waits() {
    each(|setup| {
        let mut server = setup.http("keep_alive_timeout = 60").start();
        let mut kept = server.connect_from(other());
        for _ in 0..MANY_FLOODS {
            flood(&server, flooder());
        }
        let delayed = metric(&mut kept, "moca_delayed_connections_total");
        let waiting = request_of(&server, flooder());
        eventually("it waits", CALM, || metric(&mut kept, "moca_delayed_connections_total") > delayed);
        drop(kept);
        assert!(server.stop().success());
        assert!(waiting.join().unwrap() < LONGEST_DELAY);
    });
}
