//! Tests of a configuration that is mounted file by file, as containers and Kubernetes (`subPath`)
//! do. inotify reports nothing when such a file is written through its path outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{KEY, Mounts, Pair, ROOT, Server, Setup, eventually, route};

/// The promise of the documents.
const PROMISE: Duration = Duration::from_secs(2);

/// Maximum time until a change applies on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(6);

const FILES: [&str; 6] =
    ["log.json", "api_key.json", "server.json", "system.json", "ip_blacklist.json", "http.toml"];

/// Holds a server whose configuration files are mounted one by one.
struct Mounted {
    server: Server,
    _mounts: Mounts,
}

impl Mounted {
    /// Starts `setup`, which reads its files for the first time before they are mounted.
    fn start(setup: Setup, also: &[&str]) -> Option<Self> {
        let mounts = Mounts::private()?;
        let mut server = setup.start();
        server.stop();
        for file in FILES.iter().chain(also) {
            let inside = server.config_path(file);
            let outside = host_path(&server, file);
            fs::create_dir_all(outside.parent().unwrap()).unwrap();
            fs::copy(&inside, &outside).unwrap();
            mounts.bind(&outside, &inside);
        }
        server.respawn();
        Some(Self { server, _mounts: mounts })
    }

    /// Writes the file outside, in place.
    fn write(&self, file: &str, text: &str) {
        fs::write(host_path(&self.server, file), text).unwrap();
    }

    fn metric(&self, name: &str) -> String {
        let page = self.server.get_with("/metrics", &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]);
        let text = page.text();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_default().to_owned()
    }
}

fn host_path(server: &Server, file: &str) -> PathBuf {
    server.root_dir().join("host").join(Path::new(file))
}

fn key_status(server: &Server, key: &str) -> u16 {
    server.get(&format!("{}?api_key={key}&logs=%5B%5D", route("save-logs"))).status
}

#[test]
fn a_revoked_key_is_refused_within_two_seconds() {
    let Some(mounted) = Mounted::start(Setup::new().key("old", &json!({})), &[]) else { return };
    let server = &mounted.server;
    assert_eq!(key_status(server, "old"), 200);
    let mut fastest = Duration::MAX;
    for round in 0..3 {
        mounted.write("api_key.json", &json!([{"key": KEY, "status": true}]).to_string());
        let start = Instant::now();
        eventually("the revoked key is refused", SOON, || key_status(server, "old") == 401);
        fastest = fastest.min(start.elapsed());
        let both =
            json!([{"key": KEY, "status": true}, {"key": "old", "status": true, "info": round.to_string()}]);
        mounted.write("api_key.json", &both.to_string());
        eventually("the key works again", SOON, || key_status(server, "old") == 200);
    }
    // The other tests may delay some of the rounds.
    assert!(fastest < PROMISE, "{fastest:?}");
    mounted.write("api_key.json", "[]");
    eventually("no key works", SOON, || key_status(server, KEY) == 401);
}

#[test]
fn every_file_applies() {
    let Some(mounted) = Mounted::start(Setup::new(), &[]) else { return };
    let server = &mounted.server;
    mounted.write("server.json", &json!({"headers": {"X-Box": "new"}}).to_string());
    eventually("server.json applies", SOON, || server.get("/status").header("x-box") == Some("new"));
    mounted.write("http.toml", "request_max_size = 1000\n");
    let large = json!({"api_key": KEY, "message": "x".repeat(3000)});
    eventually("http.toml applies", SOON, || server.post_json(&route("save-log"), &large).status == 413);
    mounted.write("ip_blacklist.json", "[\"127.0.0.0/8\"]");
    eventually("ip_blacklist.json applies", SOON, || server.get("/status").status == 403);
    mounted.write("ip_blacklist.json", "[]");
    eventually("ip_blacklist.json applies", SOON, || server.get("/status").status == 200);
    mounted.write("system.json", &json!({"root_pass": ROOT, "maintenance_mode": true}).to_string());
    eventually("system.json applies", SOON, || server.get("/status").status == 503);
    mounted.write("system.json", &json!({"root_pass": ROOT}).to_string());
    eventually("system.json applies", SOON, || server.get("/status").status == 200);
    let log = fs::read_to_string(server.config_path("log.json")).unwrap();
    mounted.write("log.json", &log.replace("\"level\": 0", "\"level\": 0, \"format\": \"json\""));
    eventually("log.json applies", SOON, || server.root_get("details").json()["format"] == "json");
}

#[test]
fn the_metric_of_reloads_tells_the_truth() {
    let Some(mounted) = Mounted::start(Setup::new(), &[]) else { return };
    let metric = || mounted.metric("moca_reload_success");
    assert_eq!(metric(), "moca_reload_success 1");
    mounted.write("api_key.json", "[{");
    eventually("a refused file shows", SOON, || metric() == "moca_reload_success 0");
    mounted.write("api_key.json", &json!([{"key": KEY, "status": true}]).to_string());
    eventually("the repaired file shows", SOON, || metric() == "moca_reload_success 1");
}

#[test]
fn a_mounted_certificate_applies() {
    let Some(mounted) = Mounted::start(Setup::new().tls(), &["tls/cert.pem", "tls/key.pem"]) else { return };
    let server = &mounted.server;
    let before = server.connect().certificate();
    let renewed = Pair::new();
    renewed.write(&host_path(server, "tls"));
    eventually("the new certificate is in force", SOON, || server.connect().certificate() != before);
}
