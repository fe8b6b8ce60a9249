//! Tests files on the disk: valid, absent, unreadable, and of the wrong kind.

use std::fs;

use proptest::prelude::*;

use super::super::load;
use super::super::load::FILE_NAMES;
use super::LOG;

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log.json"), LOG).unwrap();
    fs::write(dir.path().join("api_key.json"), "[]").unwrap();
    dir
}

#[test]
fn directory_is_loaded() {
    let dir = directory();
    fs::write(dir.path().join("ip_blacklist.json"), "[\"10.0.0.1\"]").unwrap();
    let loaded = load(dir.path()).unwrap();
    assert_eq!((loaded.warnings.len(), loaded.files.logs.len(), loaded.files.blacklist.len()), (0, 1, 1));
    fs::write(dir.path().join("sanic.json"), "{}").unwrap();
    assert!(load(dir.path()).unwrap().warnings[0].to_string().contains("http.toml"));
}

#[test]
fn missing_log_json_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let errors = load(dir.path()).unwrap_err();
    assert_eq!((errors.len(), errors[0].file), (1, "log.json"));
    assert!(errors[0].message.contains("missing"));
    assert!(load(&dir.path().join("none")).is_err());
}

#[test]
fn unreadable_files_are_reported_once_and_with_other_errors() {
    let dir = directory();
    fs::remove_file(dir.path().join("log.json")).unwrap();
    fs::create_dir(dir.path().join("log.json")).unwrap();
    fs::write(dir.path().join("server.json"), "{").unwrap();
    fs::write(dir.path().join("system.json"), b"{\n \"root_pass\": \"\xff\"}").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("http.toml")).unwrap();
    let errors = load(dir.path()).unwrap_err();
    let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 4, "{shown:?}");
    assert!(shown[0].contains("log.json is a directory, expected a text file"), "{shown:?}");
    assert!(shown[1].starts_with("system.json:2:16: byte 18 is not UTF-8"), "{shown:?}");
    assert!(shown[2].starts_with("http.toml: ") && shown[2].contains("cannot be read"), "{shown:?}");
    assert!(shown[3].starts_with("server.json:1:"), "{shown:?}");
}

#[test]
fn device_is_rejected() {
    let dir = directory();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("system.json")).unwrap();
    assert!(load(dir.path()).unwrap_err()[0].message.contains("not a regular file"));
}

proptest! {
    #[test]
    fn any_bytes_give_one_error_with_a_position(
        which in 0..6_usize,
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\":,=\n \xef\xbb\xbf\xff"[..])], 0..60),
    ) {
        let dir = directory();
        fs::write(dir.path().join(FILE_NAMES[which]), &bytes).unwrap();
        if let Err(errors) = load(dir.path()) {
            prop_assert_eq!(errors.len(), 1, "{:?}", errors);
            prop_assert_eq!(errors[0].file, FILE_NAMES[which]);
            let blank = bytes.iter().all(u8::is_ascii_whitespace);
            prop_assert!(errors[0].line.is_some() || blank, "without a place: {}", errors[0]);
        }
    }
}
