//! Tests of following over WebSocket, with the tungstenite client and frame by frame.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tungstenite::handshake::client::Request;
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Error, Message, client};

use crate::harness::{Conn, KEY, ROOT, Response, Server, Setup, eventually, route};

const LONG: Duration = Duration::from_secs(20);

pub(super) fn open(server: &Server, query: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let url = format!("ws://{}{}?{query}", server.address(), route("tail"));
    let request = Request::builder()
        .uri(url)
        .header("Host", "log.test")
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key())
        .header("API-KEY", KEY)
        .header("ROOT-PASS", ROOT)
        .body(())
        .unwrap();
    let (socket, answer) = client(request, stream).unwrap();
    assert!(answer.headers().contains_key("moca-cursor"), "{answer:?}");
    socket
}

/// Returns the next record and skips control messages.
pub(super) fn next(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        match socket.read().expect("a message") {
            Message::Text(text) => return serde_json::from_str(&text).expect("an object"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until the server sends a close frame, and returns its code.
pub(super) fn closed(socket: &mut WebSocket<TcpStream>) -> u16 {
    let mut code = None;
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => code = frame.map(|CloseFrame { code, .. }| u16::from(code)),
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return code.expect("a closing frame with a code"),
            Err(error) => panic!("{error}"),
        }
    }
}

const HANDSHAKE: [(&str, &str); 6] = [
    ("API-KEY", KEY),
    ("ROOT-PASS", ROOT),
    ("Connection", "Upgrade"),
    ("Upgrade", "WebSocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Holds a WebSocket connection on which the test itself writes and reads the frames.
struct Raw(Conn);

impl Raw {
    fn open(server: &Server, query: &str) -> Self {
        let mut conn = server.connect();
        conn.send("GET", &format!("{}?{query}", route("tail")), &HANDSHAKE, b"").unwrap();
        let head = conn.read_head().unwrap();
        assert_eq!(head.status, 101, "{head:?}");
        // This is the example of RFC 6455, section 1.3.
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(head.expect_header("upgrade").eq_ignore_ascii_case("websocket"));
        Self(conn)
    }

    fn send(&mut self, first: u8, payload: &[u8]) {
        self.0.send_raw(&masked(first, payload)).unwrap();
    }

    /// Returns the first byte and the payload of the next frame.
    fn receive(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let head = self.0.receive_exactly(2)?;
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.0.receive_exactly(2)?.try_into().unwrap())),
            127 => u64::from_be_bytes(self.0.receive_exactly(8)?.try_into().unwrap()),
            short => {
                assert!(short < 126, "a server does not mask");
                u64::from(short)
            }
        };
        Ok((head[0], self.0.receive_exactly(usize::try_from(length).unwrap())?))
    }

    /// Returns the code with which the server closes. The connection must end after it.
    fn closes(&mut self) -> u16 {
        loop {
            let (first, payload) = self.receive().expect("a closing frame");
            if first == 0x88 {
                assert!(self.0.is_closed_within(Duration::from_secs(3)));
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 200, 31];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
        huge => {
            frame.push(0x80 | 127);
            frame.extend((huge as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(0..).map(|(byte, at): (&u8, usize)| byte ^ mask[at % 4]));
    frame
}

#[test]
fn each_record_is_one_message() {
    let server = Setup::new().start();
    server.save("before");
    let mut socket = open(&server, "lines=1");
    assert_eq!(next(&mut socket)["message"], "before");
    // The messages need frame heads of every length.
    for message in
        ["one", "", "\u{2028} \r\n \u{1F600}", &"x".repeat(300), &"é".repeat(8000), &"\u{1}".repeat(8192)]
    {
        server.save(message);
        let object = next(&mut socket);
        assert_eq!(object["message"], message);
        let names: Vec<&String> = object.as_object().unwrap().keys().collect();
        assert_eq!(names.len(), 9, "{names:?}");
    }
    let last = next_cursor(&server, &mut socket);
    server.save("missed");
    let mut resumed = open(&server, &format!("cursor={last}&output=text&contains=miss&limit=1"));
    assert_eq!(next(&mut resumed)["message"], "missed");
    assert_eq!(closed(&mut resumed), 1000, "after its limit");
}

fn next_cursor(server: &Server, socket: &mut WebSocket<TcpStream>) -> String {
    server.save("one more");
    next(socket)["cursor"].as_str().unwrap().to_owned()
}

#[test]
fn it_works_over_tls() {
    let server = Setup::new().tls().start();
    let mut raw = Raw::open(&server, "");
    server.save("in secret");
    let (first, payload) = raw.receive().unwrap();
    assert_eq!(first, 0x81);
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["message"], "in secret");
}

fn refused(server: &Server, query: &str, changes: &[(&str, &str)]) -> Response {
    let mut headers: Vec<(&str, &str)> = HANDSHAKE.to_vec();
    for (name, value) in changes {
        headers.retain(|(kept, _)| kept != name);
        headers.extend((!value.is_empty()).then_some((*name, *value)));
    }
    let mut conn = server.connect();
    let answer = conn.request("GET", &format!("{}?{query}", route("tail")), &headers, b"");
    // The connection still speaks HTTP.
    assert_eq!(conn.get("/status").status, 200);
    answer
}

#[test]
fn refusals_come_before_the_upgrade() {
    let server = Setup::new().start();
    server.save("m");
    let saved = server.request(
        "GET",
        &format!("{}?message=x&api_key={KEY}", route("save-log")),
        &[("Accept", "application/json")],
        b"",
    );
    server.save("y");
    server.root_get("clear-logs").success();
    let cleared = saved.json()["cursor"].as_str().unwrap().to_owned();
    for (query, changes, status) in [
        ("", &[("API-KEY", "")][..], 401),
        ("", &[("API-KEY", "unknown")], 401),
        ("", &[("ROOT-PASS", "wrong")], 403),
        ("order=desc", &[], 400),
        ("cursor=x", &[], 400),
        (&format!("cursor={cleared}"), &[], 410),
        ("", &[("Sec-WebSocket-Key", "")], 400),
        ("", &[("Sec-WebSocket-Key", "c2hvcnQ=")], 400),
        ("", &[("Sec-WebSocket-Key", "no base64 at all, but long")], 400),
        ("", &[("Connection", "keep-alive")], 400),
        ("", &[("Sec-WebSocket-Version", "8")], 426),
        ("", &[("Sec-WebSocket-Version", "")], 426),
    ] {
        let answer = refused(&server, query, changes);
        answer.problem(status);
        if status == 410 {
            assert!(answer.json()["oldest"].is_string(), "{answer:?}");
        }
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
            assert_eq!(answer.header("upgrade"), Some("websocket"));
        }
    }
    // Other routes offer no upgrade and answer the request.
    let answer = server.get_with(&route("details"), &HANDSHAKE);
    assert_eq!(answer.status, 200, "{answer:?}");
    // An upgrade to another protocol is ignored.
    let other = [("Upgrade", "h2c"), ("Connection", "Upgrade")];
    let answer = server.request("HEAD", &route("tail"), &[&HANDSHAKE[..2], &other].concat(), b"");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn messages_of_the_client_are_ignored_except_control_frames() {
    let server = Setup::new().start();
    let mut raw = Raw::open(&server, "");
    raw.send(0x81, b"hello");
    raw.send(0x82, &[0xff; 1000]);
    raw.send(0x01, b"a text ");
    raw.send(0x89, b"are you there?");
    raw.send(0x80, b"in two pieces");
    assert_eq!(raw.receive().unwrap(), (0x8a, b"are you there?".to_vec()));
    server.save("m");
    assert_eq!(raw.receive().unwrap().0, 0x81);
    raw.send(0x88, b"\x0f\xa1bye");
    assert_eq!(raw.closes(), 4001, "its own code");
    // A browser's close() sends no code. The server must not answer it with code 0.
    let mut raw = Raw::open(&server, "");
    raw.send(0x88, b"");
    assert_eq!(raw.receive().unwrap(), (0x88, Vec::new()));
    assert!(raw.0.is_closed_within(Duration::from_secs(3)));
    // The client ends the connection without a close frame.
    let leaving = Raw::open(&server, "");
    drop(leaving);
    server.assert_alive();
}

#[test]
fn protocol_errors_close_the_connection() {
    let server = Setup::new().start();
    for (bytes, code) in [
        (vec![0x81, 0x02, b'h', b'i'], 1002),
        (masked(0x80, b"continues nothing"), 1002),
        (masked(0x83, b""), 1002),
        (masked(0xc1, b"compressed?"), 1002),
        (masked(0x09, b"half a ping"), 1002),
        (masked(0x89, &[0; 126]), 1002),
        (masked(0x88, b"x"), 1002),
    ] {
        let mut raw = Raw::open(&server, "");
        raw.0.send_raw(&bytes).unwrap();
        assert_eq!(raw.closes(), code, "{bytes:?}");
    }
    server.assert_alive();
}

#[test]
fn a_message_above_the_limit_closes_the_connection() {
    let server = Setup::new().http("websocket_max_size = 1000").start();
    let mut raw = Raw::open(&server, "");
    raw.send(0x82, &[0; 1000]);
    raw.send(0x89, b"fits");
    assert_eq!(raw.receive().unwrap(), (0x8a, b"fits".to_vec()));
    // The message is one frame whose payload is not sent.
    raw.0.send_raw(&masked(0x82, &[0; 1001])[..8]).unwrap();
    assert_eq!(raw.closes(), 1009);
    let mut raw = Raw::open(&server, "");
    raw.send(0x02, &[0; 600]);
    raw.send(0x80, &[0; 401]);
    assert_eq!(raw.closes(), 1009, "in two");
    let server = Setup::new().start();
    let mut raw = Raw::open(&server, "");
    raw.send(0x82, &vec![0; 1 << 20]);
    raw.send(0x89, b"as usual");
    assert_eq!(raw.receive().unwrap(), (0x8a, b"as usual".to_vec()));
    raw.0.send_raw(&masked(0x82, &vec![0; (1 << 20) + 1])[..14]).unwrap();
    assert_eq!(raw.closes(), 1009);
}

#[test]
fn a_client_that_does_not_answer_pings_is_disconnected() {
    let server = Setup::new().http("websocket_ping_interval = 0.3\nwebsocket_ping_timeout = 0.7").start();
    let started = Instant::now();
    let mut raw = Raw::open(&server, "");
    for _ in 0..4 {
        let (first, payload) = raw.receive().unwrap();
        assert_eq!(first, 0x89);
        raw.send(0x8a, &payload);
    }
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(raw.closes(), 1011, "no more answers");
    let took = started.elapsed();
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(4), "{took:?}");

    let server = Setup::new().http("websocket_ping_interval = 0\nwebsocket_ping_timeout = 1").start();
    let mut raw = Raw::open(&server, "");
    assert!(raw.0.is_silent_for(Duration::from_millis(1500)), "no pings");
    let server = Setup::new().http("websocket_ping_interval = 0.2\nwebsocket_ping_timeout = 0").start();
    let mut raw = Raw::open(&server, "");
    for _ in 0..6 {
        assert_eq!(raw.receive().unwrap().0, 0x89, "the client waits for no answer");
    }
}

/// Returns the number of bytes in the server's receive buffer.
fn unread(server: &Server) -> u64 {
    let port = format!(":{:04X}", server.address().port());
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", server.pid())).expect("connections");
    let mut unread = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields.get(1)?.ends_with(&port) && *fields.get(3)? == "01";
        let (_, waiting) = fields.get(4)?.split_once(':')?;
        ours.then(|| u64::from_str_radix(waiting, 16).expect("a number"))
    });
    unread.next().expect("a connection")
}

