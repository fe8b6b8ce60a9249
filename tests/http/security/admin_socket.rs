//! Tests of the admin socket. Its requests need no key and no password, and some routes exist only
//! there.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::harness::{Server, Setup, each, route};

pub(crate) fn ask(server: &Server, method: &str, target: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(server.admin_socket()).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn requests_need_no_key_and_no_password() {
    let server = Setup::new().with_admin_socket().system("maintenance_mode", json!(true)).start();
    server.wait_for_status(503);
    let (status, body) = ask(&server, "POST", &route("save-log"), r#"{"message":"by hand"}"#);
    assert_eq!((status, body.as_str()), (200, "success."));
    let (status, body) = ask(&server, "GET", &route("get-logs"), "");
    assert_eq!(status, 200);
    assert!(body.contains("<local|operator|save-log|") && body.ends_with(">by hand\n"), "{body}");
    assert_eq!(ask(&server, "POST", &route("clear-logs"), "").0, 200);
    assert!(server.messages().is_empty());
}

#[test]
fn status_shows_the_state_of_the_instance() {
    let server = Setup::new().with_admin_socket().start();
    ask(&server, "POST", &route("save-log"), r#"{"message":"m"}"#);
    let (status, body) = ask(&server, "GET", "/admin/status", "");
    let found: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(found["name"], "sample1");
    assert_eq!((&found["records"], &found["count"], &found["blocked"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(found["maintenance"], json!({"on": false, "by_signal": false, "by_file": false}));
    assert_eq!(found["reload_refused"], Value::Null);
    assert!(found["addresses"].as_array().unwrap().len() == 2, "{found}");
}

#[test]
fn addresses_in_the_status_have_the_scheme_of_the_server() {
    each(|setup| {
        let server = setup.with_admin_socket().start();
        let found: Value = serde_json::from_str(&ask(&server, "GET", "/admin/status", "").1).unwrap();
        let scheme = if server.has_tls() { "https" } else { "http" };
        let expected = format!("{scheme}://{}", server.address());
        assert!(found["addresses"].as_array().unwrap().contains(&json!(expected)), "{found}");
    });
}

#[test]
fn addresses_are_blocked_and_unblocked() {
    let server = Setup::new().with_admin_socket().start();
    let blocked = || serde_json::from_str::<Value>(&ask(&server, "GET", "/admin/blocked", "").1).unwrap();
    assert_eq!(blocked(), json!([]));
    assert_eq!(ask(&server, "POST", "/admin/blocked", r#"{"address":"127.0.0.1"}"#).1, r#"{"changed":true}"#);
    assert_eq!(server.get("/status").status, 403);
    assert_eq!(blocked()[0]["address"], "127.0.0.1");
    assert_eq!(ask(&server, "DELETE", "/admin/blocked?address=127.0.0.1", "").1, r#"{"changed":true}"#);
    assert_eq!(server.get("/status").status, 200);
    assert_eq!(ask(&server, "DELETE", "/admin/blocked?address=127.0.0.1", "").1, r#"{"changed":false}"#);
    assert_eq!(ask(&server, "POST", "/admin/blocked", r#"{"address":"nonsense"}"#).0, 400);
}

#[test]
fn maintenance_is_switched_on_and_off() {
    let server = Setup::new().with_admin_socket().start();
    let switch = |on: &str| ask(&server, "POST", "/admin/maintenance", &json!({"on": on}).to_string());
    let state = || ask(&server, "GET", "/admin/maintenance", "").1;
    assert_eq!(state(), r#"{"kept":true,"on":false}"#);
    assert_eq!(switch("true"), (200, r#"{"kept":true,"on":true}"#.to_owned()));
    assert_eq!(server.get("/status").status, 503);
    assert_eq!(state(), r#"{"kept":true,"on":true}"#);
    for wrong in ["", "yes", "TRUE"] {
        assert_eq!(switch(wrong).0, 400, "{wrong}");
    }
    assert_eq!(server.get("/status").status, 503);
    assert_eq!(switch("false"), (200, r#"{"kept":true,"on":false}"#.to_owned()));
    assert_eq!(server.get("/status").status, 200);
    // A file in the place of the directory, so that the state cannot be written.
    std::fs::rename(server.state_dir(), server.root_dir().join("away")).unwrap();
    std::fs::write(server.state_dir(), "").unwrap();
    assert_eq!(switch("true"), (200, r#"{"kept":false,"on":true}"#.to_owned()));
    assert_eq!(server.get("/status").status, 503, "at once all the same");
}

#[test]
fn admin_routes_do_not_exist_over_tcp() {
    let server = Setup::new().with_admin_socket().start();
    for target in ["/admin/status", "/admin/blocked", "/admin/maintenance"] {
        server.get(target).problem(404);
    }
}
