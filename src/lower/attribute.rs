//! Attribute values: expressions over dims and block arguments become numbers.

use crate::formula::arithmetic::Number;
use crate::formula::{Expression, NodeKind};
use crate::ops::AttributeValue;
use crate::source::{Span, suggest};
use crate::spec::layer::RawValue;
use crate::spec::names;
use crate::spec::reader::evaluate as evaluate_expression;

use super::Lowering;

/// The value; `None` where it cannot be told, which has been reported then.
pub(super) fn evaluate(
    lowering: &mut Lowering<'_, '_>,
    value: &RawValue,
    span: Span,
) -> Option<AttributeValue> {
    match value {
        RawValue::Value(value) => Some(value.clone()),
        RawValue::Name(name) => name_value(lowering, name, span),
        RawValue::Expression(expression) => expression_value(lowering, expression),
        RawValue::List(items) => {
            let mut values = Vec::with_capacity(items.len());
            for item in items {
                match evaluate(lowering, item, span)? {
                    AttributeValue::Integer(value) => values.push(value),
                    other => {
                        let message =
                            format!("a list of whole numbers is needed, but it holds {other:?}");
                        lowering.complain(names::INVALID_VALUE, span, message, None);
                        return None;
                    }
                }
            }
            Some(values.into())
        }
        RawValue::Faulty => None,
    }
}

fn name_value(lowering: &mut Lowering<'_, '_>, name: &str, span: Span) -> Option<AttributeValue> {
    if let Some(value) = lowering.scope().arguments.get(name) {
        return Some(value.clone());
    }
    match lowering.number(name) {
        Some(Number::Integer(value)) => Some(AttributeValue::Integer(value)),
        Some(Number::Real(value)) => Some(AttributeValue::Float(value)),
        None => {
            unknown_name(lowering, name, span);
            None
        }
    }
}

/// Reports a name that is neither dim nor argument. A dim that is there but has no value has been
/// reported with the dim.
fn unknown_name(lowering: &mut Lowering<'_, '_>, name: &str, span: Span) {
    if lowering
        .spec
        .dims
        .entries
        .iter()
        .any(|dim| dim.name == name)
    {
        return;
    }
    let mut known = lowering.dims.names();
    known.extend(
        lowering
            .scope()
            .arguments
            .keys()
            .map(smol_str::SmolStr::as_str),
    );
    let help = suggest::did_you_mean(name, &known);
    lowering.complain(
        names::UNKNOWN_DIM,
        span,
        format!("unknown dim `{name}`"),
        help,
    );
}

fn expression_value(
    lowering: &mut Lowering<'_, '_>,
    expression: &Expression,
) -> Option<AttributeValue> {
    // A bare name may stand for an argument of any kind.
    if let NodeKind::Name(name) = expression.kind(expression.root())
        && let Some(value) = lowering.scope().arguments.get(name)
    {
        return Some(value.clone());
    }
    if let NodeKind::Boolean(value) = expression.kind(expression.root()) {
        return Some(AttributeValue::Boolean(*value));
    }
    match evaluate_expression(expression, &mut |name| lowering.number(name)) {
        Ok(Number::Integer(value)) => Some(AttributeValue::Integer(value)),
        Ok(Number::Real(value)) => Some(AttributeValue::Float(value)),
        Err(error) => {
            let name = error
                .message
                .strip_prefix("unknown dim `")
                .and_then(|r| r.strip_suffix('`'));
            match name {
                Some(name) => unknown_name(lowering, name, error.span),
                None => {
                    lowering.complain(
                        names::INCONSISTENT_DIM,
                        error.span,
                        error.message,
                        error.help,
                    );
                }
            }
            None
        }
    }
}
