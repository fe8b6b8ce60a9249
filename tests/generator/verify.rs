//! Checks the packaged units together with the generated drop-ins, with `systemd-analyze verify`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{cases, generate, tree};

#[test]
fn systemd_finds_no_fault() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: systemd-analyze is not installed");
        return;
    }
    for case in ["01-one", "02-names", "03-addresses", "04-sandbox"] {
        let work = tempfile::tempdir().unwrap();
        let units = work.path().join("units");
        let root = work.path().join("root");
        tree::write(&root.join("etc"), &tree::read(&cases().join(case).join("etc")));
        generate(&root, &units);
        let wanted: Vec<String> = fs::read_dir(units.join("moca-file-log.target.wants"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        packaged_units(&units);
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "moca-file-log.target", "moca-file-log-apply.path"])
            .args(&wanted)
            .env("SYSTEMD_UNIT_PATH", format!("{}:/usr/lib/systemd/system", units.display()))
            .output()
            .unwrap();
        let messages = String::from_utf8(output.stderr).unwrap();
        // Messages about other units of the machine do not count.
        let ours: Vec<&str> = messages.lines().filter(|line| line.contains("moca")).collect();
        assert!(ours.is_empty(), "{case}: {ours:#?}");
        assert!(wanted.len() >= 3, "{wanted:?}");
    }
}

/// Copies the units of the package and makes them name a program that exists on this machine.
fn packaged_units(dir: &Path) {
    let program = env!("CARGO_BIN_EXE_moca-file-log-generator");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/usr/bin/moca-file-log", program).replace("/usr/bin/mocactl", program);
        fs::write(dir.join(path.file_name().unwrap()), text).unwrap();
    }
}
