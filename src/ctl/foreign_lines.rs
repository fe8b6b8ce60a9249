//! Says on the standard error that a selection found nothing in a log that holds lines of other
//! programs.

use http::Method;
use serde_json::Value;

use super::client::admin_client::AdminClient;
use super::ui::output::print_note;
use crate::config::LogName;

/// The parameters that are conditions on a record.
const CONDITIONS: [&str; 7] = ["since", "until", "level", "contains", "regex", "client", "key"];

/// Returns whether `parameters` hold a condition.
pub(crate) fn has_condition(parameters: &Value) -> bool {
    CONDITIONS.iter().any(|name| parameters.get(name).is_some())
}

/// Prints a note if the log holds lines that do not begin like a record.
pub(crate) fn note_nothing_found(client: &AdminClient, name: &LogName) {
    let foreign = foreign_lines(client);
    if foreign > 0 {
        print_note(format_args!(
            "mocactl: no record of {name} is selected; {foreign} of its lines are not records, and only \
            conditions on text find those that follow no record"
        ));
    }
}

/// Returns the number of lines that do not begin like a record, or 0 if the instance does not answer.
pub(crate) fn foreign_lines(client: &AdminClient) -> u64 {
    let details = client.value::<Value>(Method::GET, "/moca-file-log/details");
    details.ok().and_then(|details| details.get("foreign").and_then(Value::as_u64)).unwrap_or_default()
}
