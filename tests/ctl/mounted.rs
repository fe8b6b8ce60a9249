//! Tests of edits where a configuration file is mounted by itself, as in a container, and cannot be
//! replaced by a rename.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use serde_json::{Value, json};

use crate::harness::Mounts;
use crate::installation::Installation;

/// Mounts `api_key.json` and `system.json` from the folder `host`.
fn mounted() -> Option<(Installation, Mounts)> {
    let mounts = Mounts::private()?;
    let installation = Installation::of_one();
    fs::create_dir(installation.path("host")).unwrap();
    for file in ["api_key.json", "system.json"] {
        let outside = installation.path("host").join(file);
        fs::copy(installation.config(file), &outside).unwrap();
        chown(&outside, Some(4711), Some(4712)).unwrap();
        mounts.bind(&outside, &installation.config(file));
    }
    Some((installation, mounts))
}

fn names(installation: &Installation) -> Vec<String> {
    let keys: Vec<Value> = serde_json::from_str(&installation.read("api_key.json")).unwrap();
    keys.iter().map(|key| key["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_mounted_file_is_written_in_place_with_a_copy() {
    let Some((installation, _mounts)) = mounted() else { return };
    let before = installation.read("api_key.json");
    let output = installation.run(&["key", "add", "--name", "new"]);
    assert_eq!(output.status, 0, "{output:?}");
    assert!(output.err.contains("written in place") && output.err.contains("api_key.json.bak"), "{output:?}");
    assert_eq!(names(&installation), ["", "new"]);
    // The new text is longer, and the next one is shorter.
    assert_eq!(fs::read_to_string(installation.config("api_key.json.bak")).unwrap(), before);
    let outside = installation.path("host/api_key.json");
    assert_eq!(fs::read_to_string(&outside).unwrap(), installation.read("api_key.json"));
    let longer = installation.read("api_key.json");
    installation.run(&["key", "revoke", "new"]).ok();
    assert_eq!(installation.read("api_key.json"), before);
    assert_eq!(fs::read_to_string(installation.config("api_key.json.bak")).unwrap(), longer);
    for file in ["api_key.json", "api_key.json.bak"] {
        let meta = fs::metadata(installation.config(file)).unwrap();
        assert_eq!(
            (meta.uid(), meta.gid(), meta.permissions().mode() & 0o777),
            (4711, 4712, 0o640),
            "{file}"
        );
    }

    let output = installation.run_with(&["passwd"], "correct horse battery\n");
    assert!(output.status == 0 && output.err.contains("system.json.bak"), "{output:?}");
    assert!(installation.read("system.json").contains("argon2id"));
    let left: Vec<String> = fs::read_dir(installation.path("config"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // A file that is not mounted is replaced as before.
    let plain = Installation::of_one();
    let output = plain.run(&["key", "add"]);
    assert!(output.status == 0 && !output.err.contains("in place"), "{output:?}");
    assert!(!plain.config("api_key.json.bak").exists());
}

#[test]
fn an_invalid_edit_changes_neither_the_file_nor_the_copy() {
    let Some((installation, _mounts)) = mounted() else { return };
    let before = installation.read("api_key.json");
    installation.run(&["key", "add", "--rate", "often"]).failed(78);
    assert_eq!(installation.read("api_key.json"), before);
    assert!(!installation.config("api_key.json.bak").exists());
}

#[test]
fn a_failure_in_the_middle_leaves_the_copy() {
    let Some((installation, mounts)) = mounted() else { return };
    // The file lies on a file system of one page, so that a longer text does not fit.
    let small = installation.path("small");
    fs::create_dir(&small).unwrap();
    mounts.tmpfs(&small, "4k");
    let info = "x".repeat(3900);
    let text = json!([{"key": "k", "status": true, "info": info}]).to_string();
    fs::write(small.join("api_key.json"), &text).unwrap();
    mounts.bind(&small.join("api_key.json"), &installation.config("api_key.json"));
    let error = installation.run(&["key", "add", "--name", "new", "--info", &"y".repeat(900)]).failed(74);
    assert!(error.contains("No space left") && error.contains("api_key.json.bak"), "{error}");
    assert_eq!(fs::read_to_string(installation.config("api_key.json.bak")).unwrap(), text);
}

#[test]
fn without_room_for_the_copy_nothing_changes() {
    let Some((installation, _mounts)) = mounted() else { return };
    let before = installation.read("api_key.json");
    fs::create_dir_all(installation.config("api_key.json.bak/in the way")).unwrap();
    let error = installation.run(&["key", "add"]).failed(73);
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(installation.read("api_key.json"), before);
}
