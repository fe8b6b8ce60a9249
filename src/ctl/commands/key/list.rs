//! `mocactl key list`: prints the names, hashes and permissions of keys. The keys themselves are
//! not stored.

use serde_json::{Value, json};

use crate::config::KeyEntry;
use crate::ctl::edit::config_file::Target;
use crate::ctl::error::Outcome;
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::{Align, Cell, Colour, Printer};

/// Arguments of `key list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let text = Target::ApiKey.read(&directories.config)?;
    let keys = Target::ApiKey.parse(&text)?.keys;
    if args.json {
        let keys: Vec<Value> = keys.iter().map(describe).collect();
        printer.json(&keys)?;
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
    printer.table(&heading, &rows)?;
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

/// Returns the addresses that may use the key, or `None` for any address.
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
