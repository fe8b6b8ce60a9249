//! Tests that a user who is neither root nor in the group gets an error and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::harness::cannot_run;
use crate::installation::{CommandOutput, Installation};
use crate::instance::{Instance, answer};

#[test]
fn another_user_gets_77_and_changes_nothing() {
    if !geteuid().is_root() {
        return cannot_run("root is needed to become another user");
    }
    let installation = Installation::of_one();
    installation.systemctl_shows(&["ActiveState=inactive\n"]);
    let open = |path: &str, mode: u32| {
        fs::set_permissions(installation.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    open("", 0o755);
    // Every user can run the program from this directory.
    let program = installation.path("mocactl");
    fs::copy(env!("CARGO_BIN_EXE_mocactl"), &program).unwrap();
    let socket = installation.path("run/sample1.sock");
    let _instance = Instance::listen(&socket, |_| answer(200, "success."));
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).unwrap();
    let run = |arguments: &[&str]| {
        let model = installation.command(arguments);
        let mut command = Command::new(&program);
        command.args(model.get_args()).uid(65_534).gid(65_534).current_dir("/").stdin(Stdio::null());
        command.env("PATH", installation.path("bin"));
        CommandOutput::of(&command.output().unwrap())
    };
    for arguments in [
        &["clear-logs", "--all", "--yes"][..],
        &["get"],
        &["tail"],
        &["turn-off"],
        &["block", "list"],
        &["key", "list"],
        &["key", "add"],
        &["passwd"],
        &["update", "--yes"],
        &["reset-system", "--yes"],
    ] {
        let error = run(arguments).failed(77);
        assert!(error.contains("sudo"), "{arguments:?}: {error}");
    }
    open("config/api_key.json", 0o644);
    let before = installation.read("api_key.json");
    run(&["key", "add"]).failed(77);
    assert_eq!(installation.read("api_key.json"), before);
    assert_eq!(run(&["check"]).status, 78, "a file that cannot be read cannot be judged");
}
