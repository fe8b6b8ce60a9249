//! Watches the configuration directory for changes by inotify(7).
//!
//! The watcher reports every kind of change: a write in place, a rename, a symbolic link with a new
//! target, and the replacement of the directory itself. It ignores events of read access. Events
//! say only that something changed, so the caller then reads all files again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::time::{Instant, timeout_at};

use super::load::FILE_NAMES;

/// Time without events after which a burst of events is over.
const QUIET_PERIOD: Duration = Duration::from_millis(200);

/// Maximum time after which a burst is reported even if it continues, so that a change takes effect
/// within a second.
const MAX_BURST_DURATION: Duration = Duration::from_millis(800);

/// Interval at which the watcher looks for a missing directory, in addition to events of its
/// parent.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Maximum number of symbolic links in one path, as in the kernel (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// Watches one directory. Must be created and used inside a Tokio runtime.
pub struct Watcher {
    dir: PathBuf,
    events: EventStream<Vec<u8>>,
    watched: HashMap<WatchDescriptor, Interest>,
    /// Whether the directory itself is watched, and not only its parents.
    complete: bool,
    /// The time of the first and the latest event of a burst that is not reported yet. Stored here
    /// so that [`Watcher::changed`] is cancellation safe.
    burst: Option<(Instant, Instant)>,
}

/// The entries of a directory whose events count.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Interest {
    /// Every entry, and the directory itself.
    All,
    /// The entries with these names.
    These(BTreeSet<OsString>),
}

impl Watcher {
    /// Starts to watch the directory `dir`.
    ///
    /// # Errors
    /// Fails if the directory does not exist or the kernel refuses another inotify instance.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = std::path::absolute(dir.into())?;
        if !std::fs::metadata(&dir)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let events = Inotify::init()?.into_event_stream(vec![0; 16 << 10])?;
        let mut watcher = Self { dir, events, watched: HashMap::new(), complete: false, burst: None };
        watcher.watch_all()?;
        Ok(watcher)
    }

    /// Waits until something has changed and the burst of events is over.
    ///
    /// Cancellation safe: the future can be dropped and the method called again without losing a
    /// change.
    ///
    /// # Errors
    /// Fails if the kernel ends the stream of events or refuses another watch. A missing directory
    /// is no error, because the method waits for it.
    pub async fn changed(&mut self) -> io::Result<()> {
        // A deadline and not a timeout, so that ignored events cannot delay the retry.
        let mut retry = Instant::now() + RETRY_INTERVAL;
        loop {
            let now = Instant::now();
            let wake = match self.burst {
                Some((first, latest)) => {
                    let end = (latest + QUIET_PERIOD).min(first + MAX_BURST_DURATION);
                    if end <= now {
                        // Renewed before the caller reads the files, so that no change after the
                        // read is missed.
                        self.watch_all()?;
                        self.burst = None;
                        return Ok(());
                    }
                    Some(end)
                }
                None if self.complete => None,
                None => Some(retry),
            };
            let event = match wake {
                None => self.events.next().await,
                Some(wake) => match timeout_at(wake, self.events.next()).await {
                    Ok(event) => event,
                    Err(_elapsed) if self.burst.is_some() => continue,
                    Err(_elapsed) => {
                        retry = Instant::now() + RETRY_INTERVAL;
                        if self.watch_all()? {
                            self.note_event();
                        }
                        continue;
                    }
                },
            };
            let event = event.ok_or(io::ErrorKind::UnexpectedEof)??;
            if self.matters(&event) {
                self.note_event();
            }
        }
    }

    fn note_event(&mut self) {
        let now = Instant::now();
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
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
    fn watch_all(&mut self) -> io::Result<bool> {
        // A link may change between reading it and watching it, so this repeats until no new watch
        // was needed.
        for _ in 0..5 {
            let mut wanted = self.directories();
            let mut watches = self.events.watches();
            let mut now_watched: HashMap<WatchDescriptor, Interest> = HashMap::new();
            self.complete = false;
            let real_dir = self.dir.canonicalize().ok();
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

    /// Returns every directory with an entry that decides which files are read: the parents of the
    /// configuration directory, of the target of each file, and of each symbolic link in between.
    fn directories(&self) -> BTreeMap<PathBuf, Interest> {
        let mut directories: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        follow(&self.dir, &mut directories);
        for name in FILE_NAMES {
            follow(&self.dir.join(name), &mut directories);
        }
        directories.into_iter().map(|(directory, names)| (directory, Interest::These(names))).collect()
    }
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
