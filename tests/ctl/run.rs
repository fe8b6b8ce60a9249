//! Tests that `mocactl run` becomes the server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::json;

use crate::harness::{cannot_run, eventually, free_port};
use crate::installation::{Installation, entry};

#[test]
fn run_serves_in_the_foreground() {
    for name in ["a;b $(c)", "--help"] {
        let port = free_port();
        let mut log = entry(port, "x.log");
        log["durability"] = json!("os");
        let installation = Installation::new(&json!({ name: log }));
        installation.write("startup.sh", "printf %s \"$MOCA_LOG\" >started\n");
        installation.write("atexit.sh", "touch ended\n");
        let mut command = installation.command(&["run", "--", name]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        eventually("it listens", Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = "GET /moca-file-log/save-log?message=m HTTP/1.1\r\nHost: h\r\nAPI-KEY: test-key\r\n";
        stream.write_all(format!("{request}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(std::fs::read_to_string(installation.path("logs/x.log")).unwrap().ends_with(">m\n"));
        assert_eq!(installation.read("started"), name);
        // The process is the server itself, so a signal stops the server.
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(installation.config("ended").exists());
    }
}

#[test]
fn run_ends_with_the_status_of_the_server() {
    let installation = Installation::of_one();
    let error = installation.run(&["run", "other"]).failed(78);
    assert!(error.contains("unknown log"), "{error}");
    installation.write("startup.sh", "exit 3\n");
    installation.run(&["run", "sample1"]).failed(69);
}

#[test]
fn a_server_that_root_runs_as_the_service_is_reached() {
    if !geteuid().is_root() {
        return cannot_run("root is needed");
    }
    let mut log = entry(free_port(), "x.log");
    log["durability"] = json!("os");
    let installation = Installation::new(&json!({ "sample1": log }));
    // Every user can run the programs from this directory, and the service owns its directories.
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(installation.root(), 0o755);
    for file in ["api_key.json", "system.json"] {
        open(&installation.config(file), 0o644);
    }
    for program in [env!("CARGO_BIN_EXE_mocactl"), env!("CARGO_BIN_EXE_moca-file-log")] {
        fs::copy(program, installation.path(Path::new(program).file_name().unwrap().to_str().unwrap()))
            .unwrap();
    }
    for folder in ["state", "logs"] {
        chown(installation.path(folder), Some(65_534), Some(65_534)).unwrap();
    }
    let model = installation.command(&["run", "sample1"]);
    let mut command = Command::new(installation.path("mocactl"));
    let mut child =
        command.args(model.get_args()).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = || installation.run(&["status", "--json"]).json()[0]["state"].clone();
    installation.systemctl_shows(&["ActiveState=inactive\n\nActiveState=inactive\n"]);
    eventually("it runs", Duration::from_secs(10), || state() == "running");
    assert_eq!(installation.run(&["get"]).ok(), "");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(state(), "stopped");
}
