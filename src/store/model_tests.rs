//! Compares every engine with a model, over random appends, clears and changes of the format: each
//! query, each follower and each cursor agrees with the model. A new engine is one line in
//! [`ENGINES`]. Operations that only one engine has are tested with that engine.

use std::num::NonZeroU64;
use std::sync::Arc;

use futures_util::TryStreamExt;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::record::{Entry, Field, Level, LineFormat, Record, SenderTime, parse_line};

/// Opens a log with one engine.
type Constructor = fn(&LogEntry, &Places) -> Opened;

/// All engines.
const ENGINES: [(&str, Constructor); 2] = [
    ("file", |log, places| file::open(log, places, 64 * 1024).unwrap()),
    ("memory", |log, _| memory::open(log).unwrap()),
];

const SOURCE: Source<'static> = Source { client: "192.0.2.1", key: "k", route: "save-logs" };

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<Given>),
    Clear,
    /// JSON lines from now on, or text lines.
    Reconfigure(bool),
    Query(Question),
    /// A walk in chunks of this size, from one of the cursors.
    Follow(usize, u64),
    /// The start of a follower: the latest records, from the time of a record on, level.
    Begin(Option<u64>, Option<usize>, Option<Level>),
}

/// A record as a sender gives it.
#[derive(Debug, Clone)]
struct Given {
    level: Level,
    message: String,
    at: Option<SenderTime>,
    /// Names and values. No name stands there twice.
    fields: Vec<(String, String)>,
}

impl Given {
    fn fields(&self) -> Vec<Field<'_>> {
        self.fields.iter().map(|(name, value)| Field::of_sender(name, value)).collect()
    }
}

/// A query. Records and cursors are numbers that wrap around.
#[derive(Debug, Clone)]
struct Question {
    order: Order,
    extent: Extent,
    cursor: Option<usize>,
    limit: Option<u64>,
    level: Option<Level>,
    contains: Option<&'static str>,
    since: Option<usize>,
    until: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    let message = prop_oneof![8 => "[a-d\n\\\\é|> ]{0,12}", 1 => "[ab]{3000,9000}"];
    let at =
        proptest::option::weighted(0.3, (0..4_000_000_000_000_000_i64).prop_map(SenderTime::from_micros));
    let fields = prop::collection::btree_map("f[a-c._-]{0,3}", "[a-c\n\\\\é|=\" ]{0,8}", 0..4);
    let fields =
        prop_oneof![2 => Just(Vec::new()), 1 => fields.prop_map(|fields| fields.into_iter().collect())];
    let entry = (any_level(), message, at, fields).prop_map(|(level, message, at, fields)| Given {
        level,
        message,
        at: at.flatten(),
        fields,
    });
    let maybe_level = proptest::option::weighted(0.3, any_level());
    prop_oneof![
        6 => prop::collection::vec(entry, 1..6).prop_map(Step::Append),
        1 => Just(Step::Clear),
        1 => any::<bool>().prop_map(Step::Reconfigure),
        8 => question().prop_map(Step::Query),
        3 => (any::<usize>(), 1_u64..4000).prop_map(|(from, size)| Step::Follow(from, size)),
        3 => (proptest::option::of(1_u64..6), proptest::option::of(any::<usize>()), maybe_level)
            .prop_map(|(latest, since, level)| Step::Begin(latest, since, level)),
    ]
}

fn any_level() -> impl Strategy<Value = Level> {
    prop::sample::select(Level::ALL.to_vec())
}

fn question() -> impl Strategy<Value = Question> {
    (
        prop::sample::select(vec![Order::Ascending, Order::Descending]),
        prop::sample::select(vec![Extent::First, Extent::Newest]),
        proptest::option::of(any::<usize>()),
        proptest::option::of(1_u64..6),
        proptest::option::weighted(0.3, any_level()),
        proptest::option::weighted(0.3, prop::sample::select(vec!["a", "bc", "\n", "zz"])),
        proptest::option::weighted(0.3, any::<usize>()),
        proptest::option::weighted(0.3, any::<usize>()),
    )
        .prop_map(|(order, extent, cursor, limit, level, contains, since, until)| Question {
            order,
            extent,
            cursor,
            limit,
            level,
            contains,
            since,
            until,
        })
}

/// A record in the log.
#[derive(Debug, Clone)]
struct Stored {
    line: Vec<u8>,
    record: Record,
}

