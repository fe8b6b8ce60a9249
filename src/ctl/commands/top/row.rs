//! One row of the table.

use serde::Serialize;

use super::sample::Figures;

/// One log.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: &'static str,
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// why there are no figures although it runs
    pub(super) error: Option<String>,
}
