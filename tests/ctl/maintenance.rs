//! Tests of the commands for maintenance. A running instance gets a signal, a stopped one a marker.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use moca_file_log::config::LogName;
use moca_file_log::guard::{Maintenance, state_file};
use nix::unistd::geteuid;
use serde_json::json;

use crate::installation::{CommandOutput, HOSTILE, Installation, entry, hostile};

const ACTIVE: &str = "ActiveState=active\nSubState=running\n";
const INACTIVE: &str = "ActiveState=inactive\nSubState=dead\n";
const STARTING: &str = "ActiveState=activating\nSubState=start\n";
const WAITING: &str = "ActiveState=activating\nSubState=auto-restart\n";

fn is_on(installation: &Installation, name: &str) -> bool {
    let name: LogName = name.parse().unwrap();
    Maintenance::open(&installation.path("state"), &name).is_on_by_signal()
}

#[test]
fn a_running_instance_gets_a_signal() {
    let installation = hostile();
    installation.systemctl_shows(&[ACTIVE]);
    for (name, escaped) in HOSTILE {
        for (command, signal) in [("turn-off", "SIGUSR1"), ("turn-on", "SIGUSR2")] {
            installation.run(&[command, "--", name]).ok();
            let unit = format!("moca-file-log@{escaped}.service");
            let expected = ["kill", "--kill-whom=main", "-s", signal, "--", &unit];
            assert_eq!(installation.calls("systemctl").pop().unwrap(), expected);
            assert!(!is_on(&installation, name), "its marker is its own");
        }
    }
    installation.stub_ends_with("systemctl", 1);
    installation.run(&["turn-off", "日本"]).failed(69);
}

#[test]
fn a_stopped_instance_gets_a_marker() {
    let installation = hostile();
    for shown in [INACTIVE, "ActiveState=failed\n", WAITING] {
        installation.systemctl_shows(&[shown]);
        for (name, _) in HOSTILE {
            for _ in 0..2 {
                let said = installation.run(&["turn-off", "--", name]).ok();
                assert!(said.contains("maintenance is on, from its next start on"), "{said}");
                assert!(is_on(&installation, name), "{name}");
            }
            for _ in 0..2 {
                installation.run(&["turn-on", "--", name]).ok();
                assert!(!is_on(&installation, name), "{name}");
            }
        }
    }
    assert!(installation.calls("systemctl").is_empty(), "no signal is sent");
    installation.run(&["turn-off"]).ok();
    assert!(HOSTILE.iter().all(|(name, _)| is_on(&installation, name)));
}

#[test]
fn a_starting_instance_is_waited_for() {
    let installation = Installation::of_one();
    installation.systemctl_shows(&[STARTING, STARTING, ACTIVE]);
    installation.run(&["turn-off"]).ok();
    assert_eq!(installation.calls("systemctl").len(), 1);
    assert!(!is_on(&installation, "sample1"));
    // The instance starts after the first check and before the marker is written, so it gets both.
    let installation = Installation::of_one();
    installation.systemctl_shows(&[INACTIVE, STARTING, ACTIVE]);
    installation.run(&["turn-off"]).ok();
    assert_eq!(installation.calls("systemctl").len(), 1);
    assert!(is_on(&installation, "sample1"));
}

#[test]
fn an_unknown_name_changes_nothing() {
    let installation = Installation::of_one();
    installation.systemctl_shows(&[INACTIVE]);
    installation.run(&["turn-off", "sample1", "other"]).failed(66);
    assert!(!is_on(&installation, "sample1"));
}

#[test]
fn a_note_says_that_system_json_keeps_maintenance_on() {
    let installation = Installation::of_one();
    installation.systemctl_shows(&[ACTIVE]);
    assert_eq!(installation.run(&["turn-on"]).err, "");
    installation.write("system.json", r#"{"maintenance_mode": true} // until Monday"#);
    let said = installation.run(&["turn-on"]);
    assert!(said.status == 0 && said.err.contains("system.json keeps maintenance on"), "{said:?}");
}

#[test]
fn without_systemd_the_marker_is_written() {
    let installation = Installation::of_one();
    let output = installation.command(&["turn-off"]).env("PATH", "/nowhere").output().unwrap();
    assert!(CommandOutput::of(&output).ok().contains("maintenance is on, from its next start on"));
    assert!(is_on(&installation, "sample1"));
}

#[test]
fn the_state_directory_keeps_its_owner_and_links_in_it_are_not_followed() {
    let installation = Installation::new(&json!({"a": entry(5700, "a.log"), "b": entry(5701, "b.log")}));
    installation.systemctl_shows(&[INACTIVE]);
    let state = installation.path("state");
    let is_root = geteuid().is_root();
    if is_root {
        chown(&state, Some(4711), Some(4712)).unwrap();
    }
    let before = fs::metadata(&state).unwrap();
    let marker = |name: &str| state_file(&state, &name.parse().unwrap(), "maintenance");
    let precious = installation.root().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, marker("b")).unwrap();
    installation.run(&["turn-off"]).ok();
    let after = fs::metadata(&state).unwrap();
    assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
    let made = fs::metadata(marker("a")).unwrap();
    assert_eq!((made.uid(), made.gid()), (before.uid(), before.gid()));
    assert_eq!(made.permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    installation.run(&["turn-on"]).ok();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fs::remove_dir_all(&state).unwrap();
    installation.run(&["turn-on"]).ok();
    installation.run(&["turn-off"]).ok();
    assert!(is_on(&installation, "a"), "the folder is created when nothing ran yet");
}
