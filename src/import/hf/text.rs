//! The text of a spec, put together table by table.
//!
//! It knows how the spec language is written, and nothing of models. What comes out is meant to be
//! read and edited: blocks are tables of one line for each layer, with comments where they were
//! given.

use std::fmt::Write as _;

/// A value of the spec.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A whole number.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// A truth value.
    Boolean(bool),
    /// A string: a name, a formula, an expression over dims.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Boolean(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl<T: Into<Value> + Clone> From<&[T]> for Value {
    fn from(items: &[T]) -> Value {
        Value::List(items.iter().cloned().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(items: [T; N]) -> Value {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}

impl Value {
    fn write(&self, out: &mut String) {
        // Writing to a string does not fail.
        let _ = match self {
            Value::Integer(value) => write!(out, "{value}"),
            Value::Real(value) => write!(out, "{}", real(*value)),
            Value::Boolean(value) => write!(out, "{value}"),
            Value::Text(text) => write!(out, "{}", quoted(text)),
            Value::List(items) => {
                out.push('[');
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        out.push_str(", ");
                    }
                    item.write(out);
                }
                write!(out, "]")
            }
        };
    }
}

/// A real number as TOML and formulas write it: `0.02`, `1e-5`, `10000.0`.
pub(super) fn real(value: f64) -> String {
    let size = value.abs();
    match value.fract() == 0.0 && size < 1e15 {
        true => format!("{value:.1}"),
        false if (1e-3..1e15).contains(&size) => format!("{value}"),
        false => format!("{value:e}"),
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    match text.chars().all(plain) {
        true => format!("\"{text}\""),
        false => toml::Value::String(text.to_owned()).to_string(),
    }
}

/// One layer, of the model or of a block.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    note: Option<String>,
    keys: Vec<(String, Value)>,
}

/// A layer of an op or a block.
pub(super) fn op(name: &str, op: &str) -> Layer {
    Layer {
        note: None,
        keys: vec![("name".into(), name.into()), ("op".into(), op.into())],
    }
}

/// A layer of a formula. Without a name it is what its block hands on.
pub(super) fn formula(name: &str, formula: impl Into<String>) -> Layer {
    let mut keys = Vec::new();
    if !name.is_empty() {
        keys.push(("name".into(), name.into()));
    }
    keys.push(("formula".into(), Value::Text(formula.into())));
    Layer { note: None, keys }
}

/// A layer of a formula that has several outputs.
pub(super) fn formulas(names: &[&str], text: impl Into<String>) -> Layer {
    let mut layer = formula("", text);
    layer.keys.insert(0, ("name".into(), names.into()));
    layer
}

impl Layer {
    /// Adds a key.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Layer {
        self.keys.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a key where that holds.
    pub fn set_if(self, holds: bool, key: &str, value: impl Into<Value>) -> Layer {
        match holds {
            true => self.set(key, value),
            false => self,
        }
    }

    /// Sets how the weights start, in place of what was said before.
    pub fn init_std(mut self, expression: &str) -> Layer {
        self.keys.retain(|(key, _)| key != "init_std");
        self.set("init_std", expression)
    }

    /// Says what the layer reads.
    pub fn reads(self, inputs: &[&str]) -> Layer {
        match inputs {
            [one] => self.set("in", *one),
            several => self.set("in", several),
        }
    }

    /// Gives names to several outputs.
    pub fn names(mut self, names: &[&str]) -> Layer {
        self.keys.retain(|(key, _)| key != "name");
        self.keys.insert(0, ("name".into(), names.into()));
        self
    }

    /// Adds a comment above.
    pub fn note(mut self, note: impl Into<String>) -> Layer {
        self.note = Some(note.into());
        self
    }

    fn write_inline(&self, out: &mut String) {
        comment(self.note.as_deref(), "  ", out);
        out.push_str("  { ");
        for (number, (key, value)) in self.keys.iter().enumerate() {
            if number > 0 {
                out.push_str(", ");
            }
            out.push_str(key);
            out.push_str(" = ");
            value.write(out);
        }
        out.push_str(" },\n");
    }

    fn write_table(&self, out: &mut String) {
        out.push('\n');
        comment(self.note.as_deref(), "", out);
        out.push_str("[[layers]]\n");
        for (key, value) in &self.keys {
            out.push_str(key);
            out.push_str(" = ");
            value.write(out);
            out.push('\n');
        }
    }
}

