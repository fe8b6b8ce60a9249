//! Repairs the active file. Bytes after the last line end were never acknowledged, so they are
//! copied to `FILE.torn` and then cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::durable_fs::{is_link, is_out_of_space, no_follow, not_a_link, sync_folder};

/// Number of names for the file that keeps torn bytes.
const MAX_TORN_FILES: u32 = 9;

/// Bytes of one read.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Cuts off a torn last line. Returns the number of bytes that `FILE.torn` keeps.
///
/// The bytes are on disk in `FILE.torn` before the file is cut, so a crash in between loses none of
/// them. Only a full disk is an exception, see [`cut_first`].
pub(crate) fn cut_torn_tail(file: &File, path: &Path) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let whole = end_of_last_line(file, len)?;
    if whole == len {
        return Ok(0);
    }
    match keep_aside(file, path, whole..len) {
        Ok(()) => {}
        Err(error) if is_out_of_space(&error) => return cut_first(file, path, whole..len),
        Err(error) => return Err(error),
    }
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(len - whole)
}

fn keep_aside(file: &File, path: &Path, torn: Range<u64>) -> io::Result<()> {
    let (aside_path, aside) = open_torn_file(path, OpenOptions::new().append(true))?;
    let before = aside.metadata()?.len();
    let outcome =
        copy(file, &aside, torn).and_then(|()| aside.sync_all()).and_then(|()| sync_folder(&aside_path));
    if outcome.is_err() {
        // The next copy must not follow a part of this one.
        aside.set_len(before)?;
    }
    outcome
}

fn copy(file: &File, mut aside: &File, torn: Range<u64>) -> io::Result<()> {
    let mut at = torn.start;
    let mut block = vec![0; BLOCK_BYTES as usize];
    while at < torn.end {
        let want = BLOCK_BYTES.min(torn.end - at) as usize;
        let got = file.read_at(&mut block[..want], at)?;
        if got == 0 {
            break;
        }
        aside.write_all(&block[..got])?;
        at += got as u64;
    }
    aside.write_all(b"\n")
}

/// Cuts before it copies, because a full disk has no space for a copy. Works block by block from
/// the end of the file. The cut of a block frees the space for its copy. If a block still cannot be
/// kept, the journal reports how many bytes are lost.
fn cut_first(file: &File, path: &Path, torn: Range<u64>) -> io::Result<u64> {
    let aside = open_torn_file(path, OpenOptions::new().write(true).truncate(false)).map(|(_, aside)| aside);
    let kept_before = aside.as_ref().ok().and_then(|aside| Some(aside.metadata().ok()?.len()));
    let mut lost = 0;
    let mut end = torn.end;
    while end > torn.start {
        let start = torn.start.max(end.saturating_sub(BLOCK_BYTES));
        let mut block = vec![0; (end - start) as usize];
        file.read_exact_at(&mut block, start)?;
        if end == torn.end {
            block.push(b'\n');
        }
        file.set_len(start)?;
        file.sync_all()?;
        let kept = match (&aside, kept_before) {
            (Ok(aside), Some(before)) => aside.write_all_at(&block, before + (start - torn.start)).is_ok(),
            _ => false,
        };
        if !kept {
            lost += end - start;
        }
        end = start;
    }
    if let Ok(aside) = &aside {
        aside.sync_all()?;
    }
    if lost > 0 {
        crate::event!(
            error, TORN_TAIL;
            "{lost} bytes of a torn line could not be kept aside: no room for {}",
            torn_path(path).display()
        );
    }
    Ok(torn.end - torn.start - lost)
}

/// Opens the file that keeps torn bytes, or creates it. A symbolic link of its name is not followed,
/// and neither stops a start: the bytes go into another file, `FILE.torn.2` and so on.
fn open_torn_file(path: &Path, options: &mut OpenOptions) -> io::Result<(PathBuf, File)> {
    let options = no_follow(options.create(true).mode(0o640));
    let mut last = None;
    for number in 1..=MAX_TORN_FILES {
        let mut name = torn_path(path).into_os_string();
        if number > 1 {
            name.push(format!(".{number}"));
        }
        let aside_path = PathBuf::from(name);
        match options.open(&aside_path) {
            Ok(aside) => return Ok((aside_path, aside)),
            Err(error) if is_link(&error) => {
                let shown = aside_path.display();
                log::warn!("{shown} is a symbolic link and is not followed: torn bytes go into another file");
                last = Some(not_a_link(error));
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Returns the path of the file that keeps torn bytes.
pub(crate) fn torn_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".torn");
    PathBuf::from(name)
}

/// Returns the end of the last whole line in the first `len` bytes.
pub(crate) fn end_of_last_line(file: &File, len: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recover(content: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, content).unwrap();
        let file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        cut_torn_tail(&file, &path).unwrap();
        (std::fs::read(&path).unwrap(), std::fs::read(torn_path(&path)).unwrap_or_default())
    }

    #[test]
    fn torn_tail_may_be_longer_than_a_block() {
        for torn in [1, BLOCK_BYTES as usize - 1, BLOCK_BYTES as usize, 3 * BLOCK_BYTES as usize + 7] {
            let mut content = b"one\ntwo\n".to_vec();
            content.extend(std::iter::repeat_n(b'x', torn));
            let (whole, aside) = recover(&content);
            assert_eq!(whole, b"one\ntwo\n");
            assert_eq!(aside.len(), torn + 1);
        }
    }

    #[test]
    fn symbolic_link_to_keep_torn_bytes_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("a.log"), dir.path().join("precious"));
        std::fs::write(&path, "one\ntorn").unwrap();
        std::fs::write(&target, "content").unwrap();
        std::os::unix::fs::symlink(&target, torn_path(&path)).unwrap();
        let file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        assert_eq!(cut_torn_tail(&file, &path).unwrap(), 4);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "content");
        assert_eq!(std::fs::read_to_string(dir.path().join("a.log.torn.2")).unwrap(), "torn\n");
    }

    proptest! {
        #[test]
        fn every_byte_is_in_the_file_or_aside(content in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300)) {
            let (whole, aside) = recover(&content);
            prop_assert!(whole.is_empty() || whole.ends_with(b"\n"));
            let mut all = whole;
            if !aside.is_empty() {
                all.extend_from_slice(&aside[..aside.len() - 1]);
            }
            prop_assert_eq!(all, content);
        }
    }
}
