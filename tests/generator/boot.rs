//! Tests of several runs of the generator in a row, as boots, reloads and `mocactl apply` cause
//! them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use moca_file_log::systemd::generator::{LASTING_DIR, SNAPSHOT_DIR, applied, diff, plan, store};

use crate::{generate, tree};

const ONE: &str = r#"{"a": {"host": "127.0.0.1", "port": 8001, "file": "a.log"}}"#;
const MOVED: &str = r#"{"a": {"host": "127.0.0.1", "port": 8002, "file": "a.log"}}"#;

fn edit(root: &Path, text: &str) {
    fs::create_dir_all(root.join("etc/moca-file-log")).unwrap();
    fs::write(root.join("etc/moca-file-log/log.json"), text).unwrap();
}

fn below(root: &Path, place: &str) -> std::path::PathBuf {
    root.join(place.trim_start_matches('/'))
}

#[test]
fn edited_files_take_effect_at_boot_or_when_applied() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("root");
    let reload = |run: &str| {
        let out = work.path().join(run);
        generate(&root, &out);
        tree::read(&out)
    };
    edit(&root, ONE);
    let first = reload("1");
    assert_eq!(first.len(), 4);
    for (run, text) in [("2", MOVED), ("3", "{"), ("4", "{}"), ("5", "")] {
        edit(&root, text);
        assert_eq!(reload(run), first, "{text}");
    }
    edit(&root, MOVED);
    let (old, new) = (
        applied(&below(&root, SNAPSHOT_DIR)).unwrap().unwrap(),
        plan(&root.join("etc/moca-file-log")).unwrap(),
    );
    assert_eq!(diff(&old, &new).listen.len(), 1);
    store(&below(&root, SNAPSHOT_DIR), &new).unwrap();
    store(&below(&root, LASTING_DIR), &new).unwrap();
    let moved = reload("6");
    assert_ne!(moved, first);
    // A boot with an invalid file, and reloads after it.
    fs::remove_dir_all(root.join("run")).unwrap();
    edit(&root, "{");
    assert_eq!(reload("7"), moved);
    edit(&root, ONE);
    assert_eq!(reload("8"), moved);
    // A boot with a valid file.
    fs::remove_dir_all(root.join("run")).unwrap();
    assert_eq!(reload("9"), first);
}

#[test]
fn first_file_takes_effect_once_it_is_valid() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("root");
    edit(&root, "{");
    generate(&root, &work.path().join("1"));
    assert!(tree::read(&work.path().join("1")).is_empty());
    edit(&root, ONE);
    generate(&root, &work.path().join("2"));
    assert_eq!(tree::read(&work.path().join("2")).len(), 4);
}

#[test]
fn system_without_configuration_boots() {
    let work = tempfile::tempdir().unwrap();
    let output = generate(&work.path().join("none"), &work.path().join("out"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("log.json"));
}

#[test]
fn only_wrong_arguments_fail() {
    for arguments in [&[][..], &["a", "b"], &["a", "b", "c", "d"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_moca-file-log-generator"))
            .args(arguments)
            .env("MOCA_FILE_LOG_ROOT", "/nonexistent")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("expected one or three"));
    }
    let work = tempfile::tempdir().unwrap();
    edit(work.path(), ONE);
    let output = generate(work.path(), Path::new("/proc/nonexistent"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("can't create /proc/nonexistent"));
}

/// The generator must be fast, because a boot waits for it.
#[test]
fn hundred_logs_take_less_than_a_second() {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("root");
    let log =
        |n: u32| format!(r#""log {n}": {{"host": "127.0.0.1", "port": {}, "file": "{n}.log"}}"#, 8000 + n);
    edit(&root, &format!("{{{}}}", (0..100).map(log).collect::<Vec<_>>().join(",")));
    // The first run reads the files, and the other runs read the plan.
    let times: Vec<_> = (0..5)
        .map(|run| {
            let start = Instant::now();
            let out = work.path().join(run.to_string());
            generate(&root, &out);
            let time = start.elapsed();
            assert_eq!(tree::read(&out).len(), 400);
            time
        })
        .collect();
    println!("{times:?}");
    assert!(times.iter().all(|time| time.as_millis() < 1000), "{times:?}");
}
