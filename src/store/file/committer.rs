//! Writes the log, as its only writer. On the runtime's thread, the committer takes the current
//! batch at the end of each turn of the event loop. A `write(2)` into the page cache runs there.
//! Everything that may wait for a disk runs on the disk thread, while the next batch fills. The
//! committer wakes all waiting appends at once from the runtime's thread. Before that, the disk
//! thread may run the durability callback of an append that is alone in its batch.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::append_buffer::{Batch, Command};
use super::disk_thread::{DiskThread, thread_ended};
use super::log_file::LogFile;
use super::shared::Shared;
use crate::config::Durability;
use crate::store::StoreError;
use crate::store::commit::{CommitGroup, CommitPosition};
use crate::store::file::maintenance::background_thread::{BackgroundThread, start_cleanup};
use crate::store::file::state::durable_fs::is_out_of_space;

/// Maximum batch written on the runtime's thread with durability `os`. Copying a larger one would
/// delay the event loop.
const MAX_INLINE_WRITE_BYTES: usize = 512 * 1024;

/// Maximum time that the disk thread takes batches by itself, so that maintenance is not delayed.
const MAX_DISK_THREAD_RUN: Duration = Duration::from_millis(20);

/// Interval at which the store probes whether a log that failed can be written again.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Time for which records keep the time of the newest one, after the system clock was set back and
/// no new file could be begun.
const CLOCK_HOLD_TIME: Duration = Duration::from_secs(60);

/// The way in which a batch was written.
enum Turn {
    /// On the runtime's thread.
    Inline,
    /// On the disk thread, while other tasks ran.
    Waited,
    /// It was the last batch, because the store is closed.
    Closed,
}

