//! Counts the lines that the log had when it was opened. A large file is counted in the background.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::record::{MAX_HEAD_BYTES, begins_record};
use crate::store::file::published::View;

/// Bytes of one read.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Maximum number of bytes counted without a thread, whose start would cost more.
const MAX_INLINE_COUNT_BYTES: u64 = 4 * BLOCK_BYTES as u64;

/// Counts lines, and those of them that do not begin like a record, in parts that follow one another.
#[derive(Debug, Default)]
pub(crate) struct LineCounter {
    /// Number of line ends.
    pub(crate) lines: u64,
    /// Number of lines that do not begin like a record.
    pub(crate) foreign: u64,
    /// The start of the line that the last part began and did not end, up to the length of a head.
    begun: Vec<u8>,
}

impl LineCounter {
    /// Counts the lines that end in `part`.
    pub(crate) fn add(&mut self, part: &[u8]) {
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', part) {
            let is_record = if self.begun.is_empty() {
                begins_record(&part[start..])
            } else {
                self.begin(&part[start..newline]);
                begins_record(&self.begun)
            };
            self.begun.clear();
            self.lines += 1;
            self.foreign += u64::from(!is_record);
            start = newline + 1;
        }
        self.begin(&part[start..]);
    }

    fn begin(&mut self, line: &[u8]) {
        let room = MAX_HEAD_BYTES - self.begun.len();
        self.begun.extend_from_slice(&line[..line.len().min(room)]);
    }
}

/// Adds the lines in `from..to` of the published file to its count, in the background when there
/// are many.
pub(crate) fn count_lines(view: &Arc<View>, from: u64, to: u64) {
    if from >= to {
        return;
    }
    let seen = {
        let mut published = view.lock();
        published.counting += 1;
        published.clone()
    };
    let job = Count { view: Arc::clone(view), file: seen.file, incarnation: seen.incarnation };
    if to - from <= MAX_INLINE_COUNT_BYTES {
        job.run(from, to);
        return;
    }
    let spawned = std::thread::Builder::new().name("census".into()).spawn(move || job.run(from, to));
    if let Err(error) = spawned {
        log::warn!("can't count the lines of the log in the background: {error}");
    }
}

/// One count of a part of the file.
struct Count {
    view: Arc<View>,
    file: Arc<File>,
    incarnation: u64,
}

impl Count {
    fn run(&self, from: u64, to: u64) {
        if let Err(error) = self.count(from, to) {
            log::warn!("can't count the lines of the log: {error}");
        }
    }

    fn count(&self, mut at: u64, to: u64) -> io::Result<()> {
        let mut block = vec![0; BLOCK_BYTES.min((to - at) as usize)];
        let mut counter = LineCounter::default();
        while at < to {
            let want = block.len().min((to - at) as usize);
            let part = &mut block[..want];
            self.file.read_exact_at(part, at)?;
            counter.add(part);
            at += want as u64;
            let mut published = self.view.lock();
            if published.incarnation != self.incarnation {
                return Ok(());
            }
            published.count += std::mem::take(&mut counter.lines);
            published.foreign += std::mem::take(&mut counter.foreign);
        }
        let mut published = self.view.lock();
        if published.incarnation == self.incarnation {
            published.counting = published.counting.saturating_sub(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: &str = "[INFO](2026-11-23 05:02:29.805789+00:00)<local|k|r|1|1>message";

    proptest! {
        #[test]
        fn lines_are_counted_however_they_are_cut(
            lines in prop::collection::vec(prop::sample::select(vec![RECORD, "", "x", "[INFO](2026-11-23 05:02:29.805789+00:00", "\u{feff}"]), 0..30),
            cuts in prop::collection::vec(1_usize..90, 0..60),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let (mut counter, mut rest) = (LineCounter::default(), text.as_bytes());
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                counter.add(part);
                rest = behind;
            }
            counter.add(rest);
            let foreign = lines.iter().filter(|line| **line != RECORD).count() as u64;
            prop_assert_eq!((counter.lines, counter.foreign), (lines.len() as u64, foreign));
        }
    }
}
