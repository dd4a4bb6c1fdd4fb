//! Pieces of Python: expressions with the precedence that they bind with, literals, and slots.
//!
//! A slot is a literal that may turn out to differ between the instances of a class; it then
//! becomes an argument of the class's constructor. Until that is known it stands in the text
//! between control characters, which no other text holds: what users wrote is escaped first.

use crate::ops::AttributeValue;
use crate::tensor::{Dtype, Shape};

/// How tightly Python's operators bind.
pub mod binding {
    /// `==`, `<` and their siblings
    pub const COMPARISON: u8 = 4;
    /// `|`
    pub const OR: u8 = 5;
    /// `^`
    pub const XOR: u8 = 6;
    /// `&`
    pub const AND: u8 = 7;
    /// `+`, `-`
    pub const SUM: u8 = 9;
    /// `*`, `/`, `//`, `%`, `@`
    pub const PRODUCT: u8 = 10;
    /// `-x`, `~x`
    pub const UNARY: u8 = 11;
    /// `**`
    pub const POWER: u8 = 12;
    /// Names, calls, indexing
    pub const ATOM: u8 = 13;
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Code {
    /// The text.
    pub text: String,
    /// How tightly its outermost operator binds.
    pub binding: u8,
    /// How deep brackets stand in it.
    pub depth: u32,
}

impl Code {
    /// A name, a call or a literal.
    pub fn atom(text: impl Into<String>) -> Code {
        Code {
            text: text.into(),
            binding: binding::ATOM,
            depth: 0,
        }
    }

    /// An expression with that outermost operator.
    pub fn new(text: impl Into<String>, binding: u8) -> Code {
        Code {
            text: text.into(),
            binding,
            depth: 0,
        }
    }

    /// The text, in parentheses if it binds looser than that.
    pub fn at_least(&self, least: u8) -> String {
        match self.binding >= least {
            true => self.text.clone(),
            false => format!("({})", self.text),
        }
    }
}

/// `name(arguments)`
pub fn function(name: &str, arguments: impl IntoIterator<Item = String>) -> Code {
    let arguments: Vec<String> = arguments.into_iter().collect();
    Code::atom(format!("{name}({})", arguments.join(", ")))
}

/// `receiver.name(arguments)`
pub fn method(receiver: &Code, name: &str, arguments: impl IntoIterator<Item = String>) -> Code {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let receiver = receiver.at_least(binding::ATOM);
    Code::atom(format!("{receiver}.{name}({})", arguments.join(", ")))
}

const OPEN: char = '\u{1}';
const MIDDLE: char = '\u{2}';
const CLOSE: char = '\u{3}';

/// A literal that may differ between instances; `name` is what to call it then.
pub fn slot(name: &str, value: &str) -> String {
    format!("{OPEN}{name}{MIDDLE}{value}{CLOSE}")
}

/// A slot as it stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What to call it.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The slots of a text, in order.
pub fn slots(text: &str) -> Vec<Slot> {
    text.split(OPEN)
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once(MIDDLE)?;
            let (value, _) = rest.split_once(CLOSE)?;
            Some(Slot {
                name: name.to_owned(),
                value: value.to_owned(),
            })
        })
        .collect()
}

/// The text with each slot replaced by what `fill` gives for its number.
pub fn filled(text: &str, mut fill: impl FnMut(usize, &str) -> String) -> String {
    let mut parts = text.split(OPEN);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for (number, rest) in parts.enumerate() {
        let after = rest.split_once(MIDDLE).map_or("", |(_, after)| after);
        let (value, after) = after.split_once(CLOSE).unwrap_or(("", after));
        result.push_str(&fill(number, value));
        result.push_str(after);
    }
    result
}

/// The text without its slots: two instances of one class have the same.
pub fn skeleton(text: &str) -> String {
    filled(text, |_, _| OPEN.to_string())
}

