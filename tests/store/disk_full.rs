//! Tests with a full disk. Appends get 503 with Retry-After and never 500. Reading and clearing
//! still work. Exactly the acknowledged records are stored.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::load::count;
use super::segments::{assert_holds, read_after, read_all, save, segments, try_save};
use crate::harness::{KEY, ROOT, Server, Setup, cannot_run, eventually, route};

/// Mounts a small file system and unmounts it on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                cannot_run(&format!("mounting a tmpfs: {}", String::from_utf8_lossy(&output.stderr)));
                None
            }
            Err(error) => {
                cannot_run(&format!("mounting a tmpfs: {error}"));
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0.path()).output().ok();
    }
}

/// Saves until the disk is full. Returns the acknowledged ids.
fn fill(server: &Server, label: &str) -> Vec<String> {
    let mut saved = Vec::new();
    let filling = "x".repeat(4000);
    for n in 0..2000 {
        let id = format!("{label}-{n}-{filling}");
        let response = server.save_with(&json!({"message": id}));
        if response.status == 200 {
            saved.push(id);
            continue;
        }
        response.problem(503);
        assert!(response.retry_after() > 0, "{response:?}");
        return saved;
    }
    panic!("the disk is never full");
}

/// Asserts that exactly the acknowledged records are stored.
fn assert_stored(server: &Server, saved: &[String]) {
    let stored = server.messages();
    // The counts are compared first, because the messages are long.
    assert_eq!(stored.len(), saved.len(), "stored and acknowledged differ");
    assert!(stored == saved, "stored and acknowledged records differ");
}

fn full_disk(durability: &str) {
    let Some(disk) = SmallDisk::mount("256k") else { return };
    let server = Setup::new().durability(durability).log_dir(disk.path()).start();
    let mut saved = fill(&server, "first");
    assert!(saved.len() > 20, "{} records fit", saved.len());
    assert_stored(&server, &saved);
    // Every further append gets the same answer.
    for _ in 0..5 {
        server.save_with(&json!({"message": "x".repeat(8000)})).problem(503);
    }
    assert_stored(&server, &saved);
    let metrics = server.get_with("/metrics", &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]).text();
    let stored = format!("\nmoca_records_total{{level=\"info\"}} {}\n", saved.len());
    let failed = "\nmoca_refused_total{reason=\"write_failed\"} 6\n";
    assert!(metrics.contains(&stored) && metrics.contains(failed), "{stored}{failed}{metrics}");
    assert_eq!(server.root_get("details").json()["count"], saved.len());
    assert_eq!(server.root_get("get-latest-logs").json().as_array().map(Vec::len), Some(saved.len()));
    assert_eq!(server.root_get("get-logs").body, std::fs::read(server.log_path()).unwrap());
    assert_eq!(server.root_get("download-logs").status, 200);
    // A load balancer takes the service out, and back in when there is space, without a sender.
    let status = server.get("/status");
    status.problem(503);
    assert!(status.retry_after() > 0 && server.root_get("details").status == 200, "{status:?}");
    let failed_at = metrics
        .lines()
        .find_map(|line| line.strip_prefix("moca_last_write_failure_timestamp_seconds "))
        .map(|value| value.parse::<f64>().unwrap());
    assert!(failed_at.is_some_and(|at| at > 1.7e9), "{failed_at:?}");
    std::thread::sleep(Duration::from_millis(2500));
    server.get("/status").problem(503);
    server.root_get("clear-logs").success();
    eventually("the service is ready without a sender", Duration::from_secs(5), || {
        server.get("/status").status == 200
    });
    saved.clear();
    assert_stored(&server, &saved);
    eventually("saving works after the clear", Duration::from_secs(3), || {
        server.save_with(&json!({"message": "after"})).status == 200
    });
    assert_eq!(server.messages(), ["after"]);
}

#[test]
fn full_disk_answers_503_with_durability_disk() {
    full_disk("disk");
}

#[test]
fn full_disk_answers_503_with_durability_os() {
    full_disk("os");
}

