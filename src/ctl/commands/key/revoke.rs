//! `mocactl key revoke`: removes a key.

use crate::config::{KeyDigest, KeyEntry};
use crate::ctl::edit::config_file::Target;
use crate::ctl::edit::json_edit;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::print_note;
use crate::ctl::ui::prompt;
use crate::exit::Exit;

/// Arguments of `key revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the key, its hash (sha256:HEX or the first 8 digits), the key itself, or - to read
    /// it from stdin
    #[arg(value_name = "NAME|KEY", allow_hyphen_values = true)]
    which: String,
}

pub(crate) fn run(args: &Args, directories: &Directories) -> Outcome {
    let which = prompt::argument_or_stdin(&args.which, "the key")?;
    let mut gone = (String::new(), 0);
    Target::ApiKey.edit(&directories.config, |text, files| {
        let digest = find(&which, &files.keys)?;
        // All entries of this key are removed. Otherwise the second entry would count after the
        // first is removed.
        let indices: Vec<usize> =
            (0..files.keys.len()).filter(|&index| files.keys[index].digest == digest).collect();
        gone = (files.keys[indices[0]].name.clone(), indices.len());
        json_edit::remove(text, &indices).map_err(|why| Target::ApiKey.not_strict_json(why))
    })?;
    let entries = if gone.1 == 1 { String::new() } else { format!(" ({} entries)", gone.1) };
    print_note(format_args!(
        "The key {:?} is revoked{entries}; a running log refuses it within two seconds.",
        gone.0
    ));
    Ok(0)
}

/// Returns the digest of the key that `which` names.
///
/// # Errors
/// Fails when no key or more than one has this name.
fn find(which: &str, keys: &[KeyEntry]) -> Result<KeyDigest, Error> {
    let whole = which.strip_prefix("sha256:").and_then(|hex| KeyDigest::from_hex(hex).ok());
    let given = whole.unwrap_or_else(|| KeyDigest::of(which));
    if keys.iter().any(|key| key.digest == given) {
        return Ok(given);
    }
    let named = |key: &&KeyEntry| key.name == which || key.digest.short() == which.to_ascii_lowercase();
    let mut found = keys.iter().filter(named).map(|key| key.digest);
    let Some(first) = found.next() else {
        // The argument may be a key, so the message does not repeat it.
        let message = "no key has this name or hash, or is this key; see `mocactl key list`";
        return Err(Error::new(Exit::NoInput, message));
    };
    if found.any(|other| other != first) {
        let message = "several keys have this name; give the hash of the one that is meant";
        return Err(Error::new(Exit::DataErr, message));
    }
    Ok(first)
}
