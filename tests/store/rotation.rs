//! Tests of rotation and retention, by every option of `rotate`, while the server runs and at its
//! start.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::segments::{
    assert_holds, messages_of, read_after, read_all, save, segments, text_of, text_of_all, try_save,
};
use crate::harness::{Line, Server, Setup, eventually};

fn rotating(rotate: Value) -> Setup {
    Setup::new().log("rotate", rotate)
}

/// Saves messages whose lines have about 100 bytes.
fn fill(server: &Server, label: &str, count: usize) -> Vec<String> {
    let messages: Vec<String> = (0..count).map(|n| format!("{label}-{n:05}-{}", "x".repeat(20))).collect();
    for message in &messages {
        save(server, message);
    }
    messages
}

fn segment_count(server: &Server, wanted: impl Fn(usize) -> bool) {
    eventually("as many segments as there should be", Duration::from_secs(10), || {
        wanted(segments(server).len())
    });
}

/// Writes lines of an earlier time, as an earlier run of the server would have left them.
fn write_old_lines(setup_path: &std::path::Path, time: &str, count: usize) -> Vec<String> {
    std::fs::create_dir_all(setup_path.parent().unwrap()).unwrap();
    let lines = (0..count).map(|n| format!("[INFO]({time})<192.0.2.1|k|save-log|1|{n}>old {n}\n"));
    std::fs::write(setup_path, lines.collect::<String>()).unwrap();
    (0..count).map(|n| format!("old {n}")).collect()
}

#[test]
fn max_size_is_never_exceeded_and_splits_no_batch() {
    for durability in ["disk", "os"] {
        let mut server = rotating(json!({"max_size": "2KB"})).durability(durability).start();
        let mut messages = fill(&server, "one", 60);
        for path in segments(&server) {
            let size = std::fs::metadata(&path).unwrap().len();
            assert!((1800..=2000).contains(&size), "{}: {size}", path.display());
        }
        assert!((3..=5).contains(&segments(&server).len()));
        assert_holds(&server, &messages);
        let batch: Vec<String> = (0..50).map(|n| format!("batch-{n}-{}", "y".repeat(100))).collect();
        let logs: Vec<Value> = batch.iter().map(|message| json!({"msg": message})).collect();
        server.save_batch(&json!(logs)).success();
        messages.extend(batch.clone());
        assert_eq!(server.messages(), batch, "a batch that does not fit begins a new file");
        messages.extend(fill(&server, "two", 1));
        assert_eq!(
            messages_of(&text_of(segments(&server).last().unwrap())),
            batch,
            "the batch stays in one file"
        );
        assert_holds(&server, &messages);
        server.restart();
        assert_holds(&server, &messages);
        let latest = server.root_get("get-latest-logs").json();
        let newest_first: Vec<String> = latest
            .as_array()
            .unwrap()
            .iter()
            .map(|line| Line::parse(line.as_str().unwrap()).message)
            .collect();
        assert!(newest_first.iter().rev().eq(&messages));
        assert_eq!(
            server.root_get("details").json()["oldest"].as_str().unwrap().replace('T', " "),
            Line::parse(text_of_all(&server).lines().next().unwrap()).time
        );
    }
}

