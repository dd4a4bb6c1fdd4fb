//! A drawing as a Mermaid flowchart, which forges and editors show within Markdown.

use std::fmt::Write as _;

use super::drawing::{Drawing, Kind, Step};
use super::{Exported, Options, Target};
use crate::lower::Model;
use crate::spec::Spec;

/// The target.
pub const TARGET: Target = Target {
    name: "mermaid",
    summary: "a Mermaid flowchart",
    export,
};

/// How many arrows Mermaid draws before it refuses, unless it is told otherwise.
const MOST_ARROWS: usize = 500;

/// Draws a model.
pub fn export(spec: &Spec, model: &Model, options: Options) -> Exported {
    let drawing = Drawing::of(&model.graph, options.depth);
    let mut text = String::new();
    if let Some(name) = spec.model.name.get() {
        let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "---\ntitle: \"{name}\"\n---");
    }
    text.push_str("flowchart TD\n");
    let mut indent = 1;
    for step in drawing.steps() {
        match step {
            Step::Open(frame) => {
                let label = escaped(&drawing.frames[frame].label);
                let _ = writeln!(
                    text,
                    "{}subgraph g{frame}[\"{label}\"]",
                    "  ".repeat(indent)
                );
                indent += 1;
            }
            Step::Close(_) => {
                indent -= 1;
                let _ = writeln!(text, "{}end", "  ".repeat(indent));
            }
            Step::Shown(number) => {
                let shown = &drawing.boxes[number];
                let lines: Vec<String> = shown.lines.iter().map(|line| escaped(line)).collect();
                let (open, close) = match shown.kind {
                    Kind::Layer => ("[", "]"),
                    Kind::Input | Kind::Output => ("([", "])"),
                };
                let label = lines.join("<br/>");
                let pad = "  ".repeat(indent);
                let _ = writeln!(text, "{pad}n{number}{open}\"{label}\"{close}");
            }
        }
    }
    let count = drawing.arrows.len();
    for (from, to) in drawing.arrows {
        let _ = writeln!(text, "  n{from} --> n{to}");
    }
    let notes = match count > MOST_ARROWS {
        true => vec![format!(
            "The drawing has {count} arrows; Mermaid shows no more than {MOST_ARROWS} unless \
             `maxEdges` is set. --depth shows less."
        )],
        false => Vec::new(),
    };
    Exported { text, notes }
}

/// Text within quotes: Mermaid has entities with a hash instead of an ampersand.
fn escaped(text: &str) -> String {
    let mut result = String::new();
    for letter in text.chars() {
        match letter {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' | ';' => {
                let _ = write!(result, "#{};", u32::from(letter));
            }
            letter if letter.is_control() => result.push(' '),
            letter => result.push(letter),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_wrote_is_escaped() {
        assert_eq!(escaped("a\"]\n<b>#"), "a#34;] #60;b#62;#35;");
    }
}
