//! The engine against real files: what is acknowledged is there once, in order, whole, whatever happens to the file.

use std::fs;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tempfile::TempDir;

use super::*;
use crate::config::Durability;
use crate::record::{Level, LineFormat};
use crate::store::{Extent, Form, Order, Selection, append};

struct Bench {
    dir: TempDir,
    settings: Settings,
}

impl Bench {
    fn new(durability: Durability) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/a.log");
        Self { settings: Settings { path, format: LineFormat::Text, durability, rotate: None }, dir }
    }

    fn path(&self) -> PathBuf {
        self.settings.path.clone()
    }

    fn open(&self) -> FileStore {
        let state = self.dir.path().join("a.state");
        let (store, committer) = FileStore::open(&self.settings, &state, 1024 * 1024).unwrap();
        tokio::spawn(committer);
        store
    }

    fn messages(&self) -> Vec<String> {
        let text = fs::read(self.path()).unwrap();
        assert!(text.is_empty() || text.ends_with(b"\n"));
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| parse_line(line).unwrap().message).collect()
    }
}

const SOURCE: Source<'static> = Source { client: "192.0.2.1", key: "k", route: "save-log" };

async fn save(store: &FileStore, message: &str) -> Cursor {
    append(store, &SOURCE, &[Entry { level: Level::Info, message }]).await.unwrap().cursor
}

async fn details(store: &FileStore) -> Details {
    loop {
        let details = store.details().await;
        if !details.counting {
            return details;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

async fn read(store: &FileStore) -> String {
    let snapshot = store.snapshot().await.unwrap();
    let blocks: Vec<_> = snapshot.bytes.stream(0..snapshot.len).collect().await;
    let bytes: Vec<u8> = blocks.into_iter().flat_map(|block| block.unwrap()).collect();
    String::from_utf8(bytes).unwrap()
}

async fn latest(store: &FileStore, limit: usize) -> Vec<String> {
    let query = Query {
        selection: Selection::default(),
        order: Order::Descending,
        cursor: None,
        limit: NonZeroU64::new(limit as u64),
        extent: Extent::Newest,
        form: Form::LINES,
        progress: Box::new(|| ()),
    };
    let blocks: Vec<_> = LogStore::read(store, query).await.unwrap().blocks.collect().await;
    let bytes: Vec<u8> = blocks.into_iter().flat_map(|block| block.unwrap()).collect();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn many_senders_one_file() {
    for durability in [Durability::Disk, Durability::Os] {
        let bench = Bench::new(durability);
        let store = bench.open();
        let senders = (0..50).map(|sender| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    save(&store, &format!("{sender}:{n}")).await;
                }
            })
        });
        futures_util::future::join_all(senders).await;
        let messages = bench.messages();
        assert_eq!(messages.len(), 1000);
        for sender in 0..50 {
            let prefix = format!("{sender}:");
            let own: Vec<_> = messages.iter().filter_map(|message| message.strip_prefix(&prefix)).collect();
            let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
            assert_eq!(own, expected, "each sender's records in order, once");
        }
        let found = details(&store).await;
        assert_eq!((found.count, found.size), (1000, fs::metadata(bench.path()).unwrap().len()));
        assert!(found.oldest <= found.newest && found.oldest.is_some());
        store.close().await.unwrap();
    }
}

/// Worker threads that append without rest: what shares a thread with the committer goes on nevertheless.
#[tokio::test]
async fn records_of_another_thread_leave_this_one_time() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    let enough = Arc::new(AtomicBool::new(false));
    let sender = std::thread::spawn({
        let (store, enough) = (store.clone(), Arc::clone(&enough));
        move || {
            while !enough.load(Ordering::Relaxed) {
                // Short, so that a batch stays below what is written on another thread.
                let entry = Entry { level: Level::Info, message: "m" };
                if store.try_append(&SOURCE, &[entry]).is_err() {
                    std::thread::yield_now();
                }
            }
        }
    });
    let (begun, mut saved) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(1) {
        save(&store, "another").await;
        saved += 1;
    }
    enough.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    let others = store.stored() - saved;
    // About ten, where each has its turn; thousands, where the committer goes on as long as there is something.
    assert!(0 < others && others < 300 * saved, "{others} records of the other thread, {saved} of this one");
    store.close().await.unwrap();
}

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
async fn a_file_moved_deleted_or_truncated_is_begun_anew() {
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
    assert!(first < second && second < third && third < fourth, "positions only grow");
    assert!(first.position < second.position && third.position < fourth.position);
    assert_eq!(details(&store).await.count, 1);
    fs::remove_dir_all(bench.path().parent().unwrap()).unwrap();
    save(&store, "five").await;
    assert_eq!(bench.messages(), ["five"]);
}