/// Writes batches and runs commands until the store is closed.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    /// `None` while the disk thread has the file.
    file: Option<Box<LogFile>>,
    disk: DiskThread,
    write_latency: WriteLatency,
    /// When maintenance is due.
    maintenance_at: Option<Instant>,
    /// When the next probe is due, while writes fail.
    probe_at: Option<Instant>,
    /// True while the disk has fewer free bytes than `min_free`, so that appends fail.
    is_low_on_space: bool,
    background: Option<BackgroundThread>,
    /// A thread removes old segments, or writes the manifest.
    is_cleaning: bool,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, file: LogFile) -> io::Result<Self> {
        let maintenance_at = file.next_maintenance();
        let (file, disk, write_latency) =
            (Some(Box::new(file)), DiskThread::spawn()?, WriteLatency::default());
        Ok(Self {
            shared,
            file,
            disk,
            write_latency,
            maintenance_at,
            probe_at: None,
            is_low_on_space: false,
            background: None,
            is_cleaning: false,
        })
    }

    /// Runs until the store is closed.
    pub(crate) async fn run(mut self) {
        let mut timer = pin!(sleep(Duration::ZERO));
        self.update_from_file();
        self.maintain_if_due().await;
        loop {
            match self.maintenance_at.map(tokio::time::Instant::from_std) {
                None => self.shared.work.notified().await,
                Some(at) => {
                    if timer.deadline() != at {
                        timer.as_mut().reset(at);
                    }
                    tokio::select! {
                        () = self.shared.work.notified() => {}
                        () = timer.as_mut() => {}
                    }
                }
            }
            self.maintain_if_due().await;
            while let Some(turn) = self.next_turn().await {
                if matches!(turn, Turn::Closed) {
                    return;
                }
                self.maintain_if_due().await;
                // Other threads may append faster than this one writes. The other tasks of this
                // thread need a turn as well.
                if matches!(turn, Turn::Inline) && !self.shared.append_buffer.is_empty() {
                    yield_now().await;
                }
            }
        }
    }

    /// Runs maintenance when it is due, also under constant load.
    async fn maintain_if_due(&mut self) {
        if self.maintenance_at.is_some_and(|at| at <= Instant::now()) {
            self.probe_at = None;
            let must_probe = self.shared.failure.is_set();
            let work = move |file: &mut LogFile| {
                let verified = file.verify_and_maintain();
                if must_probe { verified.and_then(|()| file.probe()) } else { verified }
            };
            match self.on_disk_thread(work).await.flatten() {
                Ok(()) if must_probe => self.shared.report_probe(),
                Ok(()) => {}
                Err(error) => {
                    let error = StoreError::write(error);
                    self.shared.warn_rate_limited(&error);
                    self.shared.set_failure(&error);
                    self.plan_probe();
                }
            }
        }
    }

    /// Plans a probe of whether records can be stored again, so that `/status` tells the truth when
    /// no client sends any.
    fn plan_probe(&mut self) {
        let at = Instant::now() + PROBE_INTERVAL;
        self.probe_at = Some(at);
        self.maintenance_at = Some(self.maintenance_at.map_or(at, |planned| planned.min(at)));
    }

    /// Acts on what changed while the file was used: clock, free space, background work,
    /// maintenance.
    fn update_from_file(&mut self) {
        let Some(file) = &mut self.file else { return };
        if std::mem::take(&mut file.is_new_file) {
            self.shared.append_buffer.begin_file(file.newest);
        }
        if std::mem::replace(&mut self.is_low_on_space, file.is_low_on_space()) != file.is_low_on_space() {
            self.shared.append_buffer.set_low_on_space(file.is_low_on_space());
        }
        if self.background.is_none()
            && let Some(job) = file.next_job()
        {
            self.background = BackgroundThread::start(job, Arc::clone(&self.shared));
        }
        if !self.is_cleaning
            && let Some(work) = file.next_cleanup()
        {
            self.is_cleaning = start_cleanup(work, Arc::clone(&self.shared));
            if !self.is_cleaning {
                file.give_up_cleanup();
            }
        }
        // Last, because work that can't start now plans a later maintenance.
        self.maintenance_at = [file.next_maintenance(), self.probe_at].into_iter().flatten().min();
    }

    fn cancel_job(&self) {
        if let Some(background) = &self.background {
            background.cancel();
        }
    }

    /// Writes the current batch and runs its commands, unless it is empty.
    async fn next_turn(&mut self) -> Option<Turn> {
        if self.shared.append_buffer.is_for_disk() && self.through_disk_thread(None, true).await.is_ok() {
            return Some(Turn::Waited);
        }
        let batch = self.shared.append_buffer.take()?;
        Some(self.turn(batch).await)
    }

    /// Writes one batch, then runs its commands.
    async fn turn(&mut self, mut batch: Batch) -> Turn {
        let mut turn = Turn::Waited;
        self.shared.room.notify_waiters();
        let commands = std::mem::take(&mut batch.commands);
        if batch.records > 0 {
            match self.file.as_mut() {
                Some(file)
                    if batch.durability == Durability::Os
                        && batch.lines.len() <= MAX_INLINE_WRITE_BYTES
                        && file.can_append(batch.lines.len())
                        && self.write_latency.is_low()
                        && file.admits_times(batch.times)
                        && file.is_undisturbed() =>
                {
                    let started_at = Instant::now();
                    let written = batch.write(file, Self::append_inline, &self.shared);
                    self.write_latency.record(started_at);
                    turn = Turn::Inline;
                    self.complete(written);
                }
                _ => {
                    let group = Arc::clone(&batch.group);
                    if let Err(error) = self.through_disk_thread(Some(batch), commands.is_empty()).await {
                        self.complete(Written { group, outcome: Err(StoreError::write(error)) });
                    }
                }
            }
        }
        for command in commands {
            if self.run_command(command).await {
                turn = Turn::Closed;
            }
        }
        turn
    }

    fn append_inline(file: &mut LogFile, batch: &Batch) -> Result<CommitPosition, StoreError> {
        file.append(&batch.lines, batch.records, false)
    }

    /// Completes the tickets of a batch.
    fn complete(&mut self, written: Written) {
        match &written.outcome {
            Ok(_) => {
                self.shared.clear_failure();
                self.shared.report_recovery();
            }
            Err(error) => {
                self.shared.set_failure(error);
                self.plan_probe();
                if error.cause().is_some_and(is_out_of_space) {
                    // A half compressed segment takes space that records need.
                    self.cancel_job();
                }
                self.shared.warn_rate_limited(error);
            }
        }
        written.group.complete(written.outcome);
    }

    /// Lets the disk thread write a batch. The disk thread then continues with the batch that has
    /// filled meanwhile, as long as each is about as large as the one before. So the disk does not
    /// idle until this thread has its turn. Throughput grows by a fifth with a few senders, and by
    /// a twentieth with 64. A smaller batch grows until the end of the turn, because it would cost
    /// a separate sync. The disk thread continues only when no command waits (`may_continue`),
    /// because later records must not overtake a command.
    ///
    /// Without a batch, the disk thread takes the current one when it starts, so that records which
    /// arrived until then share its sync. Senders of batches get a tenth more throughput.
    async fn through_disk_thread(&mut self, batch: Option<Batch>, may_continue: bool) -> io::Result<()> {
        let (report, mut reports) = unbounded_channel();
        let shared = Arc::clone(&self.shared);
        let take = move |min_bytes| {
            let batch = shared.append_buffer.take_for_disk(min_bytes)?;
            shared.room.notify_waiters();
            Some(batch)
        };
        let shared = Arc::clone(&self.shared);
        let work = move |file: &mut LogFile| {
            let until = Instant::now() + MAX_DISK_THREAD_RUN;
            let mut next = batch.or_else(|| take(0));
            while let Some(batch) = next {
                let sync = batch.durability == Durability::Disk;
                let min_bytes = batch.lines.len() - batch.lines.len() / 8;
                let commit = |file: &mut LogFile, batch: &Batch| {
                    file.admit_times(batch.times)?;
                    file.commit(&batch.lines, batch.records, sync)
                };
                let written = batch.write(file, commit, &shared);
                let goes_on = may_continue
                    && sync
                    && written.outcome.is_ok()
                    && !file.is_low_on_space()
                    && Instant::now() < until;
                drop(report.send(written));
                next = if goes_on { take(min_bytes) } else { None };
            }
        };
        let done = self.start_on_disk_thread(work)?;
        while let Some(written) = reports.recv().await {
            self.complete(written);
        }
        // If the disk thread has ended, the next batch fails.
        drop(self.wait_for_disk_thread(done).await);
        Ok(())
    }

    /// Runs a command. Returns true when it closed the store.
    async fn run_command(&mut self, command: Command) -> bool {
        match command {
            Command::Verify(reply) => {
                answer(reply, self.on_disk_thread(LogFile::verify_all).await.flatten());
                false
            }
            Command::NoticeChanges(reply) => {
                answer(reply, self.on_disk_thread(LogFile::notice_changes).await.flatten());
                false
            }
            Command::CheckState(reply) => {
                answer(reply, self.on_disk_thread(LogFile::check_state).await.flatten());
                false
            }
            Command::Finished(result) => {
                self.background = None;
                drop(self.on_disk_thread(|file| file.finish_job(result)).await);
                false
            }
            Command::Cleaned(result) => {
                self.is_cleaning = false;
                drop(self.on_disk_thread(|file| file.finish_cleanup(result)).await);
                false
            }
            Command::Clear(reply) => {
                self.cancel_job();
                answer(reply, self.on_disk_thread(LogFile::clear).await.flatten());
                false
            }
            Command::Reconfigure(settings, reply) => {
                let (path, rules) = (settings.path.clone(), settings.rotate.clone());
                self.cancel_job();
                let outcome = self.on_disk_thread(move |file| {
                    file.move_to(&path)?;
                    file.set_rules(rules);
                    Ok(())
                });
                let outcome = outcome.await.flatten();
                if outcome.is_ok() {
                    self.shared.append_buffer.apply(settings);
                }
                answer(reply, outcome);
                false
            }
            Command::Close(reply) => {
                if let Some(background) = self.background.take() {
                    background.end().await;
                }
                answer(reply, self.on_disk_thread(LogFile::close).await.flatten());
                true
            }
        }
    }

    async fn on_disk_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut LogFile) -> T + Send + 'static,
    ) -> io::Result<T> {
        let done = self.start_on_disk_thread(work)?;
        self.wait_for_disk_thread(done).await
    }

    fn start_on_disk_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut LogFile) -> T + Send + 'static,
    ) -> io::Result<oneshot::Receiver<(Box<LogFile>, T)>> {
        let mut file = self.file.take().ok_or_else(thread_ended)?;
        let (reply, done) = oneshot::channel();
        self.disk.run(Box::new(move || {
            let result = work(&mut file);
            // The receiver is gone when the runtime ended.
            drop(reply.send((file, result)));
        }))?;
        Ok(done)
    }

    async fn wait_for_disk_thread<T>(&mut self, done: oneshot::Receiver<(Box<LogFile>, T)>) -> io::Result<T> {
        let (file, result) = done.await.map_err(|_| thread_ended())?;
        self.file = Some(file);
        self.update_from_file();
        Ok(result)
    }
}

