//! Makes new keys and passwords.

use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use crate::ctl::edit::config_file::Target;
use crate::ctl::edit::json_edit;
use crate::ctl::error::Error;
use crate::exit::Exit;

/// Returns a new secret, which has 256 random bits after a prefix that names its origin. Because of
/// the prefix, a command line cannot mistake it for an option.
pub(crate) fn fresh_secret() -> Result<String, Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(Exit::OsErr, format!("no random numbers: {error}")))?;
    Ok(format!("moca_{}", BASE64URL_NOPAD.encode(&random)))
}

/// Replaces the public key and root password of the sample files by new ones, as plain text. The
/// first installation of the package and `reset-system` do so.
pub(crate) fn fresh_secrets(config_dir: &Path) -> Result<(), Error> {
    let (key, password) = (Value::from(fresh_secret()?), Value::from(fresh_secret()?));
    Target::ApiKey.edit(config_dir, |text, files| {
        let changed = if files.keys.is_empty() {
            json_edit::push(text, &serde_json::json!({ "key": key, "status": true }))
        } else {
            json_edit::change(text, 0, |entry| json_edit::set(entry, "key", &key)).and_then(|text| {
                json_edit::change(&text, 0, |entry| json_edit::set(entry, "info", &Value::Null))
            })
        };
        changed.map_err(|why| Target::ApiKey.not_strict_json(why))
    })?;
    Target::System.edit(config_dir, |text, _| {
        json_edit::set(text, "root_pass", &password).map_err(|why| Target::System.not_strict_json(why))
    })
}