#[tokio::test]
async fn foreign_half_lines_do_not_touch_ours() {
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
async fn clear_is_ordered_and_positions_go_on() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    let before = save(&store, "before").await;
    store.clear().await.unwrap();
    assert_eq!((store.end(), bench.messages().len()), (before, 0));
    let after = save(&store, "after").await;
    assert!(after > before);
    assert_eq!(bench.messages(), ["after"]);
    assert_eq!(details(&store).await.count, 1);
    store.close().await.unwrap();
    let store = bench.open();
    assert_eq!(store.end(), after, "also after a restart");
}

#[tokio::test]
async fn what_comes_after_a_clear_is_kept_though_the_disk_goes_on_by_itself() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    for round in 0..60 {
        let append =
            |message: &str| store.try_append(&SOURCE, &[Entry { level: Level::Info, message }]).unwrap();
        let before = append("before");
        let clear = store.clear();
        // The committer takes both, and the disk is busy with the record when the next one comes.
        while store.shared.inbox.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        let message = format!("after {round}");
        let after = append(&message);
        let (before, clear, after) = tokio::join!(before, clear, after);
        assert!(before.is_ok() && clear.is_ok() && after.is_ok());
        assert_eq!(bench.messages(), [message]);
    }
}

#[tokio::test]
async fn an_interrupted_clear_is_finished_by_the_next_start() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    let end = save(&store, "gone").await;
    store.close().await.unwrap();
    let state_path = bench.dir.path().join("a.state");
    let mut state = super::state::StateFile::open(&state_path).unwrap();
    state.update(true, |state| state.clearing_to = Some(end.position)).unwrap();
    drop(state);
    let store = bench.open();
    assert_eq!((bench.messages().len(), store.end()), (0, end));
}

#[tokio::test]
async fn a_reader_never_takes_new_bytes_for_old_ones() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    let long = "x".repeat(4000);
    for _ in 0..500 {
        save(&store, &long).await;
    }
    let snapshot = store.snapshot().await.unwrap();
    let mut stream = snapshot.bytes.stream(0..snapshot.len);
    assert!(stream.next().await.unwrap().is_ok());
    store.clear().await.unwrap();
    for _ in 0..500 {
        save(&store, &long).await;
    }
    let rest: Vec<_> = stream.collect().await;
    assert!(rest.last().is_some_and(Result::is_err), "the read fails instead");
}

#[tokio::test]
async fn latest_lines_newest_first() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    assert_eq!(latest(&store, 3).await, Vec::<String>::new());
    assert_eq!(read(&store).await, "");
    let mut expected = Vec::new();
    for n in 0..40 {
        // Lines shorter and much longer than a block of the scan.
        let message = format!("{n}-{}", "y".repeat(if n % 7 == 0 { 200_000 } else { n * 100 }));
        save(&store, &message).await;
        expected.insert(0, message);
    }
    for limit in [1, 2, 39, 40, 41, 1000] {
        let lines = latest(&store, limit).await;
        let messages: Vec<_> =
            lines.iter().map(|line| parse_line(line.as_bytes()).unwrap().message).collect();
        assert!(messages.iter().eq(expected.iter().take(limit)), "limit {limit}");
    }
    assert_eq!(read(&store).await, fs::read_to_string(bench.path()).unwrap());
}

