//! `mocactl key add`: makes a key, prints it once, and stores its hash.

use serde::Serialize;
use serde_json::json;

use crate::config::KeyDigest;
use crate::ctl::edit::config_file::Target;
use crate::ctl::edit::json_edit;
use crate::ctl::edit::secrets::fresh_secret;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::{Printer, print_note};
use crate::exit::Exit;

/// Arguments of `key add`: the permissions of the new key.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the key in records; by default the first 8 digits of its hash
    #[arg(long)]
    name: Option<String>,
    /// Note for operators
    #[arg(long, value_name = "TEXT")]
    info: Option<String>,
    /// Maximum number of requests, such as "60/minute" or "10/second, 1000/hour"
    #[arg(long, value_name = "LIMITS")]
    rate: Option<String>,
    /// Address or network that may use the key; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<String>,
    /// Path below which the key is valid, such as /moca-file-log/sample1/save-log, or PATH:LIMITS;
    /// may be given several times
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let key = fresh_secret()?;
    let digest = KeyDigest::of(&key);
    let hash = format!("sha256:{}", digest.to_hex());
    let name = args.name.clone().unwrap_or_else(|| digest.short());
    let entry = entry(args, &hash);
    Target::ApiKey.edit(&directories.config, |text, files| {
        if files.keys.iter().any(|other| other.name == name) {
            let message = format!("there is a key named {name:?} already; give another --name");
            return Err(Error::new(Exit::Usage, message));
        }
        json_edit::push(text, &entry).map_err(|why| Target::ApiKey.not_strict_json(why))
    })?;
    if args.json {
        printer.json(&json!({ "name": name, "key": key, "hash": hash }))?;
    } else {
        printer.line(&key)?;
        printer.flush()?;
        print_note(format_args!(
            "This is the key of {name:?}. It is shown this once: {} has its hash only.",
            directories.config.join(Target::ApiKey.file()).display()
        ));
    }
    Ok(0)
}

/// Represents an entry of `api_key.json`. The options stand in the order in which an operator looks
/// for them.
#[derive(Serialize)]
struct NewEntry<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    status: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    allowed_path: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    ip: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a str>,
}

fn entry<'a>(args: &'a Args, hash: &'a str) -> NewEntry<'a> {
    NewEntry {
        key: hash,
        name: args.name.as_deref(),
        status: true,
        allowed_path: &args.path,
        ip: &args.ip,
        rate: args.rate.as_deref(),
        info: args.info.as_deref(),
    }
}
