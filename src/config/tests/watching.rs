//! Tests changes of a real directory, made in the ways that people and programs use.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::super::{Watcher, load};
use super::LOG;

/// Maximum time until a change is noticed. It is longer than documented, because other tests use
/// the machine.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);

fn run(test: impl AsyncFnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(dir.path()));
}

/// Creates a directory `conf` with a `log.json`, and its watcher.
fn watched(root: &Path) -> (std::path::PathBuf, Watcher) {
    let conf = root.join("conf");
    fs::create_dir(&conf).unwrap();
    fs::write(conf.join("log.json"), LOG).unwrap();
    let watcher = Watcher::new(&conf).unwrap();
    (conf, watcher)
}

async fn notices(watcher: &mut Watcher, what: &str) {
    assert!(timeout(NOTICE_TIMEOUT, watcher.changed()).await.is_ok(), "not noticed: {what}");
}

async fn stays_quiet(watcher: &mut Watcher, what: &str) {
    assert!(timeout(Duration::from_millis(600), watcher.changed()).await.is_err(), "noticed: {what}");
}

#[test]
fn writes_renames_and_removals_are_noticed() {
    run(async |root| {
        let (conf, mut watcher) = watched(root);
        let start = Instant::now();
        fs::write(conf.join("log.json"), "{}").unwrap();
        notices(&mut watcher, "write in place").await;
        assert!(start.elapsed() >= Duration::from_millis(200), "the burst is waited for");
        stays_quiet(&mut watcher, "nothing").await;

        fs::write(conf.join(".log.json.tmp"), LOG).unwrap();
        fs::rename(conf.join(".log.json.tmp"), conf.join("log.json")).unwrap();
        notices(&mut watcher, "write and rename").await;
        stays_quiet(&mut watcher, "one change, reported once").await;

        let sed = Command::new("sed").args(["-i", "s/5700/5701/"]).arg(conf.join("log.json")).status();
        assert!(sed.unwrap().success());
        notices(&mut watcher, "sed -i").await;
        assert_eq!(load(&conf).unwrap().files.logs["sample1"].port, 5701);

        fs::remove_file(conf.join("log.json")).unwrap();
        notices(&mut watcher, "remove").await;
        fs::write(conf.join("http.toml"), "").unwrap();
        notices(&mut watcher, "a new file").await;
        fs::set_permissions(conf.join("http.toml"), fs::Permissions::from_mode(0o600)).unwrap();
        notices(&mut watcher, "chmod").await;
    });
}

#[test]
fn reading_is_not_reported() {
    run(async |root| {
        let (conf, mut watcher) = watched(root);
        assert!(load(&conf).is_ok());
        fs::read_dir(&conf).unwrap().for_each(drop);
        fs::write(root.join("a file beside the directory"), "").unwrap();
        stays_quiet(&mut watcher, "a read").await;
    });
}

