//! Defines the options of `get` and `tail` that select records.

use clap::Args;
use serde_json::{Map, Value, json};

/// Conditions on a record. A record is selected when all of them hold.
#[derive(Debug, Args)]
pub(crate) struct RecordSelection {
    /// Minimum level: debug, info, warning, error, critical or 0 to 4
    #[arg(long)]
    level: Option<String>,
    /// Text that the message or the value of a field contains; given several times, all of them
    #[arg(long, value_name = "TEXT")]
    contains: Vec<String>,
    /// Regular expression that matches in the message or in the value of a field, at most 1024
    /// characters
    #[arg(long, value_name = "PATTERN")]
    regex: Option<String>,
    /// Address or network of the client, or local for the admin socket; given several times, any of
    /// them
    #[arg(long, value_name = "ADDRESS")]
    client: Vec<String>,
    /// Name of the key that stored the record; given several times, any of them
    #[arg(long, value_name = "NAME")]
    key: Vec<String>,
}

impl RecordSelection {
    /// Returns the conditions as parameters of a request.
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
