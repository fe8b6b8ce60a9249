//! Watches the configuration directory for changes, by inotify(7) and by the stamps of its files.
//!
//! The watcher reports every kind of change: a write in place, a rename, a symbolic link with a new
//! target, and the replacement of the directory itself. It ignores events of read access. Events
//! say only that something changed, so the caller then reads all files again.
//!
//! inotify reports most changes at once. The stamps of the files are compared as well, since inotify
//! reports nothing for a single file that is mounted into a container, or on a network file system.
//! They are also enough when the kernel refuses inotify.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::load::FILE_NAMES;
use super::stamps::Stamps;

/// Time without events after which a burst of events is over.
const QUIET_PERIOD: Duration = Duration::from_millis(200);

/// Maximum time after which a burst is reported even if it continues, so that a change takes effect
/// within a second.
const MAX_BURST_DURATION: Duration = Duration::from_millis(800);

/// Interval at which the stamps of the files are compared.
const STAMP_INTERVAL: Duration = Duration::from_millis(500);

/// Time for which the stamps must stay the same before a change of them is reported. It is longer
/// than [`STAMP_INTERVAL`], so that a certificate and its key are reported together.
const STAMP_QUIET_PERIOD: Duration = Duration::from_millis(600);

/// Interval at which the watcher looks for a missing directory, in addition to events of its
/// parent.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum number of symbolic links in one path, as in the kernel (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// Watches one directory. Must be created and used inside a Tokio runtime.
pub struct Watcher {
    dir: PathBuf,
    /// The watches of the kernel; `None` if it refuses them.
    inotify: Option<Watches>,
    /// Files outside of the directory whose stamps are compared as well.
    other_files: BTreeSet<PathBuf>,
    /// The stamps at the last check.
    stamps: Stamps,
    next_check: Instant,
    /// The check that is under way, and its start. It runs on another thread, because a network
    /// file system may not answer.
    check: Option<(Instant, JoinHandle<Stamps>)>,
    /// A burst of events that is not reported yet. Stored here so that [`Watcher::changed`] is
    /// cancellation safe.
    burst: Option<Burst>,
}

/// The times of a burst of events.
#[derive(Clone, Copy)]
struct Burst {
    first: Instant,
    /// The time at which the burst is over if there are no more events.
    end: Instant,
}

/// The directories that the kernel watches.
struct Watches {
    events: EventStream<Vec<u8>>,
    watched: HashMap<WatchDescriptor, Interest>,
    /// Whether the directory itself is watched, and not only its parents.
    complete: bool,
}

/// The entries of a directory whose events count.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Interest {
    /// Every entry, and the directory itself.
    All,
    /// The entries with these names.
    These(BTreeSet<OsString>),
}

/// The reason why [`Watcher::changed`] goes on.
enum Wake {
    Event(Option<io::Result<EventOwned>>),
    /// The stamps of a check and its start; no stamps if the check failed.
    Checked(Instant, Option<Stamps>),
    /// The end of a burst, or the time for the next look at a missing directory.
    Timer,
}