#[test]
fn cursors_name_the_same_records_through_rotation_compression_and_restart() {
    for compress in ["zstd", "gzip", "none"] {
        let mut server = rotating(json!({"max_size": "3KB", "compress": compress})).start();
        let mut saved = Vec::new();
        for n in 0..80 {
            let message = format!("{n}-{}", "z".repeat(40));
            saved.push((save(&server, &message), message));
        }
        let suffix = match compress {
            "zstd" => ".zst",
            "gzip" => ".gz",
            _ => "",
        };
        let finished = |server: &Server| {
            let names = segments(server);
            names.len() >= 3
                && names.iter().all(|path| {
                    let name = path.to_str().unwrap();
                    if suffix.is_empty() { !name.ends_with('t') } else { name.ends_with(suffix) }
                })
        };
        eventually("everything is compressed", Duration::from_secs(20), || finished(&server));
        let messages: Vec<String> = saved.iter().map(|(_, message)| message.clone()).collect();
        for round in 0..2 {
            assert_holds(&server, &messages);
            for (place, (cursor, _)) in saved.iter().enumerate() {
                let response = read_after(&server, cursor);
                assert_eq!(response.status, 200, "{compress} {round} {place}: {response:?}");
                assert!(messages_of(&response.text()) == messages[place + 1..], "{compress} {round} {place}");
            }
            server.restart();
        }
        // The client may request any range of bytes.
        let text = text_of_all(&server);
        for (from, to) in [(0, 0), (1, 2999), (2990, 3010), (5000, 9500), (0, text.len() - 1)] {
            let headers = [
                ("API-KEY", crate::harness::KEY),
                ("ROOT-PASS", crate::harness::ROOT),
                ("Range", &*format!("bytes={from}-{to}")),
            ];
            let response = server.get_with(&crate::harness::route("download-logs"), &headers);
            assert_eq!(response.status, 206, "{response:?}");
            assert!(response.text() == text[from..=to], "{from}-{to}");
        }
        if compress != "none" {
            let details = server.root_get("details").json();
            assert!(details["size_on_disk"].as_u64() < details["size"].as_u64(), "{details}");
        }
    }
}

