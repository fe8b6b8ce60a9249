//! `mocactl key`: who may send records.

pub(crate) mod explain;
mod steps;

use clap::{Args, Subcommand};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{KeyDigest, KeyEntry};
use crate::ctl::commands::key::explain::Explain;
use crate::ctl::edit::config_file::Target;
use crate::ctl::edit::json_edit;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::paths::Places;
use crate::ctl::ui::output::{Align, Cell, Colour, Out, remark};
use crate::ctl::ui::prompt;
use crate::exit::Exit;

/// The commands about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List the keys: names, what each may do, never the keys themselves
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a key, print it once, and store its hash
    Add(Add),
    /// Remove a key: nothing is accepted with it any more
    Revoke {
        /// The key's name, its hash (whole with sha256:, or the first 8 digits), the key itself, or - to read it from stdin
        #[arg(value_name = "NAME|KEY", allow_hyphen_values = true)]
        which: String,
    },
    /// Say which rule would admit or refuse a request
    Explain(Explain),
}

/// What a new key may do.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What stands in the lines of the log; by default the first 8 digits of the key's hash
    #[arg(long)]
    name: Option<String>,
    /// A remark for people
    #[arg(long, value_name = "TEXT")]
    info: Option<String>,
    /// At most so many requests, such as "60/minute" or "10/second, 1000/hour"
    #[arg(long, value_name = "LIMITS")]
    rate: Option<String>,
    /// Only from this address or network; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<String>,
    /// Only below this path, such as /moca-file-log/sample1/save-log or PATH:LIMITS; may be given several times
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: KeyCommand, places: &Places, out: &mut Out) -> Outcome {
    match command {
        KeyCommand::List { json } => list(places, json, out),
        KeyCommand::Add(add) => self::add(&add, places, out),
        KeyCommand::Revoke { which } => revoke(&which, places),
        KeyCommand::Explain(explain) => explain::run(&explain, places, out),
    }
}

/// A fresh secret: 256 random bits behind a prefix that tells what it is, and that no option looks like.
pub(crate) fn fresh_secret() -> Result<String, Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(Exit::OsErr, format!("no random numbers: {error}")))?;
    Ok(format!("moca_{}", BASE64URL_NOPAD.encode(&random)))
}

fn list(places: &Places, json: bool, out: &mut Out) -> Outcome {
    let text = Target::ApiKey.read(&places.config)?;
    let keys = Target::ApiKey.parse(&text)?.keys;
    if json {
        let keys: Vec<Value> = keys.iter().map(describe).collect();
        out.json(&keys)?;
        return Ok(0);
    }
    let heading = [
        ("NAME", Align::Left),
        ("STATUS", Align::Left),
        ("HASH", Align::Left),
        ("RATE", Align::Left),
        ("IP", Align::Left),
        ("PATHS", Align::Left),
        ("INFO", Align::Left),
    ];
    let rows: Vec<Vec<Cell>> = keys.iter().map(row).collect();
    out.table(&heading, &rows)?;
    Ok(0)
}

fn row(key: &KeyEntry) -> Vec<Cell> {
    let status =
        if key.status { Cell::painted(Colour::Green, "on") } else { Cell::painted(Colour::Red, "off") };
    vec![
        Cell::plain(&key.name),
        status,
        Cell::plain(key.digest.short()),
        Cell::plain(key.rate.to_string()),
        Cell::plain(addresses(key).map_or_else(|| "*".to_owned(), |list| list.join(" "))),
        Cell::plain(paths(key).join(" ")),
        Cell::plain(crate::record::Escaped(key.info.as_deref().unwrap_or_default()).to_string()),
    ]
}

fn describe(key: &KeyEntry) -> Value {
    json!({
        "name": key.name,
        "status": key.status,
        "hash": format!("sha256:{}", key.digest.to_hex()),
        "rate": key.rate.to_string(),
        "ip": addresses(key),
        "allowed_path": paths(key),
        "delay": key.delay.as_secs_f64(),
        "info": key.info,
    })
}