/// A tensor that the model is given, or owns beside its layers.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    note: Option<String>,
    name: String,
    shape: Value,
    keys: Vec<(&'static str, Value)>,
}

impl Tensor {
    /// A tensor of that shape: numbers and expressions over dims.
    pub fn new(name: &str, shape: &[&str]) -> Tensor {
        let sizes = shape.iter().map(|size| match size.parse::<i64>() {
            Ok(size) => Value::Integer(size),
            Err(_) => Value::Text((*size).to_owned()),
        });
        Tensor {
            note: None,
            name: name.to_owned(),
            shape: Value::List(sizes.collect()),
            keys: Vec::new(),
        }
    }

    /// Whole numbers of a range, both ends included.
    pub fn integers(name: &str, shape: &[&str], least: i64, most: i64) -> Tensor {
        Tensor::new(name, shape)
            .set("dtype", "int64")
            .set("range", [least, most])
    }

    /// Adds a key.
    pub fn set(mut self, key: &'static str, value: impl Into<Value>) -> Tensor {
        self.keys.push((key, value.into()));
        self
    }

    /// Adds a comment above, where the tensor is the model's own.
    pub fn note(mut self, note: impl Into<String>) -> Tensor {
        self.note = Some(note.into());
        self
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.name);
        out.push_str(" = ");
        if self.keys.is_empty() {
            self.shape.write(out);
            return;
        }
        out.push_str("{ shape = ");
        self.shape.write(out);
        for (key, value) in &self.keys {
            out.push_str(", ");
            out.push_str(key);
            out.push_str(" = ");
            value.write(out);
        }
        out.push_str(" }");
    }
}

/// A block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    name: String,
    note: Option<String>,
    inputs: Vec<String>,
    arguments: Vec<String>,
    params: Vec<Tensor>,
    buffers: Vec<Tensor>,
    layers: Vec<Layer>,
}

impl Block {
    /// A block of these inputs.
    pub fn new(name: &str, inputs: &[&str]) -> Block {
        Block {
            name: name.to_owned(),
            note: None,
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            arguments: Vec::new(),
            params: Vec::new(),
            buffers: Vec::new(),
            layers: Vec::new(),
        }
    }

    /// Adds a comment above.
    pub fn note(mut self, note: impl Into<String>) -> Block {
        self.note = Some(note.into());
        self
    }

    /// Takes numbers besides tensors.
    pub fn arguments(mut self, names: &[&str]) -> Block {
        self.arguments = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Owns a parameter.
    pub fn param(mut self, tensor: Tensor) -> Block {
        self.params.push(tensor);
        self
    }

    /// Owns a buffer.
    pub fn buffer(mut self, tensor: Tensor) -> Block {
        self.buffers.push(tensor);
        self
    }

    /// Adds layers.
    pub fn layers(mut self, layers: impl IntoIterator<Item = Layer>) -> Block {
        self.layers.extend(layers);
        self
    }

    /// Adds a layer.
    pub fn layer(mut self, layer: Layer) -> Block {
        self.layers.push(layer);
        self
    }

    fn write(&self, out: &mut String) {
        out.push('\n');
        comment(self.note.as_deref(), "", out);
        let _ = writeln!(out, "[blocks.{}]", self.name);
        let list = |names: &[String], key: &str, out: &mut String| {
            out.push_str(key);
            out.push_str(" = ");
            Value::from(names).write(out);
            out.push('\n');
        };
        list(&self.inputs, "inputs", out);
        if !self.arguments.is_empty() {
            list(&self.arguments, "args", out);
        }
        for (key, tensors) in [("params", &self.params), ("buffers", &self.buffers)] {
            for tensor in tensors {
                let _ = write!(out, "{key}.");
                tensor.write(out);
                out.push('\n');
            }
        }
        out.push_str("layers = [\n");
        for layer in &self.layers {
            layer.write_inline(out);
        }
        out.push_str("]\n");
    }
}

/// A spec.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecText {
    head: String,
    name: String,
    dims: Vec<(String, Value)>,
    inputs: Vec<Tensor>,
    params: Vec<Tensor>,
    buffers: Vec<Tensor>,
    blocks: Vec<Block>,
    layers: Vec<Layer>,
    outputs: Vec<String>,
    precision: Option<&'static str>,
    notes: Vec<String>,
}

