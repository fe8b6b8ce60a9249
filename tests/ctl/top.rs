//! Tests of `mocactl top` with real servers, real admin sockets and a real terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::harness::{KEY, Server, Setup, eventually, route};
use crate::installation::{CommandOutput, Installation, entry};
use crate::instance::{Instance, answer};

/// Runs the servers `busy` and `idle`. The stub of systemctl reports two more logs that do not run.
struct RunningLogs {
    installation: Installation,
    busy: Server,
    idle: Server,
}

impl RunningLogs {
    fn new() -> Self {
        let installation = Installation::new(&json!({
            "busy": entry(5700, "a.log"), "failed": entry(5701, "b.log"), "idle": entry(5702, "c.log"),
            "waiting": entry(5703, "d.log"),
        }));
        let unit = |service: &str, socket: &str| {
            format!("Id=s\nActiveState={service}\nSubState=x\n\nId=x\nActiveState={socket}\nSubState=x\n")
        };
        let shown =
            [("active", "active"), ("failed", "failed"), ("active", "active"), ("inactive", "active")];
        let shown = shown.map(|(service, socket)| unit(service, socket)).join("\n");
        installation.systemctl_shows(&[&shown]);
        let server = |name: &str, setup: Setup| {
            let server = setup.named(name).with_admin_socket().start();
            symlink(server.admin_socket(), installation.path(&format!("run/{name}.sock"))).unwrap();
            server
        };
        let busy =
            Setup::new().durability("disk").log("level", json!(1)).key("k", &json!({"rate": "1/hour"}));
        let busy = server("busy", busy);
        let idle = server("idle", Setup::new().system("maintenance_mode", json!(true)));
        Self { installation, busy, idle }
    }

    /// Runs `work` while `busy` stores records and refuses requests, some of them by a limit.
    fn under_load<T>(&self, work: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut conn = self.busy.connect();
                let save = format!("{}?message=m", route("save-log"));
                while !over.load(Ordering::Relaxed) {
                    for key in [KEY, "unknown", "k"] {
                        conn.request("GET", &save, &[("API-KEY", key)], b"");
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let outcome = work();
            over.store(true, Ordering::Relaxed);
            outcome
        })
    }
}

#[test]
fn top_prints_the_figures_of_every_log() {
    let field = RunningLogs::new();
    let output = field.under_load(|| field.installation.run(&["top", "--json", "--interval", "0.5"]));
    assert_eq!((output.status, output.err.as_str()), (0, ""), "{output:?}");
    let rows = output.json();
    let states: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["running", "failed", "running", "waiting"]);
    let busy = &rows[0];
    assert_eq!(busy["name"], "busy");
    for rate in ["records_per_second", "bytes_per_second", "refused_per_second", "limited_per_second"] {
        assert!(busy[rate].as_f64().unwrap() > 0.0, "{rate}: {busy}");
    }
    let number = |row: &Value, name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name}: {row}"));
    assert!(number(busy, "refused_per_second") > number(busy, "limited_per_second"));
    assert!((1e-6..5.0).contains(&number(busy, "sync_p99_seconds")), "{busy}");
    assert!(number(busy, "size_bytes") > 0.0 && number(busy, "disk_free_bytes") > 0.0, "{busy}");
    assert_eq!((&busy["maintenance"], number(busy, "followers")), (&json!(false), 0.0));
    assert!(number(busy, "connections") >= 2.0, "{busy}");
    let idle = &rows[2];
    assert_eq!((number(idle, "records_per_second"), number(idle, "size_bytes")), (0.0, 0.0));
    assert_eq!((&idle["maintenance"], &idle["sync_p99_seconds"]), (&json!(true), &Value::Null));
    for down in [&rows[1], &rows[3]] {
        assert_eq!((&down["records_per_second"], &down["error"]), (&Value::Null, &Value::Null), "{down}");
    }
}

