//! Tests of `auto_reload`. A server whose program was replaced restarts with the new one, and no
//! client is refused.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Conn, KEY, Server, Setup, eventually, route};

const SOON: Duration = Duration::from_secs(20);

fn program(server: &Server) -> PathBuf {
    server.root_dir().join("moca-file-log")
}

/// Replaces the program file by a rename, as package managers do.
fn replace(server: &Server, content: &[u8]) {
    let new = server.root_dir().join("moca-file-log.new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, program(server)).unwrap();
}

/// Replaces the program file by a copy of itself.
fn renew(server: &Server) {
    replace(server, &fs::read(program(server)).unwrap());
}

fn restarting(server: &Server) -> usize {
    server.stderr().matches("MOCA_EVENT=restarting").count()
}

#[test]
fn with_passed_sockets_it_exits_and_no_client_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::new().copied_program().server("auto_reload", json!(true)).passing(listener);
    let mut server = setup.start();
    server.save("before");
    renew(&server);
    let address = server.address();
    let target = format!("{}?api_key={KEY}&message=meanwhile", route("save-log"));
    // Each record uses a new connection while the server restarts.
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for _ in 0..60 {
                let mut conn = Conn::open(address).expect("no connection is refused");
                conn.get(&target).success();
                std::thread::sleep(Duration::from_millis(100));
            }
            60
        });
        let status = server.wait_for_exit(SOON);
        assert_eq!(status.code(), Some(0), "{}", server.stderr());
        server.respawn();
        sender.join().unwrap()
    });
    assert_eq!(server.messages().iter().filter(|message| *message == "meanwhile").count(), sent);
    assert_eq!(restarting(&server), 1);
    // The new process runs the installed program, so it does not restart.
    std::thread::sleep(Duration::from_secs(4));
    server.assert_alive();
    assert_eq!(restarting(&server), 1, "{}", server.stderr());
}

#[test]
fn without_a_service_manager_it_becomes_the_new_program() {
    let setup = Setup::new().copied_program().server("auto_reload", json!(true)).without_notify();
    let mut server = setup.start();
    let pid = server.pid();
    server.save("before");
    renew(&server);
    eventually("it has started again", SOON, || server.stderr().matches("MOCA_EVENT=started").count() == 2);
    eventually("it is served", SOON, || Conn::open(server.address()).is_ok());
    server.assert_alive();
    assert_eq!(server.pid(), pid);
    let running = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(running, fs::canonicalize(program(&server)).unwrap(), "still the file that was replaced");
    assert_eq!(server.messages(), ["before", "still alive"]);
    assert!(server.stop().success());
}

#[test]
fn a_broken_program_is_not_started() {
    let server = Setup::new().copied_program().server("auto_reload", json!(true)).start();
    let good = fs::read(program(&server)).unwrap();
    let refused = || server.stderr().matches("MOCA_EVENT=restart-refused").count();
    let broken: [(&[u8], &str); 3] = [
        (b"not a program", "cannot be run"),
        (b"#!/bin/sh\nexit 3\n", "it fails to print its version: exit status: 3"),
        (b"#!/bin/sh\necho another 1.0\n", "it is another program"),
    ];
    for (index, (content, why)) in broken.into_iter().enumerate() {
        replace(&server, content);
        eventually(why, SOON, || server.stderr().contains(why));
        assert_eq!(refused(), index + 1, "{}", server.stderr());
    }
    // The server writes one message for each program.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(refused(), 3, "{}", server.stderr());
    server.assert_alive();
    // The server ignores a file that is not executable yet. It keeps running when the file is
    // missing.
    let new = program(&server);
    fs::remove_file(&new).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    fs::write(&new, &good).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    server.assert_alive();
    assert_eq!((restarting(&server), refused()), (0, 3), "{}", server.stderr());
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = server;
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0), "{}", server.stderr());
}

#[test]
fn it_is_off_by_default_and_switched_at_a_reload() {
    let mut server = Setup::new().copied_program().start();
    renew(&server);
    std::thread::sleep(Duration::from_secs(4));
    server.assert_alive();
    server.set("server.json", "/auto_reload", json!(true));
    assert_eq!(server.wait_for_exit(SOON).code(), Some(0), "{}", server.stderr());
    server.respawn();
    server.set("server.json", "/auto_reload", json!(false));
    eventually("it is reloaded", Duration::from_secs(2), || server.stderr().contains("MOCA_EVENT=reloaded"));
    std::thread::sleep(Duration::from_millis(500));
    renew(&server);
    std::thread::sleep(Duration::from_secs(4));
    server.assert_alive();
}