#[test]
fn endless_burst_is_reported_within_a_second() {
    run(async |root| {
        let (conf, mut watcher) = watched(root);
        let start = Instant::now();
        let writer = async {
            loop {
                fs::write(conf.join("log.json"), LOG).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = writer => {}
            () = watcher.changed() => {}
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(700) && elapsed < Duration::from_secs(3), "{elapsed:?}");
    });
}

#[test]
fn dropped_future_loses_no_change() {
    run(async |root| {
        let (conf, mut watcher) = watched(root);
        fs::write(conf.join("log.json"), "{}").unwrap();
        assert!(timeout(Duration::from_millis(50), watcher.changed()).await.is_err());
        notices(&mut watcher, "the change whose event was taken already").await;
    });
}

#[test]
fn replaced_directory_is_noticed() {
    run(async |root| {
        let (conf, mut watcher) = watched(root);
        let new = root.join("new");
        fs::create_dir(&new).unwrap();
        fs::rename(&conf, root.join("old")).unwrap();
        fs::rename(&new, &conf).unwrap();
        notices(&mut watcher, "another directory in its place").await;
        fs::write(conf.join("log.json"), LOG).unwrap();
        notices(&mut watcher, "a write in the new one").await;
        fs::write(root.join("old/log.json"), LOG).unwrap();
        stays_quiet(&mut watcher, "a write in the old one").await;

        fs::remove_dir_all(&conf).unwrap();
        notices(&mut watcher, "removed").await;
        stays_quiet(&mut watcher, "still gone").await;
        fs::create_dir(&conf).unwrap();
        notices(&mut watcher, "made again").await;
        fs::write(conf.join("log.json"), LOG).unwrap();
        notices(&mut watcher, "a write in the one made again").await;
    });
}

#[test]
fn replaced_parent_is_noticed() {
    run(async |root| {
        let (conf, mut watcher) = watched(root);
        let above = root.to_owned();
        let away = above.with_extension("away");
        fs::rename(&above, &away).unwrap();
        fs::create_dir_all(&conf).unwrap();
        fs::write(conf.join("log.json"), LOG).unwrap();
        notices(&mut watcher, "its parent in another place").await;
        fs::write(conf.join("log.json"), "{}").unwrap();
        notices(&mut watcher, "a write").await;
        fs::remove_dir_all(away).unwrap();
    });
}

#[test]
fn swapped_config_map_is_noticed() {
    run(async |root| {
        let conf = root.join("conf");
        fs::create_dir_all(conf.join("..1")).unwrap();
        fs::write(conf.join("..1/log.json"), LOG).unwrap();
        symlink("..1", conf.join("..data")).unwrap();
        symlink("..data/log.json", conf.join("log.json")).unwrap();
        let mut watcher = Watcher::new(&conf).unwrap();
        for version in 2..5 {
            let version = conf.join(format!("..{version}"));
            fs::create_dir(&version).unwrap();
            fs::write(version.join("log.json"), "{}").unwrap();
            symlink(version.file_name().unwrap(), conf.join("..data_tmp")).unwrap();
            fs::rename(conf.join("..data_tmp"), conf.join("..data")).unwrap();
            notices(&mut watcher, "..data swapped").await;
            fs::write(version.join("log.json"), LOG).unwrap();
            notices(&mut watcher, "a write in the version that counts").await;
        }
    });
}

#[test]
fn changes_behind_symlinks_are_noticed() {
    run(async |root| {
        let (conf, _) = watched(root);
        for name in ["elsewhere", "v1", "v2"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::write(root.join("elsewhere/real.json"), "[]").unwrap();
        symlink("../elsewhere/real.json", conf.join("api_key.json")).unwrap();
        fs::write(root.join("v1/system.json"), "{}").unwrap();
        fs::write(root.join("v2/system.json"), "{}").unwrap();
        symlink("v1", root.join("current")).unwrap();
        symlink(root.join("current/system.json"), conf.join("system.json")).unwrap();
        symlink("conf", root.join("link")).unwrap();
        let mut watcher = Watcher::new(root.join("link")).unwrap();

        fs::write(root.join("elsewhere/real.json"), "[ ]").unwrap();
        notices(&mut watcher, "a write through to the target").await;
        fs::write(root.join("elsewhere/other.json"), "[ ]").unwrap();
        stays_quiet(&mut watcher, "a file beside the target").await;
        symlink("v2", root.join("tmp")).unwrap();
        fs::rename(root.join("tmp"), root.join("current")).unwrap();
        notices(&mut watcher, "a link on the way").await;
        fs::write(root.join("v2/system.json"), "{ }").unwrap();
        notices(&mut watcher, "behind the new link").await;

        fs::create_dir(root.join("other")).unwrap();
        symlink("other", root.join("tmp")).unwrap();
        fs::rename(root.join("tmp"), root.join("link")).unwrap();
        notices(&mut watcher, "the directory's own link").await;
        fs::write(root.join("other/log.json"), LOG).unwrap();
        notices(&mut watcher, "in the other directory").await;
    });
}

#[test]
fn symlink_loops_are_tolerated_and_missing_directories_fail() {
    run(async |root| {
        let (conf, _) = watched(root);
        symlink("server.json", conf.join("server.json")).unwrap();
        assert!(Watcher::new(&conf).is_ok());
        assert!(Watcher::new(root.join("none")).is_err());
        assert!(Watcher::new(conf.join("log.json")).is_err());
    });
}

#[test]
fn writes_through_another_path_are_noticed_by_their_stamps() {
    run(async |root| {
        // A hard link stands for a file that is mounted alone: a write through its other path causes
        // no event in the watched directory.
        let (conf, _) = watched(root);
        fs::write(root.join("host.json"), "[]").unwrap();
        for name in ["api_key.json", "system.json", "server.json", "ip_blacklist.json", "http.toml"] {
            fs::hard_link(root.join("host.json"), conf.join(name)).unwrap();
        }
        let mut watcher = Watcher::new(&conf).unwrap();
        let mut times = Vec::new();
        for round in 0..3 {
            let start = Instant::now();
            fs::write(root.join("host.json"), format!("[{round}]")).unwrap();
            notices(&mut watcher, "a write from the other side").await;
            times.push(start.elapsed());
            stays_quiet(&mut watcher, "one change, reported once").await;
        }
        // On a busy machine one of them may take longer.
        assert!(times.iter().min() < Some(&Duration::from_millis(1900)), "{times:?}");
    });
}

#[test]
fn other_files_are_noticed_by_their_stamps() {
    run(async |root| {
        let (conf, mut watcher) = watched(root);
        fs::create_dir(root.join("private")).unwrap();
        for file in ["private/cert.pem", "private/key.pem"] {
            fs::write(root.join(file), "old").unwrap();
        }
        let (cert, key) = (Path::new("../private/cert.pem"), root.join("private/key.pem"));
        watcher.watch_files([cert, &key]);
        notices(&mut watcher, "they may have changed since they were read").await;
        stays_quiet(&mut watcher, "nothing").await;
        fs::write(root.join("private/cert.pem"), "new").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        fs::write(root.join("private/key.pem"), "new").unwrap();
        notices(&mut watcher, "a renewed pair").await;
        stays_quiet(&mut watcher, "one pair, reported once").await;
        fs::remove_file(root.join("private/key.pem")).unwrap();
        notices(&mut watcher, "removed").await;
        watcher.watch_files([]);
        notices(&mut watcher, "other files are compared").await;
        fs::write(root.join("private/cert.pem"), "newer").unwrap();
        stays_quiet(&mut watcher, "a file that is not compared any more").await;
        fs::write(conf.join("log.json"), "{}").unwrap();
        notices(&mut watcher, "a write in the directory").await;
    });
}
