//! Reads and writes whole directories as maps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Returns the files and links below a directory by their relative paths. Returns an empty map if
/// the directory is missing.
pub(crate) fn read(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut tree = BTreeMap::new();
    collect(dir, Path::new(""), &mut tree);
    tree
}

fn collect(dir: &Path, below: &Path, tree: &mut BTreeMap<PathBuf, String>) {
    let Ok(entries) = fs::read_dir(dir.join(below)) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(dir, &path, tree);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            tree.insert(path, format!("{LINK}{}", target.display()));
        } else {
            tree.insert(path, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// Writes files and links below a directory.
///
/// Creates missing parents.
pub(crate) fn write(dir: &Path, tree: &BTreeMap<PathBuf, String>) {
    for (path, content) in tree {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix(LINK) {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }
}

/// Marks a link. No text file starts with these bytes.
const LINK: &str = "\0-> ";
