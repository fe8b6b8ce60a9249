//! Runs the commands that the documents print, word by word, as a reader pastes them.
//!
//! The commands run in namespaces of their own: with the directories of the package, a network without
//! other programs, and the server that the page means. What needs systemd is run by
//! `tests/systemd/readme.sh`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::harness::{Mounts, cannot_run, eventually};

/// Says what the test does with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// Each command succeeds.
    Run,
    /// Each command prints at least this text and ends only when it is stopped.
    Follow(&'static str),
    /// `tests/systemd/readme.sh` runs it on a booted system.
    Booted,
    /// The block is not run, for this reason.
    Not(&'static str),
}

use Treatment::{Booted, Follow, Not, Run};

/// The blocks of each page in their order.
const BLOCKS: [(&str, &[Treatment]); 8] = [
    ("README.md", &[Not(BUILDS), Run, Run]),
    ("docs/following.md", &[Follow("payment failed")]),
    ("docs/getting-started.md", &[Not(BUILDS), Run, Booted, Booted, Booted, Booted, Booted, Booted, Booted]),
    ("docs/monitoring.md", &[Run, Run, Booted]),
    ("docs/operating.md", &[Run, Booted]),
    ("docs/reading.md", &[Run]),
    ("docs/senders.md", &[Run, Run, Run]),
    (
        "docs/troubleshooting.md",
        &[
            Booted,
            Booted,
            Not("KEY and shop stand for a key and a log of the reader"),
            Not("it follows the journal"),
        ],
    ),
];

/// The page whose blocks are configurations and programs of other systems. `tests/senders` runs those whose
/// programs it has.
const PAGE_OF_SENDERS: &str = "docs/dialects.md";

const BUILDS: &str = "it builds the program and serves in the foreground";

/// Languages whose blocks are run.
const LANGUAGES: [&str; 2] = ["sh", "python"];

/// Languages of blocks that are no programs, or whose interpreters the tests do not need otherwise.
const OTHER_LANGUAGES: [&str; 5] = ["text", "json", "yaml", "toml", "js"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A block of a page that a reader may paste.
struct Block {
    language: String,
    line: usize,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let source = fs::read_to_string(root().join(page)).expect("read a page");
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in source.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { language: language.to_owned(), line: index + 1, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    blocks
}

fn is_run(block: &Block) -> bool {
    let known = LANGUAGES.contains(&&*block.language);
    assert!(
        known || OTHER_LANGUAGES.contains(&&*block.language),
        "a block of the unknown language {:?}",
        block.language
    );
    known
}

#[test]
fn every_block_of_the_documents_is_run_or_has_a_reason() {
    let mut pages: BTreeSet<String> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    pages.insert("README.md".to_owned());
    for page in pages.into_iter().filter(|page| page != PAGE_OF_SENDERS) {
        let count = blocks(&page).iter().filter(|block| is_run(block)).count();
        let treated = BLOCKS.iter().find(|(name, _)| *name == page).map_or(0, |(_, blocks)| blocks.len());
        assert_eq!(count, treated, "{page}: say in BLOCKS how each block is run");
    }
    // Blocks with a reason to be run elsewhere are really run there.
    let script = fs::read_to_string(root().join("tests/systemd/readme.sh")).unwrap();
    for (page, treatments) in BLOCKS {
        if treatments.contains(&Booted) {
            assert!(script.contains(page), "tests/systemd/readme.sh does not run {page}");
        }
    }
}

#[test]
fn the_commands_of_the_documents_work_as_printed() {
    let Some(machine) = Machine::new() else { return };
    for (page, treatments) in BLOCKS {
        let blocks: Vec<Block> = blocks(page).into_iter().filter(is_run).collect();
        for (block, treatment) in blocks.iter().zip(treatments) {
            let place = format!("{page}:{}", block.line);
            match treatment {
                Run => {
                    let output = machine.run(&block.language, &block.text);
                    assert!(output.status.success(), "{place}: {output:?}");
                    let said = String::from_utf8_lossy(&output.stdout);
                    assert!(!said.contains("\"status\":4"), "{place}: refused: {said}");
                }
                Follow(text) => block.text.lines().for_each(|line| {
                    let output =
                        machine.run("sh", &format!("timeout 3 {}", line.trim_start_matches("sudo ")));
                    let said = String::from_utf8_lossy(&output.stdout);
                    assert!(output.status.code() == Some(124) && said.contains(text), "{place}: {output:?}");
                }),
                Booted | Not(_) => {}
            }
        }
    }
}

/// A machine on which the package seems to be installed and `sample1` is served.
struct Machine {
    work: tempfile::TempDir,
    server: Child,
    _mounts: Mounts,
}

impl Machine {
    fn new() -> Option<Self> {
        let mounts = Mounts::private()?;
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            cannot_run(&format!("a network namespace: {error}"));
            return None;
        }
        let loopback = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !loopback.is_ok_and(|status| status.success()) {
            cannot_run("`ip` (package iproute2) is missing");
            return None;
        }
        let work = tempfile::tempdir().expect("a temporary directory");
        install(&mounts, work.path());
        let server = Command::new(env!("CARGO_BIN_EXE_moca-file-log"))
            .arg("sample1")
            .env("CONFIGURATION_DIRECTORY", "/etc/moca-file-log")
            .env("LOGS_DIRECTORY", "/var/log/moca-file-log")
            .env("STATE_DIRECTORY", "/var/lib/moca-file-log")
            .env("RUNTIME_DIRECTORY", "/run/moca-file-log")
            .stdin(Stdio::null())
            .spawn()
            .expect("start the server");
        let machine = Self { work, server, _mounts: mounts };
        eventually("the server listens", Duration::from_secs(10), || {
            std::net::TcpStream::connect("127.0.0.1:5700").is_ok()
        });
        let save = "curl -sS -H 'API-KEY: mochimochi' -d level=warning --data-urlencode 'message=payment failed' \
                    http://127.0.0.1:5700/moca-file-log/save-log";
        assert!(machine.run("sh", save).status.success());
        Some(machine)
    }

    /// Runs a block as its language does.
    fn run(&self, language: &str, text: &str) -> Output {
        let mut command = match language {
            "python" => Command::new("python3"),
            _ => Command::new("bash"),
        };
        let arguments: &[&str] =
            if language == "python" { &["-c"] } else { &["-eu", "-o", "pipefail", "-c"] };
        let path = format!("{}:{}", self.bin().display(), std::env::var("PATH").expect("PATH"));
        command.args(arguments).arg(text).env("PATH", path).stdin(Stdio::null());
        for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
            command.env_remove(variable);
        }
        command.current_dir(self.work.path().join("home")).output().expect("run a block")
    }

    fn bin(&self) -> PathBuf {
        self.work.path().join("bin")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// Makes the directories of the package, and the programs in PATH.
fn install(mounts: &Mounts, work: &Path) {
    for folder in ["bin", "home", "etc"] {
        fs::create_dir(work.join(folder)).expect("create a directory");
    }
    let copied = Command::new("cp").args(["-a", "/etc/."]).arg(work.join("etc")).status();
    assert!(copied.expect("run cp").success());
    mounts.bind(&work.join("etc"), Path::new("/etc"));
    for place in ["/var/log", "/var/lib", "/run"] {
        mounts.tmpfs(Path::new(place), "64m");
    }
    for place in
        ["/etc/moca-file-log", "/var/log/moca-file-log", "/var/lib/moca-file-log", "/run/moca-file-log"]
    {
        fs::create_dir_all(place).expect("create a directory");
    }
    for entry in fs::read_dir(root().join("configs")).expect("the samples") {
        let entry = entry.expect("a sample");
        if entry.path().is_file() {
            fs::copy(entry.path(), Path::new("/etc/moca-file-log").join(entry.file_name())).expect("copy");
        }
    }
    symlink(env!("CARGO_BIN_EXE_mocactl"), work.join("bin/mocactl")).expect("link mocactl");
    // The test is root, and the package is there already.
    for (program, script) in [("sudo", "#!/bin/sh\nexec \"$@\"\n"), ("apt", "#!/bin/sh\nexit 0\n")] {
        let path = work.join("bin").join(program);
        fs::write(&path, script).expect("write a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set the mode");
    }
}
