//! The files in the state directory that outlive a restart: where they are, and how they are replaced whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::LogName;

/// Longest encoded name in a file name, in bytes; with suffixes it stays below the 255 of Linux.
const LONGEST_STEM: usize = 200;

/// `STATE_DIR/NAME.SUFFIX`. `%`, `/` and control characters in the name are percent-encoded; what becomes too long for
/// a file name is cut and ends in the first 16 hexadecimal digits of the name's SHA-256.
#[must_use]
pub fn state_file(state_dir: &Path, log: &LogName, suffix: &str) -> PathBuf {
    state_dir.join(format!("{}.{suffix}", stem(log.as_str())))
}

fn stem(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '%' | '/' => stem.push_str(&format!("%{:02X}", u32::from(character))),
            control if control.is_control() => {
                let mut utf8 = [0; 4];
                for byte in control.encode_utf8(&mut utf8).bytes() {
                    stem.push_str(&format!("%{byte:02X}"));
                }
            }
            plain => stem.push(plain),
        }
    }
    if stem.len() > LONGEST_STEM {
        let digest: String = Sha256::digest(name)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let longest = LONGEST_STEM - digest.len() - 1;
        stem.truncate((0..=longest).rev().find(|&at| stem.is_char_boundary(at)).unwrap_or(0));
        stem.push('%');
        stem.push_str(&digest);
    }
    stem
}

/// Replaces the file as a whole: after a crash there is the old one or the new one, and what was returned from is on
/// disk. Blocks.
///
/// # Errors
/// Those of the file system; the old file is still there then.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// Removes the file, durably; one that is not there is no error. Blocks.
///
/// # Errors
/// Those of the file system.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(path),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Moves a file that cannot be used out of the way, where somebody may still look at it, and says so.
pub(super) fn move_aside(path: &Path, why: &dyn std::fmt::Display) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".broken");
    let aside = PathBuf::from(aside);
    let (from, to) = (path.display(), aside.display());
    match fs::rename(path, &aside) {
        Ok(()) => {
            crate::event!(warn, STATE_FILE_BROKEN; "{from} cannot be used ({why}), moved to {to}");
        }
        Err(error) => {
            crate::event!(warn, STATE_FILE_BROKEN; "{from} cannot be used ({why}), nor moved ({error})");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let name = |text: &str| {
            let file = state_file(Path::new("/s"), &text.parse().unwrap(), "blocked.json");
            file.to_str().unwrap().to_owned()
        };
        assert_eq!(name("sample1"), "/s/sample1.blocked.json");
        assert_eq!(name("über log"), "/s/über log.blocked.json");
        assert_eq!(name("100%"), "/s/100%25.blocked.json");
        assert_eq!(stem("a/\n\u{85}"), "a%2F%0A%C2%85");
        let long = ["%".repeat(200), format!("{}a", "%".repeat(199)), "ü".repeat(100)];
        assert!(long.iter().all(|name| stem(name).len() <= LONGEST_STEM));
        assert_ne!(stem(&long[0]), stem(&long[1]));
        assert_eq!(stem(&long[2]), long[2]);
    }

    #[test]
    fn replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        replace(&path, b"1").unwrap();
        replace(&path, b"22").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"22");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
        assert!(replace(&dir.path().join("missing/a"), b"").is_err());
    }
}
