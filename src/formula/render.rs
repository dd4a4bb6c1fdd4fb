//! Tree → text, with no more parentheses than the tree needs.

use std::fmt::{self, Write};

use super::operators::{UnaryOperator, precedence};
use super::tree::{Expression, NodeId, NodeKind};

/// A sub-expression as text; made by [`Expression::display`].
#[derive(Debug, Clone, Copy)]
pub struct Rendered<'a> {
    tree: &'a Expression,
    node: NodeId,
}

impl Expression {
    /// The sub-expression as text. Reading that text gives the same tree, up to spans.
    ///
    /// Strings are written between single quotes where they hold none; in a TOML string the text
    /// is still to be escaped.
    pub fn display(&self, node: NodeId) -> Rendered<'_> {
        Rendered { tree: self, node }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(self.root()).fmt(f)
    }
}

/// What is still to be written.
enum Task<'a> {
    Text(&'a str),
    /// A node without children.
    Leaf(&'a NodeKind),
    /// A node, in parentheses if it binds looser than that.
    Node(NodeId, u8),
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A stack instead of recursion: a long sum is a tree as deep as it is long.
        let mut tasks = vec![Task::Node(self.node, precedence::CONDITIONAL)];
        let mut parts = Vec::new();
        while let Some(task) = tasks.pop() {
            match task {
                Task::Text(text) => f.write_str(text)?,
                Task::Leaf(kind) => leaf(kind, f)?,
                Task::Node(node, least) => {
                    let bare = own_precedence(self.tree.kind(node)) >= least;
                    if !bare {
                        parts.push(Task::Text("("));
                    }
                    split(self.tree, node, &mut parts);
                    if !bare {
                        parts.push(Task::Text(")"));
                    }
                    tasks.extend(parts.drain(..).rev());
                }
            }
        }
        Ok(())
    }
}

/// Tighter than any operator: what a dot may follow. It may not follow a number, nor `...`.
const OBJECT: u8 = precedence::ATOM + 1;

/// How tightly a node binds.
fn own_precedence(kind: &NodeKind) -> u8 {
    match kind {
        NodeKind::Conditional { .. } => precedence::CONDITIONAL,
        NodeKind::Binary { operator, .. } => operator.precedence(),
        NodeKind::Unary { operator, .. } => operator.precedence(),
        NodeKind::Integer(value) if *value < 0 => precedence::UNARY,
        NodeKind::Real(value) if value.is_sign_negative() => precedence::UNARY,
        NodeKind::Integer(_) | NodeKind::Real(_) | NodeKind::Ellipsis => precedence::ATOM,
        _ => OBJECT,
    }
}

/// Splits a node into its children and the text between them.
fn split<'a>(tree: &'a Expression, node: NodeId, parts: &mut Vec<Task<'a>>) {
    use Task::{Node, Text};
    let kind = tree.kind(node);
    match *kind {
        NodeKind::Attribute { object, ref name } => {
            parts.extend([Node(object, OBJECT), Text("."), Text(name)]);
        }
        NodeKind::Unary { operator, operand } => {
            parts.push(Text(operator.symbol()));
            if operator == UnaryOperator::Not {
                parts.push(Text(" "));
            }
            parts.push(Node(operand, operator.precedence()));
        }
        NodeKind::Binary {
            operator,
            left,
            right,
        } => {
            let (left_least, right_least) = operator.operand_precedences();
            parts.extend([
                Node(left, left_least),
                Text(" "),
                Text(operator.symbol()),
                Text(" "),
                Node(right, right_least),
            ]);
        }
        NodeKind::Conditional {
            value,
            condition,
            otherwise,
        } => parts.extend([
            Node(value, precedence::OR),
            Text(" if "),
            Node(condition, precedence::OR),
            Text(" else "),
            Node(otherwise, precedence::CONDITIONAL),
        ]),
        NodeKind::Call {
            function,
            arguments,
        } => {
            parts.extend([Node(function, precedence::ATOM), Text("(")]);
            for (index, argument) in tree.arguments(arguments).iter().enumerate() {
                if index > 0 {
                    parts.push(Text(", "));
                }
                if let Some((name, _)) = &argument.name {
                    parts.extend([Text(name), Text("=")]);
                }
                parts.push(Node(argument.value, precedence::CONDITIONAL));
            }
            parts.push(Text(")"));
        }
        NodeKind::Index { object, indices } => {
            parts.extend([Node(object, precedence::ATOM), Text("[")]);
            separated(tree.items(indices), parts);
            parts.push(Text("]"));
        }
        NodeKind::Slice { start, stop, step } => {
            let part = |node| Node(node, precedence::CONDITIONAL);
            parts.extend(start.map(part));
            parts.push(Text(":"));
            parts.extend(stop.map(part));
            if let Some(step) = step {
                parts.extend([Text(":"), part(step)]);
            }
        }
        NodeKind::Tuple(list) => {
            parts.push(Text("("));
            separated(tree.items(list), parts);
            parts.push(Text(if list.len() == 1 { ",)" } else { ")" }));
        }
        NodeKind::List(list) => {
            parts.push(Text("["));
            separated(tree.items(list), parts);
            parts.push(Text("]"));
        }
        NodeKind::Name(ref name) => parts.push(Text(name)),
        NodeKind::Integer(_)
        | NodeKind::Real(_)
        | NodeKind::Boolean(_)
        | NodeKind::None
        | NodeKind::Ellipsis
        | NodeKind::String(_) => parts.push(Task::Leaf(kind)),
    }
}

fn separated<'a>(items: &[NodeId], parts: &mut Vec<Task<'a>>) {
    for (index, &item) in items.iter().enumerate() {
        if index > 0 {
            parts.push(Task::Text(", "));
        }
        parts.push(Task::Node(item, precedence::CONDITIONAL));
    }
}

fn leaf(kind: &NodeKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match kind {
        NodeKind::Integer(value) => write!(f, "{value}"),
        NodeKind::Real(value) if value.is_nan() => f.write_str("nan"),
        // Debug keeps the decimal point or the exponent, so that a real stays one.
        NodeKind::Real(value) => write!(f, "{value:?}"),
        NodeKind::Boolean(true) => f.write_str("True"),
        NodeKind::Boolean(false) => f.write_str("False"),
        NodeKind::None => f.write_str("None"),
        NodeKind::Ellipsis => f.write_str("..."),
        NodeKind::String(value) => string(value, f),
        _ => Ok(()),
    }
}

fn string(value: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let quote = match value.contains('\'') && !value.contains('"') {
        true => '"',
        false => '\'',
    };
    f.write_char(quote)?;
    for c in value.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            _ if c == quote => write!(f, "\\{quote}")?,
            _ => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}
