//! Tests of a torn last line. The next start moves it to `FILE.torn` and succeeds.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::harness::{Line, Server, Setup};

fn append(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// Returns the files next to the log that keep torn lines.
fn kept_aside(server: &Server) -> Vec<PathBuf> {
    let path = server.log_path();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|other| *other != path && other.file_name().unwrap().to_string_lossy().starts_with(&name))
        .collect()
}

fn is_kept_aside(server: &Server, bytes: &[u8]) -> bool {
    kept_aside(server).iter().any(|path| {
        let content = std::fs::read(path).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

const TORN: [&[u8]; 5] = [
    b"[INFO](2026-11-23 05:02:29.805789+00:00)<203.0.113.7|8f14e45f|save-log|4711|18>half a mess",
    b"[INFO](2026-11",
    b"[",
    b"\xf0\x9f\x98",
    b"\0\0\0\0\0\0\0\0",
];

#[test]
fn torn_line_is_kept_aside() {
    for torn in TORN {
        let mut server = Setup::new().start();
        server.save("one");
        server.save("two");
        assert!(server.stop().success());
        append(&server.log_path(), torn);
        server.respawn();
        assert_eq!(server.messages(), ["one", "two"]);
        assert!(is_kept_aside(&server, torn), "{:?} is gone: {:?}", torn, kept_aside(&server));
        server.save("three");
        assert_eq!(server.messages(), ["one", "two", "three"]);
        assert_eq!(server.root_get("details").json()["count"], 3);
    }
}

#[test]
fn torn_line_after_a_crash_is_kept_aside() {
    let mut server = Setup::new().durability("disk").start();
    server.save("one");
    server.kill9();
    append(&server.log_path(), TORN[0]);
    server.respawn();
    server.save("two");
    assert_eq!(server.messages(), ["one", "two"]);
    assert!(is_kept_aside(&server, TORN[0]), "{:?}", kept_aside(&server));
}

#[test]
fn file_of_only_a_torn_line_becomes_empty() {
    let mut server = Setup::new().start();
    assert!(server.stop().success());
    std::fs::write(server.log_path(), TORN[0]).unwrap();
    server.respawn();
    assert!(server.log_lines().is_empty());
    assert!(is_kept_aside(&server, TORN[0]), "{:?}", kept_aside(&server));
    server.assert_alive();
}

#[test]
fn long_torn_line_is_kept_aside_whole() {
    let torn = [TORN[0], &vec![b'x'; 3_000_000]].concat();
    let mut server = Setup::new().start();
    server.save("one");
    assert!(server.stop().success());
    append(&server.log_path(), &torn);
    server.respawn();
    assert_eq!(server.messages(), ["one"]);
    let kept: u64 = kept_aside(&server).iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert!(kept >= torn.len() as u64, "{kept} of {} bytes were kept", torn.len());
}

#[test]
fn all_torn_lines_over_time_are_kept() {
    let mut server = Setup::new().start();
    for round in 0..3 {
        server.save(&format!("{round}"));
        assert!(server.stop().success());
        append(&server.log_path(), format!("[INFO](torn in round {round}").as_bytes());
        server.respawn();
    }
    for round in 0..3 {
        assert!(is_kept_aside(&server, format!("torn in round {round}").as_bytes()), "round {round}");
    }
    assert_eq!(server.messages(), ["0", "1", "2"]);
}

#[test]
fn whole_file_is_unchanged() {
    let mut server = Setup::new().start();
    server.save("one");
    assert!(server.stop().success());
    let before = std::fs::read(server.log_path()).unwrap();
    server.respawn();
    assert_eq!(std::fs::read(server.log_path()).unwrap(), before);
    assert!(kept_aside(&server).is_empty(), "{:?}", kept_aside(&server));
}

#[test]
fn times_continue_from_the_last_line_of_an_earlier_run() {
    let mut server = Setup::new().start();
    server.save("now");
    let zone = Line::parse(&server.log_lines()[0]).time[26..].to_owned();
    assert!(server.stop().success());
    // The clock was wrong once. Times must not decrease, because searches by time would fail.
    let future = format!("2999-01-01 00:00:00.000000{zone}");
    append(&server.log_path(), format!("[INFO]({future})<127.0.0.1|k|save-log|1|1>future\n").as_bytes());
    server.respawn();
    server.save("after");
    let times: Vec<String> = server.parsed().into_iter().map(|line| line.time).collect();
    assert!(times.is_sorted(), "{times:?}");
}
