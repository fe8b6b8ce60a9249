//! Counts the lines that the log had when it was opened. A large file is counted in the background.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::store::file::published::View;

/// Bytes of one read.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Maximum number of bytes counted without a thread, whose start would cost more.
const MAX_INLINE_COUNT_BYTES: u64 = 4 * BLOCK_BYTES as u64;

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
        while at < to {
            let want = block.len().min((to - at) as usize);
            let part = &mut block[..want];
            self.file.read_exact_at(part, at)?;
            let lines = memchr::memchr_iter(b'\n', part).count() as u64;
            at += want as u64;
            let mut published = self.view.lock();
            if published.incarnation != self.incarnation {
                return Ok(());
            }
            published.count += lines;
        }
        let mut published = self.view.lock();
        if published.incarnation == self.incarnation {
            published.counting = published.counting.saturating_sub(1);
        }
        Ok(())
    }
}
