//! Controls a running server and reads its files and its messages to the service manager.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Conn, KEY, Line, ROOT, Response, Setup, encode_pairs, engine, eventually, is_timeout};

/// Represents a server that has sent READY. Dropping it kills the process.
pub(crate) struct Server {
    setup: Setup,
    child: Option<Child>,
    notes: Notes,
    ready_after: Duration,
}

impl Server {
    pub(super) fn start(setup: Setup) -> Self {
        let notes = Notes::listen(&setup.root.path().join("notify.sock"));
        let mut server = Self { setup, child: None, notes, ready_after: Duration::ZERO };
        server.respawn();
        server
    }

    /// Starts the program again in the same directories.
    pub(crate) fn respawn(&mut self) {
        assert!(self.child.is_none(), "the server still runs");
        let heard_before = self.notes.all().len();
        let socket = self.setup.notify.then(|| self.notes.path.clone());
        let started = Instant::now();
        self.child = Some(self.setup.command(socket.as_deref()).spawn().expect("spawn the server"));
        loop {
            let ready = if self.setup.notify {
                self.notes.all().iter().skip(heard_before).any(|note| note.lines().any(|l| l == "READY=1"))
            } else {
                Conn::open(self.address()).is_ok()
            };
            if ready {
                self.ready_after = started.elapsed();
                return;
            }
            let child = self.child.as_mut().expect("a child");
            if let Some(status) = child.try_wait().expect("wait for the server") {
                self.child = None;
                // The kernel may release the port of a killed server a moment after its end.
                if status.code() == Some(69) && started.elapsed() < Duration::from_secs(5) {
                    std::thread::sleep(Duration::from_millis(50));
                    self.child =
                        Some(self.setup.command(socket.as_deref()).spawn().expect("spawn the server"));
                    continue;
                }
                panic!("the server ended before it was ready: {status}\n{}", self.stderr());
            }
            if started.elapsed() > Duration::from_secs(10) {
                panic!("not ready in 10 s\n{}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends SIGTERM and returns the exit status.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_for_exit(Duration::from_secs(20))
    }

    /// Stops the server, which must succeed, and starts it in the same directories.
    pub(crate) fn restart(&mut self) {
        let status = self.stop();
        assert!(status.success(), "{status}\n{}", self.stderr());
        self.respawn();
    }

    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill the server");
            child.wait().expect("reap the server");
        }
    }

    pub(crate) fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        let until = Instant::now() + limit;
        loop {
            let child = self.child.as_mut().expect("a running server");
            if let Some(status) = child.try_wait().expect("wait for the server") {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < until, "still running after {limit:?}\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id"));
        kill(pid, signal).expect("send a signal");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// Returns the time from the start of the process to READY.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Returns the number of TCP connections that the server has established, as the kernel counts
    /// them.
    pub(crate) fn connections(&self) -> usize {
        let port = format!(":{:04X}", self.address().port());
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.pid())).expect("connections");
        let is_established = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(1).is_some_and(|local| local.ends_with(&port)) && fields.get(3) == Some(&"01")
        };
        table.lines().filter(is_established).count()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.setup.address()
    }

    /// Reports whether the server speaks TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.setup.tls
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.setup.admin_socket()
    }

    pub(crate) fn connect(&self) -> Conn {
        if self.setup.tls {
            return Conn::open_tls(self.address(), "http/1.1").expect("connect to the server with TLS");
        }
        Conn::open(self.address()).expect("connect to the server")
    }

    /// Connects from this address of the machine, for HTTP/1.1.
    pub(crate) fn connect_from(&self, source: IpAddr) -> Conn {
        let conn = if self.setup.tls {
            Conn::open_tls_from(source, self.address(), "http/1.1")
        } else {
            Conn::open_from(source, self.address())
        };
        conn.expect("connect to the server")
    }

    /// Opens a connection without sending a byte, not even of a TLS handshake.
    pub(crate) fn connect_bare(&self) -> Conn {
        Conn::open(self.address()).expect("connect to the server")
    }

    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.connect().request(method, target, headers, body)
    }

    pub(crate) fn get(&self, target: &str) -> Response {
        self.connect().get(target)
    }

    /// Sends a GET with headers.
    pub(crate) fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", target, headers, b"")
    }

    /// Sends a GET of a route with the key and the root password.
    pub(crate) fn root_get(&self, name: &str) -> Response {
        self.get_with(&route(name), &[("API-KEY", KEY), ("ROOT-PASS", ROOT)])
    }

    pub(crate) fn post_json(&self, target: &str, body: &Value) -> Response {
        self.connect().post_json(target, body)
    }

    pub(crate) fn post_form(&self, target: &str, pairs: &[(&str, &str)]) -> Response {
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        self.request("POST", target, &form, encode_pairs(pairs).as_bytes())
    }

    /// Sends `save-log` with the key and these parameters in a JSON body.
    pub(crate) fn save_with(&self, parameters: &Value) -> Response {
        let mut body = parameters.clone();
        body["api_key"] = json!(KEY);
        self.post_json(&route("save-log"), &body)
    }

    /// Saves a message. Panics when the server does not accept it.
    pub(crate) fn save(&self, message: &str) {
        self.save_with(&json!({"message": message})).success();
    }

    /// Sends `save-logs` with the key.
    pub(crate) fn save_batch(&self, logs: &Value) -> Response {
        self.post_json(&route("save-logs"), &json!({"api_key": KEY, "logs": logs}))
    }

    /// Asserts that the next request is served and that its record is in the file.
    pub(crate) fn assert_alive(&self) {
        self.save("still alive");
        assert_eq!(self.messages().last().map(String::as_str), Some("still alive"));
    }

    /// Returns all messages to the service manager, the oldest first.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.all()
    }

    /// Returns all STATUS texts, the oldest first.
    pub(crate) fn statuses(&self) -> Vec<String> {
        let notes = self.notes.all();
        notes
            .iter()
            .flat_map(|n| n.lines())
            .filter_map(|l| l.strip_prefix("STATUS="))
            .map(str::to_owned)
            .collect()
    }

    /// Returns the current STATUS.
    pub(crate) fn status_text(&self) -> String {
        self.statuses().pop().unwrap_or_default()
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.setup.log_path()
    }

    /// Returns the lines of the log file, which must end with a line end. With an engine without a
    /// file the server gives them.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        if engine().is_none() {
            return lines_of(&self.log_path());
        }
        let response = self.root_get("get-logs");
        assert_eq!(response.status, 200, "{response:?}");
        let text = response.text();
        text.split_terminator('\n').map(str::to_owned).collect()
    }

    pub(crate) fn parsed(&self) -> Vec<Line> {
        self.log_lines().iter().map(|line| Line::parse(line)).collect()
    }

    /// Returns the messages of the log file as they were sent.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.parsed().into_iter().map(|line| line.message).collect()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.setup.root.path().join("stderr.txt")).unwrap_or_default()
    }

    /// Returns the path of the access log.
    pub(crate) fn access_log_path(&self) -> PathBuf {
        self.log_path().with_file_name(format!("{}.access.log", self.setup.name))
    }

    /// Returns the lines of the access log once there are at least this many.
    pub(crate) fn access_lines(&self, count: usize) -> Vec<String> {
        let path = self.access_log_path();
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        eventually(&format!("{count} lines in the access log"), Duration::from_secs(5), || {
            read().lines().count() >= count
        });
        read().lines().map(str::to_owned).collect()
    }

    pub(crate) fn config_path(&self, name: &str) -> PathBuf {
        self.setup.config_dir().join(name)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.setup.state_dir()
    }

    /// Returns the directory in which the server makes its admin socket.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.setup.run_dir()
    }

    /// Removes an environment variable, from the next start on.
    pub(crate) fn without_env(&mut self, name: &str) {
        self.setup.environment.retain(|(other, _)| other != name);
    }

    pub(crate) fn root_dir(&self) -> &Path {
        self.setup.root.path()
    }

    /// Overwrites a configuration file in place, as `>` in a shell does.
    pub(crate) fn edit(&self, name: &str, text: &str) {
        std::fs::write(self.config_path(name), text).expect("write a configuration file");
    }

    /// Replaces a configuration file by a rename, as most editors do.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let temporary = self.config_path(&format!(".{name}.swp"));
        std::fs::write(&temporary, text).expect("write a temporary file");
        std::fs::rename(&temporary, self.config_path(name)).expect("rename a file");
    }

    /// Changes one option of a configuration file that is a JSON object, in place.
    pub(crate) fn set(&self, file: &str, pointer: &str, value: Value) {
        let text = std::fs::read_to_string(self.config_path(file)).expect("read a configuration file");
        let mut content: Value = serde_json::from_str(&text).expect("JSON");
        let (parent, option) = pointer.rsplit_once('/').expect("a pointer");
        content.pointer_mut(parent).expect("the parent")[option] = value;
        self.edit(file, &serde_json::to_string_pretty(&content).expect("JSON"));
    }

    /// Returns the peak memory of the process, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Lets the peak begin anew at the present memory of the process (proc(5), `clear_refs`).
    pub(crate) fn reset_memory_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("write to /proc");
    }

    /// Returns the memory of the process, in bytes.
    pub(crate) fn memory_now(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Returns the memory of the process that is not mapped from files, in bytes.
    pub(crate) fn memory_own(&self) -> u64 {
        self.memory("RssAnon:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("read /proc");
        let line = status.lines().find(|line| line.starts_with(what)).expect(what);
        let kilobytes = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
        kilobytes.expect("a number") * 1024
    }

    /// Waits until a GET of `/status` has this status.
    pub(crate) fn wait_for_status(&self, code: u16) {
        eventually(&format!("/status answers {code}"), Duration::from_secs(3), || {
            self.get("/status").status == code
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- stderr of the server ---\n{}", self.stderr());
        }
    }
}

/// Returns the short form of a route's URL.
pub(crate) fn route(name: &str) -> String {
    format!("/moca-file-log/{name}")
}

/// Returns the lines of a file. Panics when it is not UTF-8 or its last line has no end.
fn lines_of(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = String::from_utf8(bytes).expect("a log in UTF-8");
    let last: String = text.lines().last().unwrap_or_default().chars().take(120).collect();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn last line: {last:?}");
    text.split_terminator('\n').map(str::to_owned).collect()
}

/// Receives the messages that the server sends to NOTIFY_SOCKET (sd_notify(3)).
struct Notes {
    path: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Notes {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bind the notify socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set the read timeout");
        let notes = Self { path: path.to_owned(), heard: Arc::default(), over: Arc::default() };
        let (heard, over) = (Arc::clone(&notes.heard), Arc::clone(&notes.over));
        std::thread::spawn(move || {
            let mut datagram = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                match socket.recv(&mut datagram) {
                    Ok(length) => {
                        let note = String::from_utf8_lossy(&datagram[..length]).into_owned();
                        heard.lock().unwrap_or_else(PoisonError::into_inner).push(note);
                    }
                    Err(error) if is_timeout(&error) || error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        notes
    }

    fn all(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