#[test]
fn appends_succeed_again_when_the_disk_has_space() {
    let Some(disk) = SmallDisk::mount("256k") else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 120_000]).unwrap();
    let mut server = Setup::new().durability("disk").log_dir(disk.path()).start();
    let mut saved = fill(&server, "first");
    std::fs::remove_file(&ballast).unwrap();
    eventually("saving works again", Duration::from_secs(3), || {
        let id = "space again".to_owned();
        let done = server.save_with(&json!({"message": id})).status == 200;
        if done {
            saved.push(id);
        }
        done
    });
    saved.extend(fill(&server, "second"));
    assert_stored(&server, &saved);
    // Stop and start succeed on a full disk as well.
    assert!(server.stop().success());
    server.respawn();
    assert_stored(&server, &saved);
    server.root_get("clear-logs").success();
    server.save("after the restart");
}

#[test]
fn batch_that_does_not_fit_leaves_nothing() {
    let Some(disk) = SmallDisk::mount("256k") else { return };
    let server = Setup::new().log_dir(disk.path()).start();
    server.save("before");
    let logs = vec![json!({"msg": "x".repeat(4000)}); 200];
    let response = server.save_batch(&json!(logs));
    response.problem(503);
    response.retry_after();
    assert_eq!(server.messages(), ["before"]);
    server.assert_alive();
}

#[test]
fn answers_are_right_for_many_senders_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount("512k") else { return };
    let server = Setup::new().durability("disk").log_dir(disk.path()).start();
    let address = server.address();
    let saved: Vec<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                scope.spawn(move || {
                    let mut conn = crate::harness::Conn::open(address).unwrap();
                    let mut saved = Vec::new();
                    for n in 0..60 {
                        let id = format!("{sender}-{n}-{}", "x".repeat(3000 + 37 * n));
                        let body = json!({"api_key": KEY, "message": id});
                        let response = conn.post_json(&route("save-log"), &body);
                        match response.status {
                            200 => saved.push(id),
                            503 => assert!(response.retry_after() > 0),
                            other => panic!("{other}: {response:?}"),
                        }
                    }
                    saved
                })
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    let counts = count(&server.log_lines());
    assert_eq!(counts.len(), saved.len(), "stored and acknowledged differ");
    assert!(
        saved.iter().all(|id| counts.get(id) == Some(&1)),
        "an acknowledged record is missing or doubled"
    );
}

fn free(disk: &SmallDisk) -> u64 {
    let disk = nix::sys::statvfs::statvfs(disk.path()).unwrap();
    disk.blocks_available() * disk.fragment_size()
}

/// Returns text that compresses badly.
fn dense(n: usize) -> String {
    use sha2::Digest;
    let block = |part: usize| {
        format!("{:x?}", sha2::Sha256::digest(format!("{n} {part}"))).replace(['[', ']', ',', ' '], "")
    };
    format!("{n}-{}", (0..30).map(block).collect::<String>())
}

/// Saves until a record is refused.
fn fill_densely(server: &Server, saved: &mut Vec<String>) {
    for n in saved.len()..saved.len() + 3000 {
        let message = dense(n);
        match try_save(server, &message) {
            Ok(_) => saved.push(message),
            Err(response) => {
                response.problem(503);
                assert!(response.retry_after() > 0);
                return;
            }
        }
    }
    panic!("the disk is never full");
}

#[test]
fn min_free_refuses_records_before_the_disk_is_full() {
    for durability in ["disk", "os"] {
        let Some(disk) = SmallDisk::mount("2m") else { return };
        let rotate = json!({"min_free": "1MB"});
        let mut server =
            Setup::new().durability(durability).log("rotate", rotate).log_dir(disk.path()).start();
        let mut saved = Vec::new();
        fill_densely(&server, &mut saved);
        assert!((900_000..=1_000_000).contains(&free(&disk)), "{} bytes are left", free(&disk));
        assert!(saved.len() > 100);
        assert_holds(&server, &saved);
        assert!(server.stderr().contains("low-space"), "{}", server.stderr());
        server.get("/status").problem(503);
        server.restart();
        eventually("refused after a restart as well", Duration::from_secs(5), || {
            server.save_with(&json!({"message": "x"})).status == 503
        });
        let saved = server.messages();
        assert_holds(&server, &saved);
        // Another program fills the rest of the disk. A clear still succeeds.
        std::fs::write(disk.path().join("ballast"), vec![1; 700_000]).unwrap();
        server.root_get("clear-logs").success();
        eventually("ready without a sender", Duration::from_secs(5), || server.get("/status").status == 200);
        eventually("there is space again", Duration::from_secs(5), || {
            server.save_with(&json!({"message": "again"})).status == 200
        });
        assert_eq!(server.messages(), ["again"]);
    }
}