impl Watcher {
    /// Starts to watch the directory `dir`.
    ///
    /// # Errors
    /// Fails if the directory does not exist.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = std::path::absolute(dir.into())?;
        if !std::fs::metadata(&dir)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut watcher = Self {
            inotify: None,
            other_files: BTreeSet::new(),
            stamps: Stamps::of(files_in(&dir)),
            next_check: Instant::now() + STAMP_INTERVAL,
            check: None,
            burst: None,
            dir,
        };
        watcher.inotify = Watches::new(&watcher.dir).inspect_err(refused).ok();
        Ok(watcher)
    }

    /// Compares the stamps of these files as well, and of no other files outside of the directory. A
    /// relative path starts at the directory. A file that was not watched before is reported once as
    /// changed, because it may have changed since the caller read it.
    pub fn watch_files<'p>(&mut self, files: impl IntoIterator<Item = &'p Path>) {
        self.other_files = files.into_iter().map(|file| self.dir.join(file)).collect();
    }

    /// Waits until something has changed and the burst of events is over.
    ///
    /// Cancellation safe: the future can be dropped and the method called again without losing a
    /// change. It waits for a missing directory.
    pub async fn changed(&mut self) {
        // A deadline and not a timeout, so that ignored events cannot delay the retry.
        let mut retry = Instant::now() + RETRY_INTERVAL;
        loop {
            let now = Instant::now();
            let is_over = self.burst.is_some_and(|burst| burst.end <= now);
            if is_over && self.check.is_none() {
                // The stamps of this check are those of the reported change.
                self.next_check = now;
            }
            let incomplete = self.inotify.as_ref().is_some_and(|watches| !watches.complete);
            let timer = match self.burst {
                Some(burst) => (!is_over).then_some(burst.end),
                None => incomplete.then_some(retry),
            };
            match self.wake(timer).await {
                Wake::Event(Some(Ok(event))) => {
                    if self.inotify.as_mut().is_some_and(|watches| watches.matters(&event)) {
                        self.note_event(QUIET_PERIOD);
                    }
                }
                Wake::Event(Some(Err(error))) => self.without_inotify(&error),
                Wake::Event(None) => self.without_inotify(&io::ErrorKind::UnexpectedEof.into()),
                Wake::Checked(started, stamps) => {
                    let differ = stamps.filter(|stamps| *stamps != self.stamps);
                    let differs = differ.is_some();
                    self.stamps = differ.unwrap_or_else(|| std::mem::take(&mut self.stamps));
                    if self.burst.is_some_and(|burst| burst.end <= started) {
                        // Renewed before the caller reads the files, so that no change after the
                        // read is missed.
                        self.watch_all();
                        self.burst = None;
                        return;
                    }
                    // In a burst, the check at its end covers this change.
                    if differs && self.burst.is_none() {
                        self.note_event(STAMP_QUIET_PERIOD);
                    }
                }
                Wake::Timer if self.burst.is_some() => {}
                Wake::Timer => {
                    retry = Instant::now() + RETRY_INTERVAL;
                    if self.watch_all() {
                        self.note_event(QUIET_PERIOD);
                    }
                }
            }
        }
    }

    /// Waits for an event, the stamps or the timer.
    async fn wake(&mut self, timer: Option<Instant>) -> Wake {
        let Self { dir, inotify, other_files, next_check, check, .. } = self;
        let event = async {
            match inotify {
                Some(watches) => watches.events.next().await,
                None => std::future::pending().await,
            }
        };
        let checked = async {
            if check.is_none() {
                sleep_until(*next_check).await;
            }
            let (started, running) = check.get_or_insert_with(|| {
                let files: Vec<PathBuf> = files_in(dir).chain(other_files.iter().cloned()).collect();
                (Instant::now(), spawn_blocking(|| Stamps::of(files)))
            });
            let (started, stamps) = (*started, running.await.ok());
            (*check, *next_check) = (None, Instant::now() + STAMP_INTERVAL);
            Wake::Checked(started, stamps)
        };
        let timer = async {
            match timer {
                Some(timer) => sleep_until(timer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = event => Wake::Event(event),
            checked = checked => checked,
            () = timer => Wake::Timer,
        }
    }

    /// Extends the burst until `quiet` has passed without another event.
    fn note_event(&mut self, quiet: Duration) {
        let now = Instant::now();
        let (first, end) = self.burst.map_or((now, now), |burst| (burst.first, burst.end));
        self.burst = Some(Burst { first, end: end.max(now + quiet).min(first + MAX_BURST_DURATION) });
    }

    /// Renews the watches of the kernel. Returns whether the directory exists.
    fn watch_all(&mut self) -> bool {
        match self.inotify.as_mut().map(|watches| watches.watch_all(&self.dir)) {
            Some(Ok(complete)) => complete,
            Some(Err(error)) => {
                self.without_inotify(&error);
                false
            }
            None => false,
        }
    }

    fn without_inotify(&mut self, error: &io::Error) {
        refused(error);
        self.inotify = None;
    }
}

fn refused(error: &io::Error) {
    log::warn!(
        "the kernel does not watch the configuration ({error}); its files are compared every half second"
    );
}

fn files_in(dir: &Path) -> impl Iterator<Item = PathBuf> {
    FILE_NAMES.iter().map(|name| dir.join(name))
}

impl Watches {
    fn new(dir: &Path) -> io::Result<Self> {
        let events = Inotify::init()?.into_event_stream(vec![0; 16 << 10])?;
        let mut watches = Self { events, watched: HashMap::new(), complete: false };
        watches.watch_all(dir)?;
        Ok(watches)
    }

    fn matters(&mut self, event: &EventOwned) -> bool {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return true;
        }
        let Some(interest) = self.watched.get(&event.wd) else { return false };
        let matters = match (interest, &event.name) {
            // Includes events of the directory itself: removed, moved, mode changed.
            (Interest::All, _) => true,
            (Interest::These(_), None) => event.mask.intersects(DIRECTORY_GONE),
            (Interest::These(names), Some(name)) => names.contains(name),
        };
        if event.mask.contains(EventMask::IGNORED) {
            self.watched.remove(&event.wd);
        }
        matters
    }

    /// Replaces the watches by those that the directory and its symbolic links now need. Returns
    /// whether the directory exists.
    fn watch_all(&mut self, dir: &Path) -> io::Result<bool> {
        // A link may change between reading it and watching it, so this repeats until no new watch
        // was needed.
        for _ in 0..5 {
            let mut wanted = directories(dir);
            let mut watches = self.events.watches();
            let mut now_watched: HashMap<WatchDescriptor, Interest> = HashMap::new();
            self.complete = false;
            let real_dir = dir.canonicalize().ok();
            if let Some(dir) = &real_dir {
                wanted.insert(dir.clone(), Interest::All);
            }
            for (directory, interest) in wanted {
                match watches.add(&directory, mask()) {
                    Ok(descriptor) => {
                        self.complete |= real_dir.as_ref() == Some(&directory);
                        now_watched.insert(descriptor, interest);
                    }
                    // The directory is gone, or the service may not watch it. The other watches
                    // remain.
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            let stable = now_watched.keys().all(|descriptor| self.watched.contains_key(descriptor));
            for descriptor in self.watched.keys().filter(|descriptor| !now_watched.contains_key(descriptor)) {
                // Removal fails if the kernel has dropped the watch already.
                let _gone = watches.remove(descriptor.clone()).is_err();
            }
            self.watched = now_watched;
            if stable {
                break;
            }
        }
        Ok(self.complete)
    }
}

/// Returns every directory with an entry that decides which files are read: the parents of the
/// configuration directory, of the target of each file, and of each symbolic link in between.
fn directories(dir: &Path) -> BTreeMap<PathBuf, Interest> {
    let mut directories: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
    follow(dir, &mut directories);
    for name in FILE_NAMES {
        follow(&dir.join(name), &mut directories);
    }
    directories.into_iter().map(|(directory, names)| (directory, Interest::These(names))).collect()
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Adds the parent directory and the name of each symbolic link in `path`, and of its final target.
fn follow(path: &Path, directories: &mut BTreeMap<PathBuf, BTreeSet<OsString>>) {
    let mut add = |dir: &Path, name: &OsStr| {
        directories.entry(dir.to_owned()).or_default().insert(name.to_owned());
    };
    let names = |path: &Path| path.components().rev().map(|c| c.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut reached = PathBuf::from("/");
    let mut ahead = names(path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        match Path::new(&name).components().next() {
            Some(Component::RootDir) => reached = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                reached.pop();
            }
            Some(Component::Normal(name)) => {
                let next = reached.join(name);
                match std::fs::read_link(&next) {
                    Ok(target) => {
                        add(&reached, name);
                        links += 1;
                        if links > MAX_SYMLINKS {
                            return;
                        }
                        ahead.extend(names(&target));
                    }
                    Err(_not_a_link) => {
                        if ahead.is_empty() {
                            add(&reached, name);
                        }
                        reached = next;
                    }
                }
            }
            _ => {}
        }
    }
}

/// The events after which a watched directory has another path or none.
const DIRECTORY_GONE: EventMask =
    EventMask::DELETE_SELF.union(EventMask::MOVE_SELF).union(EventMask::IGNORED);

fn mask() -> WatchMask {
    WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_TO
        | WatchMask::MOVED_FROM
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        // A change of the mode may make a file readable.
        | WatchMask::ATTRIB
        | WatchMask::ONLYDIR
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}