#[test]
fn without_a_terminal_top_prints_a_table() {
    let field = RunningLogs::new();
    let begun = Instant::now();
    let output = field.under_load(|| field.installation.run(&["top", "--interval", "0.3"]));
    assert!(output.status == 0 && begun.elapsed() < Duration::from_secs(10), "{output:?}");
    assert!(!output.out.contains('\x1b'), "{output:?}");
    assert!(output.out.lines().all(|line| line.width() <= 80), "{output:?}");
    let rows: Vec<Vec<&str>> = output.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0].join(" "), "LOG STATE REC/S B/S REF/S LIM/S QUEUE P99 FOLL CONN FREE SIZE MNT");
    assert!(rows[1][2].parse::<f64>().unwrap() > 0.0 && rows[1][7].ends_with('s'), "{output:?}");
    assert_eq!((rows[1][12], rows[3][12], rows[3][2]), ("off", "on", "0"), "{output:?}");
    assert_eq!(rows[2].join(" "), "failed failed - - - - - - - - - - -");
    assert_eq!(rows[4][..3], ["waiting", "waiting", "-"]);
    let output = field.installation.run(&["top", "--once", "--interval", "0.1", "idle"]);
    assert_eq!(output.ok().lines().count(), 2);
    for wrong in [&["top", "--interval", "0"][..], &["top", "--interval", "x"], &["top", "--interval", "inf"]]
    {
        field.installation.run(wrong).failed(64);
    }
    field.installation.run(&["top", "nosuch"]).failed(66);
}

#[test]
fn a_silent_instance_does_not_delay_the_others() {
    let installation =
        Installation::new(&json!({"a": entry(5700, "a.log"), "b \"c\"": entry(5701, "b.log")}));
    let active = "Id=s\nActiveState=active\nSubState=x\n\nId=x\nActiveState=active\nSubState=x\n";
    installation.systemctl_shows(&[&[active, active].join("\n")]);
    let _silent = UnixListener::bind(installation.path("run/a.sock")).unwrap();
    let metrics = "moca_connections 7\nmoca_followers 3\nnonsense\n";
    let socket = installation.path("run/b %22c%22.sock");
    let _other = Instance::listen(&socket, move |_| answer(200, metrics));
    let begun = Instant::now();
    let output = installation.run(&["top", "--once", "--interval", "0.1"]);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let rows: Vec<&str> = output.out.lines().collect();
    assert!(rows[1].starts_with("a     silent") && rows[2].starts_with("b \"c\" running"), "{output:?}");
    assert_eq!(rows[2].split_whitespace().skip(9).take(2).collect::<Vec<_>>(), ["3", "7"], "{output:?}");
    assert!(output.err.contains("it does not answer"), "{output:?}");
}

#[test]
fn without_systemd_a_socket_means_running() {
    let installation = Installation::new(&json!({"a": entry(5700, "a.log"), "b": entry(5701, "b.log")}));
    drop(UnixListener::bind(installation.path("run/a.sock")).unwrap());
    let _b = Instance::listen(&installation.path("run/b.sock"), |_| answer(200, "moca_connections 7\n"));
    let mut command = installation.command(&["top", "--json", "--interval", "0.1"]);
    let rows = CommandOutput::of(&command.env("PATH", "/nowhere").output().unwrap()).json();
    assert_eq!((&rows[0]["state"], &rows[0]["error"]), (&json!("stopped"), &Value::Null), "{rows}");
    assert_eq!((&rows[1]["state"], &rows[1]["connections"]), (&json!("running"), &json!(7.0)), "{rows}");
}

/// Runs `mocactl top` in a terminal of 80 columns and 24 lines.
struct TerminalSession {
    child: Child,
    master: File,
    slave: OwnedFd,
    before: Termios,
    shown: Receiver<Vec<u8>>,
    screen: Vec<u8>,
}

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