/// Returns a log on `disk` that rotates. With `state_too`, its state is on the same disk.
fn rotating_on(disk: &SmallDisk, rotate: serde_json::Value, state_too: bool) -> Setup {
    let setup = Setup::new().log("rotate", rotate).log_dir(&disk.path().join("log"));
    if state_too {
        let state = disk.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::os::unix::fs::symlink(state, setup.state_dir()).unwrap();
    }
    setup
}

#[test]
fn full_disk_during_rotation_and_compression_loses_nothing() {
    for (compress, durability, state_too) in
        [("zstd", "os", false), ("gzip", "disk", true), ("zstd", "disk", true), ("none", "os", true)]
    {
        let Some(disk) = SmallDisk::mount("640k") else { return };
        let rotate = json!({"max_size": "64KB", "compress": compress});
        let mut server = rotating_on(&disk, rotate, state_too).durability(durability).start();
        let mut saved = Vec::new();
        for _ in 0..5 {
            fill_densely(&server, &mut saved);
            // A compression may free space.
            std::thread::sleep(Duration::from_millis(300));
        }
        assert!(saved.len() > 120, "{} records fit", saved.len());
        assert!(segments(&server).len() >= 3, "{compress}: {:?}", segments(&server));
        let settled = |server: &Server| {
            eventually("nothing is half done", Duration::from_secs(20), || {
                let unfinished = |entry: std::io::Result<std::fs::DirEntry>| {
                    entry.unwrap().path().extension().is_some_and(|extension| extension == "tmp")
                };
                !std::fs::read_dir(disk.path().join("log")).unwrap().any(unfinished)
                    && server.root_get("details").json()["counting"] == false
            });
        };
        settled(&server);
        assert_holds(&server, &saved);
        for kill in [false, true] {
            if kill {
                server.kill9();
                server.respawn();
            } else {
                server.restart();
            }
            settled(&server);
            assert_holds(&server, &saved);
        }
        server.root_get("clear-logs").success();
        assert_holds(&server, &[]);
        eventually("saving works after the clear", Duration::from_secs(3), || {
            server.save_with(&json!({"message": "after"})).status == 200
        });
        assert_holds(&server, &["after".to_owned()]);
    }
}

#[test]
fn retention_frees_space_on_a_full_disk() {
    for state_too in [false, true] {
        let Some(disk) = SmallDisk::mount("256k") else { return };
        let mut server = rotating_on(&disk, json!(null), state_too).durability("disk").start();
        let first = save(&server, "first");
        let mut saved = vec!["first".to_owned()];
        fill_densely(&server, &mut saved);
        std::fs::write(disk.path().join("ballast"), vec![0; 4096]).ok();
        server.set("log.json", "/sample1/rotate", json!({"max_size": "16KB"}));
        eventually("it is rotated", Duration::from_secs(5), || segments(&server).len() == 1);
        assert_holds(&server, &saved);
        server.kill9();
        server.respawn();
        assert_holds(&server, &saved);
        assert_eq!(read_after(&server, &first).status, 200);
        assert_eq!(server.save_with(&json!({"message": "no room"})).status, 503);
        server.set("log.json", "/sample1/rotate", json!({"max_size": "16KB", "keep": 0}));
        eventually("there is room", Duration::from_secs(5), || {
            server.save_with(&json!({"message": "room"})).status == 200
        });
        assert_eq!(read_all(&server).last().unwrap(), "room");
        assert_eq!(read_after(&server, &first).status, 410);
    }
}

#[test]
fn failed_rotation_continues_in_the_same_file() {
    // The file system has three inodes, for the folder, the ballast and the log.
    let Some(disk) = SmallDisk::mount("512k,nr_inodes=3") else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, "").unwrap();
    let mut server =
        Setup::new().log("rotate", json!({"max_size": "4KB"})).durability("os").log_dir(disk.path()).start();
    let mut saved: Vec<String> = (0..50).map(|n| format!("{n}-{}", "x".repeat(300))).collect();
    for message in &saved {
        save(&server, message);
    }
    assert_holds(&server, &saved);
    assert!(segments(&server).is_empty());
    assert!(server.stderr().contains("rotation-failed"), "{}", server.stderr());
    server.restart();
    assert_holds(&server, &saved);
    std::fs::remove_file(&ballast).unwrap();
    eventually("it is tried again", Duration::from_secs(10), || segments(&server).len() == 1);
    save(&server, "after");
    saved.push("after".to_owned());
    assert_holds(&server, &saved);
}
