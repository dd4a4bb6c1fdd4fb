//! Tables for people: columns set apart by blanks, cells wrapped to the width of the terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

use super::console::{Style, paint};
use crate::render::Layout;

/// Where the text of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table with a bold head, as wide as the layout at most.
pub(super) fn table(head: &[(&str, Align)], rows: &[Vec<String>], layout: Layout) -> String {
    let titles: Vec<&str> = head.iter().map(|(title, _)| *title).collect();
    let mut table = Table::new();
    // A head of empty titles is none.
    if titles.iter().any(|title| !title.is_empty()) {
        table.set_header(titles);
    }
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(layout.width).unwrap_or(u16::MAX))
        .add_rows(rows);
    // Only the widest column is wrapped: names and numbers in pieces cannot be read.
    let widths = table.column_max_content_widths();
    let widest = (0..head.len()).max_by_key(|&index| widths.get(index));
    let last = head.len().saturating_sub(1);
    for (index, (column, (_, align))) in table.column_iter_mut().zip(head).enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
        if Some(index) != widest {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        column.set_cell_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        });
    }
    let has_head = table.header().is_some();
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match number == 0 && has_head {
            true => text.push_str(&paint(layout, Style::Bold, line)),
            false => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_long_cells_wrapped() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [
            row([
                "one",
                "1",
                "a text that does not fit into one line of the table",
            ]),
            row(["three", "1,000", "b"]),
        ];
        let head = [
            ("name", Align::Left),
            ("count", Align::Right),
            ("text", Align::Left),
        ];
        let layout = Layout {
            width: 40,
            ..Layout::default()
        };
        insta::assert_snapshot!(table(&head, &rows, layout), @r"
        name   count  text
        one        1  a text that does not fit
                      into one line of the table
        three  1,000  b
        ");
    }
}
