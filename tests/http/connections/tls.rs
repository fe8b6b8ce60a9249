//! Tests of HTTPS with openssl and curl, with renewed certificates, and with broken pairs of
//! certificate and key.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Conn, KEY, Pair, Server, Setup, cannot_run, eventually, route};

/// Maximum time until a renewed certificate is used. The server needs one second after it has read
/// the files for the second time. The rest is for a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(4);

fn program_runs(program: &str, argument: &str) -> bool {
    let found =
        Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        cannot_run(&format!("no {program}"));
    }
    found
}

/// Returns the output of `openssl s_client`, which verifies the server's certificate.
fn openssl(server: &Server, arguments: &[&str]) -> String {
    let cert = server.config_path("tls/cert.pem");
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &server.address().to_string(), "-verify_return_error", "-CAfile"])
        .arg(cert)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Returns the output of curl, which verifies the server's certificate: status and HTTP version,
/// and the body.
fn curl(server: &Server, arguments: &[&str], target: &str) -> (String, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(server.config_path("tls/cert.pem"))
        .args(["--write-out", "\n%{http_code} %{http_version}"])
        .args(arguments)
        .arg(format!("https://localhost:{}{target}", server.address().port()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} {target}: {text} {stderr}");
    let (answer, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), answer.to_owned())
}

#[test]
fn openssl_negotiates_both_tls_versions_and_both_protocols() {
    if !program_runs("openssl", "version") {
        return;
    }
    let server = Setup::new().tls().start();
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for protocol in ["h2", "http/1.1"] {
            let said = openssl(&server, &[version, "-alpn", protocol]);
            assert!(said.contains(&format!("ALPN protocol: {protocol}")), "{said}");
            assert!(said.contains(shown), "{said}");
            assert!(said.contains("Verify return code: 0"), "{said}");
            assert!(
                said.contains("AES128-GCM") || said.contains("AES_128_GCM"),
                "the one that costs less: {said}"
            );
        }
        let said = openssl(&server, &[version, "-alpn", "http/1.1,h2"]);
        assert!(said.contains("ALPN protocol: h2"), "the server's order counts: {said}");
    }
    for old in ["-tls1", "-tls1_1"] {
        let said = openssl(&server, &[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!said.contains("Verify return code: 0") || said.contains("Cipher is (NONE)"), "{said}");
    }
    // The server sends its only certificate for every server name.
    let said = openssl(&server, &["-servername", "else.example"]);
    assert!(said.contains("BEGIN CERTIFICATE"), "{said}");
    assert!(!server.stderr().contains("alert"), "{}", server.stderr());
    server.assert_alive();
}

#[test]
fn sessions_are_resumed() {
    if !program_runs("openssl", "version") {
        return;
    }
    let server = Setup::new().tls().start();
    let said = openssl(&server, &["-tls1_2", "-reconnect"]);
    assert!(said.contains("Reused, TLSv1.2"), "{said}");
}

#[test]
fn curl_saves_over_both_versions_of_http() {
    if !program_runs("curl", "--version") {
        return;
    }
    let server = Setup::new().tls().start();
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let data = format!("message=over {version}");
        let key = format!("API-KEY: {KEY}");
        let (status, answer) = curl(&server, &[option, "-H", &key, "-d", &data], &route("save-log"));
        assert_eq!((status, answer), (format!("200 {version}"), "success.".to_owned()));
    }
    assert_eq!(server.messages(), ["over 1.1", "over 2"]);
}

