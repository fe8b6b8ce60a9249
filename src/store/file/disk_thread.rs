//! Runs work that may wait for a disk on a separate thread.

use std::io;
use std::sync::mpsc;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs one after the other on a separate thread. The thread ends when this value is dropped.
pub(crate) struct DiskThread(mpsc::Sender<Job>);

impl DiskThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Fails when the system has no thread left.
    pub(crate) fn spawn() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("disk".into())
            .spawn(move || jobs.into_iter().for_each(|job| job()))?;
        Ok(Self(sender))
    }

    /// Queues a job.
    ///
    /// # Errors
    /// Fails when the thread ended.
    pub(crate) fn run(&self, job: Job) -> io::Result<()> {
        self.0.send(job).map_err(|_| thread_ended())
    }
}

/// Returns the error for a job whose thread has ended.
pub(crate) fn thread_ended() -> io::Error {
    io::Error::other("the thread that writes the log ended")
}