/// An engine and its model.
struct Run {
    store: Arc<dyn LogStore>,
    log: LogEntry,
    /// All records since the log was opened.
    records: Vec<Stored>,
    /// Number of records that a clear removed.
    cleared: usize,
    /// The cursor before each record, and the end.
    cursors: Vec<Cursor>,
}

impl Run {
    fn open(engine: Constructor, places: &Places, is_rotated: bool) -> Self {
        let mut log = json!({"host": "127.0.0.1", "port": 1, "file": "a.log", "durability": "os"});
        if is_rotated {
            log["rotate"] = json!({"max_size": 4096, "compress": "zstd"});
        }
        let log: LogEntry = serde_json::from_value(log).unwrap();
        let (store, _task) = engine(&log, places);
        let cursors = vec![store.end()];
        Self { store, log, records: Vec::new(), cleared: 0, cursors }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Append(entries) => self.append(&entries).await,
            Step::Clear => {
                let end = self.store.end();
                self.store.clear().await.unwrap();
                assert_eq!(self.store.end(), end, "positions are not used again");
                self.cleared = self.records.len();
            }
            Step::Reconfigure(is_json) => {
                self.log.format = if is_json { LineFormat::Json } else { LineFormat::Text };
                self.store.reconfigure(&self.log).await.unwrap();
            }
            Step::Query(question) => self.ask(&question).await,
            Step::Follow(from, size) => self.follow(from % self.cursors.len(), size).await,
            Step::Begin(latest, since, level) => self.begin(latest, since, level).await,
        }
    }

    async fn append(&mut self, entries: &[Given]) {
        let before = self.store.end();
        let fields: Vec<Vec<Field<'_>>> = entries.iter().map(Given::fields).collect();
        let batch = entries.iter().zip(&fields).map(|(given, fields)| Entry {
            level: given.level,
            message: &given.message,
            at: given.at,
            fields,
        });
        let batch: Vec<Entry<'_>> = batch.collect();
        let end = append(&*self.store, &SOURCE, &batch).await.unwrap().cursor;
        assert_eq!(self.store.end(), end);
        assert!(self.store.is_before(before, end) && !self.store.is_before(end, before));
        let query = query(Selection::default());
        let (found, stopped) = self.read(Query { cursor: Some(before), ..query }).await.unwrap();
        assert_eq!((found.len(), stopped), (entries.len(), end));
        for (given, (cursor, line)) in entries.iter().zip(found) {
            let record = parse_line(&line).unwrap();
            assert_eq!((record.level, &record.message), (given.level, &given.message));
            let at = given.at.map(|at| ("at".to_owned(), String::from_utf8(at.rfc3339().to_vec()).unwrap()));
            let expected = at.iter().chain(&given.fields).map(|(name, value)| (&**name, value.clone()));
            let read = record.fields.iter().map(|(name, value)| (name, value.into_owned()));
            assert!(read.eq(expected), "{given:?}: {line:?}");
            let last = self.records.last().map(|stored| &stored.record);
            assert!(last.is_none_or(|last| last.seq < record.seq && last.time.micros <= record.time.micros));
            self.records.push(Stored { line, record });
            self.cursors.push(cursor);
        }
    }

    /// Returns the records of an answer, each with the cursor after it, and where reading stopped.
    async fn read(&self, query: Query) -> Result<(Vec<(Cursor, Vec<u8>)>, Cursor), ReadError> {
        let key = self.store.cursor_key();
        let write: Writer = Box::new(move |out, line, cursor| {
            out.extend_from_slice(key.encode(cursor).as_bytes());
            out.extend_from_slice(line);
            out.push(b'\n');
        });
        let form = Form { open: "open\n", between: "between\n", close: "close\n", write: Some(write) };
        let reading = self.store.read(Query { form, ..query }).await?;
        let (stopped, len) = (reading.stopped, reading.len);
        let text = reading.blocks.try_collect::<Vec<_>>().await.unwrap().concat();
        assert!(len.is_none_or(|len| len == text.len() as u64));
        let text = text.strip_prefix(b"open\n").unwrap().strip_suffix(b"close\n").unwrap();
        let parts = text.split(|byte| *byte == b'\n').filter(|part| !part.is_empty());
        let mut records = Vec::new();
        for (index, part) in parts.enumerate() {
            if index % 2 == 1 {
                assert_eq!(part, b"between");
                continue;
            }
            let (cursor, line) = part.split_at(24);
            let cursor = key.decode(std::str::from_utf8(cursor).unwrap()).unwrap();
            records.push((cursor, line.to_vec()));
        }
        Ok((records, stopped))
    }

    /// Returns the time of a record, microseconds since the epoch.
    fn time_of(&self, record: usize) -> Option<i64> {
        let index = record.checked_rem(self.records.len())?;
        Some(self.records[index].record.time.micros)
    }

    async fn ask(&self, question: &Question) {
        let selection = Selection {
            since: question.since.and_then(|record| self.time_of(record)),
            until: question.until.and_then(|record| self.time_of(record)),
            level: question.level,
            contains: question.contains.map(str::to_owned).into_iter().collect(),
            ..Selection::default()
        };
        let cursor = question.cursor.map(|cursor| cursor % self.cursors.len());
        let query = Query {
            order: question.order,
            extent: question.extent,
            cursor: cursor.map(|index| self.cursors[index]),
            limit: question.limit.and_then(NonZeroU64::new),
            ..query(selection.clone())
        };
        let answer = self.read(query).await;
        if cursor.is_some_and(|cursor| cursor < self.cleared) {
            let oldest = self.cursors[self.cleared];
            assert!(
                matches!(answer, Err(ReadError::Gone { oldest: found }) if found == oldest),
                "{answer:?}"
            );
            return;
        }
        let (found, stopped) = answer.unwrap();
        let expected = self.expected(question, &selection, cursor);
        let lines = expected.iter().map(|index| &self.records[*index].line);
        assert!(found.iter().map(|(_, line)| line).eq(lines), "{question:?}: {found:?}");
        let cursors = expected.iter().map(|index| self.cursors[index + 1]);
        assert!(found.iter().map(|(cursor, _)| *cursor).eq(cursors), "{question:?}: each cursor is known");
        let last = match question.extent {
            Extent::First => expected.last(),
            Extent::Newest => expected.iter().max(),
        };
        if let Some(last) = last {
            assert_eq!(stopped, self.cursors[last + 1], "{question:?}");
        } else {
            assert!(self.cursors.contains(&stopped), "{question:?}");
        }
    }

    /// Returns the numbers of the records that answer a question.
    fn expected(&self, question: &Question, selection: &Selection, cursor: Option<usize>) -> Vec<usize> {
        let within = |index: &usize| match (cursor, question.order) {
            (None, _) => true,
            (Some(cursor), Order::Ascending) => *index >= cursor,
            (Some(cursor), Order::Descending) => *index + 1 < cursor,
        };
        let mut all: Vec<usize> = (self.cleared..self.records.len())
            .filter(within)
            .filter(|index| selection.admits([&self.records[*index].line[..]]))
            .collect();
        let limit = question.limit.map_or(usize::MAX, |limit| limit as usize);
        let from_the_end = question.extent == Extent::Newest || question.order == Order::Descending;
        if from_the_end {
            all.reverse();
        }
        all.truncate(limit);
        if from_the_end && question.order == Order::Ascending {
            all.reverse();
        }
        all
    }

    async fn follow(&self, from: usize, size: u64) {
        let mut at = self.cursors[from];
        let checked = self.store.check_cursor(at).await;
        if from < self.cleared {
            for outcome in [checked, self.store.line_chunk(at, size).await.map(drop)] {
                let oldest = self.cursors[self.cleared];
                assert!(matches!(outcome, Err(ReadError::Gone { oldest: found }) if found == oldest));
            }
            return;
        }
        checked.unwrap();
        let mut text = Vec::new();
        loop {
            let chunk = self.store.line_chunk(at, size).await.unwrap();
            if chunk.lines.is_empty() {
                break;
            }
            assert!(chunk.lines.ends_with(b"\n"));
            text.extend_from_slice(&chunk.lines);
            let next = chunk.cursor_at(chunk.lines.len());
            assert!(self.store.is_before(at, next));
            at = next;
            assert!(self.cursors.contains(&at), "a chunk ends with a record");
        }
        assert_eq!(at, self.store.end());
        assert!(text == self.lines(from), "{size}");
    }

    /// Returns the lines from a record on.
    fn lines(&self, from: usize) -> Vec<u8> {
        self.records[from..].iter().flat_map(|stored| [&stored.line[..], b"\n"].concat()).collect()
    }

    async fn begin(&self, latest: Option<u64>, since: Option<usize>, level: Option<Level>) {
        let since = since.and_then(|record| self.time_of(record));
        let selection = Selection { since, level, ..Selection::default() };
        let latest = latest.and_then(NonZeroU64::new);
        let found = self.store.begin(selection.clone(), latest, Box::new(|| ())).await.unwrap();
        let end = self.records.len();
        let is_late =
            |index: &usize| since.is_none_or(|since| self.records[*index].record.time.micros >= since);
        let index = match latest {
            None if since.is_none() => end,
            None => (self.cleared..end).find(is_late).unwrap_or(end),
            Some(latest) => {
                let admitted = (self.cleared..end).rev();
                let mut admitted =
                    admitted.filter(|index| selection.admits([&self.records[*index].line[..]]));
                admitted.by_ref().take(latest.get() as usize).last().unwrap_or(end)
            }
        };
        assert_eq!(found, self.cursors[index], "{latest:?} {selection:?}");
    }

    /// Compares everything that needs no question.
    async fn check(&self) {
        let left = self.lines(self.cleared);
        let reading = self.store.read(query(Selection::default())).await.unwrap();
        assert_eq!(Some(&reading.stopped), self.cursors.last());
        let text = reading.blocks.try_collect::<Vec<_>>().await.unwrap().concat();
        assert!(text == left, "the log holds something else");
        let details = self.store.details().await;
        let count = (self.records.len() - self.cleared) as u64;
        assert!(details.counting || details.count == count, "{details:?}");
        assert_eq!(details.size, left.len() as u64);
        assert_eq!((details.oldest.is_some(), details.newest.is_some()), (count > 0, count > 0));
        let statistics = self.store.statistics().await;
        assert_eq!(statistics.records.iter().sum::<u64>(), self.records.len() as u64);
        assert_eq!((statistics.size, self.store.stored()), (left.len() as u64, self.records.len() as u64));
        for pair in self.cursors.windows(2) {
            assert!(self.store.is_before(pair[0], pair[1]) && !self.store.is_before(pair[1], pair[0]));
            let key = self.store.cursor_key();
            assert_eq!(key.decode(&key.encode(pair[0])), Ok(pair[0]));
        }
        if let Some(raw_file) = self.store.raw_file() {
            let snapshot = raw_file.snapshot().await.unwrap();
            assert_eq!((snapshot.len, Some(&snapshot.end)), (left.len() as u64, self.cursors.last()));
            let half = snapshot.len / 2;
            for range in [half..snapshot.len, 0..half] {
                let bytes: Vec<_> = snapshot.bytes.stream(range.clone()).try_collect().await.unwrap();
                assert!(bytes.concat() == left[range.start as usize..range.end as usize]);
            }
        }
    }

    /// Closes the log, which refuses everything afterwards.
    async fn close(self) {
        self.store.close().await.unwrap();
        let entry = Entry::new(Level::Info, "late");
        let refused = append(&*self.store, &SOURCE, &[entry]).await;
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
        assert!(matches!(self.store.clear().await, Err(StoreError::Closed)));
    }
}

#[tokio::test]
async fn every_engine_wakes_its_follower_after_a_change() {
    for (engine, constructor) in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { log_dir: dir.path().to_owned(), state_path: dir.path().join("a.state") };
        let Run { store, .. } = Run::open(constructor, &places, false);
        append(&*store, &SOURCE, &[Entry::new(Level::Info, "one")]).await.unwrap();
        for change in [store.changed(), store.changed()] {
            store.clear().await.unwrap();
            let woken = tokio::time::timeout(std::time::Duration::from_secs(5), change).await;
            assert!(woken.is_ok(), "{engine}");
        }
    }
}

/// Returns a query for all admitted lines.
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

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_engine_agrees_with_the_model(steps in prop::collection::vec(step(), 1..40), is_rotated: bool) {
        for (engine, constructor) in ENGINES {
            let dir = tempfile::tempdir().unwrap();
            let places = Places { log_dir: dir.path().to_owned(), state_path: dir.path().join("a.state") };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                println!("engine: {engine}");
                let mut run = Run::open(constructor, &places, is_rotated);
                for step in &steps {
                    run.take(step.clone()).await;
                    run.check().await;
                }
                run.close().await;
            });
        }
    }
}
