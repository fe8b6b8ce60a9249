//! Tests of every command with a real server that runs without systemd, as in a terminal or a
//! container.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, Setup, eventually};
use crate::installation::CommandOutput;

/// Returns mocactl with the directories of the server as options.
fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mocactl"));
    for (option, place) in places(server) {
        command.arg(option).arg(place);
    }
    prepare(&mut command, server, arguments);
    command
}

fn places(server: &Server) -> [(&'static str, PathBuf); 4] {
    [
        ("--config-dir", server.config_path("")),
        ("--log-dir", server.log_path().parent().expect("a directory").to_owned()),
        ("--state-dir", server.state_dir()),
        ("--run-dir", server.run_dir()),
    ]
}

fn prepare(command: &mut Command, server: &Server, arguments: &[&str]) {
    command.args(arguments).stdin(Stdio::null());
    // No systemctl is in PATH, and the machine of the test is not booted by systemd.
    command.env("PATH", "/nowhere").env("MOCA_FILE_LOG_ROOT", server.root_dir());
}

fn run(server: &Server, arguments: &[&str]) -> CommandOutput {
    CommandOutput::of(&command(server, arguments).output().expect("run mocactl"))
}

fn socket(server: &Server) -> PathBuf {
    server.run_dir().join("sample1.sock")
}

fn row(server: &Server) -> Value {
    let output = run(server, &["status", "--json"]);
    assert_eq!(output.err, "", "{output:?}");
    output.json()[0].clone()
}

#[test]
fn every_command_reaches_the_server() {
    let server = Setup::new().start();
    for n in 0..3 {
        server.save(&format!("record {n}"));
    }
    let got = run(&server, &["get"]).ok();
    assert_eq!(got.lines().count(), 3, "{got}");
    assert!(run(&server, &["get", "--contains", "record 1"]).ok().ends_with(">record 1\n"));
    let top = run(&server, &["top", "--json", "--interval", "0.1"]).json();
    assert_eq!((&top[0]["state"], &top[0]["error"]), (&json!("running"), &Value::Null));

    assert_eq!(run(&server, &["block", "list"]).err, "No address is blocked.\n");
    run(&server, &["block", "add", "192.0.2.7"]).ok();
    assert!(run(&server, &["block", "list"]).ok().contains("192.0.2.7"));
    run(&server, &["block", "remove", "192.0.2.7"]).ok();

    let mut child = command(&server, &["tail", "-n", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut followed = std::io::BufReader::new(child.stdout.take().unwrap());
    eventually("mocactl follows", Duration::from_secs(5), || {
        let page = server.get_with("/metrics", &[("API-KEY", "test-key"), ("ROOT-PASS", "root-pass")]);
        page.text().contains("moca_followers 1")
    });
    server.save("followed");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut followed, &mut line).unwrap();
    assert!(line.ends_with(">followed\n"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();

    run(&server, &["clear-logs", "sample1", "--yes"]).ok();
    assert_eq!(run(&server, &["get"]).ok(), "");
}

#[test]
fn status_tells_the_truth() {
    let mut server = Setup::new().start();
    let url = format!("http://{}", server.address());
    let now = row(&server);
    assert_eq!((&now["state"], &now["address"]), (&json!("running"), &json!(url)));
    assert_eq!(now["live"]["pid"], server.pid());
    let table = run(&server, &["status"]);
    assert_eq!((table.status, &*table.err), (0, ""), "{table:?}");
    assert!(table.out.contains("running") && table.out.contains(&url), "{table:?}");

    // A killed server leaves its socket.
    server.kill9();
    assert!(socket(&server).exists());
    let dead = row(&server);
    assert_eq!((&dead["state"], &dead["error"]), (&json!("stopped"), &Value::Null));
    assert_eq!(dead["address"], json!(url), "the configured address has the same form");
    let table = run(&server, &["status"]);
    assert_eq!((table.status, &*table.err), (3, ""), "{table:?}");
    assert!(table.out.contains("stopped") && table.out.contains(&url), "{table:?}");
    let top = run(&server, &["top", "--json", "--interval", "0.1"]).json();
    assert_eq!(top[0]["state"], "stopped");

    // The next start replaces the stale socket, and a stop removes it.
    server.respawn();
    assert_eq!(row(&server)["state"], "running");
    assert!(server.stop().success());
    assert!(!socket(&server).exists());
    assert_eq!(row(&server)["state"], "stopped");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_not_called_stopped() {
    let mut server = Setup::new().start();
    server.stop();
    let _silent = UnixListener::bind(socket(&server)).unwrap();
    let top = run(&server, &["top", "--json", "--interval", "0.1"]).json();
    assert_eq!(top[0]["state"], "running");
    assert!(top[0]["error"].as_str().unwrap().contains("does not answer"), "{top}");
}

#[test]
fn remedies_work_where_they_are_printed() {
    let mut server = Setup::new().named("a log").start();
    server.stop();
    for arguments in [&["get"][..], &["tail"], &["block", "list"], &["clear-logs", "--all"]] {
        let output = run(&server, arguments);
        assert_eq!((output.status, &*output.out), (69, ""), "{arguments:?}: {output:?}");
        assert!(!output.err.contains("No address is blocked"), "{output:?}");
        assert!(!output.err.contains("mocactl start"), "{output:?}");
    }
    let error = run(&server, &["get"]).failed(69);
    let remedy = error.split('`').nth(1).unwrap_or_else(|| panic!("no remedy: {error}")).to_owned();
    assert!(remedy.ends_with("run 'a log'"), "{remedy}");
    // The command is pasted into a shell, in which mocactl is in PATH.
    let programs = Path::new(env!("CARGO_BIN_EXE_mocactl")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut child =
        Command::new("sh").arg("-c").arg(format!("exec {remedy}")).env("PATH", path).spawn().unwrap();
    eventually("the server runs", Duration::from_secs(10), || row(&server)["state"] == "running");
    let stop = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(stop, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());

    let error = run(&server, &["start"]).failed(69);
    assert!(error.contains("systemd does not run here") && error.contains("mocactl run"), "{error}");
}

#[test]
fn maintenance_is_switched_at_once_and_kept() {
    let mut server = Setup::new().start();
    for (begin, end) in
        [(&["turn-off"][..], &["turn-on"][..]), (&["maintenance", "on"], &["maintenance", "off"])]
    {
        let said = run(&server, begin);
        assert_eq!((&*said.out, &*said.err), ("sample1: maintenance is on\n", ""));
        assert_eq!(server.get("/status").status, 503, "at once");
        server.restart();
        assert_eq!(server.get("/status").status, 503, "after a restart");
        assert_eq!(run(&server, end).ok(), "sample1: maintenance is off\n");
        assert_eq!(server.get("/status").status, 200);
        server.restart();
        assert_eq!(server.get("/status").status, 200);
    }
    // An instance that does not run, with a socket that a killed process left behind.
    server.kill9();
    assert_eq!(run(&server, &["turn-off"]).ok(), "sample1: maintenance is on, from its next start on\n");
    server.respawn();
    assert_eq!(server.get("/status").status, 503);
    server.stop();
    assert_eq!(run(&server, &["turn-on"]).ok(), "sample1: maintenance is off, from its next start on\n");
    server.respawn();
    assert_eq!(server.get("/status").status, 200);
}

#[test]
fn the_variables_of_the_server_name_the_directories() {
    let server = Setup::new().start();
    server.save("by variables");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mocactl"));
    for (variable, (_, place)) in
        ["CONFIGURATION_DIRECTORY", "LOGS_DIRECTORY", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"]
            .into_iter()
            .zip(places(&server))
    {
        command.env(variable, place);
    }
    prepare(&mut command, &server, &["get"]);
    assert!(CommandOutput::of(&command.output().unwrap()).ok().ends_with(">by variables\n"));
}

#[test]
fn the_socket_is_for_the_user_and_the_group_of_the_server() {
    let mut server = Setup::new().start();
    let file = std::fs::symlink_metadata(socket(&server)).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    assert_eq!(file.uid(), nix::unistd::geteuid().as_raw());
    assert_eq!(std::fs::read_dir(server.run_dir()).unwrap().count(), 1, "no unfinished socket remains");
    // A socket that another process put there in the meantime is not removed.
    std::fs::remove_file(socket(&server)).unwrap();
    let _other = UnixListener::bind(socket(&server)).unwrap();
    assert!(server.stop().success());
    assert!(socket(&server).exists());
}

#[test]
fn a_live_socket_and_other_files_are_not_replaced() {
    let server = Setup::new().start();
    let (code, error) = Setup::new().with_run_dir(&server.run_dir()).start_expect_failure();
    assert_eq!(code, 69, "{error}");
    assert!(error.contains("another process serves") && error.contains("sample1.sock"), "{error}");
    assert_eq!(row(&server)["state"], "running", "the first server is as before");
    drop(server);

    let precious = tempfile::tempdir().unwrap();
    std::fs::write(precious.path().join("sample1.sock"), "precious").unwrap();
    let (code, error) = Setup::new().with_run_dir(precious.path()).start_expect_failure();
    assert_eq!(code, 73, "{error}");
    assert_eq!(std::fs::read_to_string(precious.path().join("sample1.sock")).unwrap(), "precious");
}

#[test]
fn a_log_is_served_where_no_socket_can_be_made() {
    // A path that is too long for a socket stands for a directory that cannot be written.
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(100));
    let server = Setup::new().with_run_dir(&long).start();
    server.assert_alive();
    let said = server.stderr();
    assert!(said.contains("mocactl can't reach this process") && said.contains("--run-dir"), "{said}");
}

#[test]
fn a_removed_state_directory_is_made_again() {
    let mut server = Setup::new().start();
    run(&server, &["turn-off"]).ok();
    run(&server, &["block", "add", "192.0.2.7"]).ok();
    // The directory is moved away, because the server may write into it at any moment.
    let take_away = |to: &str| std::fs::rename(server.state_dir(), server.root_dir().join(to)).unwrap();
    take_away("first");
    let marker = server.state_dir().join("sample1.maintenance");
    eventually("the directory is made again", Duration::from_secs(15), || marker.exists());
    assert!(server.stderr().contains("was removed by another program"), "{}", server.stderr());
    take_away("second");
    server.restart();
    assert_eq!(row(&server)["live"]["maintenance"]["by_signal"], true, "after a stop without the directory");
    assert!(run(&server, &["block", "list"]).ok().contains("192.0.2.7"));
}
