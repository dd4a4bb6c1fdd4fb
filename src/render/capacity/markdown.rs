//! The capacity report for a pull request or a page.

use std::fmt::Write;

use super::CapacityRenderer;
use super::change::{estimate_lines, largest_lines, lever_lines};
use super::parts::{
    device_line, growth_lines, host_line, left_out_line, memory_lines, owner_lines, rank_line,
    saved_line,
};
use super::peak::{peak_header, peak_line, peak_lines, peak_owner_lines, timeline_lines};
use super::rows::{lines, totals};
use super::serving::{serving_line, serving_lines};
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
        let memory = &report.memory;
        let what = match memory.training {
            true => "held in training",
            false => "held in inference",
        };
        let _ = writeln!(text, "\n| {what} | bytes | share | |\n|---|--:|--:|---|");
        table(&mut text, memory_lines(memory));
        for line in [
            saved_line(memory),
            host_line(memory),
            Some(left_out_line(memory)),
            rank_line(memory),
            device_line(memory),
        ]
        .into_iter()
        .flatten()
        {
            let _ = writeln!(text, "\n{}", escape(&line));
        }
        let estimates = estimate_lines(memory);
        if !estimates.is_empty() {
            text.push_str("\n| estimated besides | bytes | from | to | |\n|---|--:|--:|--:|---|\n");
            table(&mut text, estimates);
        }
        let largest = largest_lines(memory);
        if !largest.is_empty() {
            text.push_str("\n| largest that fits | now | surely | at most |\n|---|--:|--:|--:|\n");
            table(&mut text, largest);
        }
        let levers = lever_lines(memory);
        if !levers.is_empty() {
            text.push_str(
                "\n| what would save | bytes | to | at the cost of |\n|---|--:|--:|---|\n",
            );
            table(&mut text, levers);
        }
        let what = peak_header(memory);
        let header = format!("\n| {what} | bytes | share | together |\n|---|--:|--:|--:|");
        let _ = writeln!(text, "{header}");
        table(&mut text, peak_lines(memory));
        let _ = writeln!(text, "\n{}", escape(&peak_line(memory)));
        text.push_str("\n| held at the peak by | | bytes | share |\n|---|---|--:|--:|\n");
        table(&mut text, peak_owner_lines(memory));
        let timeline = timeline_lines(memory);
        if !timeline.is_empty() {
            text.push_str("\n| phase | layer | op | most | left |\n|---|---|---|--:|--:|\n");
            table(&mut text, timeline);
        }
        let owners = owner_lines(memory);
        if !owners.is_empty() {
            text.push_str("\n| kept for the backward pass by | bytes | share |\n|---|--:|--:|\n");
            table(&mut text, owners);
        }
        if let Some(serving) = &report.serving {
            text.push_str("\n| held in serving | bytes | |\n|---|--:|---|\n");
            table(&mut text, serving_lines(serving));
            if let Some(line) = serving_line(serving) {
                let _ = writeln!(text, "\n{}", escape(&line));
            }
        }
        let growth = growth_lines(report);
        if !growth.is_empty() {
            text.push_str("\n| twice the | now | arithmetic | memory | |\n|---|--:|--:|--:|---|\n");
            table(&mut text, growth);
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

/// Rows of a table.
fn table<const N: usize>(text: &mut String, lines: Vec<[String; N]>) {
    for line in lines {
        let cells = line.map(|cell| escape(&cell));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
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
