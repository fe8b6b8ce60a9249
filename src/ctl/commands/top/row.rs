//! One row of the table.

use serde::Serialize;

use super::sample::Figures;

/// One log of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: &'static str,
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// The reason why there are no figures although the instance runs.
    pub(super) error: Option<String>,
}
