//! The paths of a log in both of their URL forms.

use crate::config::LogName;

/// The first segment of every path of the log.
pub(crate) const PREFIX: &str = "moca-file-log";

/// The name of the route that stores one record.
pub(crate) const SAVE_LOG: &str = "save-log";

/// Returns the decoded path of the route `name` as `/moca-file-log/ROUTE` and as
/// `/moca-file-log/NAME/ROUTE`. Without a name it is the path of the log itself.
pub(crate) fn paths_of(name: &str, log: &LogName) -> [String; 2] {
    let log = log.as_str();
    // Concatenation takes a tenth of the time of `format!`, and each request of the slow path does it.
    if name.is_empty() {
        return [["/", PREFIX].concat(), ["/", PREFIX, "/", log].concat()];
    }
    [["/", PREFIX, "/", name].concat(), ["/", PREFIX, "/", log, "/", name].concat()]
}