#[tokio::test]
async fn times_never_go_backwards_after_a_restart() {
    let bench = Bench::new(Durability::Os);
    let future = "[INFO](2099-01-01 00:00:00.000000+00:00)<192.0.2.1|k|save-log|1|1>from a wrong clock\n";
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    fs::write(bench.path(), future).unwrap();
    let store = bench.open();
    save(&store, "now").await;
    let text = fs::read_to_string(bench.path()).unwrap();
    let times: Vec<_> =
        text.lines().map(|line| crate::record::parse_time(line.as_bytes()).unwrap()).collect();
    assert!(times[0] <= times[1]);
}

#[tokio::test]
async fn a_full_queue_holds_senders_back_and_loses_nothing() {
    let bench = Bench::new(Durability::Disk);
    let state = bench.dir.path().join("a.state");
    let (store, committer) = FileStore::open(&bench.settings, &state, 100).unwrap();
    tokio::spawn(committer);
    let store = Arc::new(store);
    let senders = (0..100).map(|n: u32| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { save(&store, &n.to_string()).await })
    });
    futures_util::future::join_all(senders).await;
    assert_eq!(bench.messages().len(), 100);
}

#[tokio::test]
async fn settings_change_between_records() {
    let mut bench = Bench::new(Durability::Disk);
    let store = bench.open();
    save(&store, "one").await;
    let old = bench.path();
    bench.settings.path = bench.dir.path().join("other/b.log");
    bench.settings.format = LineFormat::Json;
    store.reconfigure(bench.settings.clone()).await.unwrap();
    save(&store, "two").await;
    assert_eq!(bench.messages(), ["two"]);
    assert!(fs::read_to_string(bench.path()).unwrap().starts_with('{'));
    assert_eq!(fs::read_to_string(old).unwrap().lines().count(), 1);
    let nowhere = Settings { path: PathBuf::from("/proc/none/x.log"), ..bench.settings.clone() };
    store.reconfigure(nowhere).await.unwrap_err();
    save(&store, "three").await;
    assert_eq!(bench.messages(), ["two", "three"], "the old settings stay");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    save(&store, "one").await;
    store.close().await.unwrap();
    let refused = append(&store, &SOURCE, &[Entry { level: Level::Info, message: "two" }]).await;
    assert!(matches!(refused, Err(StoreError::Closed)));
    assert!(matches!(store.clear().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn two_processes_never_write_one_file() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    save(&store, "one").await;
    let other = bench.dir.path().join("other.state");
    let Err(refused) = FileStore::open(&bench.settings, &other, 1024) else { panic!("opened twice") };
    assert!(refused.to_string().contains("another process"), "{refused}");
    let alias = bench.dir.path().join("alias.log");
    std::os::unix::fs::symlink(bench.path(), &alias).unwrap();
    let alias = Settings { path: alias, ..bench.settings.clone() };
    assert!(FileStore::open(&alias, &other, 1024).is_err(), "under another name");
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let bench = Bench::new(Durability::Os);
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&bench.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let state = bench.dir.path().join("a.state");
    let Err(refused) = FileStore::open(&bench.settings, &state, 1024) else { panic!("a FIFO was opened") };
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
}

#[tokio::test]
async fn a_cursor_never_names_a_record_of_another_file() {
    for durability in [Durability::Disk, Durability::Os] {
        let bench = Bench::new(durability);
        let store = bench.open();
        let before = save(&store, "one").await;
        // As after a crash: nothing is noted down any more, and the lock is gone.
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
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let copy = bench.dir.path().join("copy.log");
        fs::copy(bench.path(), &copy).unwrap();
        fs::rename(&copy, bench.path()).unwrap();
        let store = bench.open();
        assert_ne!(store.end().epoch, before.epoch);
        assert_eq!(details(&store).await.count, 1);
    }
}

#[tokio::test]
async fn foreign_lines_are_counted_and_cursors_go_on() {
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
async fn readers_see_what_was_truncated_or_moved() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    save(&store, "one").await;
    fs::write(bench.path(), "").unwrap();
    assert_eq!((read(&store).await, details(&store).await.size), (String::new(), 0));
    save(&store, "two").await;
    fs::rename(bench.path(), bench.dir.path().join("moved")).unwrap();
    assert_eq!(latest(&store, 5).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_last_line_of_ours_sets_the_clock() {
    let bench = Bench::new(Durability::Os);
    let future =
        "[INFO](2099-01-01 00:00:00.000000+00:00)<192.0.2.1|k|save-log|1|1>wrong clock\nforeign line\n";
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    fs::write(bench.path(), future).unwrap();
    let store = bench.open();
    save(&store, "now").await;
    assert!(fs::read_to_string(bench.path()).unwrap().lines().last().unwrap().starts_with("[INFO](2099"));
}

#[tokio::test]
async fn of_a_huge_foreign_line_the_end_is_given() {
    let bench = Bench::new(Durability::Os);
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    let mut content = b"first\n".to_vec();
    content.extend(std::iter::repeat_n(b'x', 8 * 1024 * 1024));
    content.extend_from_slice(b"end\n");
    fs::write(bench.path(), content).unwrap();
    let store = bench.open();
    let lines = latest(&store, 5).await;
    assert_eq!((lines.len(), lines[1].as_str()), (2, "first"));
    assert!(lines[0].len() < 2 * 1024 * 1024);
}

#[test]
fn a_clear_that_failed_takes_nothing_away_later() {
    let bench = Bench::new(Durability::Disk);
    let state_path = bench.dir.path().join("a.state");
    let line = |n: u32| format!("line {n}\n").into_bytes();
    let mut file = LogFile::open(&bench.path(), &state_path).unwrap();
    file.commit(&line(1), 1, true).unwrap();
    file.state().break_down(&state_path, true);
    file.clear().unwrap_err();
    file.commit(&line(2), 1, true).unwrap_err();
    file.state().break_down(&state_path, false);
    file.commit(&line(3), 1, true).unwrap();
    drop(file);
    let mut file = LogFile::open(&bench.path(), &state_path).unwrap();
    assert_eq!(fs::read_to_string(bench.path()).unwrap(), "line 1\nline 3\n");
    // Written to the disk before it failed, and crashed before anything could be taken back.
    let end = file.view().lock().end().position;
    file.state().update(true, |state| state.clearing_to = Some(end)).unwrap();
    drop(file);
    fs::write(bench.path(), "line 1\nline 3\nline 4\n").unwrap();
    drop(LogFile::open(&bench.path(), &state_path).unwrap());
    assert!(fs::read_to_string(bench.path()).unwrap().contains("line 4"), "what came later stays");
}

#[test]
fn what_could_not_be_undone_is_never_made_up_for_with_zeros() {
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

#[tokio::test]
async fn statistics_count_what_is_stored_and_wait_for_no_disk() {
    let bench = Bench::new(Durability::Disk);
    let (store, committer) =
        FileStore::open(&bench.settings, &bench.dir.path().join("a.state"), 1024).unwrap();
    let entries = [Level::Debug, Level::Error, Level::Error].map(|level| Entry { level, message: "m" });
    let ticket = store.try_append(&SOURCE, &entries).unwrap();
    let waiting = store.statistics().await;
    assert_eq!((waiting.records, waiting.bytes, waiting.syncs.count()), ([0; 5], 0, 0));
    assert!(waiting.queue > 0 && waiting.disk_free.is_some(), "{waiting:?}");
    tokio::spawn(committer);
    ticket.await.unwrap();
    let hanging = store.shared.surveyor.acquire().await.unwrap();
    let begun = std::time::Instant::now();
    let found = store.statistics().await;
    assert!(found.disk_free.is_none() && begun.elapsed() < 4 * LOOK, "{found:?} after {:?}", begun.elapsed());
    assert_eq!((found.records, found.queue, found.syncs.count()), ([1, 0, 0, 2, 0], 0, 1));
    assert_eq!((found.bytes, found.size), (waiting.queue, waiting.queue));
    drop(hanging);
    assert!(store.statistics().await.disk_free.is_some());
}
