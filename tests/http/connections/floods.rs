//! Tests of floods of HTTP/2 frames, with TLS and by prior knowledge. A flood ends its connection,
//! costs bounded memory and few lines in the journal, and delays no other client.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, Server, Setup, each, eventually, route};

/// A time in which the server certainly ends a flood.
const LIMIT: Duration = Duration::from_secs(10);

/// The control frames of a flood, and the frame that the connection begins with.
struct Flood {
    name: &'static str,
    /// The request on stream 1 that has to be open or answered.
    before: Option<(&'static str, bool)>,
    frame: Vec<u8>,
}

fn floods() -> Vec<Flood> {
    let flood = |name, before, frame| Flood { name, before, frame };
    vec![
        flood("PING", None, frames::frame(frames::PING, 0, 0, b"12345678")),
        flood("PING with ACK", None, frames::frame(frames::PING, frames::ACK, 0, b"12345678")),
        flood("SETTINGS", None, frames::frame(frames::SETTINGS, 0, 0, &[])),
        flood("WINDOW_UPDATE", None, frames::frame(frames::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        flood("PRIORITY", None, frames::frame(frames::PRIORITY, 0, 1, &[0, 0, 0, 0, 5])),
        flood("of no known type", None, frames::frame(200, 0, 0, &[])),
        flood("RST_STREAM", Some(("GET", true)), frames::frame(frames::RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        flood("empty DATA", Some(("POST", false)), frames::frame(frames::DATA, 0, 1, &[])),
        flood("padding", Some(("POST", false)), frames::frame(frames::DATA, 8, 1, &[0])),
    ]
}

impl Flood {
    /// Opens a connection on which the flood may begin, from another address each time, because a new
    /// connection of a flooder waits.
    fn open(&self, server: &Server) -> Frames {
        let mut frames = Frames::open_from(another_address(), server);
        if let Some((method, ends)) = self.before {
            frames.request(1, method, &route("save-log"), &[("api-key", KEY)], ends).unwrap();
            if ends {
                frames.receive_one_of(&[frames::HEADERS]).unwrap();
            }
        }
        frames
    }
}

/// Returns an address of this machine that no other flood has.
fn another_address() -> IpAddr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let [.., third, fourth] = (0x100 + COUNT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    IpAddr::from([127, 0, third, fourth])
}

/// Returns the error code of the GOAWAY that ends the connection.
fn error_of_the_end(frames: &mut Frames) -> Option<u32> {
    let received = frames.until_closed(LIMIT);
    received.iter().rev().find(|frame| frame.kind == frames::GOAWAY).map(frames::Frame::error_code)
}

#[test]
fn each_flood_of_control_frames_ends_with_enhance_your_calm() {
    each(|setup| {
        let server = setup.start();
        for flood in floods() {
            let mut frames = flood.open(&server);
            // The server may close before all bytes are sent.
            frames.conn.send_raw(&flood.frame.repeat(3000)).ok();
            let error = error_of_the_end(&mut frames);
            assert_eq!(error, Some(frames::ENHANCE_YOUR_CALM), "{}", flood.name);
        }
        server.assert_alive();
        assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
    });
}

#[test]
fn a_client_that_never_reads_is_cut_as_well() {
    let server = Setup::new().start();
    for flood in floods() {
        let mut frames = flood.open(&server);
        frames.conn.send_raw(&flood.frame.repeat(3000)).ok();
        eventually(flood.name, LIMIT, || {
            server.connections() == 0 || { frames.conn.send_raw(&flood.frame).is_err() }
        });
    }
    server.assert_alive();
}

/// Each request brings a budget for ten further control frames.
#[test]
fn a_client_with_many_requests_and_pings_is_never_cut() {
    each(|setup| {
        let server = setup.start();
        let mut frames = Frames::open_to(&server, &[]);
        for n in 0..700 {
            let stream = 2 * n + 1;
            frames.request(stream, "GET", "/status", &[], true).unwrap();
            for _ in 0..4 {
                frames.send(frames::PING, 0, 0, b"12345678").unwrap();
            }
            for _ in 0..4 {
                frames.send(frames::WINDOW_UPDATE, 0, 0, &100_u32.to_be_bytes()).unwrap();
            }
            assert_eq!(frames.status().unwrap(), (stream, 200));
        }
    });
}

#[test]
fn a_client_that_downloads_in_small_windows_is_never_cut() {
    let server = Setup::new().start();
    for n in 0..200 {
        server.save(&format!("{n} {}", "x".repeat(500)));
    }
    let mut frames = Frames::open_to(&server, &[(frames::INITIAL_WINDOW_SIZE, 40)]);
    let headers = [("api-key", KEY), ("root-pass", crate::harness::ROOT)];
    frames.request(1, "GET", &route("get-logs"), &headers, true).unwrap();
    let mut count = 0;
    loop {
        let frame = frames.receive_one_of(&[frames::DATA, frames::GOAWAY, frames::RST_STREAM]).unwrap();
        assert_eq!(frame.kind, frames::DATA, "{frame:?} after {count} frames");
        count += 1;
        if frame.flags & frames::END_STREAM != 0 {
            break;
        }
        for stream in [0, 1] {
            frames.send(frames::WINDOW_UPDATE, 0, stream, &40_u32.to_be_bytes()).unwrap();
        }
    }
    assert!(count > 2000, "{count} frames");
}

#[test]
fn streams_of_all_connections_are_bounded() {
    each(|setup| {
        let server = setup
            .key("slow", &json!({"delay": 1}))
            .http("max_streams = 40")
            .http("response_timeout = 20")
            .start();
        let target = format!("{}?api_key=slow&message=m", route("save-log"));
        let mut connections: Vec<Frames> = (0..3).map(|_| Frames::open_to(&server, &[])).collect();
        let (mut answered, mut refused) = (0, 0);
        for frames in &mut connections {
            for n in 0..20 {
                frames.request(2 * n + 1, "GET", &target, &[], true).unwrap();
            }
            // The server has seen all requests when it answers this.
            frames.send(frames::PING, 0, 0, b"12345678").unwrap();
        }
        for frames in &mut connections {
            for _ in 0..20 {
                let frame = frames.receive_one_of(&[frames::HEADERS, frames::RST_STREAM]).unwrap();
                if frame.kind == frames::HEADERS {
                    answered += 1;
                } else {
                    assert_eq!(frame.error_code(), frames::REFUSED_STREAM);
                    refused += 1;
                }
            }
        }
        assert_eq!((answered, refused), (40, 20));
        let mut frames = Frames::open_to(&server, &[]);
        frames.request(1, "GET", "/status", &[], true).unwrap();
        assert_eq!(frames.status().unwrap(), (1, 200), "the places were given back");
    });
}

/// Returns the frames of requests that are reset at once, from stream `first` on.
fn rapid_resets(first: u32, count: u32) -> Vec<u8> {
    let head = frames::head("GET", "/status", &[]);
    let mut bytes = Vec::new();
    for stream in (first..).step_by(2).take(count as usize) {
        bytes.extend_from_slice(&frames::frame(frames::HEADERS, 5, stream, &head));
        bytes.extend_from_slice(&frames::frame(frames::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    bytes
}

#[test]
fn floods_write_few_lines_to_the_journal_and_name_the_client() {
    let server = Setup::new().start();
    let resets = rapid_resets(1, 500);
    let pongs = frames::frame(frames::PING, frames::ACK, 0, b"12345678").repeat(2000);
    for _ in 0..12 {
        for flood in [&resets, &pongs] {
            let mut frames = Frames::open_from(another_address(), &server);
            frames.conn.send_raw(flood).ok();
            assert_eq!(error_of_the_end(&mut frames), Some(frames::ENHANCE_YOUR_CALM));
        }
    }
    eventually("the floods are logged", LIMIT, || server.stderr().contains("frame-flood"));
    let journal = server.stderr();
    let lines: Vec<&str> = journal.lines().filter(|line| line.starts_with("WARN")).collect();
    assert!(lines.len() <= 10, "{} lines: {lines:#?}", lines.len());
    for line in lines {
        assert!(line.contains("MOCA_CLIENT=127.0."), "{line}");
    }
}

#[test]
fn floods_of_one_network_are_logged_once_in_a_minute() {
    let server = Setup::new().start();
    let pings = frames::frame(frames::PING, 0, 0, b"12345678").repeat(1100);
    let source = another_address();
    for _ in 0..3 {
        let mut frames = Frames::open_from(source, &server);
        frames.conn.send_raw(&pings).ok();
        assert_eq!(error_of_the_end(&mut frames), Some(frames::ENHANCE_YOUR_CALM));
    }
    // Its line comes after those of the first network.
    let mut last = Frames::open_from(another_address(), &server);
    last.conn.send_raw(&pings).ok();
    assert_eq!(error_of_the_end(&mut last), Some(frames::ENHANCE_YOUR_CALM));
    let logged = || server.stderr().matches("MOCA_EVENT=frame-flood").count();
    eventually("the flood of the other network is logged", LIMIT, || logged() >= 2);
    assert_eq!(logged(), 2, "{}", server.stderr());
}

/// Saves records on a kept connection for some time. Returns the median of the times of an answer.
fn median_of_saves(conn: &mut Conn, time: Duration) -> Duration {
    let body = json!({"api_key": KEY, "message": "kept"});
    let until = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        conn.post_json(&route("save-log"), &body).success();
        times.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(3));
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Opens a connection for a flood from an address. Returns it with the bytes of the flood.
type BeginFlood = dyn Fn(&Server, IpAddr) -> (Conn, Vec<u8>) + Sync;

/// Sends a flood on new connections until `over`.
fn attack(server: &Server, source: IpAddr, begin: &BeginFlood, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let (mut conn, bytes) = begin(server, source);
        while !over.load(Ordering::Relaxed) && conn.send_raw(&bytes).is_ok() {
            // So the server never waits for this client.
            conn.discard_received();
        }
    }
}

/// Returns all floods that must not delay other clients, with their names.
fn begins_of_floods() -> Vec<(&'static str, Box<BeginFlood>)> {
    let mut kinds: Vec<(&str, Box<BeginFlood>)> = Vec::new();
    for flood in floods() {
        let begin = move |server: &Server, source| {
            let mut frames = Frames::open_from(source, server);
            if let Some((method, ends)) = flood.before {
                frames.request(1, method, &route("save-log"), &[("api-key", KEY)], ends).ok();
            }
            (frames.conn, flood.frame.repeat(4000))
        };
        kinds.push((flood.name, Box::new(begin)));
    }
    let resets = rapid_resets(1, 2000);
    let mut continuations = frames::frame(frames::HEADERS, 1, 1, &frames::head("GET", "/status", &[]));
    continuations.extend(frames::frame(9, 0, 1, &[]).repeat(4000));
    for (name, bytes) in [("rapid reset", resets), ("CONTINUATION", continuations)] {
        let begin = move |server: &Server, source| (Frames::open_from(source, server).conn, bytes.clone());
        kinds.push((name, Box::new(begin)));
    }
    let chunks = move |server: &Server, source| {
        let mut conn = server.connect_from(source);
        let head = [("API-KEY", KEY), ("Transfer-Encoding", "chunked"), ("Content-Type", "text/plain")];
        conn.send("POST", &route("save-log"), &head, b"").unwrap();
        (conn, b"1\r\nx\r\n".repeat(20_000))
    };
    kinds.push(("chunks of HTTP/1", Box::new(chunks)));
    let short = "GET /status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200);
    let fields: String = (0..20).map(|number| format!("X-{number}: {}\r\n", "y".repeat(600))).collect();
    let long = format!("GET /status HTTP/1.1\r\nHost: a\r\n{fields}\r\n").repeat(4);
    for (name, requests) in [("pipelined requests", short), ("pipelined large heads", long)] {
        let begin =
            move |server: &Server, source| (server.connect_from(source), requests.clone().into_bytes());
        kinds.push((name, Box::new(begin)));
    }
    kinds
}

#[test]
fn a_kept_connection_stays_responsive_during_floods() {
    // One after the other, so that the clients of two floods do not share the cores.
    for setup in [Setup::new(), Setup::new().tls()] {
        let server = setup.start();
        let mut kept = server.connect();
        median_of_saves(&mut kept, Duration::from_millis(200));
        let rest = median_of_saves(&mut kept, Duration::from_millis(500));
        for (name, begin) in begins_of_floods() {
            // The clients of one flood share an address, so that they wait before they connect again.
            let (over, source) = (AtomicBool::new(false), another_address());
            let median = std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| attack(&server, source, &*begin, &over));
                }
                let median = median_of_saves(&mut kept, Duration::from_millis(700));
                over.store(true, Ordering::Relaxed);
                median
            });
            // The clients of the flood and the server share the cores of this machine.
            let limit = (5 * rest).max(Duration::from_millis(150));
            assert!(median <= limit, "{name}: {median:?} instead of {rest:?}");
        }
        assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
    }
}

#[test]
fn the_end_of_a_flood_does_not_wait_for_its_client() {
    let server = Setup::new().start();
    let mut frames = Frames::open_to(&server, &[]);
    frames.conn.send_raw(&frames::frame(frames::PING, 0, 0, b"12345678").repeat(1100)).unwrap();
    // This client neither closes nor sends more.
    assert_eq!(error_of_the_end(&mut frames), Some(frames::ENHANCE_YOUR_CALM));
    eventually("nothing is open", LIMIT, || server.connections() == 0);
}

#[test]
fn a_broken_record_after_a_flood_ends_the_connection() {
    let server = Setup::new().tls().start();
    let mut frames = Frames::open_to(&server, &[]);
    frames.conn.send_raw(&frames::frame(frames::PING, 0, 0, b"12345678").repeat(1100)).unwrap();
    let goaway = frames.receive_one_of(&[frames::GOAWAY]).unwrap();
    assert_eq!(goaway.error_code(), frames::ENHANCE_YOUR_CALM);
    // A record of TLS 1.3 that no key decrypts.
    frames.conn.send_below_tls(&[&[0x17, 3, 3, 0, 32], &[0xaa; 32][..]].concat()).unwrap();
    eventually("nothing is open", LIMIT, || server.connections() == 0);
    server.assert_alive();
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}