/// A batch that was written, or failed.
struct Written {
    group: Arc<CommitGroup>,
    outcome: Result<CommitPosition, StoreError>,
}

impl Batch {
    /// Writes the lines, counts them, recycles their buffer, and runs the durability callback.
    fn write(
        self,
        file: &mut LogFile,
        write: impl FnOnce(&mut LogFile, &Self) -> Result<CommitPosition, StoreError>,
        shared: &Shared,
    ) -> Written {
        let outcome = write(file, &self);
        if std::mem::take(&mut file.must_hold_clock)
            && let Some(newest) = file.newest
        {
            // Before the answer, so that the next records of the client can be stored.
            shared.append_buffer.hold_clock(newest, CLOCK_HOLD_TIME);
        }
        let Self { lines, records, levels, group, times, .. } = self;
        if let Ok(position) = &outcome {
            file.newest = Some(times.newest);
            shared.counters.last_record.set(times.newest);
            // Counted first, because the client may read the counters after its answer.
            shared.counters.add(&levels, lines.len() as u64);
            if records == 1 {
                group.run_callback(*position);
            }
        }
        shared.append_buffer.recycle(lines);
        Written { group, outcome }
    }
}

/// The latency of writes into the page cache. While it is high, for example because the disk can't
/// keep up with dirty pages, the disk thread does the writes.
#[derive(Debug, Default)]
struct WriteLatency {
    high_until: Option<Instant>,
}

