//! Does background work on segments, one job after the other on a thread of low priority. A job
//! compresses a segment, counts its lines, or syncs a file that was only handed to the kernel. The
//! thread writes a file and sends the result. The committer puts it in place, in order with its
//! other work.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::gettid;

use super::line_count::LineCounter;
use super::rules::Backoff;
use crate::fault;
use crate::store::file::log_file::LogFile;
use crate::store::file::segments::chunks::{CHUNK_BYTES, Chunks, pack};
use crate::store::file::segments::segment::{Coding, Segment, mtime_of};
use crate::store::file::state::durable_fs::{is_out_of_space, open_no_follow, rename_new, sync_folder};

/// Delay of background work after the disk was full.
const DISK_FULL_BACKOFF: Duration = Duration::from_secs(30);

/// Delay of work on a segment after another failure, which takes longer to repair.
const FAILURE_BACKOFF: Duration = Duration::from_secs(600);

/// Expected ratio of a segment's uncompressed size to its compressed size. The store compresses a
/// segment only if the disk has room for a file of that compressed size.
const EXPECTED_RATIO: u64 = 4;

/// The lowest priority of a thread, see nice(2).
const LOWEST_PRIORITY_NICE: &str = "19";

/// Work on one segment.
#[derive(Debug)]
pub(crate) struct Job {
    segment: Arc<Segment>,
    /// The coding of the result.
    coding: Coding,
    /// The file that the job writes.
    unfinished: PathBuf,
}

/// The result of a job.
#[derive(Debug)]
pub(crate) struct JobResult {
    job: Job,
    outcome: io::Result<JobOutput>,
}

/// The properties of the file of a finished job.
#[derive(Debug, Clone, Copy)]
struct JobOutput {
    /// Number of lines.
    count: u64,
    /// Number of lines that do not begin like a record.
    foreign: u64,
    /// Bytes of the file.
    stored: u64,
    mtime: i64,
    ino: u64,
}

impl LogFile {
    /// Returns the next background job, if a segment needs one.
    pub(crate) fn next_job(&mut self) -> Option<Job> {
        if self.maintenance.is_idle {
            return None;
        }
        let newer_than = match self.maintenance.backoff {
            Some(Backoff { until, failed_seq }) if Instant::now() < until => failed_seq?,
            _ => {
                self.maintenance.backoff = None;
                self.maintenance.checked_seq
            }
        };
        let wanted = Coding::of(self.maintenance.rules.compress);
        let items = self.segments.list().items();
        let first = items.partition_point(|segment| segment.seq() <= newer_than);
        let job = items.iter().skip(first).find_map(|segment| {
            let coding = if segment.coding == Coding::Plain { wanted } else { segment.coding };
            let unknown = !segment.is_counted() || segment.mtime.is_none();
            (coding != segment.coding || unknown).then(|| Job {
                segment: Arc::clone(segment),
                coding,
                unfinished: segment.name.unfinished(self.segments.home(), coding),
            })
        });
        if self.maintenance.backoff.is_none() {
            let done = job.as_ref().map_or_else(|| items.last(), |job: &Job| Some(&job.segment));
            let before = u64::from(job.is_some());
            self.maintenance.checked_seq = done.map_or(0, |segment| segment.seq() - before);
        }
        let Some(job) = job else {
            self.maintenance.is_idle = true;
            return None;
        };
        let reserve = self.maintenance.rules.min_free.unwrap_or_default();
        let needed = (job.segment.len / EXPECTED_RATIO).saturating_add(reserve);
        if job.is_compression() && self.free_space().is_ok_and(|free| free < needed) {
            self.back_off(DISK_FULL_BACKOFF, None);
            return None;
        }
        Some(job)
    }

    /// Puts the result of a job in place.
    pub(crate) fn finish_job(&mut self, result: JobResult) {
        let JobResult { job, outcome } = result;
        let outcome = outcome.and_then(|output| self.put_in_place(&job, output));
        if outcome.is_err() && job.is_compression() {
            drop(fs::remove_file(&job.unfinished));
        }
        match outcome {
            Ok(()) => self.plan(),
            // The committer cancelled the job.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.plan(),
            Err(_) if !self.has_still(&job.segment) => self.plan(),
            Err(error) => {
                let path = job.segment.path.display();
                self.warn_maintenance(&format!("can't compress or read its segment {path}: {error}"));
                if is_out_of_space(&error) {
                    self.back_off(DISK_FULL_BACKOFF, None);
                } else {
                    self.back_off(FAILURE_BACKOFF, Some(job.segment.seq()));
                }
            }
        }
    }

