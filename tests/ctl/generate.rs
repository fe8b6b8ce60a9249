//! Tests of completions and man pages, which are made from the definition of the command line.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::cannot_run;
use crate::installation::Installation;

#[test]
fn every_shell_has_completions() {
    let installation = Installation::of_one();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = installation.run(&["completions", shell]).ok();
        assert!(script.contains("turn-off") && script.contains("mocactl"), "{shell}");
        assert!(!script.contains("generate"), "{shell}: the command that builds packages stays hidden");
    }
    installation.run(&["completions", "tcsh"]).failed(64);
    let folder = installation.root().join("completions");
    fs::create_dir(&folder).unwrap();
    installation.run(&["generate", "completions", folder.to_str().unwrap()]).ok();
    for file in ["mocactl", "_mocactl", "mocactl.fish"] {
        assert!(fs::metadata(folder.join(file)).unwrap().len() > 1000, "{file}");
    }
    let bash = Command::new("bash").arg("-n").arg(folder.join("mocactl")).status().unwrap();
    assert!(bash.success());
    installation.run(&["generate", "completions", "/nowhere"]).failed(66);
}

#[test]
fn every_command_has_a_man_page() {
    let installation = Installation::of_one();
    let folder = installation.root().join("man");
    fs::create_dir(&folder).unwrap();
    installation.run(&["generate", "man", folder.to_str().unwrap()]).ok();
    let pages: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for command in [
        "",
        "-version",
        "-run",
        "-start",
        "-stop",
        "-restart",
        "-status",
        "-turn-off",
        "-turn-on",
        "-maintenance",
        "-maintenance-on",
        "-maintenance-off",
        "-clear-logs",
        "-update",
        "-update-system",
        "-reset-system",
        "-check",
        "-key",
        "-key-list",
        "-key-add",
        "-key-revoke",
        "-key-explain",
        "-passwd",
        "-block",
        "-block-list",
        "-block-add",
        "-block-remove",
        "-get",
        "-tail",
        "-top",
        "-refusals",
        "-apply",
        "-completions",
    ] {
        assert!(pages.contains(&format!("mocactl{command}.1")), "{command}: {pages:?}");
    }
    assert_eq!(pages.len(), 33, "{pages:?}");
    pages.iter().for_each(|page| renders(&folder.join(page)));
}

#[test]
fn the_man_pages_of_the_other_programs_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man");
    for page in ["moca-file-log.8", "moca-file-log-generator.8"] {
        renders(&folder.join(page));
    }
    let text = fs::read_to_string(folder.join("moca-file-log.8")).unwrap();
    for (status, signal) in
        [("64", "SIGTERM"), ("66", "SIGINT"), ("69", "SIGHUP"), ("77", "SIGUSR1"), ("78", "SIGUSR2")]
    {
        assert!(text.contains(&format!(".B {status}")) && text.contains(signal), "{status} {signal}");
    }
}

/// Checks that the formatter prints no warning.
fn renders(page: &Path) {
    let output = Command::new("man").args(["--warnings", "-l"]).arg(page).env("MANPAGER", "cat").output();
    match output {
        Ok(output) => {
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
            assert!(output.stdout.len() > 200, "{}", page.display());
        }
        Err(_) => cannot_run("man (package man-db) is missing"),
    }
}

#[test]
fn new_secrets_replace_the_public_ones() {
    let installation = Installation::of_one();
    installation.write("api_key.json", r#"[{"key": "mochimochi", "status": true, "info": "public"}]"#);
    installation.write("system.json", r#"{"root_pass": "mochimochi"}"#);
    let folder = installation.path("config");
    installation.run(&["generate", "secrets", folder.to_str().unwrap()]).ok();
    let both = installation.read("api_key.json") + &installation.read("system.json");
    assert!(both.matches("\"moca_").count() == 2 && !both.contains("mochimochi"), "{both}");
    installation.run(&["check"]).ok();
}
