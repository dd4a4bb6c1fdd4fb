//! Attribute values of a call: `kernel_size = 3`, `eps = 1e-5`.

use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::tensor::Dtype;

/// What an attribute may be. Sizes may be written as dim expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeKind {
    /// A non-negative integer: a number of features, heads, groups.
    Size,
    /// A non-negative integer or a list of them: `kernel_size = 3`, `padding = [1, 2]`.
    Sizes,
    /// Any integer: an axis, an offset.
    Integer,
    /// Any integer or a list of them: axes, a target shape with one -1.
    Integers,
    /// A real number.
    Float,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text: an einsum equation.
    Text,
    /// An element type.
    Dtype,
    /// `Sizes`, or one of these words: `padding = "same"`.
    SizesOr(&'static [&'static str]),
    /// A boolean, or the path of a parameter to share: `bias = false`, `weight = "wte.weight"`.
    Parameter,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// An integer.
    Integer(i64),
    /// Integers.
    Integers(Box<[i64]>),
    /// A real number.
    Float(f64),
    /// A truth value.
    Boolean(bool),
    /// A word.
    Text(SmolStr),
    /// An element type.
    Dtype(Dtype),
}

/// The attributes that a call gives, by their position in the op's table; the rest have defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(SmallVec<[(u8, AttributeValue); 1]>);

impl Attributes {
    /// None given.
    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// Sets the attribute at `position`, replacing an earlier value.
    pub fn set(&mut self, position: usize, value: AttributeValue) {
        let position = position as u8;
        match self.0.iter_mut().find(|(at, _)| *at == position) {
            Some(slot) => slot.1 = value,
            None => self.0.push((position, value)),
        }
    }

    /// The value at `position`, if the call gives one.
    pub fn get(&self, position: usize) -> Option<&AttributeValue> {
        self.0
            .iter()
            .find(|(at, _)| *at as usize == position)
            .map(|(_, value)| value)
    }

    /// All given values with their positions, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &AttributeValue)> {
        self.0
            .iter()
            .map(|(position, value)| (*position as usize, value))
    }
}

impl From<i64> for AttributeValue {
    fn from(value: i64) -> Self {
        AttributeValue::Integer(value)
    }
}

impl From<f64> for AttributeValue {
    fn from(value: f64) -> Self {
        AttributeValue::Float(value)
    }
}

impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        AttributeValue::Boolean(value)
    }
}

impl From<&str> for AttributeValue {
    fn from(value: &str) -> Self {
        AttributeValue::Text(value.into())
    }
}

impl From<Dtype> for AttributeValue {
    fn from(value: Dtype) -> Self {
        AttributeValue::Dtype(value)
    }
}

impl From<Vec<i64>> for AttributeValue {
    fn from(value: Vec<i64>) -> Self {
        AttributeValue::Integers(value.into())
    }
}

impl<const N: usize> From<[i64; N]> for AttributeValue {
    fn from(value: [i64; N]) -> Self {
        AttributeValue::Integers(Box::new(value))
    }
}
