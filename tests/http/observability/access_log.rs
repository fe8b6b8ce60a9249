//! Tests of the access log. It has one line for each request in the Combined Log Format, without
//! forged fields and secrets.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Conn, KEY, ROOT, Setup, cannot_run, eventually, route};

/// Holds a line of the Combined Log Format, parsed by the grammar `h l u [t] "r" s b "referer"
/// "agent"`. A quoted field contains no quote.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    client: String,
    user: String,
    request: String,
    status: u16,
    bytes: u64,
    referer: String,
    agent: String,
}

fn parse(line: &str) -> Entry {
    try_parse(line).unwrap_or_else(|| panic!("not in the Combined Log Format: {line:?}"))
}

fn try_parse(line: &str) -> Option<Entry> {
    let (client, rest) = line.split_once(' ')?;
    let rest = rest.strip_prefix("- ")?;
    let (user, rest) = rest.split_once(' ')?;
    let (time, rest) = rest.strip_prefix('[')?.split_once(']')?;
    is_time(time).then_some(())?;
    let (request, rest) = rest.strip_prefix(" \"")?.split_once("\" ")?;
    let (status, rest) = rest.split_once(' ')?;
    let (bytes, rest) = rest.split_once(' ')?;
    let (referer, rest) = rest.strip_prefix('"')?.split_once("\" \"")?;
    let agent = rest.strip_suffix('"')?;
    let quoted = [request, referer, agent];
    if quoted.iter().any(|field| field.contains('"') || field.is_empty()) || status.len() != 3 {
        return None;
    }
    Some(Entry {
        client: client.to_owned(),
        user: user.to_owned(),
        request: request.to_owned(),
        status: status.parse().ok()?,
        bytes: bytes.parse().ok()?,
        referer: referer.to_owned(),
        agent: agent.to_owned(),
    })
}

/// Returns whether the text has the form `25/Nov/2026:09:35:44 +0000`.
fn is_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| match c {
            '0'..='9' => '9',
            'a'..='z' => 'a',
            'A'..='Z' => 'A',
            '-' => '+',
            other => other,
        })
        .collect();
    shape == "99/Aaa/9999:99:99:99 +9999"
}

fn with_access_log() -> Setup {
    Setup::new().server("access_log", json!(true))
}

#[test]
fn every_request_writes_one_line() {
    let server = with_access_log()
        .posed()
        .keys(json!([{"key": KEY, "name": "front desk", "status": true}, {"key": "off", "name": "off"}]))
        .blacklist(json!(["203.0.113.66"]))
        .start();
    let save = route("save-log");
    let agent = ("User-Agent", "test/1.0 (x)");
    let from = |address: &'static str| ("X-Real-IP", address);
    let key = ("API-KEY", KEY);
    let target = format!("{save}?message=m");
    server.get_with(&target, &[key, from("203.0.113.7"), agent, ("Referer", "https://h/p")]).success();
    server.request("HEAD", &target, &[key], b"").text();
    server.post_json(&save, &json!({"api_key": KEY, "message": "m"})).success();
    server.get_with(&target, &[("API-KEY", "wrong")]).problem(401);
    server.get_with(&target, &[("API-KEY", "off")]).problem(403);
    server.get_with(&target, &[key, from("203.0.113.66")]).problem(403);
    server.get("/nothing").problem(404);
    server.request("PATCH", &save, &[], b"").problem(405);
    let logs = server.root_get("get-logs");
    let entries: Vec<_> = server.access_lines(9).iter().map(|line| parse(line)).collect();
    let short: Vec<_> =
        entries.iter().map(|e| (e.client.as_str(), e.user.as_str(), e.request.as_str(), e.status)).collect();
    let name = "front\\u{20}desk";
    assert_eq!(
        short,
        [
            ("203.0.113.7", name, "GET /moca-file-log/save-log?message=m HTTP/1.1", 200),
            ("127.0.0.1", name, "HEAD /moca-file-log/save-log?message=m HTTP/1.1", 200),
            ("127.0.0.1", name, "POST /moca-file-log/save-log HTTP/1.1", 200),
            ("127.0.0.1", "-", "GET /moca-file-log/save-log?message=m HTTP/1.1", 401),
            ("127.0.0.1", "off", "GET /moca-file-log/save-log?message=m HTTP/1.1", 403),
            ("203.0.113.66", "-", "GET /moca-file-log/save-log?message=m HTTP/1.1", 403),
            ("127.0.0.1", "-", "GET /nothing HTTP/1.1", 404),
            ("127.0.0.1", "-", "PATCH /moca-file-log/save-log HTTP/1.1", 405),
            ("127.0.0.1", name, "GET /moca-file-log/get-logs HTTP/1.1", 200),
        ]
    );
    assert_eq!((entries[0].referer.as_str(), entries[0].agent.as_str()), ("https://h/p", "test/1.0 (x)"));
    assert_eq!((entries[1].referer.as_str(), entries[1].agent.as_str()), ("-", "-"));
    let bytes: Vec<_> = [0, 1, 2, 8].map(|index| entries[index].bytes).into();
    assert_eq!(bytes, [8, 0, 8, logs.body.len() as u64]);
    let mode = fs::metadata(server.access_log_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777 & !0o640, 0, "{mode:o}");
}