/// Opens a client that reads nothing and sends this many pings. Returns the connection, and the
/// unread bytes of the pings.
fn pings_behind_a_backlog(settings: &str, pings: usize) -> (Server, Raw, u64) {
    let server = Setup::new().http(settings).http("websocket_ping_interval = 0").start();
    let mut raw = Raw::open(&server, "");
    let logs: Vec<Value> = (0..1000).map(|_| json!({"msg": "x".repeat(8000)})).collect();
    server.save_batch(&json!(logs)).success();
    server.save_batch(&json!(logs)).success();
    // Waits until the buffers are full.
    std::thread::sleep(Duration::from_millis(500));
    let pings: Vec<u8> =
        (0..pings).flat_map(|ping| masked(0x89, &u32::try_from(ping).unwrap().to_be_bytes())).collect();
    raw.0.send_raw(&pings).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let unread = unread(&server);
    (server, raw, unread)
}

/// Size of a masked ping with four bytes of payload.
const PING: u64 = 10;

#[test]
fn waiting_pings_are_bounded_and_all_answered() {
    let (_server, _raw, all_read) = pings_behind_a_backlog("websocket_max_queue = 1000", 500);
    assert_eq!(all_read, 0, "there is room for them");
    let settings = "websocket_max_queue = 3\nwebsocket_read_limit = 100";
    let (_server, mut raw, left) = pings_behind_a_backlog(settings, 500);
    assert!(left >= 500 * PING - 3 * PING - 100, "{left} bytes are left");
    let (mut records, mut pongs) = (0, 0_u32);
    while records < 2000 || pongs < 500 {
        match raw.receive().unwrap() {
            (0x81, _) => records += 1,
            (0x8a, payload) => {
                assert_eq!(payload, pongs.to_be_bytes());
                pongs += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn websocket_read_limit_bounds_each_read() {
    let (_server, _raw, usual) = pings_behind_a_backlog("websocket_max_queue = 1", 300);
    assert_eq!(usual, 0, "3,000 bytes fit into the buffer");
    let (_server, _raw, left) =
        pings_behind_a_backlog("websocket_max_queue = 1\nwebsocket_read_limit = 50", 300);
    assert!((300 * PING - 50..=300 * PING - PING).contains(&left), "{left}");
}

#[test]
fn websocket_write_limit_bounds_each_write() {
    for (limit, most) in [(Some(2000), 2000), (None, usize::MAX)] {
        let settings = limit.map_or_else(String::new, |limit| format!("websocket_write_limit = {limit}"));
        let server = Setup::new().http(&settings).start();
        let logs: Vec<Value> = (0..1000).map(|_| json!({"msg": "x".repeat(100)})).collect();
        let mut socket = open(&server, "");
        let Some(traced) = traced(&server, || {
            server.save_batch(&json!(logs)).success();
            (0..1000).for_each(|_| drop(next(&mut socket)));
        }) else {
            return;
        };
        let largest = traced.into_iter().max().expect("something was sent");
        assert!(largest <= most, "{largest} bytes at once");
        if limit.is_none() {
            assert!(largest > 8000, "{largest}");
        }
    }
}

/// Returns the lengths of the server's writes to sockets while `meanwhile` runs.
fn traced(server: &Server, meanwhile: impl FnOnce()) -> Option<Vec<usize>> {
    let output = server.root_dir().join("trace.txt");
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=sendto,write,sendmsg", "-e", "signal=none", "-o"]).arg(&output);
    let Ok(mut strace) = command.arg("-p").arg(server.pid().to_string()).spawn() else {
        crate::harness::cannot_run("strace is missing");
        return None;
    };
    let attached = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    eventually("strace is attached", Duration::from_secs(10), attached);
    std::thread::sleep(Duration::from_millis(300));
    meanwhile();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(strace.id()).unwrap()), Signal::SIGINT)
        .unwrap();
    strace.wait().unwrap();
    let text = std::fs::read_to_string(output).unwrap();
    let sent = text.lines().filter(|line| line.contains("sendto(") && line.contains("\\201"));
    Some(sent.filter_map(|line| line.rsplit_once("= ")?.1.trim().parse().ok()).collect())
}

#[test]
fn a_stop_closes_with_1001() {
    let mut server = Setup::new().start();
    let mut socket = open(&server, "");
    server.save("m");
    next(&mut socket);
    let started = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(closed(&mut socket), 1001);
    assert!(server.wait_for_exit(Duration::from_secs(8)).success());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn a_follower_that_loses_its_permission_is_closed() {
    let server = Setup::new().start();
    let mut socket = open(&server, "");
    server.set("api_key.json", "/0/status", json!(false));
    assert_eq!(closed(&mut socket), 1008);
}

#[test]
fn it_outlasts_http_timeouts_but_not_a_client_that_does_not_read() {
    let settings =
        "keep_alive_timeout = 1\nrequest_timeout = 1\nresponse_timeout = 1\nwebsocket_ping_interval = 0";
    let server = Setup::new().http(settings).start();
    let mut socket = open(&server, "");
    std::thread::sleep(Duration::from_millis(2500));
    server.save("still there");
    assert_eq!(next(&mut socket)["message"], "still there");
    let logs: Vec<Value> = (0..100).map(|_| json!({"msg": "x".repeat(8000)})).collect();
    // The requests are small, because the timeouts apply to them too.
    for _ in 0..10 {
        server.save_batch(&json!(logs)).success();
    }
    eventually("the server cuts it", LONG, || server.connections() == 0);
    let mut stream = socket.get_ref();
    let mut rest = Vec::new();
    let outcome = stream.read_to_end(&mut rest);
    assert!(outcome.is_err() || rest.len() < 8_000_000, "all of it came");
}

#[test]
fn a_handshake_and_frames_in_one_packet_work() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    let mut bytes = format!("GET {} HTTP/1.1\r\nHost: a\r\n", route("tail"));
    for (name, value) in HANDSHAKE {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    let bytes = [format!("{bytes}\r\n").as_bytes(), &masked(0x89, b"early")].concat();
    conn.send_raw(&bytes).unwrap();
    assert_eq!(conn.read_head().unwrap().status, 101);
    assert_eq!(Raw(conn).receive().unwrap(), (0x8a, b"early".to_vec()));
}
