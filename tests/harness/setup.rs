//! Prepares the configuration files, the directories and the environment of a server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Pair, Server};

/// The key and the root password of every server, unless a test configures others.
pub(crate) const KEY: &str = "test-key";
pub(crate) const ROOT: &str = "root-pass";

/// Describes a server that is not started yet. Setters take and return it, so that a test can chain
/// them.
pub(crate) struct Setup {
    pub(super) root: tempfile::TempDir,
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) notify: bool,
    pub(super) tls: bool,
    entry: Map<String, Value>,
    other_logs: Map<String, Value>,
    keys: Value,
    server: Map<String, Value>,
    system: Map<String, Value>,
    blacklist: Value,
    http: String,
    log_dir: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    flags: Vec<String>,
    program: PathBuf,
    passed: Option<TcpListener>,
    admin: Option<UnixListener>,
    run_dir: PathBuf,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let entry = json!({
            "host": "127.0.0.1", "port": port, "use_ipv6": false, "file": "sample1.log", "level": 0,
            "durability": "os",
        });
        let Value::Object(entry) = entry else { unreachable!() };
        let system = Map::from_iter([("root_pass".to_owned(), json!(ROOT))]);
        let (log_dir, run_dir) = (root.path().join("log"), root.path().join("run"));
        Self {
            root,
            name: "sample1".to_owned(),
            port,
            notify: true,
            tls: false,
            entry,
            other_logs: Map::new(),
            keys: json!([{"key": KEY, "status": true}]),
            server: Map::new(),
            system,
            blacklist: json!([]),
            http: String::new(),
            log_dir,
            environment: Vec::new(),
            flags: Vec::new(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_moca-file-log")),
            passed: None,
            admin: None,
            run_dir,
        }
    }

    /// Sets the name of the log.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets an option of the log in `log.json`. Null removes it.
    pub(crate) fn log(mut self, option: &str, value: Value) -> Self {
        if value.is_null() {
            self.entry.remove(option);
        } else {
            self.entry.insert(option.to_owned(), value);
        }
        self
    }

    /// Adds another log to `log.json`.
    pub(crate) fn other_log(mut self, name: &str, entry: Value) -> Self {
        self.other_logs.insert(name.to_owned(), entry);
        self
    }

    /// Sets the whole content of `api_key.json`.
    pub(crate) fn keys(mut self, keys: Value) -> Self {
        self.keys = keys;
        self
    }

    /// Adds a key, with its other options as an object.
    pub(crate) fn key(mut self, key: &str, options: &Value) -> Self {
        let mut entry = options.clone();
        entry["key"] = json!(key);
        if entry.get("status").is_none() {
            entry["status"] = json!(true);
        }
        self.keys.as_array_mut().expect("a list of keys").push(entry);
        self
    }

    /// Sets an option of `server.json`.
    pub(crate) fn server(mut self, option: &str, value: Value) -> Self {
        self.server.insert(option.to_owned(), value);
        self
    }

    /// Enables HTTPS with a new certificate in `tls/` of the configuration directory.
    pub(crate) fn tls(mut self) -> Self {
        Pair::new().write(&self.config_dir().join("tls"));
        self.tls = true;
        self.server("ssl", json!({"cert": "tls/cert.pem", "key": "tls/key.pem"}))
    }

    /// Sets an option of `system.json`.
    pub(crate) fn system(mut self, option: &str, value: Value) -> Self {
        self.system.insert(option.to_owned(), value);
        self
    }

    /// Removes an option of `system.json`.
    pub(crate) fn without_system(mut self, option: &str) -> Self {
        self.system.remove(option);
        self
    }

    /// Sets the whole content of `ip_blacklist.json`.
    pub(crate) fn blacklist(mut self, blacklist: Value) -> Self {
        self.blacklist = blacklist;
        self
    }

    /// Adds a line to `http.toml`.
    pub(crate) fn http(mut self, line: &str) -> Self {
        self.http.push_str(line);
        self.http.push('\n');
        self
    }

    /// Makes `X-Real-IP` name the client's address, so that a test can choose it.
    pub(crate) fn posed(self) -> Self {
        self.http("real_ip_header = \"X-Real-IP\"")
    }

    /// Writes another file into the configuration directory and makes it executable.
    pub(crate) fn config_file(self, name: &str, text: &str) -> Self {
        let path = self.config_dir().join(name);
        std::fs::create_dir_all(self.config_dir()).expect("create the configuration directory");
        std::fs::write(&path, text).expect("write a configuration file");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("set the mode");
        self
    }

    pub(crate) fn durability(self, durability: &str) -> Self {
        self.log("durability", json!(durability))
    }

    /// Puts the log into another directory.
    pub(crate) fn log_dir(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.log_dir);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts the server without a service manager.
    pub(crate) fn without_notify(mut self) -> Self {
        self.notify = false;
        self
    }

    /// Sets the port that a configuration which the test wrote itself uses.
    pub(crate) fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts a copy of the program, which the test may replace, in the temporary directory.
    pub(crate) fn copied_program(mut self) -> Self {
        let copy = self.root.path().join("moca-file-log");
        std::fs::copy(&self.program, &copy).expect("copy the program");
        self.program = copy;
        self
    }

    /// Passes this listening socket, as systemd does.
    pub(crate) fn passing(mut self, listener: TcpListener) -> Self {
        self.passed = Some(listener);
        self
    }

    /// Also passes an admin socket, at `admin.sock` in the temporary directory.
    pub(crate) fn with_admin_socket(mut self) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        self.admin = Some(UnixListener::bind(self.admin_socket()).expect("bind the admin socket"));
        self.passing(listener)
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.root.path().join("admin.sock")
    }

    pub(crate) fn config_dir(&self) -> PathBuf {
        self.root.path().join("config")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// Returns the directory in which the server makes its admin socket.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.run_dir.clone()
    }

    /// Lets the server make its admin socket in another directory.
    pub(crate) fn with_run_dir(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.run_dir);
        self
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.log_dir.join(self.entry["file"].as_str().expect("file"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address of the server.
    pub(crate) fn address(&self) -> SocketAddr {
        let passed = self.passed.as_ref().map(|listener| listener.local_addr().expect("an address"));
        passed.unwrap_or_else(|| {
            let host: Option<IpAddr> = self.entry["host"].as_str().and_then(|host| host.parse().ok());
            let host = host.filter(|host| !host.is_unspecified());
            SocketAddr::new(host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), self.port)
        })
    }

    pub(crate) fn start(self) -> Server {
        self.prepare();
        Server::start(self)
    }

    /// Starts a server that must exit by itself. Returns its exit status and its stderr.
    pub(crate) fn start_expect_failure(self) -> (i32, String) {
        self.prepare();
        let output_path = self.root.path().join("stderr.txt");
        let mut child = self.command(None).spawn().expect("spawn the server");
        let until = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait for the server") {
                break status;
            }
            if Instant::now() > until {
                child.kill().expect("kill the server");
                child.wait().expect("reap the server");
                panic!("the server did not refuse to start");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let stderr = std::fs::read_to_string(output_path).expect("read stderr");
        (status.code().expect("an exit status, not a signal"), stderr)
    }

    /// Starts a server that must exit with a status of sysexits.h. Returns its stderr.
    pub(crate) fn start_refused(self) -> String {
        let (code, stderr) = self.start_expect_failure();
        assert!((64..=78).contains(&code), "exit status {code} is not in sysexits.h: {stderr}");
        assert!(!stderr.trim().is_empty(), "refused without a word");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }

    /// Writes the configuration and creates the directories.
    fn prepare(&self) {
        for directory in [&self.config_dir(), &self.log_dir, &self.state_dir()] {
            std::fs::create_dir_all(directory).expect("create a directory");
        }
        let mut logs = self.other_logs.clone();
        logs.insert(self.name.clone(), Value::Object(self.entry.clone()));
        self.write_unless_there("log.json", &pretty(&Value::Object(logs)));
        self.write_unless_there("api_key.json", &pretty(&self.keys));
        self.write_unless_there("server.json", &pretty(&Value::Object(self.server.clone())));
        self.write_unless_there("system.json", &pretty(&Value::Object(self.system.clone())));
        self.write_unless_there("ip_blacklist.json", &pretty(&self.blacklist));
        self.write_unless_there("http.toml", &self.http);
    }

    /// Writes a configuration file unless the test wrote it itself.
    fn write_unless_there(&self, name: &str, text: &str) {
        let path = self.config_dir().join(name);
        if !path.exists() {
            std::fs::write(path, text).expect("write a configuration file");
        }
    }

    pub(super) fn command(&self, notify_socket: Option<&Path>) -> Command {
        let program = &self.program;
        let mut command = if let Some(listener) = &self.passed {
            let listener = OwnedFd::from(listener.try_clone().expect("duplicate the listener"));
            // The passed sockets must be descriptors 3 and 4, and LISTEN_PID the server's id, which
            // `exec` keeps.
            let (count, admin) = if self.admin.is_some() { (2, " 4<&1") } else { (1, "") };
            let script = format!(
                "export LISTEN_FDS={count} LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0{admin} 0</dev/null 1>&2"
            );
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(script).arg(program).stdin(Stdio::from(listener));
            shell
        } else {
            let mut command = Command::new(program);
            command.stdin(Stdio::null());
            command
        };
        // The environment of the test run must not reach the server.
        for name in [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "JOURNAL_STREAM",
            "CONFIGURATION_DIRECTORY",
            "LOGS_DIRECTORY",
            "STATE_DIRECTORY",
            "RUNTIME_DIRECTORY",
        ] {
            command.env_remove(name);
        }
        command.arg(&self.name);
        command.arg("--config-dir").arg(self.config_dir());
        command.arg("--log-dir").arg(&self.log_dir);
        command.arg("--state-dir").arg(self.state_dir());
        command.arg("--run-dir").arg(self.run_dir());
        command.args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(engine) = engine() {
            command.env("MOCA_ENGINE", engine);
        }
        if let Some(socket) = notify_socket {
            command.env("NOTIFY_SOCKET", socket);
        }
        let output = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root.path().join("stderr.txt"))
            .expect("open the file for stderr");
        match &self.admin {
            Some(admin) => {
                command.stdout(OwnedFd::from(admin.try_clone().expect("duplicate the admin socket")))
            }
            None => command.stdout(output.try_clone().expect("duplicate a file")),
        };
        command.stderr(output);
        command
    }
}

/// Returns the engine that `MOCA_TEST_ENGINE` names. Without it the servers keep their logs in files.
///
/// # Panics
/// Panics in a release build, whose server has one engine only.
pub(crate) fn engine() -> Option<String> {
    let engine = std::env::var("MOCA_TEST_ENGINE").ok()?;
    if !cfg!(debug_assertions) {
        panic!("only debug builds of the server have another engine");
    }
    Some(engine)
}

/// Returns a TCP port of 127.0.0.1 that is free and that no other test uses.
///
/// The port is below the range from which the kernel takes ports for clients. Each test runs as a
/// separate process. A socket with an abstract name therefore reserves the port until this process
/// ends.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(131);
    loop {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 10_000 + u16::try_from(offset).unwrap_or_default();
        let name = UnixAddr::from_abstract_name(format!("moca-file-log-test-port-{port}"));
        let Ok(reservation) = name.and_then(|name| UnixListener::bind_addr(&name)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            std::mem::forget(reservation);
            return port;
        }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}
