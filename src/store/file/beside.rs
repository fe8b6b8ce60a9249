//! What is done to segments beside the service, one after the other on a thread of low priority: compressing them,
//! counting lines that nobody counted, syncing what was only handed to the kernel. The thread makes a file and tells;
//! what becomes of it is decided by the committer, in order with everything else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::chunks::{CHUNK, Chunks, pack};
use super::recovery::sync_folder;
use super::rotation::rename_new;
use super::segment::{Coding, Segment, mtime_of};
use super::state::out_of_space;
use super::writer::LogFile;
use crate::fault;

/// After a failure the work rests for this time; a full disk may be emptied sooner than another one is repaired.
const REST_FULL: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(600);

/// A segment is compressed when there is room for this part of it.
const EXPECTED: u64 = 4;

/// The lowest priority that there is.
const NICE: i32 = 19;

/// Work on one segment.
#[derive(Debug)]
pub(super) struct Job {
    segment: Arc<Segment>,
    /// what it is to become
    coding: Coding,
    /// where it is made
    unfinished: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    job: Job,
    outcome: io::Result<Made>,
}

#[derive(Debug, Clone, Copy)]
struct Made {
    count: u64,
    stored: u64,
    mtime: i64,
    ino: u64,
}

impl LogFile {
    /// What is to be done next beside the service.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if self.upkeep.idle || self.upkeep.rest_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        self.upkeep.rest_until = None;
        let wanted = Coding::of(self.upkeep.rules.compress);
        let job = self.archive.segments().items().iter().find_map(|segment| {
            let coding = if segment.coding == Coding::Plain { wanted } else { segment.coding };
            let unknown = segment.count.is_none() || segment.mtime.is_none();
            (coding != segment.coding || unknown).then(|| Job {
                segment: Arc::clone(segment),
                coding,
                unfinished: segment.name.unfinished(self.archive.home(), coding),
            })
        });
        let Some(job) = job else {
            self.upkeep.idle = true;
            return None;
        };
        let reserve = self.upkeep.rules.min_free.unwrap_or_default();
        let needed = (job.segment.len / EXPECTED).saturating_add(reserve);
        if job.is_compression() && self.free_space().is_ok_and(|free| free < needed) {
            self.rest(REST_FULL);
            return None;
        }
        Some(job)
    }

    /// Takes the result of a job.
    pub(super) fn finish_job(&mut self, done: Done) {
        let Done { job, outcome } = done;
        let outcome = outcome.and_then(|made| self.put_in(&job, made));
        if outcome.is_err() && job.is_compression() {
            drop(fs::remove_file(&job.unfinished));
        }
        match outcome {
            Ok(()) => self.plan(),
            // Somebody asked for it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.plan(),
            Err(error) => {
                let path = job.segment.path.display();
                self.complain(&format!("can't compress or read its segment {path}: {error}"));
                self.rest(if out_of_space(&error) { REST_FULL } else { REST });
            }
        }
    }

    fn put_in(&mut self, job: &Job, made: Made) -> io::Result<()> {
        let old = &job.segment;
        let known = self.archive.segments().by_seq(old.seq());
        if !known.is_some_and(|known| Arc::ptr_eq(known, old)) || !job.is_unaltered() {
            // Cleared, retired or altered meanwhile.
            return if job.is_compression() { fs::remove_file(&job.unfinished) } else { Ok(()) };
        }
        let new = Segment {
            coding: job.coding,
            count: Some(made.count),
            stored: made.stored,
            mtime: Some(made.mtime),
            ino: made.ino,
            path: old.name.path(self.archive.home(), job.coding),
            ..Segment::clone(old)
        };
        if job.is_compression() {
            rename_new(&job.unfinished, &new.path)?;
            fault::point("compress.renamed");
            sync_folder(&new.path)?;
        }
        self.archive.replace(new);
        fault::point("compress.published");
        if job.is_compression() {
            self.view.shelf().forget(&old.path);
            if let Err(error) = fs::remove_file(&old.path) {
                log::warn!("can't remove {}, which was compressed: {error}", old.path.display());
            }
            fault::point("compress.removed");
        }
        self.settle_archive();
        fault::point("compress.catalogued");
        Ok(())
    }

    fn rest(&mut self, time: Duration) {
        self.upkeep.rest_until = Some(Instant::now() + time);
        self.plan();
    }
}

