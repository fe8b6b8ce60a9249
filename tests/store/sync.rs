//! Traces system calls to check that, before the answer is sent, the record is as durable as
//! `durability` promises.

use std::path::Path;
use std::time::Duration;

use super::strace::Trace;
use crate::harness::Setup;

/// Returns the indices of the trace lines that show the return of a selected call. If another
/// thread runs during a call, strace prints the call as two lines, and the second one is returned.
fn returns(calls: &[String], names: &[&str], about: impl Fn(&str) -> bool) -> Vec<usize> {
    let mut places = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let Some((pid, text)) = call.split_once(' ') else { continue };
        let text = text.trim_start();
        let Some(name) = names.iter().find(|name| text.starts_with(&format!("{name}("))) else { continue };
        if !about(text) {
            continue;
        }
        if text.contains("<unfinished ...>") {
            let (of_pid, resumed) = (format!("{pid} "), format!("<... {name} resumed>"));
            let later = calls.iter().enumerate().skip(place + 1);
            let end = later
                .filter(|(_, c)| c.starts_with(&of_pid) && c.contains(&resumed))
                .map(|(at, _)| at)
                .next();
            places.extend(end);
        } else {
            places.push(place);
        }
    }
    places
}

const WRITES: [&str; 5] = ["write", "writev", "pwrite64", "pwritev", "pwritev2"];

fn is_log(text: &str, log: &Path) -> bool {
    text.contains(&format!("<{}>", log.display()))
}

/// Returns the index of the trace line in which the server begins to send the answer. The end of
/// that call would be too late, because the client may receive bytes before the call returns.
fn answer_begins(calls: &[String]) -> usize {
    let begins = |call: &&String| {
        let socket = call.contains("socket:") || call.contains("TCP:");
        socket && call.contains("HTTP/1.1 200")
    };
    calls.iter().position(|call| begins(&call)).unwrap_or_else(|| panic!("no answer seen: {calls:#?}"))
}

fn trace_of_one_save(durability: &str) -> Option<(Vec<String>, std::path::PathBuf)> {
    let server = Setup::new().durability(durability).start();
    server.save("warm");
    // The trace must not contain the syncs of the first record.
    std::thread::sleep(Duration::from_millis(200));
    let trace = Trace::attach(&server)?;
    server.save("traced-record");
    let calls = trace.finish();
    Some((calls, server.log_path()))
}

#[test]
fn durability_disk_syncs_before_the_answer() {
    let Some((calls, log)) = trace_of_one_save("disk") else { return };
    let answer = answer_begins(&calls);
    let writes = returns(&calls, &WRITES, |text| is_log(text, &log) && text.contains("traced-record"));
    let written = *writes.first().unwrap_or_else(|| panic!("the record was not written: {calls:#?}"));
    let syncs = returns(&calls, &["fdatasync", "fsync"], |text| is_log(text, &log));
    let synced = syncs.iter().copied().find(|&place| place > written);
    let synced = synced.unwrap_or_else(|| panic!("no sync after the write: {calls:#?}"));
    assert!(calls[synced].trim_end().ends_with("= 0"), "the sync failed: {}", calls[synced]);
    assert!(synced < answer, "the answer was sent before the sync returned: {calls:#?}");
}

#[test]
fn durability_os_writes_before_the_answer() {
    let Some((calls, log)) = trace_of_one_save("os") else { return };
    let answer = answer_begins(&calls);
    let writes = returns(&calls, &WRITES, |text| is_log(text, &log) && text.contains("traced-record"));
    let written = *writes.first().unwrap_or_else(|| panic!("the record was not written: {calls:#?}"));
    assert!(written < answer, "the answer was sent before the write returned: {calls:#?}");
}

#[test]
fn concurrent_requests_share_a_sync() {
    let mut server = Setup::new().durability("disk").start();
    let log = server.log_path();
    let Some(trace) = Trace::attach(&server) else { return };
    let (sent, ()) = super::load::under_load(&mut server, 32, "load", |_| {
        std::thread::sleep(Duration::from_millis(600));
    });
    let calls = trace.finish();
    let syncs = returns(&calls, &["fdatasync", "fsync"], |text| is_log(text, &log)).len();
    let records = super::load::acknowledged(&sent);
    assert!(records > 64, "{records} records");
    assert!(syncs * 2 < records, "{syncs} syncs for {records} records of 32 senders");
}

#[test]
fn directory_entry_of_a_new_file_is_synced() {
    let server = Setup::new().durability("disk").start();
    server.save("warm");
    std::fs::remove_file(server.log_path()).unwrap();
    let folder = server.log_path().parent().unwrap().to_owned();
    let Some(trace) = Trace::attach(&server) else { return };
    server.save("traced-record");
    let calls = trace.finish();
    let answer = answer_begins(&calls);
    let syncs = returns(&calls, &["fsync", "fdatasync"], |text| is_log(text, &folder));
    let first = *syncs.first().unwrap_or_else(|| panic!("the folder was not synced: {calls:#?}"));
    assert!(first < answer, "the answer was sent before the folder was synced");
}
