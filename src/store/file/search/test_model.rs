//! A simple model of a log with lines of several programs, and of its selections.

use proptest::prelude::*;

use super::tests::TINY;
use crate::record::{self, Level, Line, LineFormat, Stamp, Time, read_any_line, write_line};
use crate::store::{Clients, Pattern, Selection};

/// A line of a log: a record in either format, or a line of another program.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Record {
        later: i64,
        level: u64,
        client: usize,
        key: usize,
        message: String,
        json: bool,
        damaged: bool,
    },
    /// A record of version 1.0.0, whose message may hold line ends.
    Old {
        later: i64,
        level: u64,
        head: usize,
        message: String,
        whole_second: bool,
    },
    Foreign(Vec<u8>),
    /// A record of version 1.0.0 that is longer than a block.
    Long {
        later: i64,
        len: usize,
        end: String,
    },
}

const CLIENTS: [&str; 4] = ["192.0.2.7", "192.0.2.130", "2001:db8::7", "local"];
const HEADS: [&str; 2] = ["root.py|save_log|48|20351|140277165046656", "root.py|<module>|65"];
const KEYS: [&str; 3] = ["web", "a|b", "app"];

fn any_message() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-c ]{0,6}",
        1 => prop::sample::select(vec!["\n", "\\", "\"", "\t", "\\n", "\u{1b}", "\u{2028}", "é", "needle", "INFO", "web"]).prop_map(str::to_owned),
        1 => "[a-c]{0,200}",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

pub(super) fn any_entry() -> impl Strategy<Value = Entry> {
    let later = || prop_oneof![3 => 0_i64..3, 1 => 0_i64..100_000];
    let record = (later(), 0_u64..5, 0..CLIENTS.len(), 0..KEYS.len(), any_message(), 0_u8..12).prop_map(
        |(later, level, client, key, message, form)| Entry::Record {
            later,
            level,
            client,
            key,
            message,
            json: form % 2 == 0,
            damaged: form == 0,
        },
    );
    let old = (later(), 0_u64..5, 0..HEADS.len(), any_message(), any::<bool>()).prop_map(
        |(later, level, head, message, whole_second)| Entry::Old {
            later,
            level,
            head,
            message,
            whole_second,
        },
    );
    let foreign = prop_oneof![
        4 => "[a-c ]{0,40}".prop_map(String::into_bytes),
        1 => "[a-c]{600,5000}(needle)?[a-c]{0,9}".prop_map(String::into_bytes),
        2 => any_message().prop_map(|text| text.replace('\n', "").into_bytes()),
        1 => prop::collection::vec(any::<u8>().prop_filter("a line end", |byte| *byte != b'\n'), 0..40),
        2 => prop::sample::select(vec![
            &b"[ERROR](2026-11-23 needle"[..],
            b"{\"time\":\"needle\"}",
            b"Traceback (most recent call last):\r",
            b"  File \"a.py\", line 1, in needle",
            b"\xef\xbb\xbf",
            b"caf\xe9 needle",
        ]).prop_map(<[u8]>::to_vec),
    ]
    .prop_map(Entry::Foreign);
    let long = (later(), 800_usize..6000, "[a-c ]{0,9}|needle|naïve")
        .prop_map(|(later, len, end)| Entry::Long { later, len, end });
    prop_oneof![12 => record, 4 => old, 8 => foreign, 1 => long]
}

/// Returns the bytes of the lines. Times do not go backwards.
pub(super) fn content(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut micros = 1_795_410_149_805_789;
    for (seq, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Record { later, level, client, key, message, json, damaged } => {
                let begin = out.len();
                micros += later;
                let line = Line {
                    entry: record::Entry::new(Level::from_number(*level).unwrap(), message),
                    stamp: &Stamp::from(Time { micros, offset: 3600 }),
                    client: CLIENTS[*client],
                    key: KEYS[*key],
                    route: "save-log",
                    pid: 7,
                    seq: seq as u64,
                };
                write_line(&mut out, if *json { LineFormat::Json } else { LineFormat::Text }, &line);
                if *damaged {
                    // The line is unchanged up to the end of its time.
                    out.drain(begin + 50..begin + 55);
                }
            }
            Entry::Old { later, level, head, message, whole_second } => {
                micros += later;
                if *whole_second {
                    micros = (micros / 1_000_000 + 1) * 1_000_000;
                }
                let mut time = Stamp::from(Time { micros, offset: 3600 }).to_string();
                if *whole_second {
                    time.replace_range(19..26, "");
                }
                let level = Level::from_number(*level).unwrap();
                let head = HEADS[*head];
                out.extend_from_slice(format!("[{}]({time})<{head}>{message}\n", level.as_str()).as_bytes());
            }
            Entry::Long { later, len, end } => {
                micros += later;
                let time = Stamp::from(Time { micros, offset: 3600 });
                let (head, text) = (HEADS[0], "abcb ".repeat(len / 5));
                out.extend_from_slice(format!("[ERROR]({time})<{head}>{text}{end}\n").as_bytes());
            }
            Entry::Foreign(line) => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        }
    }
    out
}