/// `None` = any.
fn addresses(key: &KeyEntry) -> Option<Vec<String>> {
    let mut list: Vec<_> = key.ip.as_ref()?.iter().collect();
    list.sort();
    let shown = |network: &ipnet::IpNet| {
        if network.prefix_len() == network.max_prefix_len() {
            network.addr().to_string()
        } else {
            network.to_string()
        }
    };
    Some(list.iter().map(shown).collect())
}

fn paths(key: &KeyEntry) -> Vec<String> {
    let shown = |path: &crate::config::AllowedPath| match path.rate.is_empty() {
        true => path.path.clone(),
        false => format!("{}:{}", path.path, path.rate),
    };
    key.allowed_path.iter().map(shown).collect()
}

fn add(add: &Add, places: &Places, out: &mut Out) -> Outcome {
    let key = fresh_secret()?;
    let digest = KeyDigest::of(&key);
    let hash = format!("sha256:{}", digest.to_hex());
    let name = add.name.clone().unwrap_or_else(|| digest.short());
    let entry = entry(add, &hash);
    Target::ApiKey.edit(&places.config, |text, files| {
        if files.keys.iter().any(|other| other.name == name) {
            let message = format!("there is a key named {name:?} already; give another --name");
            return Err(Error::new(Exit::Usage, message));
        }
        json_edit::push(text, &entry).map_err(|why| Target::ApiKey.not_plain(why))
    })?;
    if add.json {
        out.json(&json!({ "name": name, "key": key, "hash": hash }))?;
    } else {
        out.line(&key)?;
        out.flush()?;
        remark(format_args!(
            "This is the key of {name:?}. It is shown this once: {} has its hash only.",
            places.config.join(Target::ApiKey.file()).display()
        ));
    }
    Ok(0)
}

/// An entry of `api_key.json`, its options in the order in which people look for them.
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

fn entry<'a>(add: &'a Add, hash: &'a str) -> NewEntry<'a> {
    NewEntry {
        key: hash,
        name: add.name.as_deref(),
        status: true,
        allowed_path: &add.path,
        ip: &add.ip,
        rate: add.rate.as_deref(),
        info: add.info.as_deref(),
    }
}

fn revoke(which: &str, places: &Places) -> Outcome {
    let which = key_argument(which)?;
    let mut gone = (String::new(), 0);
    Target::ApiKey.edit(&places.config, |text, files| {
        let digest = find(&which, &files.keys)?;
        // every entry of this key: the next one would count once the first is gone
        let indices: Vec<usize> =
            (0..files.keys.len()).filter(|&index| files.keys[index].digest == digest).collect();
        gone = (files.keys[indices[0]].name.clone(), indices.len());
        json_edit::remove(text, &indices).map_err(|why| Target::ApiKey.not_plain(why))
    })?;
    let entries = if gone.1 == 1 { String::new() } else { format!(" ({} entries)", gone.1) };
    remark(format_args!(
        "The key {:?} is revoked{entries}; a running log refuses it within a second.",
        gone.0
    ));
    Ok(0)
}

/// The one key that is meant.
fn find(which: &str, keys: &[KeyEntry]) -> Result<KeyDigest, Error> {
    let whole = which.strip_prefix("sha256:").and_then(|hex| KeyDigest::from_hex(hex).ok());
    let given = whole.unwrap_or_else(|| KeyDigest::of(which));
    if keys.iter().any(|key| key.digest == given) {
        return Ok(given);
    }
    let named = |key: &&KeyEntry| key.name == which || key.digest.short() == which.to_ascii_lowercase();
    let mut found = keys.iter().filter(named).map(|key| key.digest);
    let Some(first) = found.next() else {
        // it may be a key: it is not repeated
        let message = "no key has this name or hash, or is this key; see `mocactl key list`";
        return Err(Error::new(Exit::NoInput, message));
    };
    if found.any(|other| other != first) {
        let message = "several keys have this name; give the hash of the one that is meant";
        return Err(Error::new(Exit::DataErr, message));
    }
    Ok(first)
}

/// A key as an argument; `-` reads it from standard input, where no other user sees it.
pub(crate) fn key_argument(argument: &str) -> Result<String, Error> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    prompt::line_of_stdin("the key")
}