/// A string in Python. Everything but plain letters and punctuation is escaped.
pub fn string(text: &str) -> String {
    let mut result = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                result.push('\\');
                result.push(letter);
            }
            '\n' => result.push_str("\\n"),
            ' '..='~' => result.push(letter),
            _ => result.push_str(&format!("\\U{:08x}", u32::from(letter))),
        }
    }
    result.push('"');
    result
}

/// One line of a docstring or a comment: control characters are taken out, and what could end a
/// docstring is escaped.
pub fn prose(text: &str) -> String {
    let shown: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    shown.replace('\\', "/").replace('"', "'")
}

/// A real number in Python.
pub fn real(value: f64) -> String {
    match value {
        value if value.is_nan() => "math.nan".to_owned(),
        value if value == f64::INFINITY => "math.inf".to_owned(),
        value if value == f64::NEG_INFINITY => "-math.inf".to_owned(),
        value => format!("{value:?}"),
    }
}

/// A number as an element of that type: `2`, `2.0`, `True`.
pub fn number(value: f64, dtype: Dtype) -> String {
    match dtype {
        Dtype::Bool => boolean(value != 0.0).to_owned(),
        dtype if !dtype.is_float() && !dtype.is_complex() && value.fract() == 0.0 => {
            format!("{value:.0}")
        }
        _ => real(value),
    }
}

/// `True` or `False`.
pub fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// `(2, 3)`; `(2,)` for one.
pub fn tuple<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.as_slice() {
        [one] => format!("({one},)"),
        many => format!("({})", many.join(", ")),
    }
}

/// A shape as a tuple.
pub fn shape(shape: &Shape) -> String {
    tuple(shape.sizes())
}

/// `torch.float32`. PyTorch keeps numbers of four bits in bytes.
pub fn dtype(dtype: Dtype) -> String {
    match dtype {
        Dtype::Int4 => "torch.int8".to_owned(),
        Dtype::Uint4 | Dtype::Float4E2m1fn => "torch.uint8".to_owned(),
        dtype => format!("torch.{}", dtype.name()),
    }
}

/// The value of an attribute.
pub fn attribute(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Integer(value) => value.to_string(),
        AttributeValue::Integers(values) => tuple(values.iter()),
        AttributeValue::Float(value) => real(*value),
        AttributeValue::Boolean(value) => boolean(*value).to_owned(),
        AttributeValue::Text(text) => string(text),
        AttributeValue::Dtype(value) => dtype(*value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_stand_where_they_are_needed() {
        let sum = Code::new("a + b", binding::SUM);
        assert_eq!(sum.at_least(binding::SUM), "a + b");
        assert_eq!(method(&sum, "mean", []).text, "(a + b).mean()");
    }

    #[test]
    fn slots_are_found_and_filled() {
        let text = format!("Conv({}, {})", slot("size", "3"), slot("stride", "2"));
        let names: Vec<String> = slots(&text).into_iter().map(|slot| slot.name).collect();
        assert_eq!(names, ["size", "stride"]);
        assert_eq!(filled(&text, |_, value| value.to_owned()), "Conv(3, 2)");
        let other = format!("Conv({}, {})", slot("size", "5"), slot("stride", "2"));
        assert_eq!(skeleton(&text), skeleton(&other));
    }

    /// Guards against text of users that ends a string, a docstring or a slot.
    #[test]
    fn what_users_wrote_is_escaped() {
        assert_eq!(
            string("a\"b\\\u{1}é"),
            "\"a\\\"b\\\\\\U00000001\\U000000e9\""
        );
        assert_eq!(prose("a\"\"\"\nb\\"), "a''' b/");
    }

    #[test]
    fn numbers_keep_their_type() {
        assert_eq!(number(2.0, Dtype::Int64), "2");
        assert_eq!(number(2.0, Dtype::Float32), "2.0");
        assert_eq!(number(1.0, Dtype::Bool), "True");
        assert_eq!(real(f64::NEG_INFINITY), "-math.inf");
        assert_eq!(tuple([3]), "(3,)");
    }
}
