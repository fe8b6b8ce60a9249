//! Tests that a clear removes the records before it and no others, also when it is interrupted or
//! fails.

use super::*;

#[tokio::test]
async fn clear_is_ordered_and_positions_grow() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    let before = save(&store, "before").await;
    store.clear().await.unwrap();
    assert_eq!((store.end(), bench.messages().len()), (before, 0));
    let after = save(&store, "after").await;
    assert!(store.is_before(before, after) && !store.is_before(after, before));
    assert_eq!(bench.messages(), ["after"]);
    assert_eq!(details(&store).await.count, 1);
    store.close().await.unwrap();
    let store = bench.open();
    assert_eq!(store.end(), after, "also after a restart");
}

#[tokio::test]
async fn record_after_a_clear_is_kept_while_the_disk_thread_is_busy() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    for round in 0..60 {
        let append = |message: &str| store.try_append(&SOURCE, &[Entry::new(Level::Info, message)]).unwrap();
        let before = append("before");
        let clear = store.clear();
        // The committer takes both. The disk thread writes the record when the next one arrives.
        while store.shared.append_buffer.waiting() > 0 {
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
async fn next_start_finishes_an_interrupted_clear() {
    let bench = Bench::new(Durability::Disk);
    let store = bench.open();
    let end = save(&store, "gone").await;
    store.close().await.unwrap();
    let state_path = bench.dir.path().join("a.state");
    let mut state = super::state::state_file::StateFile::open(&state_path, &Default::default()).unwrap();
    state.update(true, |state| state.clearing_to = Some(end.position)).unwrap();
    drop(state);
    let store = bench.open();
    assert_eq!((bench.messages().len(), store.end()), (0, end));
}

#[tokio::test]
async fn reader_never_sees_bytes_of_another_state() {
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

#[test]
fn failed_clear_removes_nothing_later() {
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
    // The failed write reached the disk, and the process crashed before it was undone.
    let end = file.view().lock().end().position;
    file.state().update(true, |state| state.clearing_to = Some(end)).unwrap();
    drop(file);
    fs::write(bench.path(), "line 1\nline 3\nline 4\n").unwrap();
    drop(LogFile::open(&bench.path(), &state_path).unwrap());
    assert!(fs::read_to_string(bench.path()).unwrap().contains("line 4"), "what came later stays");
}
