//! Tests of a log of 1 GB. The server is ready at once, returns the newest lines at once, and
//! streams all lines in little memory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{KEY, Line, ROOT, Server, Setup, eventually, route, slowness};

const GIGABYTE: u64 = 1_000_000_000;

/// Writes real lines quickly, by repeating one block of them.
fn write_log(path: &Path) -> (u64, u64) {
    let mut block = String::new();
    let mut lines_of_block = 0;
    while block.len() < 4_000_000 {
        let text = "a message of about the length that messages have in practice, more or less";
        block.push_str("[INFO](2026-01-01 00:00:00.000000+00:00)<203.0.113.7|8f14e45f|save-log|4711|1>");
        block.push_str(&format!("{lines_of_block} {text}\n"));
        lines_of_block += 1;
    }
    let mut file = std::fs::File::create(path).unwrap();
    let (mut size, mut lines) = (0, 0);
    while size < GIGABYTE {
        file.write_all(block.as_bytes()).unwrap();
        size += block.len() as u64;
        lines += lines_of_block;
    }
    // Without this sync, the first sync of the server would write the whole file.
    file.sync_all().unwrap();
    (size, lines)
}

fn time_action<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = action();
    (result, started.elapsed())
}

/// Streams a route. Returns the number of bytes and the last line.
fn stream(server: &Server, name: &str) -> (u64, Vec<u8>) {
    let mut conn = server.connect();
    let headers = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];
    conn.send("GET", &route(name), &headers, b"").unwrap();
    let (mut count, mut end) = (0, Vec::new());
    let response = conn
        .receive_streamed("GET", |piece| {
            count += piece.len() as u64;
            end.extend_from_slice(&piece[piece.len().saturating_sub(400)..]);
            if end.len() > 100_000 {
                end.drain(..end.len() - 400);
            }
        })
        .unwrap();
    assert_eq!(response.status, 200, "{response:?}");
    (count, end)
}

/// This is a single test, because every test would have to write the gigabyte again.
#[test]
fn log_of_a_gigabyte_is_served_like_a_small_one() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("large-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let cleanup = Cleanup(folder.clone());
    let (size, lines) = write_log(&folder.join("sample1.log"));
    let mut server = Setup::new().durability("disk").log_dir(&folder).start();
    let slow = slowness();

    // Takes the best of three starts, because another test may use the processor during one of
    // them.
    let mut ready = server.ready_after();
    for _ in 0..2 {
        server.restart();
        ready = ready.min(server.ready_after());
    }
    assert!(ready < Duration::from_millis(50) * slow, "READY after {ready:?}");

    assert_eq!(server.get("/status").status, 200);
    let before = server.memory_now();
    // Takes the best of several runs, because page cache and other processes influence one run.
    let fastest = |name: &str| {
        (0..5)
            .map(|_| {
                let (response, time) = time_action(|| server.root_get(name));
                assert_eq!(response.status, 200, "{response:?}");
                time
            })
            .min()
            .unwrap()
    };
    let latest = fastest("get-latest-logs");
    assert!(latest < Duration::from_millis(100) * slow, "get-latest-logs took {latest:?}");
    let details = fastest("details");
    assert!(details < Duration::from_millis(10) * slow, "details took {details:?}");
    assert_eq!(server.root_get("details").json()["size"], size);

    let newest_first = server.root_get("get-latest-logs").json();
    assert_eq!(newest_first.as_array().map(Vec::len), Some(1024));
    server.save("the newest");
    let newest = server.root_get("get-latest-logs").json()[0].as_str().unwrap().to_owned();
    assert_eq!(Line::parse(&newest).message, "the newest");

    let now = std::fs::metadata(server.log_path()).unwrap().len();
    for name in ["get-logs", "download-logs"] {
        let (count, end) = stream(&server, name);
        assert_eq!(count, now, "{name}");
        assert!(end.ends_with(format!("{newest}\n").as_bytes()), "{name} has another end");
    }
    let growth = server.memory_peak() - before;
    assert!(growth < 32_000_000, "{growth} bytes at the peak");

    eventually("the lines are counted", Duration::from_secs(30), || {
        server.root_get("details").json()["count"] == lines + 1
    });
    let (response, time) = time_action(|| server.root_get("clear-logs"));
    response.success();
    assert!(time < Duration::from_secs(5), "clear-logs took {time:?}");
    server.assert_alive();
    drop(cleanup);
}

/// Removes the gigabyte, even when the test fails.
struct Cleanup(PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
