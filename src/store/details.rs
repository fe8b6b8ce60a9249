//! Defines the size and age of a log.

/// Size and age of a log, which the store knows without reading its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Number of lines. It is a lower bound while `counting` is true.
    pub count: u64,
    /// Those of them that do not begin like a record. It is a lower bound while `counting` is true.
    pub foreign: u64,
    /// True while the lines that the log had when the store was opened are being counted.
    pub counting: bool,
    /// Bytes of all lines.
    pub size: u64,
    /// Bytes that the lines take where the engine keeps them.
    pub size_on_disk: u64,
    /// Number of closed parts of the log that the engine keeps beside the one it writes.
    pub segments: u64,
    /// Time of the first line, RFC 3339.
    pub oldest: Option<String>,
    /// Time of the last line, RFC 3339.
    pub newest: Option<String>,
}
