//! A drawing in the language of Graphviz: `dot -Tsvg model.dot`.

use std::fmt::Write as _;

use super::drawing::{Drawing, Kind, Step};
use super::{Exported, Options, Target};
use crate::lower::Model;
use crate::spec::Spec;

/// The target.
pub const TARGET: Target = Target {
    name: "dot",
    summary: "a drawing for Graphviz",
    export,
};

/// Draws a model.
pub fn export(spec: &Spec, model: &Model, options: Options) -> Exported {
    let drawing = Drawing::of(&model.graph, options.depth);
    let mut text = String::from("digraph model {\n");
    if let Some(name) = spec.model.name.get() {
        let _ = writeln!(text, "  label = \"{}\";\n  labelloc = t;", escaped(&name));
    }
    text.push_str("  node [shape = box, style = rounded];\n");
    let mut indent = 1;
    for step in drawing.steps() {
        match step {
            Step::Open(frame) => {
                let label = escaped(&drawing.frames[frame].label);
                let pad = "  ".repeat(indent);
                let _ = writeln!(text, "{pad}subgraph cluster_{frame} {{");
                let _ = writeln!(text, "{pad}  label = \"{label}\";");
                indent += 1;
            }
            Step::Close(_) => {
                indent -= 1;
                let _ = writeln!(text, "{}}}", "  ".repeat(indent));
            }
            Step::Shown(number) => {
                let shown = &drawing.boxes[number];
                let lines: Vec<String> = shown.lines.iter().map(|line| escaped(line)).collect();
                let shape = match shown.kind {
                    Kind::Layer => "",
                    Kind::Input | Kind::Output => ", shape = ellipse",
                };
                let pad = "  ".repeat(indent);
                let _ = writeln!(
                    text,
                    "{pad}n{number} [label = \"{}\"{shape}];",
                    lines.join("\\n")
                );
            }
        }
    }
    for (from, to) in drawing.arrows {
        let _ = writeln!(text, "  n{from} -> n{to};");
    }
    text.push_str("}\n");
    Exported {
        text,
        notes: Vec::new(),
    }
}

/// Text within quotes. Graphviz reads escapes within labels, so a backslash is doubled.
fn escaped(text: &str) -> String {
    let mut result = String::new();
    for letter in text.chars() {
        match letter {
            '"' | '\\' => result.extend(['\\', letter]),
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
        assert_eq!(escaped("a\"]; b\\\n"), "a\\\"]; b\\\\ ");
    }
}