    /// Returns whether the segment is still in the log and unaltered.
    fn has_still(&mut self, segment: &Arc<Segment>) -> bool {
        if !segment.is_there() {
            self.view.segment_cache().suspect();
            self.segments.check_files();
        }
        let known = self.segments.list().by_seq(segment.seq());
        known.is_some_and(|known| Arc::ptr_eq(known, segment))
    }

    fn put_in_place(&mut self, job: &Job, output: JobOutput) -> io::Result<()> {
        let old = &job.segment;
        if !self.has_still(old) {
            return if job.is_compression() { fs::remove_file(&job.unfinished) } else { Ok(()) };
        }
        let new = Segment {
            coding: job.coding,
            count: Some(output.count),
            foreign: Some(output.foreign),
            stored: output.stored,
            mtime: Some(output.mtime),
            ino: output.ino,
            path: old.name.path(self.segments.home(), job.coding),
            ..Segment::clone(old)
        };
        if job.is_compression() {
            rename_new(&job.unfinished, &new.path)?;
            fault::point("compress.renamed");
            sync_folder(&new.path)?;
        }
        self.segments.replace(new);
        fault::point("compress.published");
        if job.is_compression() {
            self.view.segment_cache().forget(&old.path);
            if let Err(error) = fs::remove_file(&old.path) {
                log::warn!("can't remove {}, which was compressed: {error}", old.path.display());
            }
            fault::point("compress.removed");
        }
        self.save_segments();
        fault::point("compress.catalogued");
        Ok(())
    }

    fn back_off(&mut self, time: Duration, failed_seq: Option<u64>) {
        self.maintenance.backoff = Some(Backoff { until: Instant::now() + time, failed_seq });
        self.plan();
    }
}

impl Job {
    fn is_compression(&self) -> bool {
        self.coding != self.segment.coding
    }

    /// Returns the path of the file that the job writes, if it writes one.
    pub(crate) fn unfinished(&self) -> Option<PathBuf> {
        self.is_compression().then(|| self.unfinished.clone())
    }

    /// Runs the job until it is done or cancelled. Removes the file if it is incomplete.
    pub(crate) fn run(self, is_cancelled: &AtomicBool) -> JobResult {
        let mut throttle = CpuThrottle::start();
        let mut counter = LineCounter::default();
        let mut each = |chunk: &[u8]| {
            if is_cancelled.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            counter.add(chunk);
            fault::point("compress.begun");
            throttle.pause();
            Ok(())
        };
        let outcome =
            if self.is_compression() { self.compress(&mut each) } else { self.count_and_sync(&mut each) };
        if outcome.is_err() && self.is_compression() {
            drop(fs::remove_file(&self.unfinished));
        }
        let (count, foreign) = match (self.segment.count, self.segment.foreign) {
            (Some(count), Some(foreign)) => (count, foreign),
            _ => (counter.lines, counter.foreign),
        };
        let outcome = outcome.map(|output| JobOutput { count, foreign, ..output });
        JobResult { job: self, outcome }
    }

    fn compress(&self, each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<JobOutput> {
        let from = open_no_follow(&self.segment.path)?;
        let meta = from.metadata()?;
        if !self.segment.is_unaltered(&meta) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another program changed it"));
        }
        let mut options = OpenOptions::new();
        let to = options.write(true).create_new(true).mode(0o640).open(&self.unfinished)?;
        to.set_permissions(meta.permissions())?;
        pack(&from, self.segment.len, &to, self.coding, &mut *each)?;
        to.set_modified(meta.modified()?)?;
        each(&[])?;
        to.sync_all()?;
        fault::point("compress.written");
        Ok(JobOutput::of(&to.metadata()?))
    }

