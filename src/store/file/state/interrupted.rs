//! Finishes a rotation or a clear that a crash interrupted, at the next start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::durable_fs::rename_new;
use super::state_file::{State, StateFile};
use crate::store::file::segments::segment::Coding;
use crate::store::file::segments::segment_set::SegmentSet;

/// Does the second rename of a rotation that was interrupted between its two renames. Must run
/// before the active file is opened.
pub(crate) fn put_in_place(state: &State, path: &Path) {
    let Some(rotating) = &state.rotating else { return };
    // The path may be a link to the missing file. The folder of the link's target exists.
    let home = fs::read_link(path).map_or_else(
        |_| path.to_owned(),
        |target| match path.parent() {
            Some(folder) => folder.join(target),
            None => target,
        },
    );
    let unfinished = rotating.segment.name.unfinished(&home, Coding::Plain);
    let is_fresh_file =
        fs::metadata(&unfinished).is_ok_and(|meta| (meta.dev(), meta.ino()) == (rotating.dev, rotating.ino));
    if is_fresh_file
        && let Err(error) = rename_new(&unfinished, &home)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        log::warn!("can't finish a rotation: {}: {error}", unfinished.display());
    }
}

/// Updates the state to the steps that an interrupted rotation did. `file` is the active file.
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

/// Finishes an interrupted clear. A file that is longer than the clear holds later lines, and then
/// all lines stay.
pub(crate) fn finish_clear(state: &mut StateFile, file: &File, segments: &mut SegmentSet) -> io::Result<()> {
    let known = state.get();
    let Some(to) = known.clearing_to else { return Ok(()) };
    let meta = file.metadata()?;
    let is_same_file = (known.dev, known.ino) == (meta.dev(), meta.ino());
    if is_same_file && meta.size() > to.saturating_sub(known.base) {
        return state.update(true, |state| state.clearing_to = None);
    }
    segments.remove_all()?;
    if is_same_file {
        file.set_len(0)?;
        file.sync_all()?;
    }
    state.update(true, |state| state.finish_clear(to))
}
