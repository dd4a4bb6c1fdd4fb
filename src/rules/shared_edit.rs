//! Edits of specs that several rules propose: an attribute set, a part of a formula replaced.

use crate::diag::Edit;
use crate::formula::NodeId as PartId;
use crate::formula::{BinaryOperator, Expression, NodeKind};
use crate::graph::{DefinitionId, NodeId};
use crate::rules::Context;
use crate::source::Span;
use crate::spec::Spec;
use crate::spec::layer::Body;

/// The edit that gives an attribute of a layer's op that value, where it is written or not.
///
/// `None` where the layer is no call of an op, or its table is one whose end is not known.
pub fn set_attribute(
    spec: &Spec,
    definition: DefinitionId,
    name: &str,
    value: &str,
) -> Option<Edit> {
    let layer = spec.definitions.get(definition.0 as usize)?;
    let Body::Op(op) = layer.body else {
        return None;
    };
    let position = op.attribute_position(name)?;
    if let Some(entry) = layer.attribute(position) {
        return Some(Edit {
            span: entry.span,
            replacement: value.to_owned(),
        });
    }
    add_key(spec, definition, name, value)
}

/// The edit that writes a key that a layer's table does not have yet, behind its `op` or `formula`.
pub fn add_key(spec: &Spec, definition: DefinitionId, key: &str, value: &str) -> Option<Edit> {
    let layer = spec.definitions.get(definition.0 as usize)?;
    // In an inline table the next key follows on the same line; in a table of its own on the next.
    let inline = spec.document.source_text(layer.span).starts_with('{');
    let replacement = match inline {
        true => format!(", {key} = {value}"),
        false => format!("\n{key} = {value}"),
    };
    Some(Edit {
        span: Span {
            start: layer.body_span.end,
            ..layer.body_span
        },
        replacement,
    })
}

/// The part of a formula that a call of the graph was made of.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The formula.
    pub formula: &'a Expression,
    /// The part.
    pub id: PartId,
}

impl<'a> Part<'a> {
    /// The part that a node was made of; `None` where it was made of no formula.
    pub fn of(context: &Context<'a>, node: NodeId) -> Option<Part<'a>> {
        let node = context.graph.node(node);
        let span = node.span?;
        let definition = context.graph.layer(node.layer).definition;
        let layer = context.spec.definitions.get(definition.0 as usize)?;
        let Body::Formula(formula) = &layer.body else {
            return None;
        };
        let (id, _) = formula.iter().rev().find(|(_, part)| part.span == span)?;
        Some(Part { formula, id })
    }

    /// The part that is an operand: of an operator, or of a call by position.
    pub fn operand(self, position: usize) -> Option<Part<'a>> {
        let at = |id: PartId| {
            Some(Part {
                formula: self.formula,
                id,
            })
        };
        match *self.formula.kind(self.id) {
            NodeKind::Binary { left, right, .. } => at([left, right].get(position).copied()?),
            NodeKind::Unary { operand, .. } => (position == 0).then_some(operand).and_then(at),
            NodeKind::Call {
                function,
                arguments,
            } => {
                let mut position = position;
                if let NodeKind::Attribute { object, .. } = *self.formula.kind(function)
                    && !is_module(self.formula, object)
                {
                    if position == 0 {
                        return at(object);
                    }
                    position -= 1;
                }
                let argument = self.formula.arguments(arguments).get(position)?;
                argument
                    .name
                    .is_none()
                    .then_some(argument.value)
                    .and_then(at)
            }
            _ => None,
        }
    }

    /// The text of the part.
    pub fn text(self) -> String {
        self.formula.display(self.id).to_string()
    }

    /// The text of the part, in parentheses where a sum or product could tear it apart.
    pub fn term(self) -> String {
        match *self.formula.kind(self.id) {
            NodeKind::Conditional { .. } => format!("({})", self.text()),
            NodeKind::Binary { operator, .. } if !is_arithmetic(operator) => {
                format!("({})", self.text())
            }
            _ => self.text(),
        }
    }

    /// The range of the part, parentheses around it included.
    pub fn range(self) -> Span {
        self.formula.node(self.id).outer
    }

    /// The edit that puts another expression in place of the part; `None` where the text holds what
    /// a TOML string would have to escape.
    pub fn replace(self, replacement: String) -> Option<Edit> {
        let plain = !replacement.contains(['"', '\'', '\\']);
        plain.then(|| Edit {
            span: self.range(),
            replacement,
        })
    }
}

fn is_module(formula: &Expression, object: PartId) -> bool {
    formula
        .dotted_name(object)
        .is_some_and(|name| name.split('.').next().is_some_and(crate::lower::is_module))
}

fn is_arithmetic(operator: BinaryOperator) -> bool {
    use BinaryOperator as B;
    matches!(
        operator,
        B::Add | B::Subtract | B::Multiply | B::Divide | B::MatrixMultiply | B::Power
    )
}
