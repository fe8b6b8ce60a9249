//! Keeps a copy of the last valid configuration in the state directory.
//!
//! Under systemd the sockets stay open when the process ends. If the process crashes while an
//! operator edits a file, it starts again with this copy, so that clients do not wait in a queue
//! that no process serves.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use moca_file_log::config::{Files, LogName, Sources};
use moca_file_log::guard::state_file;
use serde::{Deserialize, Serialize};

/// The texts of the files; `None` for a file that does not exist.
#[derive(Serialize, Deserialize)]
struct Texts {
    log: Option<String>,
    api_key: Option<String>,
    server: Option<String>,
    system: Option<String>,
    ip_blacklist: Option<String>,
    http: Option<String>,
}

fn path(state_dir: &Path, name: &LogName) -> PathBuf {
    state_file(state_dir, name, "config")
}

/// Copies the files of `config_dir`, if they are valid, to the state directory.
///
/// The write is atomic. Only the service can read the copy, since it contains secrets.
pub(crate) fn keep(state_dir: &Path, name: &LogName, config_dir: &Path) -> io::Result<()> {
    let text = |file: &str| match fs::read_to_string(config_dir.join(file)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let texts = Texts {
        log: text("log.json")?,
        api_key: text("api_key.json")?,
        server: text("server.json")?,
        system: text("system.json")?,
        ip_blacklist: text("ip_blacklist.json")?,
        http: text("http.toml")?,
    };
    // The files may have been edited since they were validated.
    if parse(&texts).is_none() {
        return Ok(());
    }
    let path = path(state_dir, name);
    let new = path.with_extension("config.tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    serde_json::to_writer(&mut file, &texts)?;
    file.flush()?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(state_dir)?.sync_all()
}

/// Reads the copy; `None` if there is none or this version of the program cannot parse it.
pub(crate) fn read(state_dir: &Path, name: &LogName) -> Option<Files> {
    parse(&serde_json::from_slice(&fs::read(path(state_dir, name)).ok()?).ok()?)
}

fn parse(texts: &Texts) -> Option<Files> {
    let sources = Sources {
        log: texts.log.clone(),
        api_key: texts.api_key.clone(),
        server: texts.server.clone(),
        system: texts.system.clone(),
        ip_blacklist: texts.ip_blacklist.clone(),
        http: texts.http.clone(),
    };
    Files::parse(&sources).ok().map(|loaded| loaded.files)
}
