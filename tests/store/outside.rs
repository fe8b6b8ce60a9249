//! Tests in which another program moves, deletes or truncates the file. The next record must be in
//! a fresh, whole file at the path.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::segments::{messages_of, read_after, save};
use crate::harness::{KEY, Line, ROOT, Server, Setup, eventually};

fn save_three(server: &Server) {
    for n in 0..3 {
        server.save(&format!("old {n}"));
    }
}

fn assert_fresh(server: &Server) {
    server.save("fresh");
    assert_eq!(server.messages(), ["fresh"]);
    server.save("and on");
    assert_eq!(server.messages(), ["fresh", "and on"]);
    let details = server.root_get("details").json();
    assert_eq!(details["count"], 2, "{details}");
    assert_eq!(details["size"], std::fs::metadata(server.log_path()).unwrap().len(), "{details}");
    let mut lines = server.log_lines();
    lines.reverse();
    assert_eq!(server.root_get("get-latest-logs").json(), json!(lines));
    assert_eq!(server.root_get("get-logs").body, std::fs::read(server.log_path()).unwrap());
}

#[test]
fn moved_file_is_replaced() {
    for durability in ["disk", "os"] {
        let server = Setup::new().durability(durability).start();
        save_three(&server);
        let moved = server.log_path().with_file_name("moved-away");
        std::fs::rename(server.log_path(), &moved).unwrap();
        assert_fresh(&server);
        let text = std::fs::read_to_string(&moved).unwrap();
        let messages: Vec<String> = text.lines().map(|line| Line::parse(line).message).collect();
        assert_eq!(messages, ["old 0", "old 1", "old 2"], "a record went into the moved file");
    }
}

#[test]
fn deleted_file_is_replaced() {
    for durability in ["disk", "os"] {
        let server = Setup::new().durability(durability).start();
        save_three(&server);
        std::fs::remove_file(server.log_path()).unwrap();
        assert_fresh(&server);
    }
}

#[test]
fn truncated_file_is_continued() {
    for durability in ["disk", "os"] {
        let server = Setup::new().durability(durability).start();
        save_three(&server);
        std::fs::OpenOptions::new().write(true).open(server.log_path()).unwrap().set_len(0).unwrap();
        assert_fresh(&server);
    }
}

#[test]
fn file_replaced_by_another_is_continued() {
    let server = Setup::new().start();
    save_three(&server);
    let other = server.log_path().with_file_name("other");
    std::fs::write(&other, "").unwrap();
    std::fs::rename(&other, server.log_path()).unwrap();
    assert_fresh(&server);
}

#[test]
fn deleted_folder_is_created_again_or_reported() {
    let server = Setup::new().log("file", json!("deep/er/sample1.log")).start();
    save_three(&server);
    std::fs::remove_dir_all(server.log_path().parent().unwrap()).unwrap();
    let response = server.save_with(&json!({"message": "fresh"}));
    // The server creates the file again or answers an error. An acknowledged record is stored.
    if response.status == 200 {
        assert_eq!(server.messages(), ["fresh"]);
    } else {
        response.problem(503);
        response.retry_after();
    }
}

#[test]
fn reading_a_deleted_file_is_not_a_server_error() {
    let server = Setup::new().start();
    save_three(&server);
    std::fs::remove_file(server.log_path()).unwrap();
    for name in ["get-logs", "get-latest-logs", "download-logs", "details"] {
        let response = server.root_get(name);
        assert!(response.status < 500, "{name}: {response:?}");
    }
    server.root_get("clear-logs").success();
    server.assert_alive();
}

#[test]
fn rotation_by_another_program_under_load_loses_nothing() {
    let mut server = Setup::new().durability("os").start();
    let folder = server.log_path().parent().unwrap().to_owned();
    let (sent, ()) = super::load::under_load(&mut server, 8, "load", |server| {
        for round in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(60));
            std::fs::rename(server.log_path(), folder.join(format!("rotated-{round}"))).unwrap();
            crate::harness::eventually("a fresh file", std::time::Duration::from_secs(3), || {
                server.log_path().exists()
            });
        }
    });
    let mut lines = Vec::new();
    for round in 0..5 {
        let text = std::fs::read_to_string(folder.join(format!("rotated-{round}"))).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.extend(server.log_lines());
    super::load::assert_kept(&lines, &sent);
    assert!(super::load::acknowledged(&sent) > 100);
}

/// Positions, maintenance and blocked addresses outlive a state directory that another program removed
/// while the server ran, also when the stop comes at once.
#[test]
fn removed_state_directory_is_made_again_and_nothing_is_lost() {
    for waits in [true, false] {
        let setup =
            Setup::new().posed().system("dos_detect", json!(20)).log("rotate", json!({"max_size": "1KB"}));
        let mut server = setup.system("maintenance_mode_whitelist", json!(["192.0.2.1"])).start();
        let mut conn = server.connect();
        let flooder = [("X-Real-IP", "198.51.100.9")];
        eventually("the flooder is blocked", Duration::from_secs(10), || {
            conn.try_request("GET", "/status", &flooder, b"").map_or(true, |response| response.status == 403)
        });
        let saved: Vec<(String, String)> = (0..30)
            .map(|n| {
                let message = format!("{n}-{}", "x".repeat(60));
                (save(&server, &message), message)
            })
            .collect();
        server.signal(Signal::SIGUSR1);
        server.wait_for_status(503);
        // The server may add a file while the directory is being removed.
        eventually("the state is removed", Duration::from_secs(10), || {
            std::fs::remove_dir_all(server.state_dir()).is_ok()
        });
        if waits {
            eventually("made again", Duration::from_secs(15), || {
                server.stderr().contains("state-lost") && server.state_dir().join("sample1.state").exists()
            });
        }
        assert!(server.stop().success());
        server.respawn();
        let inside = [("X-Real-IP", "192.0.2.1"), ("API-KEY", KEY), ("ROOT-PASS", ROOT)];
        assert_eq!(server.get("/status").status, 503, "maintenance is kept");
        assert_eq!(server.get_with("/status", &inside).status, 200);
        assert_eq!(server.get_with("/status", &flooder).status, 403, "the block is kept");
        let metrics = server.get_with("/metrics", &inside).text();
        assert!(metrics.contains("\nmoca_state_saved 1\n"), "{metrics}");
        server.signal(Signal::SIGUSR2);
        server.wait_for_status(200);
        let messages: Vec<&String> = saved.iter().map(|(_, message)| message).collect();
        for (place, (cursor, _)) in saved.iter().enumerate() {
            let response = read_after(&server, cursor);
            assert_eq!(response.status, 200, "{place}: {}", server.stderr());
            assert!(
                messages_of(&response.text()).iter().eq(messages[place + 1..].iter().copied()),
                "{place}"
            );
        }
    }
}
