//! Conditions on records: the options that `get` and `tail` share.

use clap::Args;
use serde_json::{Map, Value, json};

/// Conditions on a record; all must hold.
#[derive(Debug, Args)]
pub(crate) struct RecordSelection {
    /// At least this severe: debug, info, warning, error, critical or 0 to 4
    #[arg(long)]
    level: Option<String>,
    /// This text stands in the message; more than once: all of them
    #[arg(long, value_name = "TEXT")]
    contains: Vec<String>,
    /// This regular expression is found in the message
    #[arg(long, value_name = "PATTERN")]
    regex: Option<String>,
    /// From this address or network, or local for the admin socket; more than once: any of them
    #[arg(long, value_name = "ADDRESS")]
    client: Vec<String>,
    /// Stored with the key of this name; more than once: any of them
    #[arg(long, value_name = "NAME")]
    key: Vec<String>,
}

impl RecordSelection {
    /// As parameters of a request.
    pub(crate) fn parameters(&self) -> Map<String, Value> {
        let mut all = Map::new();
        all.extend(self.level.as_ref().map(|level| ("level".to_owned(), json!(level))));
        all.extend(self.regex.as_ref().map(|regex| ("regex".to_owned(), json!(regex))));
        for (name, values) in [("contains", &self.contains), ("client", &self.client), ("key", &self.key)] {
            if !values.is_empty() {
                all.insert(name.to_owned(), json!(values));
            }
        }
        all
    }
}
