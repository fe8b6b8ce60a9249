//! Makes one row of the table.

use serde::Serialize;

use super::sample::Figures;

/// Holds the figures of one log.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: &'static str,
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// The reason why the figures are missing although the instance runs.
    pub(super) error: Option<String>,
}