impl WriteLatency {
    /// Maximum duration of a write that only copies into memory.
    const MAX_COPY_TIME: Duration = Duration::from_millis(5);

    /// Time for which the disk thread writes after a slow write.
    const SLOW_WRITE_COOLDOWN: Duration = Duration::from_secs(1);

    fn is_low(&self) -> bool {
        self.high_until.is_none_or(|until| Instant::now() >= until)
    }

    fn record(&mut self, started_at: Instant) {
        let now = Instant::now();
        self.high_until = (now - started_at > Self::MAX_COPY_TIME).then(|| now + Self::SLOW_WRITE_COOLDOWN);
    }
}

fn answer(reply: oneshot::Sender<Result<(), StoreError>>, outcome: io::Result<()>) {
    // The receiver is gone when the caller no longer waits.
    drop(reply.send(outcome.map_err(StoreError::write)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Compression, Rotate};
    use crate::record::LineFormat;
    use crate::store::file::FileStore;
    use crate::store::file::segments::segment::Segment;
    use crate::store::file::settings::Settings;

    #[test]
    fn compression_that_lacks_space_is_tried_again_without_appends() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::open(&dir.path().join("a.log"), &dir.path().join("a.state")).unwrap();
        file.commit(b"line\n", 1, false).unwrap();
        file.rotate().unwrap();
        // The segment claims more bytes than any disk has space for.
        let segment = Segment::clone(&file.segments.list().items()[0]);
        file.segments.replace(Segment { len: u64::MAX / 2, ..segment });
        file.save_segments();
        file.set_rules(Some(Rotate { compress: Compression::Zstd, ..Rotate::default() }));
        file.plan();
        let settings = Settings {
            path: dir.path().join("b.log"),
            format: LineFormat::Text,
            durability: Durability::Os,
            rotate: None,
        };
        let (store, _) = FileStore::open(&settings, dir.path(), &dir.path().join("b.state"), 1024).unwrap();
        let mut committer = Committer::new(Arc::clone(&store.shared), file).unwrap();
        assert!(committer.maintenance_at.is_none(), "nothing is due");
        committer.update_from_file();
        assert!(committer.background.is_none() && committer.maintenance_at.is_some());
    }
}
