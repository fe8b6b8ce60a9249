//! The one writer. On the thread of the runtime it takes the batch in hand at the end of each turn of the event loop;
//! a `write(2)` into the page cache is done there, everything that may wait for a disk on a thread of its own, while
//! the next batch fills. Waiting appends are woken from the runtime's thread, all at once.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::StoreError;
use super::Shared;
use super::inbox::{Batch, Command};
use super::writer::LogFile;
use crate::config::Durability;

/// More than this is written on the other thread also in `os`: copying it would hold the event loop up.
const INLINE: usize = 512 * 1024;

/// Runs until the store is closed.
pub(super) struct Committer {
    shared: Arc<Shared>,
    file: Option<Box<LogFile>>,
    disk: DiskThread,
    pace: Pace,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, file: LogFile) -> io::Result<Self> {
        Ok(Self { shared, file: Some(Box::new(file)), disk: DiskThread::spawn()?, pace: Pace::default() })
    }

    pub(super) async fn run(mut self) {
        loop {
            self.shared.work.notified().await;
            while let Some(batch) = self.shared.inbox.take() {
                if self.turn(batch).await {
                    return;
                }
            }
        }
    }

    /// One batch and what follows it; true when the store was closed.
    async fn turn(&mut self, batch: Batch) -> bool {
        if batch.records > 0 {
            let Batch { lines, records, levels, group, durability, .. } = batch;
            let bytes = lines.len() as u64;
            let sync = durability == Durability::Disk;
            let (lines, outcome) = match self.file.as_mut() {
                Some(file)
                    if !sync && lines.len() <= INLINE && self.pace.is_quick() && file.is_undisturbed() =>
                {
                    let begun = Instant::now();
                    let outcome = file.append(&lines, records, false);
                    self.pace.note(begun);
                    (lines, outcome)
                }
                _ => {
                    let done = self.on_disk_thread(move |file| {
                        let outcome = file.commit(&lines, records, sync);
                        (lines, outcome)
                    });
                    done.await.unwrap_or_else(|error| (Vec::new(), Err(error)))
                }
            };
            if let Some(newest) = self.file.as_mut().and_then(|file| file.take_newest()) {
                self.shared.inbox.not_before(newest);
            }
            self.shared.recycle_and_make_room(lines);
            match &outcome {
                Ok(_) => {
                    self.shared.tally.add(&levels, bytes);
                    self.shared.recovered();
                }
                Err(error) => self.shared.complain(error),
            }
            group.complete(outcome.map_err(|error| StoreError::write(&error)));
        }
        let mut closed = false;
        for command in batch.commands {
            closed |= self.obey(command).await;
        }
        closed
    }

    async fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Verify(reply) => {
                answer(reply, self.on_disk_thread(LogFile::verify).await.flatten());
                false
            }
            Command::Clear(reply) => {
                answer(reply, self.on_disk_thread(LogFile::clear).await.flatten());
                false
            }
            Command::Reconfigure(settings, reply) => {
                let path = settings.path.clone();
                let outcome = self.on_disk_thread(move |file| file.move_to(&path)).await.flatten();
                if outcome.is_ok() {
                    self.shared.inbox.apply(&settings);
                }
                answer(reply, outcome);
                false
            }
            Command::Close(reply) => {
                answer(reply, self.on_disk_thread(LogFile::close).await.flatten());
                true
            }
        }
    }

    async fn on_disk_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut LogFile) -> T + Send + 'static,
    ) -> io::Result<T> {
        let mut file = self.file.take().ok_or_else(gone)?;
        let (reply, done) = oneshot::channel();
        self.disk.run(Box::new(move || {
            let result = work(&mut file);
            // Nobody is left to be told when the runtime is gone.
            drop(reply.send((file, result)));
        }))?;
        let (file, result) = done.await.map_err(|_| gone())?;
        self.file = Some(file);
        Ok(result)
    }
}

/// How the page cache takes writes: while it is slow (a disk that is full of dirty pages, say), they are done on the
/// other thread.
#[derive(Debug, Default)]
struct Pace {
    slow_until: Option<Instant>,
}

impl Pace {
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

fn gone() -> io::Error {
    io::Error::other("the thread that writes the log ended")
}

type Job = Box<dyn FnOnce() + Send>;

struct DiskThread(mpsc::Sender<Job>);

impl DiskThread {
    fn spawn() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("disk".into())
            .spawn(move || jobs.into_iter().for_each(|job| job()))?;
        Ok(Self(sender))
    }

    fn run(&self, job: Job) -> io::Result<()> {
        self.0.send(job).map_err(|_| gone())
    }
}
