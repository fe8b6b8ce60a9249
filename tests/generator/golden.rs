//! Compares the output of one run with the expected files of each case.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{cases, generate, tree};

#[test]
fn every_case_gives_the_expected_files() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut cases: Vec<PathBuf> = fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() > 8, "{cases:?}");
    for case in cases {
        let found = outcome(&case);
        let expected = case.join("expected");
        if update {
            if expected.exists() {
                fs::remove_dir_all(&expected).unwrap();
            }
            tree::write(&expected, &found);
        }
        assert_eq!(found, tree::read(&expected), "{}", case.display());
    }
}

fn outcome(case: &Path) -> BTreeMap<PathBuf, String> {
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("root");
    for place in ["etc", "run", "var"] {
        tree::write(&root.join(place), &tree::read(&case.join(place)));
    }
    let out = work.path().join("out");
    let stderr = String::from_utf8(generate(&root, &out).stderr).unwrap();
    assert!(!out.with_extension("early").exists() && !out.with_extension("late").exists());

    let mut found: BTreeMap<PathBuf, String> =
        tree::read(&out).into_iter().map(|(path, text)| (Path::new("units").join(path), text)).collect();
    if let Ok(applied) = fs::read_to_string(root.join("run/moca-file-log-generator/applied.json")) {
        found.insert("applied.json".into(), applied);
    }
    if !stderr.is_empty() {
        found.insert("messages".into(), stderr.replace(root.to_str().unwrap(), ""));
    }
    found
}
