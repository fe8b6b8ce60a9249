//! Stores a plan in a file and reads it back.
//!
//! The file holds the settings and not the texts of the units. So a newer version that writes other
//! texts finds no change.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{LogUnits, Plan};
use crate::config::LogName;

/// Reads the plan that is stored in `dir`; `None` if there is none.
///
/// # Errors
/// Fails if the file exists but is not a valid plan.
pub fn applied(dir: &Path) -> Result<Option<Plan>, SnapshotError> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SnapshotError { action: "read", path, source }),
    };
    let plan = serde_json::from_str(&text).map_err(io::Error::from).and_then(|Stored { logs }| {
        let log = |(name, units)| Ok((LogName::try_from(name).map_err(io::Error::other)?, units));
        logs.into_iter().map(log).collect::<io::Result<_>>()
    });
    match plan {
        Ok(logs) => Ok(Some(Plan { logs })),
        Err(source) => Err(SnapshotError { action: "read", path, source }),
    }
}

/// Stores the plan in `dir`, which is created if it is missing. The write is atomic and synced.
///
/// # Errors
/// Fails if the plan cannot be written. The plan that was stored before remains.
pub fn store(dir: &Path, plan: &Plan) -> Result<(), SnapshotError> {
    let logs = plan.logs.iter().map(|(name, units)| (name.to_string(), units.clone())).collect();
    let path = dir.join(FILE);
    let new = dir.join(format!("{FILE}.{}.tmp", std::process::id()));
    let write = || {
        fs::create_dir_all(dir)?;
        let mut file = File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, &Stored { logs })?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    let written = write();
    written.map_err(|source| {
        // A temporary file that cannot be removed does no harm.
        drop(fs::remove_file(&new));
        SnapshotError { action: "write", path, source }
    })
}

/// The error if a stored plan cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} {}: {source}", path.display())]
pub struct SnapshotError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

const FILE: &str = "applied.json";

#[derive(Serialize, Deserialize)]
struct Stored {
    logs: BTreeMap<String, LogUnits>,
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Sandbox, Sockets};
    use super::*;
    use crate::config::ListenAddress;

    #[test]
    fn stored_plan_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        assert!(applied(&dir).unwrap().is_none());
        let units = LogUnits {
            listen: "[::]:8000".parse().unwrap(),
            backlog: 100,
            sockets: Sockets { streams: vec![ListenAddress::Unix("/run/x".into())], ..Sockets::default() },
            sandbox: Sandbox { folder: Some("/srv/ä \"x".into()), ..Sandbox::default() },
        };
        let plan = Plan { logs: [("a b; $(c)".parse().unwrap(), units)].into() };
        store(&dir, &plan).unwrap();
        assert_eq!(applied(&dir).unwrap(), Some(plan));
        store(&dir, &Plan::default()).unwrap();
        assert_eq!(applied(&dir).unwrap(), Some(Plan::default()));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn damaged_plan_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        for damaged in ["", "{}", r#"{"logs": {"a/b": {"listen": "127.0.0.1:1", "backlog": 1}}}"#] {
            fs::write(dir.path().join(FILE), damaged).unwrap();
            let text = applied(dir.path()).unwrap_err().to_string();
            assert!(text.contains("can't read") && text.contains(FILE), "{text}");
        }
        fs::write(
            dir.path().join(FILE),
            r#"{"logs": {"a": {"listen": "127.0.0.1:1", "backlog": 1}}, "later": 1}"#,
        )
        .unwrap();
        assert_eq!(applied(dir.path()).unwrap().unwrap().logs.len(), 1);
    }
}
