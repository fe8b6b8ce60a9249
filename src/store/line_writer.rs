//! Turns entries into lines, and gives each record its time, its process and its sequence number. An
//! engine calls it under a lock, so the order of the numbers is the order of the lines.

use super::log_store::Source;
use super::statistics::LEVELS;
use crate::record::{Clock, Entry, EscapedEntries, Line, LineFormat, LinePrefix, Stamp, write_line};

/// Estimated length of a line before its message.
const ESTIMATED_PREFIX_BYTES: usize = 128;

/// Returns about how many bytes the lines of `entries` have.
pub(crate) fn estimated_bytes(entries: &[Entry<'_>]) -> usize {
    entries.iter().map(|entry| entry.text_len() + ESTIMATED_PREFIX_BYTES).sum()
}

/// What the next lines have in common: their time, process, format and first number.
#[derive(Debug)]
pub(crate) struct NextLines {
    stamp: Stamp,
    format: LineFormat,
    pid: u32,
    seq: u64,
}

impl NextLines {
    /// Returns the lines that these entries would be, without their line ends.
    pub(crate) fn of(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Vec<String> {
        let Self { stamp, format, pid, seq } = self;
        let line = |(entry, seq): (&Entry<'_>, u64)| {
            let Source { client, key, route } = *source;
            let mut text = Vec::new();
            let line = Line { entry: *entry, stamp, client, key, route, pid: *pid, seq };
            write_line(&mut text, *format, &line);
            text.pop();
            // Every part of a line is text.
            String::from_utf8(text).unwrap_or_default()
        };
        entries.iter().zip(*seq..).map(line).collect()
    }
}

/// Writes the lines of one log in this process.
#[derive(Debug)]
pub(crate) struct LineWriter {
    /// The prefix that the lines of one append share.
    prefix: LinePrefix,
    clock: Clock,
    /// Sequence number of the last record.
    seq: u64,
    pid: u32,
    /// The format of the next lines.
    pub(crate) format: LineFormat,
}

impl LineWriter {
    pub(crate) fn new(clock: Clock, format: LineFormat) -> Self {
        Self { prefix: LinePrefix::default(), clock, seq: 0, pid: std::process::id(), format }
    }

    /// Returns the time of the next records. All entries of an append arrived at once, so they share
    /// one stamp. A stamp costs as much as the rest of a line.
    pub(crate) fn stamp(&mut self) -> Stamp {
        self.clock.stamp()
    }

    /// Returns what the next lines would have in common. Uses no sequence number.
    pub(crate) fn next_lines(&mut self) -> NextLines {
        NextLines { stamp: self.stamp(), format: self.format, pid: self.pid, seq: self.seq + 1 }
    }

    /// Returns the clock, which gives the next records their time.
    pub(crate) const fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    /// Appends the lines of `entries`, which arrived at `stamp`, to `lines`, and counts them by level
    /// in `levels`. `escaped` are their texts in the present format, if the caller has escaped them.
    ///
    /// Sequence numbers of records that fail later are not used again, so a gap in SEQ shows these
    /// records.
    pub(crate) fn write<'a>(
        &mut self,
        source: &Source<'a>,
        entries: &[Entry<'a>],
        stamp: &Stamp,
        escaped: Option<&EscapedEntries>,
        lines: &mut Vec<u8>,
        levels: &mut [u64; LEVELS],
    ) {
        let line = |entry: &Entry<'a>, seq: u64| Line {
            entry: *entry,
            stamp,
            client: source.client,
            key: source.key,
            route: source.route,
            pid: self.pid,
            seq,
        };
        for entry in entries {
            levels[entry.level as usize] += 1;
        }
        match (entries, escaped) {
            ([first, ..], Some(texts)) => {
                self.prefix.take(self.format, &line(first, 0));
                self.prefix.write_escaped(
                    lines,
                    entries.iter().map(|entry| entry.level),
                    texts,
                    self.seq + 1,
                );
            }
            ([entry], None) => write_line(lines, self.format, &line(entry, self.seq + 1)),
            ([first, ..], None) => {
                self.prefix.take(self.format, &line(first, 0));
                for (entry, seq) in entries.iter().zip(self.seq + 1..) {
                    self.prefix.write_line(lines, entry, seq);
                }
            }
            ([], _) => {}
        }
        self.seq += entries.len() as u64;
    }
}
