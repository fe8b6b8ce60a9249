//! Makes the directories of an installation, and stubs in PATH that record how they were called.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Represents an installation in a temporary directory.
pub(crate) struct Installation {
    root: tempfile::TempDir,
}

/// Holds the output and the exit status of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl CommandOutput {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let said = Self {
            status: output.status.code().expect("no signal"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        assert!(!said.err.contains("panicked"), "{said:?}");
        said
    }

    /// Returns stdout. Panics when the command did not succeed.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// Returns stderr. Panics when the command did not end with this status.
    pub(crate) fn failed(self, status: i32) -> String {
        assert_eq!(self.status, status, "{self:?}");
        self.err
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Installation {
    /// Makes an installation with these entries in `log.json`, a key `test-key` and the root
    /// password `root-pass`.
    pub(crate) fn new(logs: &Value) -> Self {
        let new = Self { root: tempfile::tempdir().expect("a temporary folder") };
        for folder in ["config", "logs", "state", "run", "bin"] {
            fs::create_dir(new.path(folder)).expect("a folder");
        }
        new.write("log.json", &logs.to_string());
        new.write("api_key.json", &json!([{"key": "test-key", "status": true}]).to_string());
        new.write("system.json", &json!({"root_pass": "root-pass"}).to_string());
        for file in ["api_key.json", "system.json"] {
            fs::set_permissions(new.config(file), fs::Permissions::from_mode(0o640)).expect("modes");
        }
        new.stub(
            "systemctl",
            "case \"$1\" in show) next=$(ls \"$0.show\" 2>/dev/null | sort -n | head -n 1);
            if [ -n \"$next\" ]; then cat \"$0.show/$next\";
                [ \"$(ls \"$0.show\" | wc -l)\" -gt 1 ] && rm \"$0.show/$next\"; exit 0; fi; exit 0;; esac",
        );
        new
    }

    /// Makes an installation with one log.
    pub(crate) fn of_one() -> Self {
        Self::new(&json!({"sample1": entry(5700, "sample1.log")}))
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    pub(crate) fn config(&self, file: &str) -> PathBuf {
        self.path("config").join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.config(file), text).expect("write a file");
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.config(file)).expect("read a file")
    }

    /// Puts a program into PATH that records its arguments, runs `body`, and ends with the status
    /// in PROGRAM.code.
    pub(crate) fn stub(&self, program: &str, body: &str) {
        let path = self.path("bin").join(program);
        let script = format!(
            "#!/bin/sh\nfor argument in \"$@\"; do printf '%s\\0' \"$argument\"; done >>\"$0.calls\"\n\
             printf '\\n' >>\"$0.calls\"\n{body}\nif [ -f \"$0.code\" ]; then exit \"$(cat \"$0.code\")\"; fi\nexit 0\n"
        );
        // The file is renamed into place, because a file that is open for writing cannot be run.
        let unfinished = self.path("bin").join(format!("{program}.new"));
        fs::write(&unfinished, script).expect("write a stub");
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755)).expect("modes");
        fs::rename(unfinished, path).expect("rename a stub");
    }

    pub(crate) fn stub_ends_with(&self, program: &str, code: u8) {
        fs::write(self.path("bin").join(format!("{program}.code")), code.to_string()).expect("write a code");
    }

    /// Sets the outputs of `systemctl show`, one for each call. The last one is repeated.
    pub(crate) fn systemctl_shows(&self, answers: &[&str]) {
        let folder = self.path("bin/systemctl.show");
        fs::create_dir_all(&folder).expect("a folder");
        for (index, answer) in answers.iter().enumerate() {
            fs::write(folder.join(index.to_string()), answer).expect("write an answer");
        }
    }

    /// Returns the calls of a stub, without `show`.
    pub(crate) fn calls(&self, program: &str) -> Vec<Vec<String>> {
        let calls = fs::read_to_string(self.path("bin").join(format!("{program}.calls"))).unwrap_or_default();
        let calls = calls.lines().map(|line| {
            let arguments = line.split_terminator('\0').map(str::to_owned);
            arguments.collect::<Vec<_>>()
        });
        calls.filter(|call| call.first().is_none_or(|verb| verb != "show")).collect()
    }

    /// Returns mocactl with the options that name the directories of this installation.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mocactl"));
        let places = [
            ("--config-dir", "config"),
            ("--log-dir", "logs"),
            ("--state-dir", "state"),
            ("--run-dir", "run"),
        ];
        // `generate` is no command of operators and has no directories.
        if arguments.first().is_none_or(|first| *first != "generate") {
            for (option, folder) in places {
                command.arg(option).arg(self.path(folder));
            }
        }
        let path = std::env::var("PATH").expect("PATH");
        command.env("MOCA_FILE_LOG_ROOT", self.path(""));
        command.args(arguments).env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.current_dir(self.root.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> CommandOutput {
        CommandOutput::of(&self.command(arguments).output().expect("run mocactl"))
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> CommandOutput {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("run mocactl");
        // The write may fail, because the program may end without reading.
        drop(child.stdin.take().expect("stdin").write_all(input.as_bytes()));
        CommandOutput::of(&child.wait_with_output().expect("wait for mocactl"))
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }
}

/// Returns an entry of `log.json`.
pub(crate) fn entry(port: u16, file: &str) -> Value {
    json!({"host": "127.0.0.1", "port": port, "file": file})
}

/// Hostile names of logs, each with the instance part of its unit.
pub(crate) const HOSTILE: [(&str, &str); 6] = [
    ("a;b $(c)", "a\\x3bb\\x20\\x24\\x28c\\x29"),
    ("$(touch pwned)`touch pwned`", "\\x24\\x28touch\\x20pwned\\x29\\x60touch\\x20pwned\\x60"),
    ("the name of log", "the\\x20name\\x20of\\x20log"),
    ("日本", "\\xe6\\x97\\xa5\\xe6\\x9c\\xac"),
    ("--help", "\\x2d\\x2dhelp"),
    ("*?[a]'\"\\", "\\x2a\\x3f\\x5ba\\x5d\\x27\\x22\\x5c"),
];

/// Makes an installation with a log for each hostile name.
pub(crate) fn hostile() -> Installation {
    let entries = HOSTILE.iter().enumerate().map(|(index, (name, _))| {
        let port = 5700 + u16::try_from(index).expect("a small number");
        ((*name).to_owned(), entry(port, &format!("{index}.log")))
    });
    Installation::new(&Value::Object(entries.collect()))
}
