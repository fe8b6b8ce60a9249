//! Tests that `mocactl run` becomes the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{eventually, free_port};
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
