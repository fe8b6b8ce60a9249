//! Finishes at a start what a crash interrupted: a rotation, a clear.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::durable_fs::rename_new;
use super::state_file::{State, StateFile};
use crate::store::file::segments::segment::Coding;
use crate::store::file::segments::segment_set::SegmentSet;

/// Before the active file is opened at a start: where a rotation was interrupted between its two renames, the second
/// one.
pub(crate) fn put_in_place(state: &State, path: &Path) {
    let Some(rotating) = &state.rotating else { return };
    // Links lead to a file that is not there: its folder is.
    let home = fs::read_link(path).map_or_else(
        |_| path.to_owned(),
        |target| match path.parent() {
            Some(folder) => folder.join(target),
            None => target,
        },
    );
    let unfinished = rotating.segment.name.unfinished(&home, Coding::Plain);
    let ours =
        fs::metadata(&unfinished).is_ok_and(|meta| (meta.dev(), meta.ino()) == (rotating.dev, rotating.ino));
    if ours
        && let Err(error) = rename_new(&unfinished, &home)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        log::warn!("can't finish a rotation: {}: {error}", unfinished.display());
    }
}

/// Brings the state up to what was done of a rotation that was interrupted; `file` is the active one.
pub(crate) fn finish_rotation(state: &mut StateFile, file: &File, home: &Path) -> io::Result<()> {
    let Some(rotating) = state.get().rotating.clone() else { return Ok(()) };
    let meta = file.metadata()?;
    let is_fresh = (meta.dev(), meta.ino()) == (rotating.dev, rotating.ino);
    let moved = fs::symlink_metadata(rotating.segment.name.path(home, Coding::Plain))
        .is_ok_and(|meta| meta.ino() == rotating.segment.ino);
    let end = rotating.segment.base + rotating.segment.len;
    if !is_fresh && !moved {
        state.revise(|state| state.rotating = None);
    } else if state.get().base < end {
        state.revise(|state| state.begin_file(end, rotating.dev, rotating.ino));
    }
    Ok(())
}

/// Finishes a clear that was interrupted. A file that is longer than what was to be cleared holds lines that came
/// later: those stay, with everything before them.
pub(crate) fn finish_clear(state: &mut StateFile, file: &File, segments: &mut SegmentSet) -> io::Result<()> {
    let known = state.get();
    let Some(to) = known.clearing_to else { return Ok(()) };
    let meta = file.metadata()?;
    let same = (known.dev, known.ino) == (meta.dev(), meta.ino());
    if same && meta.size() > to.saturating_sub(known.base) {
        return state.update(true, |state| state.clearing_to = None);
    }
    segments.remove_all()?;
    if same {
        file.set_len(0)?;
        file.sync_all()?;
    }
    state.update(true, |state| state.cleared(to))
}