impl Job {
    fn is_compression(&self) -> bool {
        self.coding != self.segment.coding
    }

    fn is_unaltered(&self) -> bool {
        fs::symlink_metadata(&self.segment.path).is_ok_and(|meta| self.segment.is_unaltered(&meta))
    }

    /// Where the file is while it is made.
    pub(super) fn unfinished(&self) -> Option<PathBuf> {
        self.is_compression().then(|| self.unfinished.clone())
    }

    /// Does it, until `cancelled`. Nothing of a file is left that was not finished.
    pub(super) fn run(self, cancelled: &AtomicBool) -> Done {
        let mut pace = Pace::low();
        let mut count = 0;
        let mut each = |chunk: &[u8]| {
            if cancelled.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            count += memchr::memchr_iter(b'\n', chunk).count() as u64;
            fault::point("compress.begun");
            pace.keep();
            Ok(())
        };
        let outcome = if self.is_compression() { self.compress(&mut each) } else { self.settle(&mut each) };
        if outcome.is_err() && self.is_compression() {
            drop(fs::remove_file(&self.unfinished));
        }
        let outcome = outcome.map(|made| Made { count: self.segment.count.unwrap_or(count), ..made });
        Done { job: self, outcome }
    }

    fn compress(&self, each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Made> {
        let from = File::open(&self.segment.path)?;
        let meta = from.metadata()?;
        if !self.segment.is_unaltered(&meta) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it was changed by another program"));
        }
        let mut options = OpenOptions::new();
        let to = options.write(true).create_new(true).mode(0o640).open(&self.unfinished)?;
        to.set_permissions(meta.permissions())?;
        pack(&from, self.segment.len, &to, self.coding, &mut *each)?;
        to.set_modified(meta.modified()?)?;
        each(&[])?;
        to.sync_all()?;
        fault::point("compress.written");
        Ok(Made::of(&to.metadata()?))
    }

    fn settle(&self, each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Made> {
        let file = File::open(&self.segment.path)?;
        let chunks = match self.segment.coding {
            Coding::Plain => None,
            coding => Some(Chunks::of(&file, coding, self.segment.stored)?),
        };
        let mut at = 0;
        while self.segment.count.is_none() && at < self.segment.len {
            let chunk = match &chunks {
                Some(chunks) => chunks.read(&file, Chunks::index(at))?,
                None => {
                    let mut chunk = vec![0; CHUNK.min(self.segment.len - at) as usize];
                    file.read_exact_at(&mut chunk, at)?;
                    chunk
                }
            };
            each(&chunk)?;
            at += chunk.len() as u64;
        }
        file.sync_all()?;
        Ok(Made::of(&file.metadata()?))
    }
}

impl Made {
    fn of(meta: &fs::Metadata) -> Self {
        Self { count: 0, stored: meta.size(), mtime: mtime_of(meta), ino: meta.ino() }
    }
}

/// Leaves the processor to others. A sandbox may forbid a thread to lower its own priority: then it rests as long as
/// it works.
struct Pace {
    rests: bool,
    begun: Instant,
}

impl Pace {
    fn low() -> Self {
        let this = rustix::thread::gettid();
        let lowered = rustix::process::setpriority_process(Some(this), NICE);
        Self { rests: lowered.is_err(), begun: Instant::now() }
    }

    fn keep(&mut self) {
        if self.rests {
            std::thread::sleep(self.begun.elapsed());
        }
        self.begun = Instant::now();
    }
}
