//! Lines of a spec, before their tensors have names, and how they are written down.
//!
//! A line is one layer. It refers to tensors by number, so that it can be moved between blocks;
//! only writing gives names. Numbers are kept apart from the text around them, for a block may
//! take one as an argument.

use std::fmt::Write;

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use crate::graph::TensorId;
use crate::tensor::TensorType;

/// A number, or the expression over dims and arguments that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Number {
    /// How it is written.
    pub text: String,
    /// What it is for: the name of the attribute.
    pub role: SmolStr,
}

impl Number {
    /// A number for that attribute.
    pub fn new(text: impl Into<String>, role: &str) -> Number {
        Number {
            text: text.into(),
            role: role.into(),
        }
    }

    /// Whether it is a number as TOML knows them, and no expression.
    pub fn is_literal(&self) -> bool {
        let unsigned = self.text.trim_start_matches('-');
        unsigned.starts_with(|c: char| c.is_ascii_digit()) && !self.text.contains(' ')
            || unsigned == "inf"
            || unsigned == "nan"
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A number.
    Number(Number),
    /// A list of numbers.
    Numbers(Vec<Number>),
    /// A truth value.
    Boolean(bool),
    /// A word.
    Text(String),
    /// The path of a parameter.
    Parameter(TensorId),
    /// Types of tensors.
    Types(Vec<TensorText>),
}

/// The type of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorText {
    /// The shape.
    pub shape: Vec<Number>,
    /// The element type; `None` for the model's own.
    pub dtype: Option<&'static str>,
    /// Whether it is a parameter that is not trained.
    pub frozen: bool,
}

impl TensorText {
    /// The type, in a model of that element type.
    pub fn new(ty: &TensorType, model: crate::tensor::Dtype) -> TensorText {
        let number = |size: &u64| Number::new(size.to_string(), "size");
        TensorText {
            shape: ty.shape.sizes().iter().map(number).collect(),
            dtype: (ty.dtype != model).then(|| ty.dtype.name()),
            frozen: false,
        }
    }
}

/// A piece of a formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it is.
    Text(String),
    /// A number.
    Number(Number),
    /// A tensor's name.
    Tensor(TensorId),
}

/// What a layer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    /// A tensor.
    Tensor(TensorId),
    /// A number.
    Number(String),
    /// Nothing: the operand is left out.
    Absent,
}

/// What a layer computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// An op.
    Op(&'static str),
    /// A block.
    Block(String),
    /// A formula.
    Formula(Vec<Piece>),
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What to call it, if nothing else is called so.
    pub hint: String,
    /// What to call it otherwise; may be empty.
    pub longer: String,
    /// What it hands on.
    pub outputs: Vec<TensorId>,
    /// What it computes.
    pub body: Body,
    /// What it reads; nothing for a formula.
    pub inputs: Vec<Operand>,
    /// Whether it reads the output before it where nothing is said.
    pub reads: bool,
    /// Its attributes or arguments.
    pub attributes: Vec<(SmolStr, Value)>,
    /// How often it stands behind itself.
    pub repeat: u32,
    /// The calls that it stands for.
    pub nodes: std::ops::Range<u32>,
    /// The regions whose block it is, one for each repetition.
    pub instances: Vec<usize>,
}

/// The names within the model or one block.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// Of tensors.
    pub tensors: FxHashMap<TensorId, String>,
    /// Of lines, by number; `None` for one that needs none.
    pub lines: Vec<Option<Vec<String>>>,
}

impl Names {
    /// The name of a tensor; nothing stands for what has none, which no line reads.
    pub fn tensor(&self, id: TensorId) -> &str {
        self.tensors.get(&id).map_or("", String::as_str)
    }
}

/// A TOML string. Basic strings escape what they cannot hold.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A TOML key: bare where that is possible.
pub(super) fn key(text: &str) -> String {
    let bare = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match bare {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// A list in brackets.
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(", "))
}

pub(super) fn number(number: &Number) -> String {
    match number.is_literal() {
        true => number.text.clone(),
        false => quoted(&number.text),
    }
}

pub(super) fn tensor_text(tensor: &TensorText) -> String {
    let shape = list(tensor.shape.iter().map(number));
    let mut more = String::new();
    if let Some(dtype) = tensor.dtype {
        more.push_str(&format!(", dtype = \"{dtype}\""));
    }
    if tensor.frozen {
        more.push_str(", frozen = true");
    }
    match more.is_empty() {
        true => shape,
        false => format!("{{ shape = {shape}{more} }}"),
    }
}

/// The formula with its names.
pub(super) fn formula(pieces: &[Piece], names: &Names) -> String {
    let mut text = String::new();
    for piece in pieces {
        text.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Number(number) => &number.text,
            Piece::Tensor(id) => names.tensor(*id),
        });
    }
    text
}

fn value(value: &Value, names: &Names) -> String {
    match value {
        Value::Number(one) => number(one),
        Value::Numbers(many) => list(many.iter().map(number)),
        Value::Boolean(value) => value.to_string(),
        Value::Text(text) => quoted(text),
        Value::Parameter(id) => quoted(names.tensor(*id)),
        Value::Types(types) => list(types.iter().map(tensor_text)),
    }
}

fn operand(operand: &Operand, names: &Names) -> String {
    match operand {
        Operand::Tensor(id) => quoted(names.tensor(*id)),
        Operand::Number(text) => text.clone(),
        Operand::Absent => quoted(crate::spec::operand::ABSENT),
    }
}

/// Keys and values of a line. `previous` is what the line before it hands on.
pub(super) fn entries(
    line: &Line,
    given: Option<&[String]>,
    names: &Names,
    previous: Option<TensorId>,
) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: String| entries.push((key.to_owned(), value));
    match given {
        Some([one]) => add("name", quoted(one)),
        Some(many) => add("name", list(many.iter().map(|name| quoted(name)))),
        None => {}
    }
    match &line.body {
        Body::Op(op) => add("op", quoted(op)),
        Body::Block(block) => add("op", quoted(block)),
        Body::Formula(pieces) => add("formula", quoted(&formula(pieces, names))),
    }
    if !matches!(line.body, Body::Formula(_)) {
        let implied = match (line.reads, previous) {
            (true, Some(previous)) => line.inputs == [Operand::Tensor(previous)],
            (true, None) | (false, _) => line.inputs.is_empty(),
        };
        match &line.inputs[..] {
            _ if implied => {}
            [Operand::Tensor(one)] => add("in", quoted(names.tensor(*one))),
            many => add("in", list(many.iter().map(|one| operand(one, names)))),
        }
    }
    for (name, one) in &line.attributes {
        add(&key(name), value(one, names));
    }
    if line.repeat > 1 {
        add("repeat", line.repeat.to_string());
    }
    entries
}
