//! The capacity report for people at a terminal.

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::CapacityRenderer;
use super::rows::{lines, totals};
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

    fn to_text(&self, report: &CapacityReport, _layout: Layout) -> String {
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
        let _ = write!(text, "\n{}", layer_table(report));
        text
    }
}

fn layer_table(report: &CapacityReport) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["layer", "op", "output", "parameters", "forward", "share"]);
    let whole = report.flops.forward.as_f64();
    for line in lines(report) {
        let share = if line.flops == Flops(0) {
            String::new()
        } else {
            format!("{:.1} %", 100.0 * line.flops.as_f64() / whole)
        };
        let nothing = |text: String, empty: bool| if empty { String::new() } else { text };
        table.add_row([
            line.path,
            line.op,
            line.output,
            nothing(line.parameters.to_string(), line.parameters.get() == 0),
            nothing(line.flops.to_string(), line.flops == Flops(0)),
            share,
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index >= 3 {
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