#[test]
fn both_versions_of_http_give_the_same_answers() {
    if !program_runs("curl", "--version") {
        return;
    }
    let server = Setup::new()
        .tls()
        .server("headers", json!({"X-Box": "7"}))
        .key("off", &json!({"status": false}))
        .key("limited", &json!({"rate": "1000 per day"}))
        .http("request_max_size = 5000")
        .http("max_header_size = 2000")
        .http("max_headers = 20")
        .start();
    server.save("first");
    let large = "x".repeat(6000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x".repeat(3_000_000)).unwrap();
    let larger = format!("@{}", file.path().display());
    let long_header = format!("X-Long: {}", "x".repeat(3000));
    let many: Vec<String> = (0..30).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().flat_map(|header| ["-H", header]).collect();
    let root = ["-H", "API-KEY: test-key", "-H", "ROOT-PASS: root-pass"];
    let cases: Vec<(Vec<&str>, String)> = vec![
        (vec![], "/status".into()),
        (vec!["-I"], "/status".into()),
        (vec![], "/nothing".into()),
        (vec!["-X", "PUT"], route("save-log")),
        (vec!["-X", "OPTIONS", "-H", "Origin: https://localhost"], route("save-log")),
        (vec!["-H", "Origin: https://localhost"], "/status".into()),
        (vec![], route("save-log")),
        (vec!["-d", "message=m"], format!("{}?api_key=wrong", route("save-log"))),
        (vec!["-d", "message=m"], format!("{}?api_key=off", route("save-log"))),
        (vec!["-d", "level=9&message=m"], format!("{}?api_key={KEY}", route("save-log"))),
        (vec!["-d", &large], format!("{}?api_key={KEY}", route("save-log"))),
        (
            vec!["-H", "Content-Type: application/json", "-d", "{"],
            format!("{}?api_key={KEY}", route("save-log")),
        ),
        (root.to_vec(), route("get-logs")),
        (root.to_vec(), route("get-latest-logs")),
        (root.to_vec(), route("download-logs")),
        ([&root[..], &["-r", "2-9"]].concat(), route("download-logs")),
        ([&root[..], &["-I"]].concat(), route("get-logs")),
        ([&root[..], &["-I"]].concat(), route("download-logs")),
        (vec!["-d", &larger], format!("{}?api_key={KEY}", route("save-log"))),
        (vec!["-d", &larger], "/nothing".into()),
        (vec!["-d", &larger], format!("{}?api_key=wrong", route("save-log"))),
        (vec!["-H", &long_header], "/status".into()),
        (many, "/status".into()),
    ];
    for (arguments, target) in cases {
        let answers = ["--http1.1", "--http2"].map(|version| {
            let (status, answer) = curl(&server, &[&[version, "-i"], &arguments[..]].concat(), &target);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            let mut headers: Vec<String> =
                head.lines().skip(1).map(|line| line.trim().to_lowercase()).collect();
            // These are the headers of the connection, and the time.
            let of_connection = ["connection:", "keep-alive:", "transfer-encoding:", "date:"];
            headers.retain(|header| !of_connection.iter().any(|name| header.starts_with(name)));
            headers.sort();
            (status.split(' ').next().unwrap().to_owned(), headers, body.to_owned())
        });
        assert_eq!(answers[0], answers[1], "{arguments:?} {target}");
        assert!(answers[0].1.contains(&"x-box: 7".to_owned()), "{target}: {answers:?}");
    }
    let quota = ["-i", "-H", "API-KEY: limited", "-d", "message=m", "--http2"];
    let (status, answer) = curl(&server, &quota, &route("save-log"));
    assert_eq!(status, "200 2");
    assert!(answer.contains("ratelimit: "), "{answer}");
}

#[test]
fn a_large_body_and_a_large_answer_work_over_tls() {
    if !program_runs("curl", "--version") {
        return;
    }
    let server = Setup::new().tls().start();
    let logs: Vec<_> = (0..1000).map(|n| json!({"msg": format!("{n} {}", "y".repeat(4000))})).collect();
    let body = server.root_dir().join("body.json");
    std::fs::write(&body, json!({"api_key": KEY, "logs": logs}).to_string()).unwrap();
    let data = format!("@{}", body.display());
    for option in ["--http1.1", "--http2"] {
        let json = ["-H", "Content-Type: application/json", "--data-binary", &data, option];
        assert_eq!(curl(&server, &json, &route("save-logs")).1, "success.");
    }
    let file = std::fs::read_to_string(server.log_path()).unwrap();
    for option in ["--http1.1", "--http2"] {
        let root = ["-H", "API-KEY: test-key", "-H", "ROOT-PASS: root-pass", option];
        let (_, answer) = curl(&server, &root, &route("get-logs"));
        assert!(answer == file, "{option}: {} bytes of {}", answer.len(), file.len());
    }
}

#[test]
fn a_plain_request_to_the_tls_port_is_explained() {
    let server = Setup::new().tls().start();
    let response = server.connect_bare().get("/status");
    assert!(response.problem(400).contains("HTTPS"), "{response:?}");
    let mut garbage = server.connect_bare();
    garbage.send_raw(b"\x80\x2e\x01\x00\x02").unwrap();
    assert!(garbage.is_closed_within(SOON));
    let mut broken = server.connect_bare();
    broken.send_raw(b"\x16\x03\x01\x00\x05hello").unwrap();
    broken.read_to_end();
    server.assert_alive();
    assert_eq!(server.stderr().lines().count(), 1, "only that it started: {}", server.stderr());
}

#[test]
fn too_many_connections_of_one_address_are_refused_over_tls() {
    let server = Setup::new().tls().http("max_connections_per_ip = 1").start();
    let mut first = server.connect();
    assert_eq!(first.get("/status").status, 200);
    let mut second = server.connect();
    let answer = String::from_utf8_lossy(&second.read_to_end()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer:?}");
    assert!(Conn::open_tls(server.address(), "h2").is_err(), "HTTP/2 is agreed on for a refusal");
}

#[test]
fn a_passed_socket_speaks_tls_and_the_admin_socket_does_not() {
    let server = Setup::new().tls().with_admin_socket().start();
    server.assert_alive();
    let mut stream = std::os::unix::net::UnixStream::connect(server.admin_socket()).unwrap();
    std::io::Write::write_all(
        &mut stream,
        b"GET /admin/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("https://127.0.0.1:"), "{answer}");
}

/// Replaces both files of the pair by renames, as tools that renew certificates do.
fn renew(folder: &Path) -> Pair {
    let pair = Pair::new();
    for (name, text) in [("cert.pem", &pair.cert), ("key.pem", &pair.key)] {
        std::fs::write(folder.join("new"), text).unwrap();
        std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
        // The two files cannot be replaced at the same time.
        std::thread::sleep(Duration::from_millis(30));
    }
    pair
}

#[test]
fn a_renewed_certificate_is_served_without_a_failed_request() {
    let server = Setup::new().tls().start();
    let folder = server.config_path("tls");
    let (stop, sent) = (AtomicBool::new(false), AtomicU32::new(0));
    let save = |conn: &mut Conn| {
        conn.get(&format!("{}?api_key={KEY}&message=m", route("save-log"))).success();
        sent.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    save(&mut server.connect());
                }
            });
        }
        scope.spawn(|| {
            let mut kept = server.connect();
            while !stop.load(Ordering::Relaxed) {
                save(&mut kept);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for _ in 0..3 {
            let pair = renew(&folder);
            eventually("new connections see the new certificate", SOON, || {
                server.connect().certificate() == pair.der
            });
            std::thread::sleep(Duration::from_millis(200));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.messages().len(), sent.load(Ordering::Relaxed) as usize);
    assert!(!server.stderr().contains("ERROR"), "{}", server.stderr());
}

#[test]
fn links_out_of_the_configuration_directory_are_followed() {
    let outside = tempfile::tempdir().unwrap();
    let archive = |name: &str| outside.path().join(name);
    let one = Pair::new();
    one.write(&archive("1"));
    std::os::unix::fs::symlink(archive("1"), archive("live")).unwrap();
    let (cert, key) = (archive("live/cert.pem"), archive("live/key.pem"));
    let mut setup = Setup::new().tls();
    setup = setup.server("ssl", json!({"cert": cert, "key": key}));
    let server = setup.start();
    assert_eq!(server.connect().certificate(), one.der);
    let two = Pair::new();
    two.write(&archive("2"));
    std::os::unix::fs::symlink(archive("2"), archive("live.new")).unwrap();
    std::fs::rename(archive("live.new"), archive("live")).unwrap();
    eventually("the new certificate", SOON, || server.connect().certificate() == two.der);
    // The files are overwritten in place.
    let three = Pair::new();
    three.write(&archive("2"));
    eventually("the third certificate", SOON, || server.connect().certificate() == three.der);
    let four = Pair::new();
    four.write(&archive("2"));
    server.signal(Signal::SIGHUP);
    eventually("the fourth certificate", Duration::from_secs(1), || {
        server.connect().certificate() == four.der
    });
}

#[test]
fn a_bad_pair_does_not_replace_a_good_one() {
    let server = Setup::new().tls().start();
    let old = server.connect().certificate();
    let key = server.config_path("tls/key.pem");
    let good = std::fs::read_to_string(&key).unwrap();
    for bad in ["garbage", &Pair::new().key] {
        std::fs::write(&key, bad).unwrap();
        eventually("STATUS says it", SOON, || server.status_text().contains("key.pem"));
        assert_eq!(server.connect().certificate(), old);
        server.assert_alive();
        std::fs::write(&key, &good).unwrap();
        eventually("STATUS is quiet", SOON, || !server.status_text().contains("key.pem"));
    }
    std::fs::remove_file(&key).unwrap();
    eventually("STATUS says it", SOON, || server.status_text().contains("cannot be read"));
    // A certificate is renewed while another file is broken.
    server.edit("system.json", "{");
    eventually("STATUS says it", SOON, || server.status_text().contains("system.json"));
    let renewed = renew(&server.config_path("tls"));
    eventually("the new certificate", SOON, || server.connect().certificate() == renewed.der);
    assert!(server.status_text().contains("system.json"), "{}", server.status_text());
    let stderr = server.stderr();
    assert!(stderr.contains("reload-refused") && !stderr.contains("PRIVATE KEY-----\n"), "{stderr}");
}

#[test]
fn a_reload_switches_tls_on_and_off() {
    let server = Setup::new().start();
    Pair::new().write(&server.config_path("tls"));
    let mut kept = server.connect();
    assert_eq!(kept.get("/status").status, 200);
    server.edit("server.json", &json!({"ssl": {"cert": "tls/cert.pem", "key": "tls/key.pem"}}).to_string());
    eventually("it speaks TLS", SOON, || Conn::open_tls(server.address(), "http/1.1").is_ok());
    assert_eq!(kept.get("/status").status, 200, "an open connection was dropped");
    let mut tls = Conn::open_tls(server.address(), "http/1.1").unwrap();
    server.edit("server.json", "{}");
    eventually("it speaks plain HTTP", SOON, || {
        server.connect().try_request("GET", "/status", &[], b"").is_ok_and(|response| response.status == 200)
    });
    assert_eq!(tls.get("/status").status, 200, "an open connection was dropped");
}

#[test]
fn a_broken_pair_refuses_the_start() {
    let other = Pair::new();
    type Break<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Break<'_>, &str); 6] = [
        (
            "no certificate",
            &|tls| std::fs::remove_file(tls.join("cert.pem")).unwrap(),
            "cert.pem cannot be read",
        ),
        ("no key", &|tls| std::fs::remove_file(tls.join("key.pem")).unwrap(), "key.pem cannot be read"),
        ("garbage", &|tls| std::fs::write(tls.join("cert.pem"), "garbage").unwrap(), "holds no certificate"),
        (
            "another's key",
            &|tls| std::fs::write(tls.join("key.pem"), &other.key).unwrap(),
            "not the private key",
        ),
        ("swapped", &|tls| std::fs::write(tls.join("key.pem"), &other.cert).unwrap(), "holds no private key"),
        (
            "a folder",
            &|tls| {
                std::fs::remove_file(tls.join("key.pem")).unwrap();
                std::fs::create_dir(tls.join("key.pem")).unwrap();
            },
            "not a regular file",
        ),
    ];
    for (name, break_it, words) in cases {
        let setup = Setup::new().tls();
        break_it(&setup.config_dir().join("tls"));
        let (status, stderr) = setup.start_expect_failure();
        assert_eq!(status, 78, "{name}: {stderr}");
        assert!(stderr.contains("server.json: ssl.") && stderr.contains(words), "{name}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{name}: {stderr}");
    }
    for half in [json!({"cert": "tls/cert.pem"}), json!({"key": "tls/key.pem", "cert": null})] {
        let (status, stderr) = Setup::new().tls().server("ssl", half).start_expect_failure();
        assert_eq!(status, 78, "{stderr}");
        assert!(stderr.contains("server.json") && stderr.contains("without"), "{stderr}");
    }
}

#[test]
fn a_stop_answers_open_requests_over_tls() {
    let mut server = Setup::new().tls().key("slow", &json!({"delay": 0.7})).start();
    let mut conn = server.connect();
    let mut idle = server.connect();
    assert_eq!(idle.get("/status").status, 200);
    let mut shaking = server.connect_bare();
    shaking.send_raw(b"\x16\x03\x01").unwrap();
    conn.send("GET", &format!("{}?api_key=slow&message=in+flight", route("save-log")), &[], b"").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    conn.receive("GET").unwrap().success();
    drop(shaking);
    let started = Instant::now();
    assert_eq!(server.wait_for_exit(Duration::from_secs(8)).code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(server.messages(), ["in flight"]);
}
