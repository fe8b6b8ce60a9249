//! Compares queries of real files with a simple filter that checks every line. The files hold
//! random records in both formats with foreign lines between them, and the queries read small
//! blocks.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use proptest::prelude::*;

use super::test_model::{Unit, any_entry, any_selection, content, units};
use super::*;
use crate::config::Durability;
use crate::record::{self, Level, Line, LineFormat, Stamp, Time, parse_time, write_line};
use crate::store::file::FileStore;
use crate::store::file::settings::Settings;
use crate::store::{Cursor, Pattern, ReadLog, Selection, Writer};

/// Sizes smaller than most lines, so that every part of a line crosses the border of a read.
pub(super) const TINY: Sizes = Sizes {
    first: 100,
    block: 700,
    unit: 1200,
    whole: 3000,
    window: 500,
    overlap: 250,
    portion: 150,
    kept: 900,
    answer: 300,
};

/// A snapshot of a log that holds `content`.
struct Bench {
    _dir: tempfile::TempDir,
    snapshot: LogSnapshot,
}

impl Bench {
    fn new(content: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, content).unwrap();
        let settings = Settings { path, format: LineFormat::Text, durability: Durability::Os, rotate: None };
        let (store, _committer) =
            FileStore::open(&settings, dir.path(), &dir.path().join("a.state"), 1024).unwrap();
        assert_eq!(store.end().position, content.len() as u64);
        Self { snapshot: LogSnapshot::take(&store.shared.view), _dir: dir }
    }

    /// Returns where reading stopped, and the lines with their cursors.
    async fn read(&self, query: Query, sizes: Sizes) -> Result<(Cursor, Vec<(String, Cursor)>), ReadError> {
        let form = marked();
        let reading = answer_in(self.snapshot.clone(), Query { form, ..query }, sizes).await?;
        let (stopped, len) = (reading.stopped, reading.len);
        let blocks: Vec<Bytes> = reading.blocks.try_collect().await.unwrap();
        assert!(blocks.iter().all(|block| block.len() <= sizes.kept + 3 * sizes.unit), "blocks are bounded");
        let text = String::from_utf8(blocks.concat()).unwrap();
        assert!(len.is_none_or(|len| len == text.len() as u64));
        let text = text.strip_prefix("<<").unwrap().strip_suffix(">>").unwrap();
        let split = text.split("\n,").filter(|entry| !entry.is_empty());
        let entry = |text: &str| {
            let (line, position) = text.trim_end_matches('\n').rsplit_once('@').unwrap();
            (line.to_owned(), Cursor { position: position.parse().unwrap(), ..stopped })
        };
        Ok((stopped, split.map(entry).collect()))
    }
}

fn marked() -> Form {
    let write: Writer = Box::new(|out, line, cursor| {
        out.extend_from_slice(format!("{}@{}\n", String::from_utf8_lossy(line), cursor.position).as_bytes());
    });
    Form { open: "<<", between: ",", close: ">>", write: Some(write) }
}