#[test]
fn a_malformed_request_writes_a_line() {
    let server = with_access_log()
        .http("request_timeout = 1\nmax_header_size = 8192\nmax_connections_per_ip = 3")
        .start();
    let mut broken = server.connect();
    broken.send_raw(b"nonsense\r\n\r\n").unwrap();
    broken.read_to_end();
    let mut large = server.connect();
    large.send_raw(format!("GET /status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000)).as_bytes()).ok();
    large.read_to_end();
    let mut slow = server.connect();
    slow.send_raw(b"GET /status HT").unwrap();
    slow.read_to_end();
    let held: Vec<_> = (0..3).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(100));
    let mut refused = server.connect();
    assert_eq!(refused.receive("GET").unwrap().status, 503);
    drop(held);
    let mut found: Vec<_> = server
        .access_lines(4)
        .iter()
        .map(|line| parse(line))
        .map(|entry| (entry.client, entry.request, entry.status))
        .collect();
    found.sort_by_key(|(.., status)| *status);
    let bare = |status: u16| ("127.0.0.1".to_owned(), "-".to_owned(), status);
    assert_eq!(found, [400, 408, 431, 503].map(bare));
}

/// The line of a client that disconnects has the status that it would have got, because its record
/// is stored.
#[test]
fn a_client_that_disconnects_writes_a_line() {
    use nix::sys::socket::{setsockopt, sockopt::Linger};
    let server = with_access_log().key("slow", &json!({"delay": 0.5})).start();
    let request = format!("GET {}?message=m HTTP/1.1\r\nHost: h\r\nAPI-KEY: slow\r\n\r\n", route("save-log"));
    for reset in [false, true] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        if reset {
            setsockopt(&stream, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        }
        drop(stream);
    }
    let lines = server.access_lines(2);
    let statuses: Vec<_> = lines.iter().map(|line| parse(line).status).collect();
    assert!(statuses == [200, 200] && server.messages().len() == 2, "{lines:?}");
}

/// Every text that a client controls tries to end its field or its line.
#[test]
fn clients_cannot_forge_fields_or_lines() {
    let server = with_access_log().start();
    let forged = "\" 200 1 \"-\" \"-\"";
    let pieces: [&[u8]; 8] = [
        forged.as_bytes(),
        b"\\",
        b"\\\" 200",
        b"\xff\xfe",
        b"\xc2\x85",
        "\u{2028}".as_bytes(),
        b"\t",
        b"a] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"",
    ];
    let mut sent = 0;
    for piece in pieces {
        for field in ["Referer", "User-Agent", "Both"] {
            let mut conn = server.connect();
            let mut head = b"GET /status HTTP/1.1\r\nHost: h\r\n".to_vec();
            for name in ["Referer", "User-Agent"] {
                if field == name || field == "Both" {
                    head.extend_from_slice(format!("{name}: ").as_bytes());
                    head.extend_from_slice(piece);
                    head.extend_from_slice(b"\r\n");
                }
            }
            head.extend_from_slice(b"\r\n");
            conn.send_raw(&head).unwrap();
            assert_eq!(conn.receive("GET").unwrap().status, 200, "{piece:?}");
            sent += 1;
        }
        // hyper refuses most of these as a target. The line then does not contain them.
        let mut conn = server.connect();
        let mut head = b"GET /x?".to_vec();
        head.extend(piece.iter().filter(|byte| !byte.is_ascii_whitespace()));
        head.extend_from_slice(b" HTTP/1.1\r\nHost: h\r\n\r\n");
        conn.send_raw(&head).unwrap();
        let status = conn.receive("GET").unwrap().status;
        assert!((400..500).contains(&status), "{status}");
        sent += 1;
    }
    let mut method = server.connect();
    method.send_raw(b"G|T /status HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(method.receive("GET").unwrap().status, 405);
    let lines = server.access_lines(sent + 1);
    assert_eq!(lines.len(), sent + 1);
    for line in &lines {
        let entry = parse(line);
        assert!(entry.client == "127.0.0.1" && entry.user == "-", "{line}");
        assert!(line.chars().all(|c| c == '\t' || !c.is_control() && c != '\u{2028}'), "{line:?}");
    }
    let text = fs::read(server.access_log_path()).unwrap();
    assert!(std::str::from_utf8(&text).is_ok() && text.ends_with(b"\n"));
}

#[test]
fn lines_contain_no_secret() {
    let server = with_access_log().http("access_log = false").start();
    let secret = "somebody's-s3cret";
    let target = |name: &str| format!("{}?a=b&{name}={secret}&message=m", route("save-log"));
    let names = ["api_key", "api%5Fkey", "%61pi_key", "root_pass", "root%5fpass", "API-KEY", "x-api-key"];
    for name in names {
        server.get(&target(name));
        server.get(&format!("{}&api_key={secret}", target(name)));
        server.get(&format!("http://log.test{}", target(name)));
        server.get_with("/status", &[("Referer", &format!("https://h{}", target(name)))]);
        server.get_with("/status", &[("User-Agent", &format!("x (+https://h{})", target(name)))]);
    }
    server.get(&format!("/nothing/api_key={secret}"));
    server.get_with(
        "/status",
        &[
            ("API-KEY", secret),
            ("ROOT-PASS", secret),
            ("Authorization", &format!("Bearer {secret}")),
            ("X-API-Key", secret),
            ("Cookie", secret),
        ],
    );
    server.get(&format!("{}?api_key={KEY}&root_pass={ROOT}", route("details")));
    let lines = server.access_lines(names.len() * 5 + 3).join("\n");
    assert_eq!(lines.lines().count(), names.len() * 5 + 3);
    for secret in ["s3cret", KEY, ROOT] {
        assert!(!lines.contains(secret), "{lines}");
        assert!(!server.stderr().contains(secret), "{}", server.stderr());
    }
    assert!(
        lines.contains("?a=b&api_key=***&message=m") && lines.contains("/details?api_key=***&root_pass=***")
    );
    assert!(
        lines.contains("\"GET http://log.test/moca-file-log/save-log?a=b&api_key=***&message=m HTTP/1.1\"")
    );
}

#[test]
fn either_file_switches_it_at_a_reload() {
    let server = Setup::new().start();
    let lines = || fs::read_to_string(server.access_log_path()).unwrap_or_default().lines().count();
    server.get("/status");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!server.access_log_path().exists());
    let within = Duration::from_secs(2);
    server.edit("http.toml", "access_log = true\n");
    let grows = || {
        let before = lines();
        server.get("/status");
        std::thread::sleep(Duration::from_millis(150));
        lines() > before
    };
    eventually("it is on by http.toml", within, grows);
    server.edit("server.json", r#"{"access_log": false}"#);
    eventually("server.json decides", within, || !grows());
    // The server closes the file too.
    let open = format!("/proc/{}/fd", server.pid());
    eventually("the file is closed", within, || {
        let links = fs::read_dir(&open).unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        links.into_iter().all(|target| target != server.access_log_path())
    });
    server.edit("server.json", r#"{"access_log": true}"#);
    eventually("it is on again", within, grows);
    assert!(!server.stderr().contains("not in force"), "{}", server.stderr());
}

#[test]
fn the_log_name_is_encoded_and_a_stop_writes_all_lines() {
    let mut server = with_access_log().named("100% sure").start();
    for _ in 0..50 {
        server.get("/status");
    }
    assert!(server.stop().success());
    let text = fs::read_to_string(server.log_path().with_file_name("100%25 sure.access.log")).unwrap();
    assert_eq!(text.lines().count(), 50);
}

#[test]
fn its_file_is_never_the_file_of_a_log() {
    let server = with_access_log().log("file", json!("sample1.access.log")).start();
    assert!(server.stderr().contains("this is the access log of sample1"), "{}", server.stderr());
    for _ in 0..20 {
        server.save("m");
    }
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(server.messages(), vec!["m"; 20]);
    eventually("the journal has the message", Duration::from_secs(3), || {
        server.stderr().contains("MOCA_EVENT=access-log-failing")
    });
    server.assert_alive();
}

/// Rotates the file in every way under load. No line may be torn, repeated or lost.
#[test]
fn rotation_under_load_loses_and_tears_no_line() {
    let server = with_access_log().start();
    let path = server.access_log_path();
    let folder = path.parent().unwrap();
    let stop = AtomicBool::new(false);
    let address = server.address();
    let (sent, moved) = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut conn = Conn::open(address).unwrap();
                    let mut count = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let agent = format!("{sender}-{count} {}", "x".repeat(300));
                        let answer = conn.request("GET", "/status", &[("User-Agent", &agent)], b"");
                        assert_eq!(answer.status, 200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut moved = 0;
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(130));
            let to = folder.join(format!("old.{moved}"));
            if fs::rename(&path, &to).is_ok() {
                moved += 1;
                // Every second time the test creates the file, as the `create` of logrotate does.
                if moved % 2 == 0 {
                    fs::write(&path, "").unwrap();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        (senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>(), moved)
    });
    assert!(moved > 10, "{moved}");
    let total: u64 = sent.iter().sum();
    let count_all = || {
        let read = |file: &Path| fs::read_to_string(file).unwrap_or_default();
        (0..moved).map(|n| read(&folder.join(format!("old.{n}")))).chain([read(&path)]).collect::<String>()
    };
    eventually("every line is there", Duration::from_secs(5), || count_all().lines().count() as u64 >= total);
    let mut found: Vec<_> = count_all().lines().map(|line| parse(line).agent).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len() as u64, total, "lines are doubled or missing");
    assert_eq!(server.stderr().matches("access-log").count(), 0, "{}", server.stderr());
}

/// Deletes or truncates the file, also in the middle of a line. The following lines are whole.
#[test]
fn lines_after_an_outside_delete_or_truncate_are_whole() {
    let server = with_access_log().start();
    let path = server.access_log_path();
    let ask = |count: usize| (0..count).for_each(|_| assert_eq!(server.get("/status").status, 200));
    ask(3);
    server.access_lines(3);
    fs::remove_file(&path).unwrap();
    ask(2);
    assert_eq!(server.access_lines(2).len(), 2);
    let inode = fs::metadata(&path).unwrap().ino();
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    ask(2);
    let lines = server.access_lines(2);
    lines.iter().for_each(|line| drop(parse(line)));
    assert_eq!((lines.len(), fs::metadata(&path).unwrap().ino()), (2, inode));
    fs::File::options().write(true).open(&path).unwrap().set_len(lines[0].len() as u64 + 11).unwrap();
    ask(2);
    let lines = server.access_lines(4);
    assert_eq!(lines.iter().filter(|line| try_parse(line).is_some()).count(), 3, "{lines:?}");
}

/// Mounts a small file system and unmounts it on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                cannot_run(&format!("mounting a tmpfs: {other:?}"));
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).output().ok();
    }
}