impl TerminalSession {
    fn take(installation: &Installation) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = installation.command(&["top", "--interval", "0.2"]);
        command.env("TERM", "xterm").env_remove("NO_COLOR").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let (sender, shown) = channel();
        let master = File::from(pty.master);
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master, slave: pty.slave, before, shown, screen: Vec::new() }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn text(&mut self) -> String {
        self.screen.extend(self.shown.try_iter().flatten());
        String::from_utf8_lossy(&self.screen).into_owned()
    }

    /// Returns the lines of each complete screen, without colours.
    fn frames(&mut self) -> Vec<Vec<String>> {
        let text = self.text();
        let frames = text.split("\x1b[H").skip(1).filter(|frame| frame.contains("\x1b[J"));
        frames.map(|frame| plain(frame).split("\r\n").map(str::to_owned).collect()).collect()
    }

    fn until(&mut self, what: &str, mut condition: impl FnMut(&[String]) -> bool) {
        eventually(what, Duration::from_secs(20), || {
            self.frames().last().is_some_and(|frame| condition(frame))
        });
    }

    /// Waits until the program ends, and checks that the terminal is as before.
    fn ended(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        let ended = |session: &mut Self| session.text().trim_end().ends_with(LEAVE);
        eventually("the screen is given back", Duration::from_secs(5), || ended(&mut self));
        assert_eq!(tcgetattr(&self.slave).unwrap(), self.before);
        status.code()
    }
}

/// Returns a text without the sequences that begin with CSI.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| ('@'..='~').contains(&c)).map_or(part.len(), |end| end + 1);
        plain.push_str(&part[end..]);
    }
    plain
}

#[test]
fn top_shows_live_figures_in_a_terminal() {
    let mut field = RunningLogs::new();
    let mut session = TerminalSession::take(&field.installation);
    field.under_load(|| {
        session.until("rates are shown", |frame| {
            let row = frame.iter().find(|line| line.starts_with("busy ")).map(|line| line.split_whitespace());
            row.and_then(|mut cells| cells.nth(2)?.parse().ok()).is_some_and(|rate: f64| rate > 0.0)
        });
        // Several screens are drawn meanwhile.
        session.press("\x1b[C\x1b[Cr");
        session.until("sorted by records", |frame| {
            let places =
                ["idle", "busy", "failed"].map(|name| frame.iter().position(|l| l.starts_with(name)));
            frame[0].contains("by REC/S") && places.is_sorted() && places[0].is_some()
        });
    });
    let frames = session.frames();
    assert!(session.text().contains("\x1b[32mrunning\x1b[0m") && session.text().starts_with(ENTER));
    for frame in &frames {
        assert!(frame.len() <= 24 && frame.iter().all(|line| line.width() <= 80), "{frame:#?}");
        assert!(frame[0].starts_with("mocactl top: 4 logs") && frame[1].starts_with("LOG "), "{frame:#?}");
    }
    // After a text that reaches the edge, clearing the rest of the line would erase its last
    // character.
    let text = session.text();
    let last = text.split("\x1b[H").filter(|frame| frame.contains("\x1b[J")).last().unwrap();
    assert!(last.split("\r\n").all(|line| line.starts_with("\x1b[K")), "{last:?}");
    assert_ne!(tcgetattr(&session.slave).unwrap(), session.before, "keys come one by one");
    // The screen shows an instance that ends as silent.
    field.idle.kill9();
    session.until("the one that is gone is silent", |frame| {
        frame.iter().any(|line| line.starts_with("idle ") && line.contains(" silent "))
    });
    session.press("q");
    assert_eq!(session.ended(), Some(0));
}

#[test]
fn top_restores_the_terminal_at_every_end() {
    let field = RunningLogs::new();
    let session = || {
        let mut session = TerminalSession::take(&field.installation);
        session.until("it is shown", |frame| frame.iter().any(|line| line.starts_with("busy ")));
        session
    };
    for keys in ["\x03", "\x1b", "Q"] {
        let mut session = session();
        session.press(keys);
        assert_eq!(session.ended(), Some(0), "{keys:?}");
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let session = session();
        kill(Pid::from_raw(i32::try_from(session.child.id()).unwrap()), signal).unwrap();
        assert_eq!(session.ended(), Some(128 + signal as i32));
    }
    // An error is printed after the terminal is restored.
    let mut session = session();
    field.installation.write("log.json", "{");
    let status = session.child.wait().unwrap();
    assert_eq!(status.code(), Some(78));
    eventually("it says why", Duration::from_secs(5), || {
        session.text().rsplit_once(LEAVE).is_some_and(|(_, after)| after.contains("log.json:1"))
    });
    assert_eq!(tcgetattr(&session.slave).unwrap(), session.before);
}
