//! What the formula tests share: reading, and writing trees and errors down.

mod errors;
mod grammar;
mod properties;

use super::{Expression, FormulaError, NodeId, NodeKind, parse_at};
use crate::source::{FileId, Span};

fn read(text: &str) -> Result<Expression, Vec<FormulaError>> {
    parse_at(text, FileId(0), 0)
}

fn parsed(text: &str) -> Expression {
    read(text).unwrap_or_else(|errors| panic!("{text:?}: {errors:?}"))
}

/// The tree with every grouping written out, as the Python script that made the expectations
/// writes its own trees.
fn dump(tree: &Expression, id: NodeId) -> String {
    let d = |id: NodeId| dump(tree, id);
    let all = |items: &[NodeId]| items.iter().map(|&item| format!(" {}", d(item))).collect();
    match tree.kind(id) {
        NodeKind::Integer(value) => value.to_string(),
        NodeKind::Real(value) => format!("{value:?}"),
        NodeKind::Boolean(true) => "True".to_owned(),
        NodeKind::Boolean(false) => "False".to_owned(),
        NodeKind::None => "None".to_owned(),
        NodeKind::Ellipsis => "...".to_owned(),
        NodeKind::String(value) => format!("{value:?}"),
        NodeKind::Name(name) => name.to_string(),
        NodeKind::Attribute { object, name } => format!("(. {} {name})", d(*object)),
        NodeKind::Unary { operator, operand } => {
            format!("({} {})", operator.symbol(), d(*operand))
        }
        NodeKind::Binary {
            operator,
            left,
            right,
        } => format!("({} {} {})", operator.symbol(), d(*left), d(*right)),
        NodeKind::Conditional {
            value,
            condition,
            otherwise,
        } => format!("(if {} {} {})", d(*condition), d(*value), d(*otherwise)),
        NodeKind::Call {
            function,
            arguments,
        } => {
            let mut text = format!("(call {}", d(*function));
            for argument in tree.arguments(*arguments) {
                text += " ";
                if let Some((name, _)) = &argument.name {
                    text += &format!("{name}=");
                }
                text += &d(argument.value);
            }
            text + ")"
        }
        NodeKind::Index { object, indices } => {
            let indices: String = all(tree.items(*indices));
            format!("(index {}{indices})", d(*object))
        }
        NodeKind::Slice { start, stop, step } => {
            let part = |part: Option<NodeId>| part.map_or(String::new(), d);
            let step = step.map_or(String::new(), |step| format!(":{}", d(step)));
            format!("{}:{}{step}", part(*start), part(*stop))
        }
        NodeKind::Tuple(list) => format!("(tuple{})", all(tree.items(*list)) as String),
        NodeKind::List(list) => format!("(list{})", all(tree.items(*list)) as String),
    }
}

/// What the user would see of an error: the text with the place underlined, and the words.
fn underlined(text: &str, span: Span) -> String {
    let line = |offset: usize| text[..offset].chars().count();
    let (start, end) = (line(span.range().start), line(span.range().end));
    let marks = "^".repeat((end - start).max(1));
    let text = text.replace('\u{200b}', "·");
    format!("  {text}\n  {}{marks}", " ".repeat(start))
}