#[test]
fn a_full_disk_drops_lines_and_delays_no_request() {
    let Some(disk) = SmallDisk::mount("256k") else { return };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 160_000]).unwrap();
    let server = with_access_log().log_dir(disk.0.path()).start();
    let path = server.access_log_path();
    let agent = "x".repeat(3000);
    let mut conn = server.connect();
    let mut ask = |count: usize| {
        for _ in 0..count {
            assert_eq!(conn.request("GET", "/status", &[("User-Agent", &agent)], b"").status, 200);
        }
    };
    let mut asked = 1500;
    ask(asked);
    eventually("the journal has the message", Duration::from_secs(5), || {
        server.stderr().contains("MOCA_EVENT=access-log-failing")
    });
    let whole = || {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line is left");
        text.lines().map(parse).count()
    };
    assert!(whole() < 100, "{}", whole());
    // Lines beyond the memory limit are dropped, and no request waits.
    fs::remove_file(&ballast).unwrap();
    eventually("it goes on by itself", Duration::from_secs(5), || {
        // The disk has room for only some of the waiting lines, so the test deletes the file.
        fs::remove_file(&path).ok();
        asked += 1;
        ask(1);
        std::thread::sleep(Duration::from_millis(300));
        path.exists() && server.stderr().contains("MOCA_EVENT=access-log-recovered")
    });
    let text = fs::read_to_string(&path).unwrap_or_default();
    assert!((text.is_empty() || text.ends_with('\n')) && text.lines().all(|line| try_parse(line).is_some()));
    eventually("the log has room again", Duration::from_secs(10), || {
        fs::remove_file(&path).ok();
        server.save_with(&json!({"message": "m"})).status == 200
    });
    let complaints = server.stderr().matches("MOCA_EVENT=access-log-failing").count();
    assert!(complaints <= 2, "{complaints}: {}", server.stderr());
}
