//! Calls in formulas: Python's positional and keyword arguments become operands and attributes.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::Lowering;
use super::call::fit;
use super::value::Value;
use crate::graph::TensorId;
use crate::ops::{AttributeKind, AttributeValue, Attributes, Op};
use crate::source::{Span, suggest};
use crate::spec::names;

/// An argument as it is written in a call.
pub(super) struct Given {
    pub name: Option<(SmolStr, Span)>,
    pub value: Value,
    pub span: Span,
}

/// Operands and attributes of a call.
pub(super) struct Bound {
    pub arguments: SmallVec<[TensorId; 4]>,
    pub attributes: Attributes,
}

impl Lowering<'_, '_> {
    /// Sorts the arguments of a call into operands and attributes.
    ///
    /// Positional arguments fill the operands first, then the attributes, in the order of the op's
    /// table. A number fills an operand only where the op insists on one: in `layer_norm(x, 768)`
    /// it is the shape, in `pow(x, 2)` the exponent. Several integers in a row fill one last list:
    /// `x.reshape(8, -1)`.
    pub(super) fn bind_call(
        &mut self,
        op: &'static Op,
        receiver: Option<TensorId>,
        given: Vec<Given>,
    ) -> Option<Bound> {
        let mut bound = Bound {
            arguments: SmallVec::new(),
            attributes: Attributes::new(),
        };
        bound.arguments.extend(receiver);
        let mut next_attribute = 0;
        let mut given = given.into_iter().peekable();
        while let Some(argument) = given.next() {
            if argument.name.is_some() {
                self.bind_keyword(op, argument, &mut bound)?;
                continue;
            }
            if let Some(position) = axis_before_index(op, &argument, &bound) {
                self.set(op, position, argument.value, argument.span, &mut bound)?;
                continue;
            }
            if self.bind_operand(op, &argument, &mut bound)? {
                continue;
            }
            let Some((position, kind)) = next_free(op, &bound.attributes, &mut next_attribute)
            else {
                let message = format!("`{}` takes no further argument", op.name);
                self.complain(names::SHAPE_MISMATCH, argument.span, message, signature(op));
                return None;
            };
            let last = no_number_follows(op, &bound.attributes, next_attribute);
            let is_list = matches!(kind, AttributeKind::Integers | AttributeKind::Sizes);
            let mut value = argument.value;
            if let (true, true, Value::Integer(first)) = (is_list, last, &value) {
                let mut list = vec![Value::Integer(*first)];
                while let Some(more) = given
                    .next_if(|next| next.name.is_none() && matches!(next.value, Value::Integer(_)))
                {
                    list.push(more.value);
                }
                value = Value::List(list);
            }
            self.set(op, position, value, argument.span, &mut bound)?;
        }
        // The layer keeps the batch, as `nn.Flatten` does; the function joins all axes.
        if let ("flatten", Some(first)) = (op.name, op.attribute_position("start_dim"))
            && bound.attributes.get(first).is_none()
        {
            bound.attributes.set(first, 0.into());
        }
        Some(bound)
    }

    fn bind_keyword(&mut self, op: &'static Op, argument: Given, bound: &mut Bound) -> Option<()> {
        let (name, name_span) = argument.name?;
        if let Some(position) = op.attribute_position(&name) {
            return self.set(op, position, argument.value, argument.span, bound);
        }
        if let Some(position) = op.operand_position(&name) {
            while bound.arguments.len() <= position {
                bound.arguments.push(TensorId::ABSENT);
            }
            bound.arguments[position] = match argument.value {
                Value::None => TensorId::ABSENT,
                value => self.tensor(&value, argument.span)?,
            };
            return Some(());
        }
        let mut known: Vec<&str> = op
            .attributes
            .iter()
            .map(|attribute| attribute.name)
            .collect();
        known.extend(op.operands.iter().map(|operand| operand.name));
        let help = suggest::did_you_mean(&name, &known);
        let message = format!("`{}` has no argument `{name}`", op.name);
        self.complain(names::UNKNOWN_KEY, name_span, message, help);
        None
    }

