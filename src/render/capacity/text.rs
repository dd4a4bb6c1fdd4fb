//! The capacity report for people at a terminal.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::CapacityRenderer;
use super::change::{estimate_lines, largest_lines, lever_lines};
use super::parts::{
    device_line, growth_lines, host_line, left_out_line, memory_lines, owner_lines, rank_line,
    saved_line,
};
use super::peak::{peak_header, peak_line, peak_lines, peak_owner_lines, timeline_lines};
use super::rows::{Line, lines, totals};
use super::serving::{serving_line, serving_lines};
use crate::quantity::Flops;
use crate::render::Layout;
use crate::report::CapacityReport;

/// Tables.
#[derive(Debug)]
pub(super) struct Text;

impl CapacityRenderer for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn to_text(&self, report: &CapacityReport, layout: Layout) -> String {
        let mut text = String::new();
        let name = if report.model.name.is_empty() {
            "model"
        } else {
            report.model.name.as_str()
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}\n");
        for (part, types) in [
            ("input", &report.model.inputs),
            ("output", &report.model.outputs),
        ] {
            for named in types {
                let _ = writeln!(text, "{part:<26} {} {}", named.name, named.ty);
            }
        }
        for (name, value) in totals(report) {
            let _ = writeln!(text, "{name:<26} {value}");
        }
        let (memory, width) = (&report.memory, Some(layout.width));
        let what = match memory.training {
            true => "held in training",
            false => "held in inference",
        };
        let header = [what, "bytes", "share", ""];
        let _ = write!(
            text,
            "\n{}",
            columns(width, header, memory_lines(memory), &[1, 2])
        );
        for line in [
            saved_line(memory),
            host_line(memory),
            Some(left_out_line(memory)),
            rank_line(memory),
            device_line(memory),
        ] {
            for line in line.iter().flat_map(|line| wrapped(line, layout.width)) {
                let _ = writeln!(text, "{line}");
            }
        }
        let estimates = estimate_lines(memory);
        if !estimates.is_empty() {
            let header = ["estimated besides", "bytes", "from", "to", ""];
            let _ = write!(text, "\n{}", columns(width, header, estimates, &[1, 2, 3]));
        }
        let largest = largest_lines(memory);
        if !largest.is_empty() {
            let header = ["largest that fits", "now", "surely", "at most"];
            let _ = write!(text, "\n{}", columns(width, header, largest, &[1, 2, 3]));
        }
        let levers = lever_lines(memory);
        if !levers.is_empty() {
            let header = ["what would save", "bytes", "to", "at the cost of"];
            let _ = write!(text, "\n{}", columns(width, header, levers, &[1, 2]));
        }
        let header = [peak_header(memory), "bytes", "share", "together"];
        let table = columns(width, header, peak_lines(memory), &[1, 2, 3]);
        let _ = write!(text, "\n{table}");
        for line in wrapped(&peak_line(memory), layout.width) {
            let _ = writeln!(text, "{line}");
        }
        let header = ["held at the peak by", "", "bytes", "share"];
        let holders = columns(width, header, peak_owner_lines(memory), &[2, 3]);
        let _ = write!(text, "\n{holders}");
        let timeline = timeline_lines(memory);
        if !timeline.is_empty() {
            let header = ["phase", "layer", "op", "most", "left"];
            let _ = write!(text, "\n{}", columns(None, header, timeline, &[3, 4]));
        }
        let owners = owner_lines(memory);
        if !owners.is_empty() {
            let header = ["kept for the backward pass by", "bytes", "share"];
            let _ = write!(text, "\n{}", columns(width, header, owners, &[1, 2]));
        }
        if let Some(serving) = &report.serving {
            let header = ["held in serving", "bytes", ""];
            let table = columns(width, header, serving_lines(serving), &[1]);
            let _ = write!(text, "\n{table}");
            let line = serving_line(serving);
            for line in line.iter().flat_map(|line| wrapped(line, layout.width)) {
                let _ = writeln!(text, "{line}");
            }
        }
        let growth = growth_lines(report);
        if !growth.is_empty() {
            let header = ["twice the", "now", "arithmetic", "memory", ""];
            let _ = write!(text, "\n{}", columns(width, header, growth, &[1, 2, 3]));
        }
        let _ = write!(text, "\n{}", layer_table(report));
        text
    }
}

/// A sentence in lines of at most that many columns, as far as its words allow.
fn wrapped(sentence: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A table without lines, whose cells are broken to fit a width if there is one; the columns `right`
/// are flush right.
fn columns<const N: usize>(
    width: Option<usize>,
    header: [&str; N],
    lines: Vec<[String; N]>,
    right: &[usize],
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width.clamp(40, 1000) as u16);
    }
    for line in lines {
        table.add_row(line);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn layer_table(report: &CapacityReport) -> String {
    let whole = report.flops.forward.as_f64();
    let row = |line: Line| {
        let share = if line.flops == Flops(0) {
            String::new()
        } else {
            format!("{:.1} %", 100.0 * line.flops.as_f64() / whole)
        };
        let nothing = |text: String, empty: bool| if empty { String::new() } else { text };
        [
            line.path,
            line.op,
            line.output,
            nothing(line.parameters.to_string(), line.parameters.get() == 0),
            nothing(line.flops.to_string(), line.flops == Flops(0)),
            share,
        ]
    };
    let rows = lines(report).into_iter().map(row).collect();
    let header = ["layer", "op", "output", "parameters", "forward", "share"];
    columns(None, header, rows, &[3, 4, 5])
}
