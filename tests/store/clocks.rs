//! Moves the system clock of a running server, by libfaketime, and starts it at a wrong date. No record
//! of a rotated log is lost, times are true again with the first record after the clock is, and each
//! time there are a warning and a metric.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::segments::{read_all, save, segments, text_of, text_of_all, try_save};
use crate::harness::{KEY, Line, ROOT, Server, Setup, cannot_run, encode_pairs, eventually, route};

/// The clock that a server sees.
struct MovedClock(PathBuf);

impl MovedClock {
    /// Makes the clock of a server movable. `None`: libfaketime is not installed.
    fn of(setup: Setup, folder: &Path) -> Option<(Self, Setup)> {
        let library = std::fs::read_dir("/usr/lib").ok()?.flatten().find_map(|entry| {
            let library = entry.path().join("faketime/libfaketimeMT.so.1");
            library.exists().then_some(library)
        });
        let Some(library) = library else {
            cannot_run("libfaketime is not installed");
            return None;
        };
        let clock = Self(folder.join("clock"));
        clock.set("+0");
        let setup = setup
            .env("LD_PRELOAD", library.to_str()?)
            .env("FAKETIME_TIMESTAMP_FILE", clock.0.to_str()?)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            // Retention by age has its turn several times in a test.
            .env("MOCA_AGE_INTERVAL", "20");
        Some((clock, setup))
    }

