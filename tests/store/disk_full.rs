//! A full disk: 503 with Retry-After, never 500; reading and clearing go on; what was acknowledged is what is stored.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::load::count;
use crate::harness::{KEY, ROOT, Server, Setup, cannot_run, eventually, route};

/// A small file system of its own, unmounted at the end.
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

/// Saves until the disk is full; gives the acknowledged ids.
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

/// What is stored is exactly what was acknowledged.
fn assert_stored(server: &Server, saved: &[String]) {
    let stored = server.messages();
    // the messages are long: their counts say enough where they differ
    assert_eq!(stored.len(), saved.len(), "stored and acknowledged differ");
    assert!(stored == saved, "other records are stored than were acknowledged");
}

fn full_disk(durability: &str) {
    let Some(disk) = SmallDisk::mount("256k") else { return };
    let server = Setup::new().durability(durability).log_dir(disk.path()).start();
    let mut saved = fill(&server, "first");
    assert!(saved.len() > 20, "{} records fit", saved.len());
    assert_stored(&server, &saved);
    // again and again the same clear answer
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
    assert_eq!(server.get("/status").status, 200);
    server.root_get("clear-logs").success();
    saved.clear();
    assert_stored(&server, &saved);
    eventually("saving works after the clear", Duration::from_secs(3), || {
        server.save_with(&json!({"message": "after"})).status == 200
    });
    assert_eq!(server.messages(), ["after"]);
}

#[test]
fn a_full_disk_with_durability_disk() {
    full_disk("disk");
}

#[test]
fn a_full_disk_with_durability_os() {
    full_disk("os");
}

#[test]
fn it_recovers_by_itself_when_there_is_space_again() {
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
    // a full disk is no reason not to stop or start either
    assert!(server.stop().success());
    server.start_again();
    assert_stored(&server, &saved);
    server.root_get("clear-logs").success();
    server.save("after the restart");
}

#[test]
fn a_batch_that_does_not_fit_leaves_nothing() {
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
fn many_senders_on_a_full_disk_are_told_the_truth() {
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
