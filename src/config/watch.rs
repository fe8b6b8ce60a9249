//! Notices changes of the configuration directory, however they are made: in place, by rename, by a symlink that is
//! pointed elsewhere, or by another directory in its place.
//!
//! Only events that can matter are asked for, so that reading the configuration is no change of it. What an event
//! says beyond "something changed" is not trusted: who waits here reads all files again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::time::{Instant, timeout_at};

use super::load::FILE_NAMES;

/// A burst of events is over when nothing happened for this long.
const QUIET_PERIOD: Duration = Duration::from_millis(200);

/// A burst that does not end is reported after this long: what was written is in force within a second.
const MAX_BURST_DURATION: Duration = Duration::from_millis(800);

/// How often a directory that is gone is looked for, beside the events of its parent.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// As many symlinks as the kernel follows for one path.
const MAX_SYMLINKS: usize = 40;

/// Watches one directory. It has to be made and used inside a Tokio runtime.
pub struct Watcher {
    dir: PathBuf,
    events: EventStream<Vec<u8>>,
    watched: HashMap<WatchDescriptor, Interest>,
    /// the directory itself is among the watched ones
    complete: bool,
    /// the first and the latest event of a burst that is not reported yet; kept here, so that giving up on
    /// [`Watcher::changed`] and calling it again loses nothing
    burst: Option<(Instant, Instant)>,
}

/// Which entries of a directory matter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Interest {
    All,
    These(BTreeSet<OsString>),
}

impl Watcher {
    /// Watches `dir` from now on.
    ///
    /// # Errors
    /// When there is no such directory or no inotify instance can be had.
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

    /// Waits until something changed and the burst of events is over. It may be dropped and called again at any
    /// point without losing a change.
    ///
    /// # Errors
    /// When the kernel ends the stream of events or refuses another watch; a directory that is gone is no error, it
    /// is waited for.
    pub async fn changed(&mut self) -> io::Result<()> {
        // not put off by events that do not matter
        let mut retry = Instant::now() + RETRY_INTERVAL;
        loop {
            let now = Instant::now();
            let wake = match self.burst {
                Some((first, latest)) => {
                    let end = (latest + QUIET_PERIOD).min(first + MAX_BURST_DURATION);
                    if end <= now {
                        // before the files are read again, so that nothing after that read is missed
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
            // the directory itself: removed, moved, or its mode changed
            (Interest::All, _) => true,
            (Interest::These(_), None) => event.mask.intersects(DIRECTORY_GONE),
            (Interest::These(names), Some(name)) => names.contains(name),
        };
        if event.mask.contains(EventMask::IGNORED) {
            self.watched.remove(&event.wd);
        }
        matters
    }

    /// Brings the watches in line with where the directory and its files lead now. True when the directory is there.
    fn watch_all(&mut self) -> io::Result<bool> {
        // a link may be pointed elsewhere between looking and watching: look again until nothing is new
        for _ in 0..5 {
            let mut wanted = self.places();
            let mut watches = self.events.watches();
            let mut now_watched: HashMap<WatchDescriptor, Interest> = HashMap::new();
            self.complete = false;
            let real_dir = self.dir.canonicalize().ok();
            if let Some(dir) = &real_dir {
                wanted.insert(dir.clone(), Interest::All);
            }
            for (place, interest) in wanted {
                match watches.add(&place, mask()) {
                    Ok(descriptor) => {
                        self.complete |= real_dir.as_ref() == Some(&place);
                        now_watched.insert(descriptor, interest);
                    }
                    // gone meanwhile, or none of our business: the directory itself still says what it can
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            let stable = now_watched.keys().all(|descriptor| self.watched.contains_key(descriptor));
            for descriptor in self.watched.keys().filter(|descriptor| !now_watched.contains_key(descriptor)) {
                // one that the kernel dropped already cannot be removed, and need not be
                let _gone = watches.remove(descriptor.clone()).is_err();
            }
            self.watched = now_watched;
            if stable {
                break;
            }
        }
        Ok(self.complete)
    }

    /// Every directory in which an entry decides what the files are: the parent of the directory, of each file's
    /// target, and of each symlink on the way.
    fn places(&self) -> BTreeMap<PathBuf, Interest> {
        let mut places: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        follow(&self.dir, &mut places);
        for name in FILE_NAMES {
            follow(&self.dir.join(name), &mut places);
        }
        places.into_iter().map(|(place, names)| (place, Interest::These(names))).collect()
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Adds the directory and name of each symlink on the way to `path`, and of where the way ends.
fn follow(path: &Path, places: &mut BTreeMap<PathBuf, BTreeSet<OsString>>) {
    let mut note = |dir: &Path, name: &OsStr| {
        places.entry(dir.to_owned()).or_default().insert(name.to_owned());
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
                        note(&reached, name);
                        links += 1;
                        if links > MAX_SYMLINKS {
                            return;
                        }
                        ahead.extend(names(&target));
                    }
                    Err(_not_a_link) => {
                        if ahead.is_empty() {
                            note(&reached, name);
                        }
                        reached = next;
                    }
                }
            }
            _ => {}
        }
    }
}

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
        // a file that could not be read may be readable now
        | WatchMask::ATTRIB
        | WatchMask::ONLYDIR
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}
