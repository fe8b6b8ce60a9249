//! Tests of `mocactl passwd`.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use serde_json::{Value, json};

use crate::harness::{Setup, cannot_run};
use crate::installation::Installation;

fn stored(installation: &Installation) -> String {
    let system: Value = serde_json::from_str(&installation.read("system.json")).unwrap();
    system["root_pass"].as_str().unwrap().to_owned()
}

fn opens(hash: &str, password: &str) -> bool {
    let hash = PasswordHash::new(hash).unwrap();
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

#[test]
fn the_password_is_read_from_standard_input() {
    let installation = Installation::of_one();
    let before = "{\n  \"dos_detect\": 7,\n  \"root_pass\": null,\n  \"mine\": [1,  2]\n}\n";
    installation.write("system.json", before);
    for (input, password) in [
        ("päss word \n", "päss word "),
        ("no end of line", "no end of line"),
        ("one line\r\nsecond\n", "one line"),
    ] {
        let said = installation.run_with(&["passwd"], input);
        assert!(!said.out.contains(password) && !said.err.contains(password), "{said:?}");
        said.ok();
        let hash = stored(&installation);
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(opens(&hash, password) && !opens(&hash, "another"));
        assert_eq!(installation.read("system.json").replace(&format!("\"{hash}\""), "null"), before);
    }
    let kept = installation.read("system.json");
    for refused in ["", "\n", &"x".repeat(1025)] {
        installation.run_with(&["passwd"], refused).failed(65);
    }
    assert_eq!(installation.read("system.json"), kept);
    assert!(installation.run_with(&["passwd"], "short\n").err.contains("5 characters only"));
}

/// Runs the command in its own terminal and types each answer after its question. Returns whether
/// it succeeded, and its output.
fn typed(installation: &Installation, answers: &[(&str, &str)]) -> Option<(bool, String)> {
    let inner = installation.command(&["passwd"]);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        cannot_run("script (package bsdutils) is missing");
        return None;
    };
    let (sender, receiver) = mpsc::channel();
    let mut output = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            if sender.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut shown = String::new();
    let mut input = child.stdin.take().unwrap();
    for (question, answer) in answers {
        while !shown.contains(question) {
            shown.push_str(&receiver.recv_timeout(Duration::from_secs(10)).expect("a question"));
        }
        // The echo is turned off right after the question.
        std::thread::sleep(Duration::from_millis(200));
        input.write_all(answer.as_bytes()).unwrap();
    }
    shown.extend(receiver.iter());
    Some((child.wait().unwrap().success(), shown))
}

#[test]
fn the_password_is_asked_twice_without_echo() {
    let installation = Installation::of_one();
    let Some((success, shown)) =
        typed(&installation, &[("New root password", "s3cret-s3cret\n"), ("same again", "s3cret-s3cret\n")])
    else {
        return;
    };
    assert!(success && !shown.contains("s3cret"), "{shown}");
    let hash = stored(&installation);
    assert!(opens(&hash, "s3cret-s3cret"));
    let (success, shown) =
        typed(&installation, &[("New root password", "one-password\n"), ("same again", "another-one\n")])
            .unwrap();
    assert!(!success && shown.contains("different"), "{shown}");
    let (success, _) = typed(&installation, &[("New root password", "half\u{3}")]).unwrap();
    assert!(!success);
    assert_eq!(stored(&installation), hash);
}

#[test]
fn a_running_service_accepts_the_new_password() {
    let server = Setup::new().start();
    let config = server.root_dir().join("config");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mocactl"));
    command.arg("--config-dir").arg(config).arg("passwd").stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"fresh password\n").unwrap();
    assert!(child.wait().unwrap().success());
    // The server checks ten wrong passwords a minute, so the test makes few attempts, after the
    // reload.
    std::thread::sleep(Duration::from_secs(1));
    crate::harness::eventually("the new password opens", Duration::from_secs(10), || {
        std::thread::sleep(Duration::from_secs(1));
        let parameters = json!({"api_key": crate::harness::KEY, "root_pass": "fresh password"});
        server.post_json(&crate::harness::route("details"), &parameters).status == 200
    });
    assert_ne!(server.root_get("details").status, 200);
}
