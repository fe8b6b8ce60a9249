//! `mocactl passwd`: sets the root password, which is stored as an Argon2id hash.

use argon2::{Argon2, PasswordHasher};
use serde_json::Value;

use crate::ctl::edit::config_file::Target;
use crate::ctl::edit::json_edit;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::print_note;
use crate::ctl::ui::prompt;
use crate::exit::Exit;

/// Maximum length of a password. A request cannot carry a longer one.
const MAX_PASSWORD_CHARACTERS: usize = 1024;
/// Passwords with fewer characters get a warning.
const SHORT_PASSWORD_CHARACTERS: usize = 12;

pub(crate) fn run(directories: &Directories) -> Outcome {
    // If the file cannot be changed, the command fails before the operator types a password.
    let target = Target::System;
    let text = target.read(&directories.config)?;
    target.parse(&text)?;
    json_edit::set(&text, "root_pass", &Value::Null).map_err(|why| target.not_strict_json(why))?;

    let password = prompt::new_password()?;
    let characters = password.chars().count();
    if characters == 0 || characters > MAX_PASSWORD_CHARACTERS {
        let message =
            format!("a password has 1 to {MAX_PASSWORD_CHARACTERS} characters; nothing was changed");
        return Err(Error::new(Exit::DataErr, message));
    }
    if characters < SHORT_PASSWORD_CHARACTERS {
        print_note(format_args!("Warning: this password has {characters} characters only."));
    }
    let hash = hash(&password)?;
    target.edit(&directories.config, |text, _| {
        json_edit::set(text, "root_pass", &Value::from(hash)).map_err(|why| target.not_strict_json(why))
    })?;
    print_note("The root password is changed; a running log takes it within two seconds.");
    Ok(0)
}

/// Returns the hash as a PHC string. The parameters are the minimum that OWASP recommends (19 MiB,
/// 2 passes). The server checks at most two passwords at once and remembers the last right one.
fn hash(password: &str) -> Result<String, Error> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Error::new(Exit::Software, format!("the password cannot be hashed: {error}")))
}