    /// Puts a positional argument into the next operand, if it fits there.
    fn bind_operand(
        &mut self,
        op: &'static Op,
        argument: &Given,
        bound: &mut Bound,
    ) -> Option<bool> {
        let at = bound.arguments.len();
        let variadic = op.is_variadic() && at + 1 >= op.operands.len();
        let Some(operand) = op
            .operands
            .get(at)
            .or(op.operands.last().filter(|_| variadic))
        else {
            return Some(false);
        };
        match &argument.value {
            Value::List(items) if variadic => {
                let tensors = items
                    .iter()
                    .any(|item| matches!(item, Value::Tensor(_) | Value::Faulty));
                if !tensors {
                    return Some(false);
                }
                for item in items {
                    let id = self.tensor(item, argument.span)?;
                    bound.arguments.push(id);
                }
            }
            Value::Tensor(id) => {
                if at >= op.operands.len() && !variadic {
                    return Some(false);
                }
                bound.arguments.push(*id);
            }
            Value::Integer(_) | Value::Real(_) | Value::Boolean(_)
                if !operand.optional && !operand.variadic =>
            {
                let id = self.tensor(&argument.value, argument.span)?;
                bound.arguments.push(id);
            }
            Value::None if operand.optional && !operand.variadic => {
                bound.arguments.push(TensorId::ABSENT);
            }
            Value::Path(_) => {
                let id = self.tensor(&argument.value, argument.span)?;
                bound.arguments.push(id);
            }
            Value::Faulty => bound.arguments.push(self.builder.unknown()),
            _ => return Some(false),
        }
        Some(true)
    }

    fn set(
        &mut self,
        op: &'static Op,
        position: usize,
        value: Value,
        span: Span,
        bound: &mut Bound,
    ) -> Option<()> {
        let attribute = &op.attributes[position];
        if matches!(value, Value::None) {
            return Some(());
        }
        let fitting = plain(&value).and_then(|value| fit(&value, attribute.kind));
        match fitting {
            Some(value) => {
                bound.attributes.set(position, value);
                Some(())
            }
            None if matches!(value, Value::Faulty) => None,
            None => {
                let message = format!(
                    "`{}` of `{}` cannot be {}",
                    attribute.name,
                    op.name,
                    value.describe()
                );
                self.complain(
                    names::INVALID_VALUE,
                    span,
                    message,
                    Some(attribute.summary.into()),
                );
                None
            }
        }
    }
}

/// Where the axis goes that PyTorch's `gather(input, dim, index)`, and all that read or write by
/// index, take in front of the index. A number is never an index there: it is a tensor.
fn axis_before_index(op: &'static Op, argument: &Given, bound: &Bound) -> Option<usize> {
    let next = op.operands.get(bound.arguments.len())?;
    if next.name != "index" || !matches!(argument.value, Value::Integer(_)) {
        return None;
    }
    let position = op.attribute_position("dim")?;
    bound.attributes.get(position).is_none().then_some(position)
}

/// The next attribute, in the order of the table, that is not set and no parameter switch.
fn next_free(
    op: &'static Op,
    attributes: &Attributes,
    from: &mut usize,
) -> Option<(usize, AttributeKind)> {
    while *from < op.attributes.len() {
        let position = *from;
        *from += 1;
        let kind = op.attributes[position].kind;
        if kind != AttributeKind::Parameter && attributes.get(position).is_none() {
            return Some((position, kind));
        }
    }
    None
}

/// Whether no attribute behind `from` could take a number, so that a row of them is one list:
/// `x.reshape(2, 3)`, `ones(2, 3)`.
fn no_number_follows(op: &'static Op, attributes: &Attributes, mut from: usize) -> bool {
    loop {
        match next_free(op, attributes, &mut from) {
            None => return true,
            Some((_, AttributeKind::Dtype)) => {}
            Some(_) => return false,
        }
    }
}

/// The value as an attribute's, if it can be one.
fn plain(value: &Value) -> Option<AttributeValue> {
    Some(match value {
        Value::Integer(value) => AttributeValue::Integer(*value),
        Value::Real(value) => AttributeValue::Float(*value),
        Value::Boolean(value) => AttributeValue::Boolean(*value),
        Value::Text(text) => AttributeValue::Text(text.clone()),
        Value::Dtype(dtype) => AttributeValue::Dtype(*dtype),
        Value::List(items) => {
            let numbers: Option<Vec<i64>> = items
                .iter()
                .map(|item| match item {
                    Value::Integer(value) => Some(*value),
                    _ => None,
                })
                .collect();
            numbers?.into()
        }
        _ => return None,
    })
}

/// What a call of the op looks like.
fn signature(op: &'static Op) -> Option<String> {
    let mut parts: Vec<String> = op
        .operands
        .iter()
        .map(|operand| operand.name.to_owned())
        .collect();
    parts.extend(
        op.attributes
            .iter()
            .map(|attribute| format!("{}=…", attribute.name)),
    );
    Some(format!("it is {}({})", op.name, parts.join(", ")))
}
