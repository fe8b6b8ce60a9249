//! Writes the records of a scan into an answer, in blocks of bounded size.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::long_line;
use super::scan::Scan;
use super::turn::turn;
use crate::store::{Form, StoreError};

/// Writes records into an answer.
pub(super) struct Writing {
    pub(super) scan: Scan,
    pub(super) form: Arc<Form>,
    /// Maximum number of units that follow.
    pub(super) left: u64,
    /// The offsets of the last unit written.
    pub(super) last: Option<Range<u64>>,
    /// The rest of a long line that is being copied.
    copying: Range<u64>,
    is_opened: bool,
    is_closed: bool,
}

impl Writing {
    pub(super) fn new(scan: Scan, form: Arc<Form>, limit: Option<NonZeroU64>) -> Self {
        let left = limit.map_or(u64::MAX, NonZeroU64::get);
        Self { scan, form, left, last: None, copying: 0..0, is_opened: false, is_closed: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.copying.is_empty() && (self.left == 0 || self.scan.is_done())
    }

    /// Appends records until `out` holds `max_bytes` or slightly more, or `until` has passed.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, max_bytes: usize, until: Instant) -> io::Result<()> {
        if !self.is_opened {
            self.is_opened = true;
            out.extend_from_slice(self.form.open.as_bytes());
        }
        let snapshot = self.scan.snapshot().clone();
        loop {
            self.copy(out, max_bytes)?;
            while self.left > 0
                && self.copying.is_empty()
                && out.len() < max_bytes
                && let Some(found) = self.scan.next()
            {
                if found.is_long {
                    let (range, is_first) = (found.range, self.last.is_none());
                    self.last = Some(range.clone());
                    self.left -= 1;
                    self.write_long(out, range, is_first)?;
                    continue;
                }
                match &self.form.write {
                    Some(write) => {
                        for (index, (line, after)) in found.each().enumerate() {
                            if index > 0 || self.last.is_some() {
                                out.extend_from_slice(self.form.between.as_bytes());
                            }
                            write(out, line, snapshot.cursor_at(after));
                        }
                    }
                    None => {
                        out.extend_from_slice(found.lines);
                        if !found.lines.ends_with(b"\n") {
                            out.push(b'\n');
                        }
                    }
                }
                self.left -= 1;
                self.last = Some(found.range);
            }
            if self.is_done() || out.len() >= max_bytes || Instant::now() >= until {
                return Ok(());
            }
            if self.copying.is_empty() {
                self.scan.read()?;
            }
        }
    }

    fn write_long(&mut self, out: &mut Vec<u8>, range: Range<u64>, is_first: bool) -> io::Result<()> {
        let Some(write) = &self.form.write else {
            self.copying = range;
            return Ok(());
        };
        if !is_first {
            out.extend_from_slice(self.form.between.as_bytes());
        }
        long_line::write_record(out, write, self.scan.snapshot(), range, self.scan.sizes())
    }

    /// Copies a part of a long line, unchanged.
    fn copy(&mut self, out: &mut Vec<u8>, max_bytes: usize) -> io::Result<()> {
        let len = (max_bytes.saturating_sub(out.len()) as u64).min(self.copying.end - self.copying.start);
        if len == 0 {
            return Ok(());
        }
        let start = self.copying.start;
        out.append(&mut self.scan.snapshot().read(start..start + len)?);
        self.copying.start += len;
        if self.copying.is_empty() && !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        Ok(())
    }

    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if !self.is_closed {
            self.is_closed = true;
            out.extend_from_slice(self.form.close.as_bytes());
        }
    }

    /// Streams the blocks in `written`, then the rest.
    pub(super) fn stream(
        self,
        max_bytes: usize,
        written: VecDeque<Vec<u8>>,
    ) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let step = move |(mut writing, mut written): (Self, VecDeque<Vec<u8>>)| async move {
            loop {
                if let Some(block) = written.pop_front() {
                    return Ok(Some((Bytes::from(block), (writing, written))));
                }
                if writing.is_closed {
                    return Ok(None);
                }
                let block;
                (writing, block) = turn(writing, move |writing, until| {
                    let mut block = Vec::new();
                    writing.write(&mut block, max_bytes, until)?;
                    if writing.is_done() {
                        writing.close(&mut block);
                    }
                    Ok(block)
                })
                .await?;
                written.extend((!block.is_empty()).then_some(block));
            }
        };
        stream::try_unfold((self, written), step).boxed()
    }
}
