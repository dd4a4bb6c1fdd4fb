//! Arguments of a call as values: tensors of the graph, numbers, words.

use smallvec::SmallVec;

use crate::graph::{Builder, TensorId};
use crate::ops::{AttributeKind, AttributeValue, Op};
use crate::tensor::Dtype;

/// An argument, with names resolved.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `None`, or a number that only running the program would tell.
    Absent,
    Tensor(TensorId),
    /// Tensors; [`TensorId::ABSENT`] for gaps.
    Tensors(Vec<TensorId>),
    Integer(i64),
    Integers(Vec<i64>),
    Float(f64),
    Boolean(bool),
    Text(String),
    Dtype(Dtype),
    /// Something that no op here takes: a device, a layout.
    Other,
}

/// The arguments of one call by the names of ATen's schema.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments<'a>(pub Vec<(&'a str, Value)>);

impl Arguments<'_> {
    /// The value of that name; [`Value::Absent`] where it is not given.
    pub(super) fn get(&self, name: &str) -> &Value {
        self.0
            .iter()
            .find(|(given, _)| *given == name)
            .map_or(&Value::Absent, |(_, value)| value)
    }

    /// The tensor of that name.
    pub(super) fn tensor(&self, name: &str) -> Option<TensorId> {
        match self.get(name) {
            Value::Tensor(id) => Some(*id),
            _ => None,
        }
    }

    /// The integer of that name.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Value::Integer(value) => Some(*value),
            Value::Boolean(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The integers of that name.
    pub(super) fn integers(&self, name: &str) -> Option<&[i64]> {
        match self.get(name) {
            Value::Integers(values) => Some(values),
            _ => None,
        }
    }

    /// The number of that name.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        match self.get(name) {
            Value::Integer(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::Boolean(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// The truth value of that name.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// The tensors of that name, gaps included.
    pub(super) fn tensors(&self, name: &str) -> &[TensorId] {
        match self.get(name) {
            Value::Tensors(ids) => ids,
            Value::Tensor(id) => std::slice::from_ref(id),
            _ => &[],
        }
    }

    /// All tensors of the call.
    pub(super) fn all_tensors(&self) -> SmallVec<[TensorId; 4]> {
        let mut all = SmallVec::new();
        for (_, value) in &self.0 {
            match value {
                Value::Tensor(id) => all.push(*id),
                Value::Tensors(ids) => all.extend(ids.iter().copied().filter(|id| id.is_present())),
                _ => {}
            }
        }
        all
    }
}

impl Value {
    /// The value as an operand: tensors as they are, numbers as constants. `None` where it cannot
    /// be one.
    pub(super) fn operand(&self, builder: &mut Builder) -> Option<TensorId> {
        Some(match self {
            Value::Tensor(id) => *id,
            Value::Absent => TensorId::ABSENT,
            Value::Integer(value) => builder.typed_constant(*value as f64, Dtype::Int64),
            Value::Float(value) => builder.constant(*value),
            Value::Boolean(value) => {
                builder.typed_constant(f64::from(u8::from(*value)), Dtype::Bool)
            }
            _ => return None,
        })
    }

    /// The value for the attribute at `position` of an op: `Ok(None)` where it is not given, `Err`
    /// where the attribute cannot take it.
    pub(super) fn attribute(&self, op: &Op, position: usize) -> Result<Option<AttributeValue>, ()> {
        let kind = op.attributes[position].kind;
        let value = match (kind, self) {
            (_, Value::Absent) => return Ok(None),
            // An empty list stands for 'as the op decides': a stride like the kernel, all axes.
            (AttributeKind::Sizes | AttributeKind::SizesOr(_), Value::Integers(values))
                if values.is_empty() =>
            {
                return Ok(None);
            }
            (AttributeKind::Boolean, Value::Boolean(value)) => AttributeValue::Boolean(*value),
            (AttributeKind::Boolean, Value::Integer(value)) => AttributeValue::Boolean(*value != 0),
            (AttributeKind::Float, Value::Integer(value)) => AttributeValue::Float(*value as f64),
            (AttributeKind::Float, Value::Float(value)) => AttributeValue::Float(*value),
            (AttributeKind::Float, Value::Boolean(value)) => {
                AttributeValue::Float(f64::from(u8::from(*value)))
            }
            (AttributeKind::Size | AttributeKind::Integer, Value::Integers(values)) => {
                match values[..] {
                    [one] => AttributeValue::Integer(one),
                    _ => return Err(()),
                }
            }
            (
                AttributeKind::Size
                | AttributeKind::Integer
                | AttributeKind::Sizes
                | AttributeKind::Integers
                | AttributeKind::SizesOr(_),
                Value::Integer(value),
            ) => AttributeValue::Integer(*value),
            (
                AttributeKind::Sizes | AttributeKind::Integers | AttributeKind::SizesOr(_),
                Value::Integers(values),
            ) => AttributeValue::from(values.clone()),
            // `Reduction` is an enum in ATen and a word in Python.
            (AttributeKind::Choice(words), Value::Integer(value))
                if op.attributes[position].name == "reduction" =>
            {
                let word = usize::try_from(*value).ok().and_then(|at| words.get(at));
                AttributeValue::from(*word.ok_or(())?)
            }
            (AttributeKind::Choice(words) | AttributeKind::SizesOr(words), Value::Text(text))
                if words.contains(&text.as_str()) =>
            {
                AttributeValue::from(text.as_str())
            }
            (AttributeKind::Text, Value::Text(text)) => AttributeValue::from(text.as_str()),
            (AttributeKind::Dtype, Value::Dtype(dtype)) => AttributeValue::from(*dtype),
            _ => return Err(()),
        };
        Ok(Some(value))
    }
}
