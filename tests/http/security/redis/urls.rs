//! Tests of every form of Redis URL, with passwords and users, databases, Unix sockets and TLS.

use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use super::{id, save, times_away, times_in_use, wait_until_in_use, with_redis};
use crate::harness::{Redis, Setup, eventually, free_port};

/// Checks that two of four requests pass, and that the counter is in this database.
fn shares_through(setup: Setup, redis: &Redis, login: &[&str], database: &str) {
    let server = setup.key("k", &json!({"rate": "2/hour"})).start();
    wait_until_in_use(&server, 1);
    assert_eq!((0..4).filter(|_| save(&server, "k").status == 200).count(), 2);
    let counter = format!("LIMITER/{}/2/1/hour", id("k"));
    let command: Vec<&str> =
        login.iter().copied().chain(["--no-auth-warning", "-n", database, "GET", &counter]).collect();
    assert_eq!(redis.say(&command), "2", "{}", server.stderr());
    assert_eq!(times_away(&server), 0, "{}", server.stderr());
    assert!(!server.stderr().contains("s3cret"), "{}", server.stderr());
    redis.say(&[login, &["--no-auth-warning", "FLUSHALL"]].concat());
}

#[test]
fn passwords_users_databases_and_sockets_work() {
    // These are the permissions that the documentation names.
    let acl = "--user counter on >s3cret/@? ~LIMITER/* +select +eval +evalsha +get +pttl +set +incr";
    let options: Vec<&str> = ["--requirepass", "s3cret"].into_iter().chain(acl.split(' ')).collect();
    let Some(redis) = Redis::start(&options) else { return };
    let login = ["-a", "s3cret"];
    let (port, socket) = (redis.port(), redis.socket());
    let socket = socket.display();
    for (url, database) in [
        (format!("redis://:s3cret@127.0.0.1:{port}"), "0"),
        (format!("redis://:s3cret@localhost:{port}/3"), "3"),
        (format!("redis://default:s3cret@127.0.0.1:{port}/0?db=2"), "2"),
        (format!("redis://counter:s3cret%2F%40%3F@127.0.0.1:{port}/4"), "4"),
        (format!("redis+unix://{socket}?password=s3cret"), "0"),
        (format!("redis+unix://{socket}?db=5&password=s3cret"), "5"),
        (format!("redis+unix://{socket}?db=6&user=counter&password=s3cret%2F%40%3F"), "6"),
    ] {
        shares_through(with_redis(&url), &redis, &login, database);
    }
    let server = with_redis(&format!("redis://:s3cret@127.0.0.1:{port}/99")).start();
    eventually("no such database", Duration::from_secs(3), || server.stderr().contains("the database"));
}

/// Writes a certificate for `localhost`, and that of the authority that signed it.
fn certificates(folder: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&params, &authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    for (name, text) in
        [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn tls_trusts_only_the_certificate_store_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (port, ca, cert, key) = (free_port().to_string(), file("ca.pem"), file("cert.pem"), file("key.pem"));
    let tls =
        ["--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let options = [&tls[..], &["--tls-auth-clients", "no", "--requirepass", "s3cret"]].concat();
    let Some(redis) = Redis::start(&options) else { return };
    let url = |host: &str| format!("rediss://:s3cret@{host}:{port}/1");
    let trusting = |url: &str| with_redis(url).env("SSL_CERT_FILE", &ca);
    shares_through(trusting(&url("localhost")), &redis, &["-a", "s3cret"], "1");
    // The authority is not trusted, the certificate has another name, or the port does not speak
    // TLS.
    let plain = redis.url().replace("redis://127.0.0.1", "rediss://localhost");
    for setup in [with_redis(&url("localhost")), trusting(&url("127.0.0.1")), trusting(&plain)] {
        let server = setup.key("k", &json!({"rate": "2/hour"})).start();
        eventually("it is said", Duration::from_secs(3), || times_away(&server) == 1);
        assert_eq!((0..4).filter(|_| save(&server, "k").status == 200).count(), 2);
        std::thread::sleep(Duration::from_millis(1200));
        let stderr = server.stderr();
        assert_eq!((times_away(&server), times_in_use(&server)), (1, 0), "{stderr}");
        assert_eq!(stderr.matches("WARN").count(), 1, "libraries warn as well: {stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
    assert_eq!(redis.say(&["-a", "s3cret", "--no-auth-warning", "-n", "1", "DBSIZE"]), "0");
}
