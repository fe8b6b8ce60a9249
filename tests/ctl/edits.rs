//! Tests that an edit keeps every other byte of a file, its mode, its owners, and a link to it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use nix::unistd::geteuid;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::installation::Installation;

fn entries() -> impl Strategy<Value = Vec<Value>> {
    let unknown = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        "[ -~é]{0,9}".prop_map(Value::from),
        prop::collection::vec(any::<bool>(), 0..3).prop_map(Value::from),
    ];
    let entry = ("[a-z]{1,8}", any::<bool>(), unknown);
    prop::collection::vec(entry, 0..5).prop_map(|entries| {
        let entry = |(index, (key, status, unknown))| {
            json!({"zz": unknown, "key": format!("{key}{index}"), "name": format!("n{index}"), "status": status})
        };
        entries.into_iter().enumerate().map(entry).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn edits_keep_other_entries_their_order_and_unknown_options(list in entries(), pretty: bool) {
        let installation = Installation::of_one();
        let text = if pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) };
        let text = format!(" {}\n", text.unwrap());
        installation.write("api_key.json", &text);
        installation.run(&["key", "add", "--name", "new", "--rate", "5/minute"]).ok();
        let more: Vec<Value> = serde_json::from_str(&installation.read("api_key.json")).unwrap();
        prop_assert_eq!(&more[..list.len()], &list[..]);
        prop_assert_eq!(&more[list.len()]["name"], "new");
        installation.run(&["key", "revoke", "new"]).ok();
        let again: Vec<Value> = serde_json::from_str(&installation.read("api_key.json")).unwrap();
        prop_assert_eq!(&again, &list);
        if !list.is_empty() {
            prop_assert_eq!(&installation.read("api_key.json"), &text);
            let middle = list.len() / 2;
            installation.run(&["key", "revoke", &format!("n{middle}")]).ok();
            let mut fewer = list;
            fewer.remove(middle);
            let left: Vec<Value> = serde_json::from_str(&installation.read("api_key.json")).unwrap();
            prop_assert_eq!(left, fewer);
        }
    }
}

#[test]
fn a_file_with_comments_is_not_edited() {
    let installation = Installation::of_one();
    for text in [
        "[\n  // who: the web servers\n  {\"key\": \"test-key\"}\n]",
        "[{\"key\": \"test-key\"},]",
        "\u{feff}[{\"key\": \"test-key\"}]",
    ] {
        installation.write("api_key.json", text);
        for arguments in [&["key", "add"][..], &["key", "revoke", "test-key"]] {
            let output = installation.run(arguments);
            assert_eq!(output.out, "", "no key is shown that is not stored");
            let error = output.failed(65);
            assert!(error.contains("api_key.json is not changed") && error.contains("comments"), "{error}");
        }
        assert_eq!(installation.read("api_key.json"), text);
        installation.run(&["key", "list"]).ok();
    }
    let text = "{ /* secret */ \"root_pass\": \"x\" }";
    installation.write("system.json", text);
    installation.run_with(&["passwd"], "a new password\n").failed(65);
    assert_eq!(installation.read("system.json"), text);
}

#[test]
fn an_invalid_file_is_not_edited() {
    let installation = Installation::of_one();
    installation.write("api_key.json", "[{\"key\": \"k\", \"rate\": \"often\"}]");
    let error = installation.run(&["key", "add"]).failed(78);
    assert!(error.contains("api_key.json:1:") && error.contains("rate"), "{error}");
    // An edit does not make a valid file invalid.
    let installation = Installation::of_one();
    let before = installation.read("api_key.json");
    for arguments in [
        &["key", "add", "--rate", "often"][..],
        &["key", "add", "--ip", "nowhere"],
        &["key", "add", "--name", "a|b"],
        &["key", "add", "--path", "no-slash"],
    ] {
        installation.run(arguments).failed(78);
    }
    assert_eq!(installation.read("api_key.json"), before);
}

#[test]
fn an_edit_keeps_mode_owners_and_link() {
    let installation = Installation::of_one();
    let real = installation.root().join("elsewhere.json");
    fs::rename(installation.config("api_key.json"), &real).unwrap();
    symlink(&real, installation.config("api_key.json")).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o460)).unwrap();
    if geteuid().is_root() {
        chown(&real, Some(4711), Some(4712)).unwrap();
    }
    let before = fs::metadata(&real).unwrap();
    installation.run(&["key", "add"]).ok();
    let after = fs::metadata(&real).unwrap();
    assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
    assert_ne!(after.ino(), before.ino(), "replaced as a whole");
    assert!(fs::symlink_metadata(installation.config("api_key.json")).unwrap().is_symlink());
    for folder in [installation.root(), &installation.path("config")] {
        let left = fs::read_dir(folder).unwrap().flatten();
        assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().ends_with(".tmp")));
    }
}

#[test]
fn a_new_file_is_not_readable_by_others() {
    let installation = Installation::of_one();
    for (file, arguments) in [("api_key.json", &["key", "add"][..]), ("system.json", &["passwd"])] {
        fs::remove_file(installation.config(file)).unwrap();
        installation.run_with(arguments, "a new password\n").ok();
        assert_eq!(fs::metadata(installation.config(file)).unwrap().mode() & 0o777, 0o640);
        installation.run(&["check"]).ok();
    }
}

#[test]
fn concurrent_edits_are_all_kept() {
    let installation = Installation::of_one();
    let children: Vec<_> = (0..8)
        .map(|index| {
            let name = format!("n{index}");
            let mut command = installation.command(&["key", "add", "--name", &name]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let listed = installation.run(&["key", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 9);
}