fn query(selection: Selection) -> Query {
    Query {
        selection,
        order: Order::Ascending,
        cursor: None,
        limit: None,
        extent: Extent::First,
        form: Form::LINES,
        progress: Box::new(|| ()),
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn answer_equals_a_filter_of_every_unit(
        entries in prop::collection::vec(any_entry(), 0..40), selection in any_selection(), descends: bool, newest: bool,
        limit in prop::option::of(1_u64..12), cursor in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let content = content(&entries);
        let bench = Bench::new(&content);
        let ends: Vec<u64> = std::iter::once(0).chain(memchr::memchr_iter(b'\n', &content).map(|at| at as u64 + 1)).collect();
        let cursor = cursor.map(|index| ends[index.index(ends.len())]);
        let all = units(&content);
        // The answer repeats neither the record of the cursor nor a line that continues it.
        let named = cursor.filter(|_| descends).map(|cursor| all.iter().find(|unit| unit.start < cursor && cursor <= unit.end).map_or(0, |unit| unit.start));
        let mut expected: Vec<Unit> = all.into_iter().filter(|unit| unit.is_admitted(&selection)).collect();
        expected.retain_mut(|unit| {
            unit.lines.retain(|line| cursor.is_none_or(|cursor| descends || line.start >= cursor));
            !unit.lines.is_empty() && named.is_none_or(|named| unit.start < named)
        });
        let many = limit.map_or(usize::MAX, |limit| limit as usize);
        if newest || descends {
            expected.drain(..expected.len().saturating_sub(many));
        } else {
            expected.truncate(many);
        }
        if descends {
            expected.reverse();
        }
        let (order, extent) = (if descends { Order::Descending } else { Order::Ascending }, if newest { Extent::Newest } else { Extent::First });
        let asked = Query {
            order, extent, limit: limit.and_then(NonZeroU64::new),
            cursor: cursor.map(|offset| bench.snapshot.cursor_at(offset)), ..query(selection)
        };
        let (stopped, found) = wait(bench.read(asked, TINY)).unwrap();
        let given: Vec<(String, u64)> = found.into_iter().map(|(line, cursor)| (line, cursor.position)).collect();
        let wanted: Vec<(String, u64)> = expected.iter().flat_map(|unit| &unit.lines).map(|line| (line.shown.clone(), line.end)).collect();
        prop_assert_eq!(&given, &wanted);
        let after = if newest { expected.iter().map(|unit| unit.end).max() } else { expected.last().map(|unit| unit.end) };
        if let Some(after) = after {
            prop_assert_eq!(stopped.position, after);
        } else {
            prop_assert!(ends.contains(&stopped.position), "between two lines");
        }
    }

    #[test]
    fn pages_return_every_record_once(
        entries in prop::collection::vec(any_entry(), 0..40), selection in any_selection(), descends: bool, page in 1_u64..9,
    ) {
        let content = content(&entries);
        let bench = Bench::new(&content);
        let order = if descends { Order::Descending } else { Order::Ascending };
        let mut wanted: Vec<Unit> = units(&content).into_iter().filter(|unit| unit.is_admitted(&selection)).collect();
        if descends {
            wanted.reverse();
        }
        let (mut given, mut cursor) = (Vec::new(), None);
        loop {
            let asked = Query { order, cursor, limit: NonZeroU64::new(page), ..query(selection.clone()) };
            let (stopped, found) = wait(bench.read(asked, TINY)).unwrap();
            if found.is_empty() {
                break;
            }
            let of_this_page: std::collections::BTreeSet<u64> = found.iter().map(|(_, cursor)| wanted.iter().find(|unit| unit.end >= cursor.position && unit.start < cursor.position).unwrap().start).collect();
            prop_assert!(of_this_page.len() as u64 <= page);
            given.extend(found.into_iter().map(|(line, _)| line));
            cursor = Some(stopped);
        }
        let wanted: Vec<String> = wanted.into_iter().flat_map(|unit| unit.lines).map(|line| line.shown).collect();
        prop_assert_eq!(given, wanted);
    }

    #[test]
    fn text_that_stands_in_a_line_is_found(entries in prop::collection::vec(any_entry(), 0..40), text in "[a-c ]{1,3}|needle|\\PC", descends: bool) {
        let content = content(&entries);
        let bench = Bench::new(&content);
        // The mark of a byte that is not UTF-8 stands in no line.
        prop_assume!(text != "\u{fffd}");
        // The records and the other lines in which grep finds the text.
        let all = units(&content);
        let holds = |unit: &&Unit| unit.texts.iter().any(|held| held.contains(&text));
        let wanted: Vec<u64> = all.iter().filter(holds).map(|unit| unit.end).collect();
        let order = if descends { Order::Descending } else { Order::Ascending };
        let regex = Pattern::new(&regex::escape(&text)).unwrap();
        for selection in [
            Selection { contains: vec![text.clone()], ..Selection::default() },
            Selection { regex: Some(regex), ..Selection::default() },
        ] {
            let (_, found) = wait(bench.read(Query { order, ..query(selection) }, TINY)).unwrap();
            let mut ends: Vec<u64> = found.iter().map(|(_, cursor)| cursor.position).filter(|end| all.iter().any(|unit| unit.end == *end)).collect();
            ends.sort_unstable();
            prop_assert_eq!(&ends, &wanted);
        }
    }

    #[test]
    fn time_is_found_among_arbitrary_lines(
        entries in prop::collection::vec(any_entry(), 0..300), instant in prop_oneof![-2_i64..400, -2_i64..2_000_000], from: prop::sample::Index,
    ) {
        let content = content(&entries);
        let bench = Bench::new(&content);
        let target = 1_795_410_149_805_789 + instant;
        let ends: Vec<u64> = std::iter::once(0).chain(memchr::memchr_iter(b'\n', &content).map(|at| at as u64 + 1)).collect();
        let from = ends[from.index(ends.len())];
        let mut bisect = TimeSearch::new(bench.snapshot, target, from..content.len() as u64);
        let place = loop {
            if let Some(place) = bisect.step().unwrap() {
                break place;
            }
        };
        prop_assert!(ends.contains(&place) && place >= from);
        let lines = units(&content).into_iter().flat_map(|unit| unit.lines);
        for line in lines.filter(|line| line.start >= from) {
            let text = &content[line.start as usize..line.end as usize];
            if let Some(time) = parse_time(text) {
                prop_assert_eq!(time < target, line.start < place, "{} at {}, place {}", line.shown, line.start, place);
            } else {
                prop_assert!(line.start != place, "{} continues a record", line.shown);
            }
        }
    }
}

/// Returns 200,000 lines, one a second, every fiftieth an error.
fn large_log() -> Vec<u8> {
    let mut out = Vec::new();
    for seq in 0..200_000 {
        let level = if seq % 50 == 0 { Level::Error } else { Level::Info };
        let stamp = Stamp::from(Time { micros: 1_795_410_149_000_000 + seq * 1_000_000, offset: 0 });
        let message = format!("message {seq} of many, as they come from programs");
        let line = Line {
            entry: record::Entry::new(level, &message),
            stamp: &stamp,
            client: "192.0.2.7",
            key: "web",
            route: "save-log",
            pid: 7,
            seq: seq as u64,
        };
        write_line(&mut out, LineFormat::Text, &line);
    }
    out
}

#[tokio::test]
async fn separator_without_fields_is_searched_as_message() {
    let content = b"[INFO](2026-11-23 05:02:29.805789+00:00)<local|k|r|1|1>a \\| no fields\n";
    for text in ["\\", "a \\| no", "| no", "fields"] {
        let selection = Selection { contains: vec![text.to_owned()], ..Selection::default() };
        let (_, found) = Bench::new(content).read(query(selection), Sizes::DEFAULT).await.unwrap();
        assert_eq!(found.len(), 1, "{text}");
    }
}

#[tokio::test]
async fn large_log_is_read_with_default_sizes() {
    let content = large_log();
    let bench = Bench::new(&content);
    let errors = || Selection { level: Some(Level::Error), ..Selection::default() };
    for order in [Order::Ascending, Order::Descending] {
        let (_, all) = bench.read(Query { order, ..query(errors()) }, Sizes::DEFAULT).await.unwrap();
        assert_eq!(all.len(), 4000);
        // More than is kept in memory, so that it is counted and read again.
        let small = Sizes { kept: 64 * 1024, ..Sizes::DEFAULT };
        let limit = NonZeroU64::new(3000);
        let (stopped, some) = bench.read(Query { order, limit, ..query(errors()) }, small).await.unwrap();
        assert!(some == all[..3000] && stopped == all[2999].1, "{order:?}");
        let (_, text) = bench
            .read(
                Query {
                    order,
                    ..query(Selection { contains: vec!["message 1777 of".into()], ..Selection::default() })
                },
                Sizes::DEFAULT,
            )
            .await
            .unwrap();
        assert_eq!(text.len(), 1);
    }
}

#[tokio::test]
async fn progress_is_reported_and_work_ends_when_the_caller_left() {
    static DONE: AtomicU32 = AtomicU32::new(0);
    let content = large_log();
    let bench = Bench::new(&content);
    let slow = || {
        let regex = Some(Pattern::new("(o.*e.*){8}nothing$").unwrap());
        let progress = Box::new(|| {
            DONE.fetch_add(1, Ordering::Relaxed);
        });
        Query { progress, ..query(Selection { regex, ..Selection::default() }) }
    };
    answer(bench.snapshot.clone(), slow()).await.unwrap();
    let whole = DONE.swap(0, Ordering::Relaxed);
    assert!(whole > 2, "{whole} turns");
    let left = tokio::time::timeout(Duration::from_millis(20), answer(bench.snapshot.clone(), slow())).await;
    assert!(left.is_err(), "it was quicker than it can be");
    let done = DONE.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(DONE.load(Ordering::Relaxed), done);
    assert!(done < whole, "{done} of {whole} turns");
}
