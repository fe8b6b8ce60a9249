//! Tests appends: each record is stored once, in order, with growing times, and counted. Settings
//! change between appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn many_senders_share_one_file() {
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

/// While other threads append constantly, tasks on the committer's thread still make progress.
#[tokio::test]
async fn constant_appends_do_not_starve_other_tasks() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    let enough = Arc::new(AtomicBool::new(false));
    let sender = std::thread::spawn({
        let (store, enough) = (store.clone(), Arc::clone(&enough));
        move || {
            while !enough.load(Ordering::Relaxed) {
                // Short, so that batches are written on the runtime's thread.
                let entry = Entry::new(Level::Info, "m");
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
    // About ten when each task has its turn, thousands when the committer never yields.
    assert!(0 < others && others < 300 * saved, "{others} records of the other thread, {saved} of this one");
    store.close().await.unwrap();
}

#[tokio::test]
async fn full_queue_delays_senders_and_loses_nothing() {
    let bench = Bench::new(Durability::Disk);
    let state = bench.dir.path().join("a.state");
    let (store, committer) = FileStore::open(&bench.settings, bench.dir.path(), &state, 100).unwrap();
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
async fn new_settings_apply_between_records() {
    let mut bench = Bench::new(Durability::Disk);
    let store = bench.open();
    save(&store, "one").await;
    let old = bench.path();
    bench.settings.path = bench.dir.path().join("other/b.log");
    bench.settings.format = LineFormat::Json;
    store.apply(bench.settings.clone()).await.unwrap();
    save(&store, "two").await;
    assert_eq!(bench.messages(), ["two"]);
    assert!(fs::read_to_string(bench.path()).unwrap().starts_with('{'));
    assert_eq!(fs::read_to_string(old).unwrap().lines().count(), 1);
    let nowhere = Settings { path: PathBuf::from("/proc/none/x.log"), ..bench.settings.clone() };
    store.apply(nowhere).await.unwrap_err();
    save(&store, "three").await;
    assert_eq!(bench.messages(), ["two", "three"], "the old settings stay");
}

#[tokio::test]
async fn closed_store_refuses_appends() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    save(&store, "one").await;
    store.close().await.unwrap();
    let refused = append(&store, &SOURCE, &[Entry::new(Level::Info, "two")]).await;
    assert!(matches!(refused, Err(StoreError::Closed)));
    assert!(matches!(store.clear().await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn times_never_decrease_after_a_restart() {
    let bench = Bench::new(Durability::Os);
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    let time = ahead.strftime("%Y-%m-%d %H:%M:%S.%6f+00:00").to_string();
    let line = format!("[INFO]({time})<192.0.2.1|k|save-log|1|1>from a wrong clock\nforeign line\n");
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    fs::write(bench.path(), line).unwrap();
    let store = bench.open();
    save(&store, "now").await;
    let text = fs::read_to_string(bench.path()).unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.contains(&time) && last.ends_with("now"), "{last}");
}

#[tokio::test]
async fn file_from_the_future_is_closed_by_the_first_record() {
    let bench = Bench::new(Durability::Os);
    let future = "[INFO](2099-01-01 00:00:00.000000+00:00)<192.0.2.1|k|save-log|1|1>wrong clock\nforeign\n";
    fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
    fs::write(bench.path(), future).unwrap();
    let store = bench.open();
    save(&store, "now").await;
    assert_eq!(bench.messages(), ["now"]);
    assert!(!fs::read_to_string(bench.path()).unwrap().starts_with("[INFO](2099"));
    assert_eq!(read(&store).await.lines().count(), 3);
}

#[tokio::test]
async fn statistics_count_stored_records_and_do_not_wait_for_the_disk() {
    let bench = Bench::new(Durability::Disk);
    let (store, committer) =
        FileStore::open(&bench.settings, bench.dir.path(), &bench.dir.path().join("a.state"), 1024).unwrap();
    let entries = [Level::Debug, Level::Error, Level::Error].map(|level| Entry::new(level, "m"));
    let ticket = store.try_append(&SOURCE, &entries).unwrap();
    let waiting = store.statistics().await;
    assert_eq!((waiting.records, waiting.bytes, waiting.syncs.count()), ([0; 5], 0, 0));
    assert!(waiting.queue > 0 && waiting.disk_free.is_some(), "{waiting:?}");
    tokio::spawn(committer);
    ticket.await.unwrap();
    let hanging = store.shared.free_space_permit.acquire().await.unwrap();
    let begun = Instant::now();
    let found = store.statistics().await;
    assert!(
        found.disk_free.is_none() && begun.elapsed() < 4 * DISK_TIMEOUT,
        "{found:?} after {:?}",
        begun.elapsed()
    );
    assert_eq!((found.records, found.queue, found.syncs.count()), ([1, 0, 0, 2, 0], 0, 1));
    assert_eq!((found.bytes, found.size), (waiting.queue, waiting.queue));
    drop(hanging);
    assert!(store.statistics().await.disk_free.is_some());
}

#[test]
fn write_that_cannot_be_undone_has_an_unknown_outcome() {
    let bench = Bench::new(Durability::Disk);
    let mut file = LogFile::open(&bench.path(), &bench.dir.path().join("a.state")).unwrap();
    file.commit(b"one\n", 1, true).unwrap();
    let writable = std::mem::replace(&mut file.file, Arc::new(fs::File::open(bench.path()).unwrap()));
    let failed = file.append(b"two\n", 1, true);
    assert!(
        matches!(failed, Err(StoreError::Write(_))),
        "nothing was written, so nothing is there: {failed:?}"
    );
    // The bytes of the failed write are in the file, and the file can't be cut.
    let mut bytes = fs::OpenOptions::new().append(true).open(bench.path()).unwrap();
    std::io::Write::write_all(&mut bytes, b"two\n").unwrap();
    let failed = file.append(b"two\n", 1, true);
    assert!(matches!(failed, Err(StoreError::Unknown(_))), "{failed:?}");
    file.file = writable;
    file.commit(b"three\n", 1, true).unwrap();
    assert_eq!(fs::read_to_string(bench.path()).unwrap(), "one\nthree\n", "undone by the next append");
}