#[test]
fn every_rotates_without_appends() {
    // This is a zone in which an hour ends soon.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let east = (3595 + 3600 - now % 3600) % 3600;
    let zone = format!("<soon>-00:{:02}:{:02}", east / 60, east % 60);
    let server = rotating(json!({"every": "hour"})).env("TZ", &zone).start();
    save(&server, "before");
    assert_eq!(segments(&server).len(), 0);
    segment_count(&server, |count| count == 1);
    assert!(server.log_lines().is_empty());
    save(&server, "after");
    assert_holds(&server, &["before".to_owned(), "after".to_owned()]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(segments(&server).len(), 1, "rotated once");
}

#[test]
fn every_rotates_at_the_start_what_a_stopped_service_missed() {
    for (every, old, rotates) in
        [("hour", 2, true), ("day", 49, true), ("week", 24 * 15, true), ("week", 0, false), ("day", 0, false)]
    {
        let setup = rotating(json!({"every": every}));
        let at = jiff::Timestamp::now().as_second() - old * 3600;
        let at = jiff::Timestamp::from_second(at).unwrap();
        let old =
            write_old_lines(&setup.log_path(), &at.strftime("%Y-%m-%d %H:%M:%S.000000+00:00").to_string(), 3);
        let server = setup.start();
        if rotates {
            segment_count(&server, |count| count == 1);
        } else {
            save(&server, "new");
            assert!(segments(&server).is_empty(), "{every}: rotated too early");
            continue;
        }
        save(&server, "new");
        assert_eq!(server.messages(), ["new"]);
        assert_holds(&server, &[old, vec!["new".to_owned()]].concat());
    }
}

#[test]
fn file_over_max_size_is_rotated_at_the_start() {
    let setup = rotating(json!({"max_size": 1000}));
    let old = write_old_lines(&setup.log_path(), "2026-01-01 00:00:00.000000+00:00", 100);
    let server = setup.start();
    segment_count(&server, |count| count == 1);
    assert_holds(&server, &old);
}

#[test]
fn keep_counts_segments() {
    let server = rotating(json!({"max_size": "1KB", "keep": 3})).start();
    let messages = fill(&server, "m", 80);
    segment_count(&server, |count| count == 3);
    let left = read_all(&server);
    assert!((20..45).contains(&left.len()), "{}", left.len());
    assert_holds(&server, &messages[messages.len() - left.len()..]);
}

#[test]
fn keep_zero_leaves_the_active_file() {
    let server = rotating(json!({"max_size": "1KB", "keep": 0})).start();
    let messages = fill(&server, "m", 30);
    segment_count(&server, |count| count == 0);
    let left = server.messages();
    assert!(!left.is_empty() && left.len() < 10);
    assert_holds(&server, &messages[messages.len() - left.len()..]);
}

#[test]
fn max_total_is_never_exceeded() {
    // If `max_total` is the only rule, it also decides when the file is rotated.
    for rotate in [json!({"max_size": "1KB", "max_total": "5KB"}), json!({"max_total": "8KB"})] {
        let max = if rotate["max_total"] == "5KB" { 5_000 } else { 8_000 };
        let server = rotating(rotate).start();
        let mut messages = Vec::new();
        for round in 0..30 {
            messages.extend(fill(&server, &format!("r{round}"), 5));
            let all = segments(&server).into_iter().chain([server.log_path()]);
            let total: u64 = all.map(|path| std::fs::metadata(path).unwrap().len()).sum();
            assert!(total <= max, "{total} bytes");
        }
        let left = read_all(&server);
        assert!(left.len() > 30, "{} records are left", left.len());
        assert_holds(&server, &messages[messages.len() - left.len()..]);
    }
}

#[test]
fn max_age_removes_old_segments_without_appends() {
    let setup = rotating(json!({"max_size": "1KB", "max_age": "3s"}));
    let mut server = setup.env("MOCA_AGE_INTERVAL", "100").start();
    let first = save(&server, "the first");
    let messages = fill(&server, "m", 30);
    assert!(segments(&server).len() >= 2);
    segment_count(&server, |count| count == 0);
    let left = server.messages();
    assert_holds(&server, &messages[messages.len() - left.len()..]);
    assert_eq!(read_after(&server, &first).status, 410, "the cursor is gone with its record");
    assert!(server.stderr().contains("removed the oldest"), "not reported: {}", server.stderr());
    // The rule also applies after a time in which the server did not run.
    let more = fill(&server, "more", 30);
    assert!(server.stop().success());
    std::thread::sleep(Duration::from_millis(3100));
    server.respawn();
    segment_count(&server, |count| count == 0);
    let left = server.messages();
    assert_holds(&server, &more[more.len() - left.len()..]);
}

#[test]
fn changed_rotate_applies_at_once() {
    let server = Setup::new().start();
    let messages = fill(&server, "m", 50);
    assert!(segments(&server).is_empty());
    server.set("log.json", "/sample1/rotate", json!({"max_size": "1KB"}));
    segment_count(&server, |count| count == 1);
    let more = fill(&server, "n", 50);
    let all = [messages, more].concat();
    assert!(segments(&server).len() > 4);
    assert_holds(&server, &all);
    server.set("log.json", "/sample1/rotate", json!({"max_size": "1KB", "compress": "gzip"}));
    all_compressed(&server, "gz");
    assert_holds(&server, &all);
    server.set("log.json", "/sample1/rotate", json!({"max_size": "1KB", "keep": 2}));
    segment_count(&server, |count| count == 2);
    let left = read_all(&server);
    assert_holds(&server, &all[all.len() - left.len()..]);
    server.set("log.json", "/sample1/rotate", Value::Null);
    eventually("reloaded", Duration::from_secs(5), || server.stderr().matches("is in force").count() >= 4);
    fill(&server, "o", 50);
    assert_eq!(segments(&server).len(), 2, "rotated without a rule");
    assert!(server.stderr().lines().all(|line| !line.contains("not in force")));
}

#[test]
fn clear_removes_all_segments() {
    let mut server = rotating(json!({"max_size": "1KB", "compress": "zstd"})).durability("disk").start();
    let first = save(&server, "first");
    fill(&server, "m", 50);
    let last = save(&server, "last");
    server.root_get("clear-logs").success();
    assert_holds(&server, &[]);
    assert!(segments(&server).is_empty());
    for _ in 0..2 {
        assert_eq!(read_after(&server, &first).status, 410);
        assert_eq!(
            read_after(&server, &last).text(),
            "",
            "the end of the cleared records is the start of the log"
        );
        server.restart();
    }
    let messages = fill(&server, "n", 50);
    all_compressed(&server, "zst");
    assert_eq!(messages_of(&read_after(&server, &last).text()), messages);
    assert_holds(&server, &messages);
}

#[test]
fn changes_of_segments_by_other_programs_are_noticed() {
    let mut server = rotating(json!({"max_size": "1KB"})).start();
    let saved: Vec<(String, String)> = (0..60)
        .map(|n| {
            let message = format!("m-{n:05}-{}", "x".repeat(20));
            (save(&server, &message), message)
        })
        .collect();
    let all = segments(&server);
    assert!(all.len() >= 5);
    let removed = messages_of(&text_of(&all[1]));
    std::fs::remove_file(&all[1]).unwrap();
    let altered = messages_of(&text_of(&all[3]));
    // The cursors of a segment are gone when its file is a copy with another last line.
    let text = std::fs::read_to_string(&all[3]).unwrap() + "[INFO](x)<>forged\n";
    std::fs::write(&all[3], text).unwrap();
    let left: Vec<&(String, String)> = saved
        .iter()
        .filter(|(_, message)| !removed.contains(message) && !altered.contains(message))
        .collect();
    for _ in 0..2 {
        let read = read_all(&server);
        assert!(read.iter().eq(left.iter().map(|(_, message)| message)), "{read:?}");
        assert_eq!(server.root_get("details").json()["count"], left.len());
        for (place, (cursor, message)) in saved.iter().enumerate() {
            let next = saved.get(place + 1).map(|(_, message)| message);
            let response = read_after(&server, cursor);
            if next.is_some_and(|next| removed.contains(next) || altered.contains(next)) {
                assert_eq!(response.status, 410, "{message}");
            } else {
                assert_eq!(response.status, 200, "{message}");
                assert_eq!(messages_of(&response.text()).first(), next, "{message}");
            }
        }
        server.restart();
    }
    // logrotate can still rotate the active file.
    let last = &saved.last().unwrap().0;
    std::fs::rename(server.log_path(), server.log_path().with_file_name("by-logrotate")).unwrap();
    save(&server, "fresh");
    assert_eq!(server.messages(), ["fresh"]);
    assert_eq!(read_after(&server, last).status, 410);
    server.restart();
    assert_eq!(read_all(&server).last().unwrap(), "fresh");
}

#[test]
fn log_without_its_state_keeps_its_lines() {
    let mut server = rotating(json!({"max_size": "1KB", "compress": "zstd"})).start();
    let old = save(&server, "first");
    let messages = [vec!["first".to_owned()], fill(&server, "m", 50)].concat();
    all_compressed(&server, "zst");
    assert!(server.stop().success());
    std::fs::remove_dir_all(server.state_dir()).unwrap();
    server.respawn();
    eventually("counted", Duration::from_secs(10), || server.root_get("details").json()["counting"] == false);
    assert_holds(&server, &messages);
    assert_eq!(read_after(&server, &old).status, 400, "a cursor of another identity");
    server.restart();
    let more = fill(&server, "n", 50);
    all_compressed(&server, "zst");
    assert_holds(&server, &[messages, more].concat());
}

#[test]
fn stop_does_not_wait_for_a_compression() {
    let mut server = rotating(json!({"max_size": "100KB"})).start();
    let text = "w".repeat(8000);
    let messages: Vec<String> = (0..300).map(|n| format!("{n}-{text}")).collect();
    for message in &messages {
        save(&server, message);
    }
    server.set("log.json", "/sample1/rotate", json!({"max_size": "100KB", "compress": "gzip"}));
    eventually("it began", Duration::from_secs(10), || {
        segments(&server).iter().any(|path| path.extension().is_some_and(|extension| extension == "gz"))
    });
    let started = std::time::Instant::now();
    server.restart();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    all_compressed(&server, "gz");
    assert_holds(&server, &messages);
}

fn all_compressed(server: &Server, suffix: &str) {
    eventually("everything is compressed", Duration::from_secs(60), || {
        segments(server).iter().all(|path| path.extension().is_some_and(|extension| extension == suffix))
    });
}

#[test]
fn compression_has_the_lowest_priority() {
    let server = rotating(json!({"max_size": "200KB", "compress": "gzip"})).start();
    let text = "v".repeat(8000);
    let mut seen = None;
    for n in 0..2000 {
        try_save(&server, &format!("{n}-{text}")).unwrap();
        let tasks = format!("/proc/{}/task", server.pid());
        for task in std::fs::read_dir(tasks).unwrap().flatten() {
            let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
            let (name, rest) = stat.rsplit_once(')').unwrap();
            if name.ends_with("(segments") {
                // The nice value is field 19 of the line (proc(5)), which is the 17th after the
                // name.
                let nice: i32 = rest.split_whitespace().nth(16).unwrap().parse().unwrap();
                seen = seen.max(Some(nice));
            }
        }
        if seen == Some(19) {
            return;
        }
    }
    panic!("never seen at priority 19: {seen:?}");
}
