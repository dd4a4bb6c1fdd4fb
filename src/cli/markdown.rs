//! Markdown pages for a terminal.
//!
//! This is for the pages that the program carries, so it knows what they use: headings, paragraphs,
//! lists, fenced code, `code`, *stress* and [links](https://…). It is no parser for Markdown.

use super::console::{Style, paint};
use crate::render::Layout;

/// How far code is indented.
const INDENT: &str = "    ";

/// The page laid out for people. `O(length)`.
pub(super) fn render(page: &str, layout: Layout) -> String {
    let mut text = String::new();
    let mut paragraph = String::new();
    let mut in_code = false;
    for line in page.lines() {
        if line.starts_with("```") {
            flush(&mut paragraph, layout, &mut text);
            in_code = !in_code;
        } else if in_code {
            let line = format!("{INDENT}{line}");
            text.push_str(&paint_line(layout, Style::Code, line.trim_end()));
        } else if line.trim().is_empty() {
            flush(&mut paragraph, layout, &mut text);
            text.push('\n');
        } else if line.starts_with('#') {
            flush(&mut paragraph, layout, &mut text);
            let title = line.trim_start_matches('#').trim();
            text.push_str(&paint_line(layout, Style::Heading, title));
        } else if line.starts_with('|') {
            // A table is readable as it is, and wrapping would spoil it.
            flush(&mut paragraph, layout, &mut text);
            text.push_str(line);
            text.push('\n');
        } else {
            if is_item(line) {
                flush(&mut paragraph, layout, &mut text);
            }
            if !paragraph.is_empty() {
                paragraph.push(' ');
                paragraph.push_str(line.trim());
            } else {
                paragraph.push_str(line.trim_end());
            }
        }
    }
    flush(&mut paragraph, layout, &mut text);
    text
}

fn paint_line(layout: Layout, style: Style, line: &str) -> String {
    match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("{}\n", paint(layout, style, line)),
    }
}

fn is_item(line: &str) -> bool {
    let text = line.trim_start();
    let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    text.starts_with("- ")
        || text.starts_with("* ")
        || (number.len() < text.len() && number.starts_with(". "))
}

/// Wraps the paragraph and appends it. Later lines of an item stand under its text.
fn flush(paragraph: &mut String, layout: Layout, text: &mut String) {
    let line = std::mem::take(paragraph);
    if line.is_empty() {
        return;
    }
    let own_indent = line.len() - line.trim_start().len();
    let indent = match is_item(&line) {
        true => own_indent + line.trim_start().find(' ').map_or(0, |at| at + 1),
        false => own_indent,
    };
    let mut column = own_indent;
    text.push_str(&" ".repeat(own_indent));
    let mut style = Inline::default();
    let mut first = true;
    for word in line.split_whitespace() {
        let width = word.chars().count();
        if !first && column + 1 + width > layout.width {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else if !first {
            text.push(' ');
            column += 1;
        }
        first = false;
        column += width;
        style.push(word, layout, text);
    }
    text.push('\n');
}

/// Follows `code` across the words of a paragraph.
#[derive(Default)]
struct Inline {
    in_code: bool,
}

impl Inline {
    /// Appends a word. With colours its code is coloured and loses its backticks.
    fn push(&mut self, word: &str, layout: Layout, text: &mut String) {
        if !layout.colour {
            text.push_str(word);
            return;
        }
        let (open, close) = Style::Code.escapes();
        for (index, part) in word.split('`').enumerate() {
            if index > 0 {
                self.in_code = !self.in_code;
                text.push_str(if self.in_code { open } else { close });
            }
            text.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# group/rule\n\n## What it does\n\nFinds `A @ B` where\nit is *not* what was meant, and says so.\n\n\
        - one item that is longer than a line can be here\n- two\n\n```toml bad\n[dims]\nn = 1 # `x`\n\n```\n| a | b |\n";

    fn layout(colour: bool) -> Layout {
        Layout {
            colour,
            unicode: true,
            width: 40,
        }
    }

    #[test]
    fn pages_are_wrapped_and_code_is_indented() {
        insta::assert_snapshot!(render(PAGE, layout(false)), @r"
        group/rule

        What it does

        Finds `A @ B` where it is *not* what was
        meant, and says so.

        - one item that is longer than a line
          can be here
        - two

            [dims]
            n = 1 # `x`

        | a | b |
        ");
    }

    #[test]
    fn colours_replace_marks() {
        insta::assert_snapshot!(render(PAGE, layout(true)).replace('\x1b', "^"), @r"
        ^[1;32mgroup/rule^[0m

        ^[1;32mWhat it does^[0m

        Finds ^[36mA @ B^[0m where it is *not* what was
        meant, and says so.

        - one item that is longer than a line
          can be here
        - two

        ^[36m    [dims]^[0m
        ^[36m    n = 1 # `x`^[0m

        | a | b |
        ");
    }
}
