//! Tests of a log with thousands of rotated files.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Setup, eventually};
use crate::segments::save;

const COUNT: u64 = 1500;

#[test]
fn files_of_many_segments_are_checked_although_not_each_time() {
    let setup = Setup::new().log("rotate", json!({"max_size": "1MB", "compress": null}));
    let path = setup.log_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let segment = |seq: u64| format!("{}.20261123T050229Z-{seq}", path.display());
    for seq in 1..=COUNT {
        let time = format!("2026-11-23 05:{:02}:{:02}.000000+00:00", seq / 60 % 60, seq % 60);
        let line = format!("[INFO]({time})<192.0.2.7|web|save-log|7|{seq}>record {seq}\n");
        std::fs::write(segment(seq), line).unwrap();
    }
    let server = setup.start();
    let details = || server.root_get("details").json();
    assert_eq!(details()["segments"], COUNT);
    save(&server, "a record");
    for removed in [7, COUNT - 3] {
        std::fs::remove_file(segment(removed)).unwrap();
        save(&server, "another record");
        let left = if removed == 7 { COUNT - 1 } else { COUNT - 2 };
        eventually("the missing file is noticed", Duration::from_secs(10), || details()["segments"] == left);
        let found = server.root_get(&format!("get-logs?contains=record%20{removed}%20"));
        assert_eq!(found.status, 200);
    }
}
