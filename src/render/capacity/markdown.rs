//! The capacity report for a pull request or a page.

use std::fmt::Write;

use super::CapacityRenderer;
use super::rows::{lines, totals};
use crate::render::Layout;
use crate::report::CapacityReport;

/// Markdown tables.
#[derive(Debug)]
pub(super) struct Markdown;

impl CapacityRenderer for Markdown {
    fn name(&self) -> &'static str {
        "markdown"
    }

    fn to_text(&self, report: &CapacityReport, _layout: Layout) -> String {
        let mut text = String::new();
        let name = if report.model.name.is_empty() {
            "Model"
        } else {
            report.model.name.as_str()
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "## {}\n\n| figure | value |\n|---|---|", escape(name));
        for (name, value) in totals(report) {
            let _ = writeln!(text, "| {} | {} |", name.trim(), escape(&value));
        }
        text.push_str("\n| layer | op | output | parameters | forward |\n|---|---|---|--:|--:|\n");
        for line in lines(report) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                escape(&line.path),
                escape(&line.op),
                escape(&line.output),
                line.parameters,
                line.flops
            );
        }
        text
    }
}

/// Text that stands for itself in a Markdown table.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\n' | '\r' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