impl SpecText {
    /// A spec with that comment at its top, of a model of that name.
    pub fn new(head: impl Into<String>, name: impl Into<String>) -> SpecText {
        SpecText {
            head: head.into(),
            name: name.into(),
            ..SpecText::default()
        }
    }

    /// Adds a dim.
    pub fn dim(&mut self, name: &str, value: impl Into<Value>) {
        self.dims.push((name.to_owned(), value.into()));
    }

    /// Adds an input.
    pub fn input(&mut self, tensor: Tensor) {
        self.inputs.push(tensor);
    }

    /// Adds a parameter of the model itself.
    pub fn param(&mut self, tensor: Tensor) {
        self.params.push(tensor);
    }

    /// Adds a buffer of the model itself.
    pub fn buffer(&mut self, tensor: Tensor) {
        self.buffers.push(tensor);
    }

    /// Adds a block, unless there is one of its name.
    pub fn block(&mut self, block: Block) {
        if !self.blocks.iter().any(|known| known.name == block.name) {
            self.blocks.push(block);
        }
    }

    /// Adds a layer of the model.
    pub fn layer(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    /// Names the outputs, where they are not the last layer's.
    pub fn outputs(&mut self, names: &[&str]) {
        self.outputs = names.iter().map(|&name| name.to_owned()).collect();
    }

    /// Names the preset in which the run goes unless it says something else.
    pub fn precision(&mut self, preset: &'static str) {
        self.precision = Some(preset);
    }

    /// Adds what there is to tell of the figures of the model.
    pub fn notes(&mut self, notes: &[String]) {
        self.notes.extend_from_slice(notes);
    }

    /// The text.
    pub fn finish(&self) -> String {
        let mut out = String::new();
        comment(Some(&self.head), "", &mut out);
        out.push_str("spec = 1\n\n[model]\nname = ");
        Value::from(self.name.as_str()).write(&mut out);
        out.push('\n');
        if !self.outputs.is_empty() {
            out.push_str("outputs = ");
            Value::from(&self.outputs[..]).write(&mut out);
            out.push('\n');
        }
        if !self.notes.is_empty() {
            out.push_str("notes = ");
            Value::from(&self.notes[..]).write(&mut out);
            out.push('\n');
        }
        if let Some(preset) = self.precision {
            let note = "The weights are loaded in the type that the configuration says they have.";
            out.push('\n');
            comment(Some(note), "", &mut out);
            let _ = writeln!(out, "[train]\nprecision = {{ preset = \"{preset}\" }}");
        }
        out.push_str("\n[dims]\n");
        for (name, value) in &self.dims {
            out.push_str(name);
            out.push_str(" = ");
            value.write(&mut out);
            out.push('\n');
        }
        for (title, tensors) in [
            ("inputs", &self.inputs),
            ("params", &self.params),
            ("buffers", &self.buffers),
        ] {
            if tensors.is_empty() {
                continue;
            }
            let _ = write!(out, "\n[{title}]\n");
            for tensor in tensors {
                comment(tensor.note.as_deref(), "", &mut out);
                tensor.write(&mut out);
                out.push('\n');
            }
        }
        for block in &self.blocks {
            block.write(&mut out);
        }
        for layer in &self.layers {
            layer.write_table(&mut out);
        }
        out
    }
}

fn comment(text: Option<&str>, indent: &str, out: &mut String) {
    for line in text.into_iter().flat_map(str::lines) {
        // A name out of a configuration may hold what no comment may.
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(out, "{indent}# {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the quoting: a configuration's name may hold anything.
    #[test]
    fn any_text_is_read_back() {
        for text in [
            "plain",
            "a \"quoted\" one",
            "a\\b",
            "line\nbreak",
            "\u{7f}\u{0}",
            "'''",
        ] {
            let line = format!("x = {}", quoted(text));
            let table: toml::Table = toml::from_str(&line).expect(&line);
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }

    #[test]
    fn numbers_are_read_back() {
        for value in [0.02, 1e-5, 1e-12, 10000.0, 0.0, -1.5, 1e300, 0.044715] {
            let line = format!("x = {}", real(value));
            let table: toml::Table = toml::from_str(&line).expect(&line);
            assert_eq!(table["x"].as_float(), Some(value));
        }
    }
}
