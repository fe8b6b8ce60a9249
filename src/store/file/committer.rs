//! The one writer. On the thread of the runtime it takes the batch in hand at the end of each turn of the event loop;
//! a `write(2)` into the page cache is done there, everything that may wait for a disk on a thread of its own, while
//! the next batch fills. Waiting appends are woken from the runtime's thread, all at once; one that is alone may be told
//! by the disk's thread before.

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
use crate::store::file::maintenance::background_thread::BackgroundThread;
use crate::store::file::state::durable_fs::is_out_of_space;

/// More than this is written on the other thread also in `os`: copying it would hold the event loop up.
const INLINE: usize = 512 * 1024;

/// So long the disk thread goes on by itself before the file is looked after.
const STRETCH: Duration = Duration::from_millis(20);

/// How a batch was dealt with.
enum Turn {
    /// at once, while nothing else ran on this thread
    Inline,
    /// on another thread, while others ran on this one
    Waited,
    /// the last one: the store is closed
    Closed,
}

/// Runs until the store is closed.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    file: Option<Box<LogFile>>,
    disk: DiskThread,
    write_latency: WriteLatency,
    /// when the file wants to be looked after
    visit: Option<Instant>,
    /// records are refused, for the disk has too little space left
    refusing: bool,
    background: Option<BackgroundThread>,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, file: LogFile) -> io::Result<Self> {
        let visit = file.next_maintenance();
        let (file, disk, write_latency) =
            (Some(Box::new(file)), DiskThread::spawn()?, WriteLatency::default());
        Ok(Self { shared, file, disk, write_latency, visit, refusing: false, background: None })
    }

    pub(crate) async fn run(mut self) {
        let mut alarm = pin!(sleep(Duration::ZERO));
        self.after_disk();
        self.visit_if_due().await;
        loop {
            match self.visit.map(tokio::time::Instant::from_std) {
                None => self.shared.work.notified().await,
                Some(at) => {
                    if alarm.deadline() != at {
                        alarm.as_mut().reset(at);
                    }
                    tokio::select! {
                        () = self.shared.work.notified() => {}
                        () = alarm.as_mut() => {}
                    }
                }
            }
            self.visit_if_due().await;
            while let Some(turn) = self.next_turn().await {
                if matches!(turn, Turn::Closed) {
                    return;
                }
                self.visit_if_due().await;
                // Other threads may append faster than this one writes: who shares it has to get on.
                if matches!(turn, Turn::Inline) && !self.shared.append_buffer.is_empty() {
                    yield_now().await;
                }
            }
        }
    }

    /// Looks after the file when it is time, however many records come.
    async fn visit_if_due(&mut self) {
        if self.visit.is_some_and(|at| at <= Instant::now()) {
            // What went wrong was told where it did, or is what the next append is told.
            drop(self.on_disk_thread(LogFile::verify_and_maintain).await);
        }
    }

    /// What the file wants after something was done with it.
    fn after_disk(&mut self) {
        let Some(file) = &mut self.file else { return };
        if let Some(newest) = file.take_newest() {
            self.shared.append_buffer.not_before(newest);
        }
        if std::mem::replace(&mut self.refusing, file.is_low_on_space()) != file.is_low_on_space() {
            self.shared.append_buffer.refuse(file.is_low_on_space());
        }
        if self.background.is_none()
            && let Some(job) = file.next_job()
        {
            self.background = BackgroundThread::start(job, Arc::clone(&self.shared));
        }
        // At last: what cannot be worked on now wants to be looked at later.
        self.visit = file.next_maintenance();
    }

    fn cancel_job(&self) {
        if let Some(background) = &self.background {
            background.cancel();
        }
    }

    /// Deals with what is there, if there is anything.
    async fn next_turn(&mut self) -> Option<Turn> {
        if self.shared.append_buffer.is_for_disk() && self.through_disk_thread(None, true).await.is_ok() {
            return Some(Turn::Waited);
        }
        let batch = self.shared.append_buffer.take()?;
        Some(self.turn(batch).await)
    }

    /// One batch and what follows it.
    async fn turn(&mut self, mut batch: Batch) -> Turn {
        let mut turn = Turn::Waited;
        self.shared.room.notify_waiters();
        let commands = std::mem::take(&mut batch.commands);
        if batch.records > 0 {
            match self.file.as_mut() {
                Some(file)
                    if batch.durability == Durability::Os
                        && batch.lines.len() <= INLINE
                        && file.can_append(batch.lines.len())
                        && self.write_latency.is_quick()
                        && file.is_undisturbed() =>
                {
                    let begun = Instant::now();
                    let written =
                        batch.write(|lines, records| file.append(lines, records, false), &self.shared);
                    self.write_latency.note(begun);
                    turn = Turn::Inline;
                    self.settle(written);
                }
                _ => {
                    let group = Arc::clone(&batch.group);
                    if let Err(error) = self.through_disk_thread(Some(batch), commands.is_empty()).await {
                        self.settle(Written { group, outcome: Err(error) });
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

    /// Tells who waits for a batch.
    fn settle(&self, written: Written) {
        match &written.outcome {
            Ok(_) => self.shared.recovered(),
            Err(error) => {
                if is_out_of_space(error) {
                    // What is half compressed takes the room of records.
                    self.cancel_job();
                }
                self.shared.warn_rate_limited(error);
            }
        }
        written.group.complete(written.outcome.map_err(|error| StoreError::write(&error)));
    }

    /// Has the disk thread write a batch, and what has gathered meanwhile: as long as that is about as much as the last
    /// time, it goes on by itself, for until this thread had its turn the disk would rest. A few senders get a fifth more
    /// through so, 64 of them a twentieth. What is less would cost a sync of its own, and waits for the end of the turn.
    /// Nothing else than records may be due after the batch: what came behind a command must not get before it.
    ///
    /// Without a batch it takes what is to be synced when it gets its turn: what came until then is in one sync with it,
    /// which gives senders of batches a tenth more.
    async fn through_disk_thread(&mut self, batch: Option<Batch>, is_all: bool) -> io::Result<()> {
        let (report, mut reports) = unbounded_channel();
        let shared = Arc::clone(&self.shared);
        let take = move |least| {
            let batch = shared.append_buffer.take_for_disk(least)?;
            shared.room.notify_waiters();
            Some(batch)
        };
        let shared = Arc::clone(&self.shared);
        let work = move |file: &mut LogFile| {
            let until = Instant::now() + STRETCH;
            let mut next = batch.or_else(|| take(0));
            while let Some(batch) = next {
                let sync = batch.durability == Durability::Disk;
                let least = batch.lines.len() - batch.lines.len() / 8;
                let written = batch.write(|lines, records| file.commit(lines, records, sync), &shared);
                let goes_on = is_all
                    && sync
                    && written.outcome.is_ok()
                    && !file.is_low_on_space()
                    && Instant::now() < until;
                drop(report.send(written));
                next = if goes_on { take(least) } else { None };
            }
        };
        let done = self.start_on_disk_thread(work)?;
        while let Some(written) = reports.recv().await {
            self.settle(written);
        }
        // Should the thread have ended, the next batch will be told.
        drop(self.wait_for_disk_thread(done).await);
        Ok(())
    }

    async fn run_command(&mut self, command: Command) -> bool {
        match command {
            Command::Verify(reply) => {
                answer(reply, self.on_disk_thread(LogFile::verify_all).await.flatten());
                false
            }
            Command::Finished(done) => {
                self.background = None;
                drop(self.on_disk_thread(|file| file.finish_job(done)).await);
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
                    self.shared.append_buffer.apply(&settings);
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
            // Nobody is left to be told when the runtime is gone.
            drop(reply.send((file, result)));
        }))?;
        Ok(done)
    }

    async fn wait_for_disk_thread<T>(&mut self, done: oneshot::Receiver<(Box<LogFile>, T)>) -> io::Result<T> {
        let (file, result) = done.await.map_err(|_| thread_ended())?;
        self.file = Some(file);
        self.after_disk();
        Ok(result)
    }
}

/// A batch that is through.
struct Written {
    group: Arc<CommitGroup>,
    outcome: io::Result<CommitPosition>,
}

impl Batch {
    /// Writes its lines, counts them, gives their buffer back, and tells whoever asked to be told early.
    fn write(self, write: impl FnOnce(&[u8], u64) -> io::Result<CommitPosition>, shared: &Shared) -> Written {
        let Self { lines, records, levels, group, .. } = self;
        let outcome = write(&lines, records);
        if let Ok(placed) = &outcome {
            // Who is told may ask for the figures.
            shared.counters.add(&levels, lines.len() as u64);
            if records == 1 {
                group.run_callback(*placed);
            }
        }
        shared.append_buffer.recycle(lines);
        Written { group, outcome }
    }
}

/// How the page cache takes writes: while it is slow (a disk that is full of dirty pages, say), they are done on the
/// other thread.
#[derive(Debug, Default)]
struct WriteLatency {
    slow_until: Option<Instant>,
}

impl WriteLatency {
    /// A write that takes longer than this was no copy into memory.
    const QUICK: Duration = Duration::from_millis(5);
    const REST: Duration = Duration::from_secs(1);

    fn is_quick(&self) -> bool {
        self.slow_until.is_none_or(|until| Instant::now() >= until)
    }

    fn note(&mut self, begun: Instant) {
        let now = Instant::now();
        self.slow_until = (now - begun > Self::QUICK).then(|| now + Self::REST);
    }
}

fn answer(reply: oneshot::Sender<Result<(), StoreError>>, outcome: io::Result<()>) {
    // A client that left does not wait for its answer.
    drop(reply.send(outcome.map_err(|error| StoreError::write(&error))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Compression, Rotate};
    use crate::record::LineFormat;
    use crate::store::Settings;
    use crate::store::file::FileStore;
    use crate::store::file::segments::segment::Segment;

    #[test]
    fn a_compression_that_lacks_room_is_tried_again_though_nobody_writes() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LogFile::open(&dir.path().join("a.log"), &dir.path().join("a.state")).unwrap();
        file.commit(b"line\n", 1, false).unwrap();
        file.rotate().unwrap();
        // As if it had more lines than any disk has room for.
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
        let (store, _) = FileStore::open(&settings, &dir.path().join("b.state"), 1024).unwrap();
        let mut committer = Committer::new(Arc::clone(&store.shared), file).unwrap();
        assert!(committer.visit.is_none(), "nothing is due");
        committer.after_disk();
        assert!(committer.background.is_none() && committer.visit.is_some());
    }
}