    /// Moves the clock from the true time, such as by `+365d` or `-5h`.
    fn set(&self, offset: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

fn server(rotate: &Value) -> Option<(MovedClock, Server, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let (clock, setup) = MovedClock::of(Setup::new().log("rotate", rotate.clone()), folder.path())?;
    Some((clock, setup.start(), folder))
}

/// Saves messages whose lines have about 100 bytes.
fn fill(server: &Server, label: &str, count: usize) -> Vec<String> {
    let messages: Vec<String> = (0..count).map(|n| format!("{label}-{n:05}-{}", "x".repeat(20))).collect();
    for message in &messages {
        save(server, message);
    }
    messages
}

fn metric(server: &Server, name: &str) -> f64 {
    let page = server.get_with("/metrics", &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]);
    assert_eq!(page.status, 200);
    let prefix = format!("{name} ");
    let text = page.text();
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn time_of(line: &str) -> Timestamp {
    Line::parse(line).time.replacen(' ', "T", 1).parse().unwrap()
}

/// Asserts that the newest record has the true time.
fn assert_true_time(server: &Server) {
    let text = std::fs::read_to_string(server.log_path()).unwrap();
    let time = time_of(text.lines().last().unwrap());
    let off = Timestamp::now().duration_since(time).abs();
    assert!(off.as_secs() < 10, "{time} is {off} from now\n{}", server.stderr());
    assert!(metric(server, "moca_clock_ahead_seconds") < 10.0);
}

/// Asserts that times never decrease in any file.
fn assert_sorted(server: &Server) {
    for path in segments(server).into_iter().chain([server.log_path()]) {
        let times: Vec<Timestamp> = text_of(&path).lines().map(time_of).collect();
        assert!(times.is_sorted(), "{}", path.display());
    }
}

fn warned(server: &Server, text: &str) {
    eventually(text, Duration::from_secs(10), || server.stderr().contains(text));
}

#[test]
fn clock_a_year_ahead_loses_no_record() {
    let rotate = json!({"max_size": "1KB", "max_age": "30d"});
    let Some((clock, server, _folder)) = server(&rotate) else { return };
    let mut messages = fill(&server, "before", 40);
    assert!(segments(&server).len() >= 3);
    clock.set("+365d");
    messages.extend(fill(&server, "ahead", 1));
    clock.set("+0");
    messages.extend(fill(&server, "between", 1));
    assert_true_time(&server);
    clock.set("+365d");
    // Several rotations, each with maintenance.
    messages.extend(fill(&server, "far", 40));
    warned(&server, "the system clock moved forward by");
    clock.set("+0");
    messages.extend(fill(&server, "after", 1));
    assert_true_time(&server);
    warned(&server, "seconds behind the newest record: a new file begins");
    assert!(metric(&server, "moca_clock_steps_total") >= 3.0, "two back, and at least one forward");
    messages.extend(fill(&server, "rest", 40));
    assert!(read_all(&server) == messages, "{}", server.stderr());
    assert_sorted(&server);
    assert_eq!(metric(&server, "moca_segments_retired_total"), 0.0);
}

#[test]
fn start_at_a_wrong_date_loses_no_record() {
    let rotate = json!({"max_size": "1KB", "max_age": "30d"});
    for wrong in ["+365d", "-365d", "-20000d"] {
        let Some((clock, mut server, _folder)) = server(&rotate) else { return };
        let mut messages = fill(&server, "before", 40);
        // Once without a record, once with some.
        for count in [0, 20] {
            assert!(server.stop().success());
            clock.set(wrong);
            server.respawn();
            messages.extend(fill(&server, &format!("wrong-{count}"), count));
            if wrong.starts_with('+') {
                warned(&server, "later than the last time that the saved state knows");
            } else if count > 0 {
                warned(&server, "seconds behind the newest record: a new file begins");
            }
            assert!(server.stop().success());
            clock.set("+0");
            server.respawn();
            messages.extend(fill(&server, &format!("right-{count}"), 20));
            assert_true_time(&server);
        }
        assert!(read_all(&server) == messages, "{wrong}\n{}", server.stderr());
        assert_sorted(&server);
    }
}

#[test]
fn clock_set_back_by_hours_closes_the_file_without_any_rule() {
    let Some((clock, server, _folder)) = server(&Value::Null) else { return };
    let mut messages = fill(&server, "before", 5);
    clock.set("-5h");
    messages.extend(fill(&server, "back", 5));
    assert_eq!(segments(&server).len(), 1, "rotated once");
    let lag = Timestamp::now().duration_since(time_of(text_of(&server.log_path()).lines().last().unwrap()));
    assert!((4..=6).contains(&lag.as_hours()), "{lag}");
    warned(&server, "seconds behind the newest record: a new file begins");
    assert_eq!(metric(&server, "moca_clock_steps_total"), 1.0);
    clock.set("+0");
    messages.extend(fill(&server, "right", 5));
    assert_true_time(&server);
    assert_eq!(segments(&server).len(), 1, "a clock that is ahead of the file needs no new one");
    assert_eq!(read_all(&server), messages);
    // A search by time finds the records of each file.
    for (since, until, label) in
        [("4h", "1h", None), ("6h", "4h", Some("back")), ("1h", "", Some("before,right"))]
    {
        let mut pairs = vec![("since", since)];
        if !until.is_empty() {
            pairs.push(("until", until));
        }
        let headers = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];
        let target = format!("{}?{}", route("get-logs"), encode_pairs(&pairs));
        let found: Vec<String> =
            server.get_with(&target, &headers).text().lines().map(|line| Line::parse(line).message).collect();
        let expected: Vec<&String> = messages
            .iter()
            .filter(|message| label.is_some_and(|label| label.split(',').any(|one| message.starts_with(one))))
            .collect();
        assert!(found.iter().eq(expected), "{since} {until}: {found:?}");
    }
}

#[test]
fn every_goes_by_the_real_clock() {
    let Some((clock, server, _folder)) = server(&json!({"every": "hour"})) else { return };
    clock.set("+3650d");
    save(&server, "ahead");
    clock.set("+0");
    save(&server, "right");
    assert_eq!(segments(&server).len(), 1);
    clock.set("+70m");
    save(&server, "an hour later");
    eventually("rotated by the hour", Duration::from_secs(10), || segments(&server).len() == 2);
    assert_eq!(read_all(&server), ["ahead", "right", "an hour later"]);
}

#[test]
fn file_that_cannot_be_closed_keeps_its_last_time() {
    if !cfg!(debug_assertions) {
        return cannot_run("faults are compiled into debug builds only");
    }
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new().env("MOCA_FAIL", "rotate.create");
    let Some((clock, setup)) = MovedClock::of(setup, folder.path()) else { return };
    let server = setup.start();
    clock.set("+2h");
    save(&server, "ahead");
    clock.set("+0");
    let refused = try_save(&server, "refused").unwrap_err();
    refused.problem(503);
    save(&server, "after");
    assert_eq!(read_all(&server), ["ahead", "after"]);
    assert_sorted(&server);
    warned(&server, "no new file can be begun");
    assert!(metric(&server, "moca_clock_ahead_seconds") > 7000.0, "visible while times are not true");
    assert_eq!(text_of_all(&server).lines().count(), 2);
}
