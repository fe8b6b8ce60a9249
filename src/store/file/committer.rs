//! The one writer. On the thread of the runtime it takes the batch in hand at the end of each turn of the event loop;
//! a `write(2)` into the page cache is done there, everything that may wait for a disk on a thread of its own, while
//! the next batch fills. Waiting appends are woken from the runtime's thread, all at once; one that is alone may be told
//! by the disk's thread before.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::super::StoreError;
use super::Shared;
use super::inbox::{Batch, Command};
use super::state::out_of_space;
use super::worker::Worker;
use super::writer::LogFile;
use crate::config::Durability;

/// More than this is written on the other thread also in `os`: copying it would hold the event loop up.
const INLINE: usize = 512 * 1024;

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
pub(super) struct Committer {
    shared: Arc<Shared>,
    file: Option<Box<LogFile>>,
    disk: DiskThread,
    pace: Pace,
    /// when the file wants to be looked after
    visit: Option<Instant>,
    /// records are refused, for the disk has too little space left
    refusing: bool,
    worker: Option<Worker>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, file: LogFile) -> io::Result<Self> {
        let visit = file.visit();
        let (file, disk, pace) = (Some(Box::new(file)), DiskThread::spawn()?, Pace::default());
        Ok(Self { shared, file, disk, pace, visit, refusing: false, worker: None })
    }

    pub(super) async fn run(mut self) {
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
            while let Some(batch) = self.shared.inbox.take() {
                let turn = self.turn(batch).await;
                if matches!(turn, Turn::Closed) {
                    return;
                }
                self.visit_if_due().await;
                // Other threads may append faster than this one writes: who shares it has to get on.
                if matches!(turn, Turn::Inline) && !self.shared.inbox.is_empty() {
                    yield_now().await;
                }
            }
        }
    }

    /// Looks after the file when it is time, however many records come.
    async fn visit_if_due(&mut self) {
        if self.visit.is_some_and(|at| at <= Instant::now()) {
            // What went wrong was told where it did, or is what the next append is told.
            drop(self.on_disk_thread(LogFile::visited).await);
        }
    }

    /// What the file wants after something was done with it.
    fn after_disk(&mut self) {
        let Some(file) = &mut self.file else { return };
        self.visit = file.visit();
        if std::mem::replace(&mut self.refusing, file.is_low()) != file.is_low() {
            self.shared.inbox.refuse(file.is_low());
        }
        if self.worker.is_none()
            && let Some(job) = file.next_job()
        {
            self.worker = Worker::start(job, Arc::clone(&self.shared));
        }
    }

    fn cancel_job(&self) {
        if let Some(worker) = &self.worker {
            worker.cancel();
        }
    }

    /// One batch and what follows it.
    async fn turn(&mut self, batch: Batch) -> Turn {
        let mut turn = Turn::Waited;
        if batch.records > 0 {
            let Batch { lines, records, levels, group, durability, .. } = batch;
            let bytes = lines.len() as u64;
            let sync = durability == Durability::Disk;
            let (lines, outcome) = match self.file.as_mut() {
                Some(file)
                    if !sync
                        && lines.len() <= INLINE
                        && file.has_room(lines.len())
                        && self.pace.is_quick()
                        && file.is_undisturbed() =>
                {
                    let begun = Instant::now();
                    let outcome = file.append(&lines, records, false);
                    self.pace.note(begun);
                    if outcome.is_ok() {
                        self.shared.tally.add(&levels, bytes);
                    }
                    turn = Turn::Inline;
                    (lines, outcome)
                }
                _ => {
                    let (shared, alone) =
                        (Arc::clone(&self.shared), (records == 1).then(|| Arc::clone(&group)));
                    let done = self.on_disk_thread(move |file| {
                        let outcome = file.commit(&lines, records, sync);
                        if let Ok(placed) = &outcome {
                            // Who is told may ask for the figures.
                            shared.tally.add(&levels, bytes);
                            if let Some(group) = alone {
                                group.tell_early(*placed);
                            }
                        }
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
                Ok(_) => self.shared.recovered(),
                Err(error) => {
                    if out_of_space(error) {
                        // What is half compressed takes the room of records.
                        self.cancel_job();
                    }
                    self.shared.complain(error);
                }
            }
            group.complete(outcome.map_err(|error| StoreError::write(&error)));
        }
        for command in batch.commands {
            if self.obey(command).await {
                turn = Turn::Closed;
            }
        }
        turn
    }

    async fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Verify(reply) => {
                answer(reply, self.on_disk_thread(LogFile::verify_all).await.flatten());
                false
            }
            Command::Finished(done) => {
                self.worker = None;
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
                    self.shared.inbox.apply(&settings);
                }
                answer(reply, outcome);
                false
            }
            Command::Close(reply) => {
                if let Some(worker) = self.worker.take() {
                    worker.end().await;
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
        let mut file = self.file.take().ok_or_else(gone)?;
        let (reply, done) = oneshot::channel();
        self.disk.run(Box::new(move || {
            let result = work(&mut file);
            // Nobody is left to be told when the runtime is gone.
            drop(reply.send((file, result)));
        }))?;
        let (file, result) = done.await.map_err(|_| gone())?;
        self.file = Some(file);
        self.after_disk();
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