    fn count_and_sync(&self, each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<JobOutput> {
        let file = open_no_follow(&self.segment.path)?;
        let chunks = match self.segment.coding {
            Coding::Plain => None,
            coding => Some(Chunks::of(&file, coding, self.segment.stored)?),
        };
        let mut at = 0;
        while !self.segment.is_counted() && at < self.segment.len {
            let chunk = match &chunks {
                Some(chunks) => chunks.read(&file, Chunks::index(at))?,
                None => {
                    let mut chunk = vec![0; CHUNK_BYTES.min(self.segment.len - at) as usize];
                    file.read_exact_at(&mut chunk, at)?;
                    chunk
                }
            };
            each(&chunk)?;
            at += chunk.len() as u64;
        }
        file.sync_all()?;
        Ok(JobOutput::of(&file.metadata()?))
    }
}

impl JobOutput {
    fn of(meta: &fs::Metadata) -> Self {
        Self { count: 0, foreign: 0, stored: meta.size(), mtime: mtime_of(meta), ino: meta.ino() }
    }
}

/// Leaves the processor to other threads. A sandbox may forbid a thread to lower its priority. The
/// thread then sleeps as long as it worked.
struct CpuThrottle {
    must_sleep: bool,
    worked_since: Instant,
}

impl CpuThrottle {
    fn start() -> Self {
        // Neither std nor nix can set the priority of a thread, but renice(1) can.
        let mut renice = Command::new("renice");
        renice.args(["-n", LOWEST_PRIORITY_NICE, "-p", &gettid().to_string()]);
        let status = renice.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let is_lowered = status.is_ok_and(|status| status.success());
        Self { must_sleep: !is_lowered, worked_since: Instant::now() }
    }

    fn pause(&mut self) {
        if self.must_sleep {
            std::thread::sleep(self.worked_since.elapsed());
        }
        self.worked_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::config::{Compression, Rotate};

    /// Returns a log of three segments to compress.
    fn three_segments() -> (TempDir, LogFile) {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::open(&dir.path().join("log/a.log"), &dir.path().join("a.state")).unwrap();
        for n in 0..3 {
            file.commit(format!("line {n}\n").as_bytes(), 1, false).unwrap();
            file.rotate().unwrap();
        }
        file.set_rules(Some(Rotate { compress: Compression::Zstd, ..Rotate::default() }));
        file.plan();
        (dir, file)
    }

    fn run(file: &mut LogFile, job: Job) {
        let result = job.run(&AtomicBool::new(false));
        file.finish_job(result);
    }

    fn compressed(file: &LogFile) -> Vec<(u64, bool)> {
        let items = file.segments.list().items().iter();
        items.map(|segment| (segment.seq(), segment.coding == Coding::Zstd)).collect()
    }

    fn finish(file: &mut LogFile) {
        while let Some(job) = file.next_job() {
            run(file, job);
        }
        let folder = fs::read_dir(file.segments.home().parent().unwrap()).unwrap();
        assert_eq!(folder.count(), 1 + file.segments.list().items().len(), "an unfinished file is left");
    }

    #[test]
    fn segment_that_left_the_log_does_not_delay_others() {
        type Leave = fn(&mut LogFile, &Path);
        let leaves: [Leave; 4] = [
            |file, _| file.segments.retire_now(1).unwrap(),
            |_, path| fs::remove_file(path).unwrap(),
            |_, path| fs::write(path, "of another length").unwrap(),
            |_, path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
        ];
        for (n, leave) in leaves.into_iter().enumerate() {
            for before in [true, false] {
                let (_dir, mut file) = three_segments();
                let job = file.next_job().unwrap();
                let path = job.segment.path.clone();
                let result = if before {
                    leave(&mut file, &path);
                    job.run(&AtomicBool::new(false))
                } else {
                    let result = job.run(&AtomicBool::new(false));
                    leave(&mut file, &path);
                    result
                };
                file.finish_job(result);
                assert!(file.maintenance.backoff.is_none(), "{n} {before}");
                // The file is no longer part of the log.
                drop(fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)));
                finish(&mut file);
                assert_eq!(compressed(&file), [(2, true), (3, true)], "{n} {before}");
            }
        }
    }

    #[test]
    fn failed_compression_does_not_delay_newer_segments_and_is_tried_again() {
        let (_dir, mut file) = three_segments();
        let job = file.next_job().unwrap();
        let obstacle = job.unfinished().unwrap();
        fs::create_dir(&obstacle).unwrap();
        run(&mut file, job);
        assert!(file.next_maintenance().is_some());
        while let Some(job) = file.next_job() {
            run(&mut file, job);
        }
        assert_eq!(compressed(&file), [(1, false), (2, true), (3, true)]);
        fs::remove_dir(&obstacle).unwrap();
        file.plan();
        assert!(file.next_job().is_none(), "not at once");
        file.maintenance.backoff.as_mut().unwrap().until = Instant::now();
        file.plan();
        finish(&mut file);
        assert_eq!(compressed(&file), [(1, true), (2, true), (3, true)]);
    }

    #[test]
    fn compressed_file_keeps_the_permissions() {
        let (_dir, mut file) = three_segments();
        let plain = file.segments.list().items()[0].path.clone();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o604)).unwrap();
        finish(&mut file);
        let path = &file.segments.list().items()[0].path;
        assert!(!plain.exists() && *path != plain);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o604);
    }
}
