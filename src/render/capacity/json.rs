//! The capacity report for programs.

use super::CapacityRenderer;
use crate::render::Layout;
use crate::report::CapacityReport;

/// JSON, indented.
#[derive(Debug)]
pub(super) struct Json;

impl CapacityRenderer for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn to_text(&self, report: &CapacityReport, _layout: Layout) -> String {
        // The report holds strings, numbers and lists only, so it always has a JSON form.
        let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
        text.push('\n');
        text
    }
}