pub(super) fn any_selection() -> impl Strategy<Value = Selection> {
    let time = || {
        prop::option::weighted(
            0.3,
            prop_oneof![0_i64..20, 0_i64..400_000].prop_map(|n| n - 5 + 1_795_410_149_805_789),
        )
    };
    let text = || {
        prop_oneof![
            any_message(),
            prop::sample::select(vec!["a", "needle", "\\", "n", "\"", "\u{2028}", "INFO", "\n", ""])
                .prop_map(str::to_owned)
        ]
    };
    let texts = prop::collection::vec(text(), 0..3);
    let pattern = prop::option::weighted(
        0.2,
        prop::sample::select(vec!["^a", "b+c", "needle$", "(?i)NEEDLE|é", "", r"\n"]),
    );
    let clients =
        prop::option::weighted(0.2, prop::sample::select(vec!["192.0.2.0/25", "::/0", "local", "192.0.2.7"]));
    let keys = prop::collection::vec(prop::sample::select(KEYS.to_vec()), 0..2);
    (
        time(),
        time(),
        prop::option::weighted(0.3, 0_u64..5),
        prop_oneof![3 => Just(Vec::new()), 2 => texts],
        pattern,
        clients,
        prop_oneof![3 => Just(Vec::new()), 1 => keys],
    )
        .prop_map(|(since, until, level, mut contains, regex, clients, keys)| {
            contains.retain(|text| !text.is_empty());
            Selection {
                since,
                until,
                level: level.map(|level| Level::from_number(level).unwrap()),
                contains,
                regex: regex.map(|text| Pattern::new(text).unwrap()),
                clients: clients.map(|text| Clients::from_texts([text]).unwrap()),
                keys: keys.into_iter().map(str::to_owned).collect(),
            }
        })
}

/// A record with the lines that continue it, or a line that belongs to no record.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Each line, as an answer shows it.
    pub(super) lines: Vec<ShownLine>,
    /// The texts in which a search may find something: message, values of fields, other lines.
    pub(super) texts: Vec<String>,
    /// Time, level, client and key of the record.
    head: Option<(i64, Level, Option<String>, Option<String>)>,
}

#[derive(Debug, Clone)]
pub(super) struct ShownLine {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) shown: String,
}

/// Returns the units of a log, found line by line.
pub(super) fn units(content: &[u8]) -> Vec<Unit> {
    let mut all: Vec<Unit> = Vec::new();
    let mut end = 0;
    for whole in content.split_inclusive(|byte| *byte == b'\n') {
        let start = end;
        end += whole.len() as u64;
        let line = &whole[..whole.len() - 1];
        let (is_long, is_cut) = (whole.len() > TINY.unit, whole.len() > TINY.whole);
        let mut text = String::from_utf8_lossy(line).into_owned();
        let record = read_any_line(line);
        if is_cut {
            // The head of a long line may be damaged, but the lines have only ASCII.
            text = format!("{} \\| cut={}", &text[..TINY.block], whole.len());
        }
        let shown = ShownLine { start, end, shown: text };
        let open = all.last_mut().filter(|unit| unit.head.is_some() && start - unit.start < TINY.unit as u64);
        match (record, open) {
            (None, Some(unit)) if !is_long => {
                unit.end = end;
                unit.texts.push(shown.shown.clone());
                unit.lines.push(shown);
            }
            (record, _) => {
                let texts = record.as_ref().map_or_else(
                    || vec![String::from_utf8_lossy(line).into_owned()],
                    |record| {
                        let values = record.fields.iter().map(|(_, value)| value.into_owned());
                        std::iter::once(record.message.to_string()).chain(values).collect()
                    },
                );
                let head = record.map(|record| {
                    let sender =
                        record.origin.map(|origin| (origin.client.to_string(), origin.key.to_string()));
                    let (client, key) = sender.unzip();
                    (record.time.micros, record.level, client, key)
                });
                all.push(Unit { start, end, lines: vec![shown], texts, head });
            }
        }
    }
    all
}

impl Unit {
    /// Returns whether a selection admits the unit, condition by condition.
    pub(super) fn is_admitted(&self, selection: &Selection) -> bool {
        if selection.is_all() {
            return true;
        }
        let Selection { since, until, level, contains, regex, clients, keys } = selection;
        let head = match &self.head {
            Some((time, severity, client, key)) => {
                since.is_none_or(|since| *time >= since)
                    && until.is_none_or(|until| *time < until)
                    && level.is_none_or(|level| *severity >= level)
                    && clients
                        .as_ref()
                        .is_none_or(|them| client.as_ref().is_some_and(|client| them.contain(client)))
                    && (keys.is_empty() || key.as_ref().is_some_and(|key| keys.contains(key)))
            }
            None => {
                since.is_none() && until.is_none() && level.is_none() && clients.is_none() && keys.is_empty()
            }
        };
        head && contains.iter().all(|text| self.texts.iter().any(|held| held.contains(text)))
            && regex.as_ref().is_none_or(|regex| self.texts.iter().any(|held| regex.matches(held)))
    }
}
