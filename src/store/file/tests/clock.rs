//! Tests a system clock that is set back and forth while records arrive: every record is kept, times
//! are true again with the next record, and never decrease within a file.

use std::path::Path;

use super::*;
use crate::record::skew;
use crate::store::file::segments::segment::Segment;

/// Returns the times of the lines in a file, seconds since the epoch.
fn times(path: &Path) -> Vec<i64> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| parse_line(line.as_bytes()).unwrap().time.micros / 1_000_000).collect()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn segments(store: &FileStore) -> Vec<Segment> {
    let items = store.shared.view.get().segments.items().to_vec();
    items.iter().map(|segment| Segment::clone(segment)).collect()
}

#[tokio::test]
async fn times_are_true_again_with_the_first_record_after_a_step() {
    for durability in [Durability::Disk, Durability::Os] {
        for ahead in [11, 5 * 3600, 365 * 86_400] {
            let bench = Bench::new(durability);
            let store = bench.open();
            save(&store, "before").await;
            skew::set(ahead);
            save(&store, "ahead").await;
            skew::set(0);
            let cursor = save(&store, "after").await;
            assert_eq!(bench.messages(), ["after"], "a new file begins");
            assert!((now() - times(&bench.path())[0]).abs() < 5, "{ahead}: the true time");
            let closed = segments(&store);
            assert_eq!((closed.len(), store.shared.append_buffer.clock().1), (1, 1), "one step");
            assert!(times(&closed[0].path).is_sorted());
            assert_eq!(read(&store).await.lines().count(), 3, "no record is lost");
            assert_eq!(cursor, store.end(), "positions go on");
            assert_eq!(store.shared.append_buffer.clock().0, 0, "nothing is ahead");
            // A start begins with the newest record of the active file, not with those before.
            store.close().await.unwrap();
            let store = bench.open();
            save(&store, "again").await;
            assert_eq!(segments(&store).len(), 1, "no further step");
            store.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn small_step_repeats_the_newest_time() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    skew::set(9);
    save(&store, "ahead").await;
    skew::set(0);
    save(&store, "after").await;
    let found = times(&bench.path());
    assert_eq!((found[0], segments(&store).len()), (found[1], 0));
    let (ahead, steps) = store.shared.append_buffer.clock();
    assert!((7_000_000..=9_000_000).contains(&ahead) && steps == 0, "{ahead} {steps}");
    // The clock begins anew when the file does.
    store.clear().await.unwrap();
    save(&store, "cleared").await;
    assert!((now() - times(&bench.path())[0]).abs() < 5);
    assert_eq!(store.shared.append_buffer.clock().1, 0);
}

#[tokio::test]
async fn cleared_or_replaced_file_forgets_the_future() {
    for clears in [true, false] {
        let bench = Bench::new(Durability::Os);
        let store = bench.open();
        skew::set(86_400 * 3650);
        save(&store, "ahead").await;
        skew::set(0);
        if clears {
            store.clear().await.unwrap();
        } else {
            fs::rename(bench.path(), bench.dir.path().join("away")).unwrap();
            details(&store).await;
        }
        save(&store, "after").await;
        assert!((now() - times(&bench.path())[0]).abs() < 5, "{clears}");
        assert_eq!((segments(&store).len(), store.shared.append_buffer.clock().1), (0, 0), "{clears}");
        store.close().await.unwrap();
    }
}

/// Segments whose times overlap or go back are searched each by its own times.
#[tokio::test]
async fn selection_by_time_finds_every_record_after_steps() {
    let bench = Bench::new(Durability::Os);
    let store = bench.open();
    let mut saved = Vec::new();
    for (step, ahead) in [0, 7200, 3600, 90_000, -7200, 0, 600, 300].into_iter().enumerate() {
        skew::set(ahead);
        for n in 0..40 {
            let message = format!("{step}:{n}");
            save(&store, &message).await;
            saved.push((now() + ahead, message));
        }
    }
    assert_eq!(segments(&store).len(), 3);
    for since in [None, Some(-9000), Some(-3000), Some(450), Some(1800), Some(5000), Some(100_000)] {
        for until in [None, Some(-9000), Some(-3000), Some(450), Some(1800), Some(5000), Some(100_000)] {
            let at = |offset: Option<i64>| offset.map(|offset| (now() + offset) * 1_000_000);
            let selection = Selection { since: at(since), until: at(until), ..Selection::default() };
            let admitted = |time: i64| {
                since.is_none_or(|since| time >= now() + since)
                    && until.is_none_or(|until| time < now() + until)
            };
            let expected: Vec<&String> =
                saved.iter().filter(|(time, _)| admitted(*time)).map(|(_, message)| message).collect();
            for order in [Order::Ascending, Order::Descending] {
                let mut found = messages_selected(&store, selection.clone(), order).await;
                if order == Order::Descending {
                    found.reverse();
                }
                assert!(
                    found.iter().eq(expected.iter().copied()),
                    "{since:?} {until:?} {order:?}: {found:?}"
                );
            }
            let begin = store.begin(selection, None, Box::new(|| ())).await.unwrap();
            if let Some(first) = expected.first().filter(|_| since.is_some() && until.is_none()) {
                let chunk = store.line_chunk(begin, 100).await.unwrap();
                let line = chunk.lines.split(|byte| *byte == b'\n').next().unwrap().to_vec();
                assert_eq!(parse_line(&line).unwrap().message, **first, "{since:?} {until:?}");
            }
        }
    }
}
