//! Tests that no record is lost or mistaken for another when other programs, crashes and failed
//! writes change the file.

use std::io::Write;
use std::time::Duration;

use super::*;

#[tokio::test]
async fn torn_tail_is_kept_aside_and_counts_survive() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    for n in 0..10 {
        save(&store, &n.to_string()).await;
    }
    store.close().await.unwrap();
    let torn = b"[INFO](2026-01-01 00:00";
    let mut content = fs::read(bench.path()).unwrap();
    content.extend_from_slice(torn);
    fs::write(bench.path(), &content).unwrap();

    let store = bench.open();
    assert_eq!(bench.messages().len(), 10);
    let aside = fs::read(bench.dir.path().join("sub/a.log.torn")).unwrap();
    assert_eq!(aside, [&torn[..], b"\n"].concat());
    save(&store, "after").await;
    assert_eq!(details(&store).await.count, 11);
    assert_eq!(latest(&store, 2).await.len(), 2);
}

#[tokio::test]
async fn moved_deleted_or_truncated_file_is_replaced() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    let first = save(&store, "one").await;
    fs::rename(bench.path(), bench.dir.path().join("moved.log")).unwrap();
    let second = save(&store, "two").await;
    assert_eq!(bench.messages(), ["two"]);
    fs::remove_file(bench.path()).unwrap();
    let third = save(&store, "three").await;
    assert_eq!(bench.messages(), ["three"]);
    fs::OpenOptions::new().write(true).open(bench.path()).unwrap().set_len(0).unwrap();
    let fourth = save(&store, "four").await;
    assert_eq!(bench.messages(), ["four"]);
    assert!([first, second, third, fourth].map(Cursor::order).is_sorted(), "positions only grow");
    assert!(first.position < second.position && third.position < fourth.position);
    assert_eq!(details(&store).await.count, 1);
    fs::remove_dir_all(bench.path().parent().unwrap()).unwrap();
    save(&store, "five").await;
    assert_eq!(bench.messages(), ["five"]);
}

#[tokio::test]
async fn foreign_half_line_does_not_damage_records() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    save(&store, "one").await;
    let mut content = fs::read(bench.path()).unwrap();
    content.extend_from_slice(b"half a line");
    fs::write(bench.path(), &content).unwrap();
    save(&store, "two").await;
    assert_eq!(bench.messages(), ["one", "two"]);
}

#[tokio::test]
async fn second_process_cannot_open_the_file() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    save(&store, "one").await;
    let other = bench.dir.path().join("other.state");
    let Err(refused) = FileStore::open(&bench.settings, bench.dir.path(), &other, 1024) else {
        panic!("opened twice")
    };
    assert!(refused.to_string().contains("another process"), "{refused}");
    let alias = bench.dir.path().join("alias.log");
    std::os::unix::fs::symlink(bench.path(), &alias).unwrap();
    let alias = Settings { path: alias, ..bench.settings.clone() };
    assert!(FileStore::open(&alias, bench.dir.path(), &other, 1024).is_err(), "under another name");
}

#[tokio::test]
async fn path_that_is_not_a_file_is_refused() {
    let bench = Bench::new(Durability::Os);
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&bench.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let state = bench.dir.path().join("a.state");
    let Err(refused) = FileStore::open(&bench.settings, bench.dir.path(), &state, 1024) else {
        panic!("a FIFO was opened")
    };
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
}

#[tokio::test]
async fn cursor_never_names_a_record_of_another_file() {
    for durability in [Durability::Disk, Durability::Os] {
        let bench = Bench::new(durability);
        let store = bench.open();
        let before = save(&store, "one").await;
        // After a crash, the last state is not saved, and the lock is gone.
        drop(store);
        let state = bench.dir.path().join("a.state");
        let kept = fs::read(&state).unwrap();
        let text = fs::read(bench.path()).unwrap();
        fs::write(bench.path(), "").unwrap();
        fs::write(&state, &kept).unwrap();
        fs::write(
            bench.path(),
            text.iter().map(|byte| if *byte == b'1' { b'2' } else { *byte }).collect::<Vec<_>>(),
        )
        .unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let copy = bench.dir.path().join("copy.log");
        fs::copy(bench.path(), &copy).unwrap();
        fs::rename(&copy, bench.path()).unwrap();
        let store = bench.open();
        assert_ne!(store.end().epoch, before.epoch);
        assert_eq!(details(&store).await.count, 1);
    }
}

#[tokio::test]
async fn foreign_lines_are_counted_and_cursors_stay_valid() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    let before = save(&store, "one").await;
    fs::OpenOptions::new().append(true).open(bench.path()).unwrap().write_all(b"foreign\nlines\n").unwrap();
    assert_eq!(details(&store).await.count, 3, "seen without a write");
    let after = save(&store, "two").await;
    assert_eq!((after.epoch, details(&store).await.count), (before.epoch, 4));
    assert_eq!(read(&store).await.lines().count(), 4);
}

#[tokio::test]
async fn readers_notice_truncated_and_moved_files() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    save(&store, "one").await;
    fs::write(bench.path(), "").unwrap();
    assert_eq!((read(&store).await, details(&store).await.size), (String::new(), 0));
    save(&store, "two").await;
    fs::rename(bench.path(), bench.dir.path().join("moved")).unwrap();
    assert_eq!(latest(&store, 5).await, Vec::<String>::new());
}

#[test]
fn failed_write_of_a_truncated_file_is_not_filled_with_zeros() {
    let bench = Bench::new(Durability::Disk);
    let state_path = bench.dir.path().join("a.state");
    let mut file = LogFile::open(&bench.path(), &state_path).unwrap();
    file.commit(b"before\n", 1, true).unwrap();
    fs::OpenOptions::new().append(true).open(bench.path()).unwrap().write_all(b"half").unwrap();
    file.leave_dirty();
    file.commit(b"whole\n", 1, true).unwrap();
    assert_eq!(fs::read_to_string(bench.path()).unwrap(), "before\nwhole\n", "cut off");
    file.leave_dirty();
    fs::write(bench.path(), "").unwrap();
    file.commit(b"after\n", 1, true).unwrap();
    assert_eq!(fs::read_to_string(bench.path()).unwrap(), "after\n", "truncated meanwhile");
}
