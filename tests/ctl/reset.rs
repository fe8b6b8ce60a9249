//! Tests of `mocactl reset-system`, which restores the shipped files and never does so without an
//! archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;
use serde_json::json;

use crate::harness::cannot_run;
use crate::installation::{CommandOutput, Installation, entry};

struct Reset {
    installation: Installation,
    elsewhere: PathBuf,
}

impl Reset {
    fn new() -> Option<Self> {
        if !geteuid().is_root() {
            cannot_run("root is needed");
            return None;
        }
        let installation = Installation::of_one();
        let elsewhere = installation.root().join("far/away.log");
        installation.write(
            "log.json",
            &json!({"a": entry(5700, "a.log"), "far": entry(5701, elsewhere.to_str().unwrap())}).to_string(),
        );
        installation.write("startup.sh", "true\n");
        fs::create_dir(elsewhere.parent().unwrap()).unwrap();
        for file in [
            "logs/a.log",
            "logs/sub/b.log",
            "state/a.state",
            "far/away.log",
            "far/away.log.20261123T050229Z-1",
        ] {
            let path = installation.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::write(installation.path("far/mine.txt"), "mine").unwrap();
        let shipped = installation.root().join("shipped");
        fs::create_dir(&shipped).unwrap();
        fs::write(shipped.join("log.json"), json!({"sample1": entry(5700, "s.log")}).to_string()).unwrap();
        fs::write(shipped.join("api_key.json"), r#"[{"key": "mochimochi", "status": true}]"#).unwrap();
        fs::write(shipped.join("system.json"), r#"{"root_pass": "mochimochi", "dos_detect": 5}"#).unwrap();
        installation.systemctl_shows(&["Id=a\nActiveState=active\n", "Id=a\nActiveState=inactive\n"]);
        Some(Self { installation, elsewhere })
    }

    fn run(&self, more: &[&str]) -> CommandOutput {
        let (backups, shipped) = (self.installation.path("backups"), self.installation.path("shipped"));
        let places = ["--backup-dir", backups.to_str().unwrap(), "--shipped-dir", shipped.to_str().unwrap()];
        self.installation.run(&[&["reset-system"], &places[..], more].concat())
    }

    fn archives(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.installation.path("backups")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn is_untouched(&self) {
        assert!(
            self.installation.path("logs/sub/b.log").exists()
                && self.installation.path("state/a.state").exists()
        );
        assert!(self.installation.read("log.json").contains("far") && self.elsewhere.exists());
        assert!(self.archives().is_empty(), "{:?}", self.archives());
    }
}

fn unpacked(archive: &Path, into: &Path) -> PathBuf {
    fs::create_dir(into).unwrap();
    let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(into).status().unwrap();
    assert!(status.success());
    into.to_owned()
}

#[test]
fn reset_archives_everything_and_restores_the_shipped_files() {
    let Some(reset) = Reset::new() else { return };
    let root = fs::canonicalize(reset.installation.root()).unwrap();
    let output = reset.run(&["--yes"]).ok();
    let archives = reset.archives();
    assert!(archives.len() == 1 && output.contains(archives[0].to_str().unwrap()), "{output} {archives:?}");
    let name = archives[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("moca-file-log-2") && name.ends_with("Z.tar.gz"), "{name}");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&archives[0]).unwrap());
    assert_eq!(mode & 0o777, 0o600, "there are secrets in it");
    let kept = unpacked(&archives[0], &root.join("unpacked")).join(root.strip_prefix("/").unwrap());
    for file in
        ["logs/a.log", "logs/sub/b.log", "state/a.state", "far/away.log", "far/away.log.20261123T050229Z-1"]
    {
        assert_eq!(fs::read_to_string(kept.join(file)).unwrap(), file);
        assert!(!root.join(file).exists(), "{file}");
    }
    assert!(kept.join("config/startup.sh").exists() && !root.join("config/startup.sh").exists());
    assert!(root.join("far/mine.txt").exists(), "files of others stay");
    assert!(root.join("logs").exists() && root.join("state").exists());
    assert!(reset.installation.read("log.json").contains("sample1"));
    let secrets = reset.installation.read("api_key.json") + &reset.installation.read("system.json");
    assert!(!secrets.contains("mochimochi") && secrets.contains("\"dos_detect\": 5"), "{secrets}");
    let calls = reset.installation.calls("systemctl");
    let stop = [
        "stop",
        "--",
        "moca-file-log.target",
        "moca-file-log@*",
        "moca-file-log-admin@*",
        "moca-file-log-stream@*",
        "moca-file-log-datagram@*",
    ];
    assert_eq!(calls[0], stop);
    assert_eq!(calls.last().unwrap(), &["start", "--", "moca-file-log.target"]);
    reset.installation.run(&["check"]).ok();
}

#[test]
fn reset_needs_a_confirmation_an_archive_and_shipped_files() {
    let Some(reset) = Reset::new() else { return };
    reset.run(&[]).failed(64);
    reset.is_untouched();
    reset.installation.stub("tar", "exit 2");
    let error = reset.run(&["--yes"]).failed(73);
    assert!(error.contains("nothing was changed"), "{error}");
    reset.is_untouched();
    let calls = reset.installation.calls("systemctl");
    assert_eq!(
        calls.last().unwrap(),
        &["start", "--", "moca-file-log.target"],
        "what was stopped runs again"
    );
    // If the archive cannot be read back, nothing changes.
    reset.installation.systemctl_shows(&["Id=a\nActiveState=inactive\n"]);
    reset.installation.stub("tar", "case \"$1\" in --list) exit 1;; esac; echo no archive");
    reset.run(&["--yes"]).failed(73);
    reset.is_untouched();
    fs::remove_file(reset.installation.path("shipped/log.json")).unwrap();
    reset.run(&["--yes"]).failed(66);
    reset.is_untouched();
}

#[test]
fn reset_changes_nothing_when_a_stop_fails() {
    let Some(reset) = Reset::new() else { return };
    fs::remove_dir_all(reset.installation.path("bin/systemctl.show")).unwrap();
    reset.installation.systemctl_shows(&["Id=a\nActiveState=active\n"]);
    reset.run(&["--yes"]).failed(69);
    reset.is_untouched();
}
