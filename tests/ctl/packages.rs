//! Tests of the calls of apt-get and dpkg-deb.

use std::fs;
use std::process::Command;

use nix::unistd::geteuid;

use crate::harness::cannot_run;
use crate::installation::Installation;

const KEEP: [&str; 4] = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"];

/// Makes a real package file for a package with this name.
fn package(installation: &Installation, package: &str, file: &str) -> Option<String> {
    let tree = installation.root().join(format!("tree-{package}"));
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {package}\nVersion: 9.9\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: test\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let path = installation.root().join(file);
    let built = Command::new("dpkg-deb").arg("--build").arg(&tree).arg(&path).output();
    if !built.is_ok_and(|built| built.status.success()) {
        cannot_run("dpkg-deb (package dpkg) is missing");
        return None;
    }
    Some(path.to_str().unwrap().to_owned())
}

#[test]
fn update_installs_the_newest_version_of_apt() {
    if !geteuid().is_root() {
        return cannot_run("root is needed");
    }
    for command in ["update", "update-system"] {
        let installation = Installation::of_one();
        installation.stub("apt-get", "");
        let error = installation.run(&[command]).failed(64);
        assert!(error.contains("--yes"), "{error}");
        installation.run(&[command, "--dry-run"]).ok();
        let install = ["install", "--yes", "--only-upgrade", "--", "moca-file-log"];
        assert_eq!(installation.calls("apt-get"), [[&KEEP[..], &["--simulate"], &install].concat()]);
        fs::remove_file(installation.path("bin/apt-get.calls")).unwrap();
        installation.run(&[command, "--yes"]).ok();
        let calls = installation.calls("apt-get");
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0], [&KEEP[..], &["update"]].concat());
        assert_eq!(calls[1], [&KEEP[..], &install].concat());
        installation.stub_ends_with("apt-get", 100);
        assert_eq!(installation.run(&[command, "--yes"]).status, 100);
        assert_eq!(
            installation.calls("apt-get").len(),
            3,
            "nothing is installed from lists that could not be read"
        );
    }
}

#[test]
fn a_file_of_another_package_is_refused() {
    let installation = Installation::of_one();
    installation.stub("apt-get", "");
    let Some(ours) = package(&installation, "moca-file-log", "-a;b $(c).deb") else { return };
    let other = package(&installation, "other", "moca-file-log_9.9.deb").unwrap();
    let error = installation.run(&["update-system", "--deb", &other]).failed(65);
    assert!(error.contains("is the package \"other\""), "{error}");
    installation.run(&["update-system", "--deb", "nowhere.deb"]).failed(66);
    fs::write(installation.root().join("text.deb"), "no package").unwrap();
    installation.run(&["update-system", "--deb", "text.deb"]).failed(65);
    assert!(installation.calls("apt-get").is_empty());
    if !geteuid().is_root() {
        installation.run(&["update-system", "--yes", "--deb", &ours]).failed(77);
        return cannot_run("root is needed");
    }
    installation.run(&["update-system", "--deb=-a;b $(c).deb"]).failed(64);
    let output = installation.run(&["update-system", "--yes", "--deb=-a;b $(c).deb"]);
    assert!(output.err.contains("Installing moca-file-log 9.9"), "{output:?}");
    let canonical = fs::canonicalize(&ours).unwrap();
    let last = ["install", "--yes", "--allow-downgrades", "--", canonical.to_str().unwrap()];
    assert_eq!(installation.calls("apt-get"), [[&KEEP[..], &last].concat()]);
}
