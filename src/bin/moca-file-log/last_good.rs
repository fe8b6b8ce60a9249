//! The configuration that was in force last, kept in the state directory. Under systemd the sockets stay open whatever
//! happens to the process: if it crashes while somebody is half way through an edit, it comes back with these files
//! instead of leaving clients in a queue that nobody serves.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use moca_file_log::config::{Files, LogName, Sources};
use moca_file_log::guard::state_file;
use serde::{Deserialize, Serialize};

/// The texts of the files; `None` where there is none.
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

/// Keeps the files of `config_dir`, whole or not at all, readable for the service only: there are secrets in them.
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
    // They may have been edited since they were found good.
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

/// The files that were kept last, if there are any and this version understands them.
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
