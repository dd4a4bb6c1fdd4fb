//! `[[layers]]`: one layer as it is written, before anything is computed.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::document::{EntryRef, NodeRef, TableRef};
use super::names;
use super::operand::{self, Sources};
use super::reader::Reader;
use super::tensors::TensorDefinition;
use crate::formula::Expression;
use crate::ops::{self, AttributeKind, AttributeValue, Init, Op};
use crate::source::{Span, suggest};
use crate::tensor::Dtype;

/// A layer as it is written.
#[derive(Debug, Clone)]
pub struct LayerDefinition {
    /// The header or the braces.
    pub span: Span,
    /// The block that it stands in.
    pub block: Option<u32>,
    /// Its names, one for each output; generated where none is given.
    pub names: SmallVec<[SmolStr; 1]>,
    /// Where the name was written.
    pub name_span: Option<Span>,
    /// What it computes.
    pub body: Body,
    /// Where `op = …` or `formula = …` has its value.
    pub body_span: Span,
    /// What it reads; `None` for the previous layer's output.
    pub inputs: Option<Sources>,
    /// How often it is repeated.
    pub repeat: Option<Box<AttributeEntry>>,
    /// How its last axis is split into several outputs.
    pub split: Option<Box<AttributeEntry>>,
    /// The attributes given to its op, or the arguments given to its block.
    pub attributes: SmallVec<[AttributeEntry; 1]>,
    /// Whether its parameters are frozen.
    pub frozen: bool,
    /// How its weights are initialised; `None` for the op's own way.
    pub init: Option<Init>,
    /// The element type of its parameters; `None` for the model's.
    pub dtype: Option<Dtype>,
    /// The types of its outputs, where they are not what its op would infer; mostly empty.
    pub stated: Vec<TensorDefinition>,
}

/// What a layer computes.
#[derive(Debug, Clone)]
pub enum Body {
    /// One op.
    Op(&'static Op),
    /// A block, by number.
    Block(u32),
    /// A formula.
    Formula(Box<Expression>),
    /// The trace of an error already reported.
    Faulty,
}

/// One attribute or block argument as it is written.
#[derive(Debug, Clone)]
pub struct AttributeEntry {
    /// The position in the op's attributes, or in the block's arguments.
    pub position: u16,
    /// Where the key was written.
    pub key_span: Span,
    /// Where the value was written.
    pub span: Span,
    /// The value.
    pub value: RawValue,
}

/// A value that may still name dims and block arguments.
#[derive(Debug, Clone)]
pub enum RawValue {
    /// A plain value.
    Value(AttributeValue),
    /// The name of a dim or a block argument, the commonest expression; what stands at the span of
    /// its entry.
    Name(SmolStr),
    /// An expression.
    Expression(Box<Expression>),
    /// A list of numbers and expressions.
    List(Vec<RawValue>),
    /// The trace of an error already reported.
    Faulty,
}

/// The keys of every layer, whatever its op.
pub const KEYS: [&str; 11] = [
    "name", "op", "formula", "in", "repeat", "split", "frozen", "init", "init_std", "dtype",
    "stated",
];

/// What a table of layers needs to know of the blocks.
pub(crate) trait Blocks {
    /// The number of the block of that name.
    fn find(&self, name: &str) -> Option<u32>;
    /// The position of an argument of a block.
    fn argument(&self, block: u32, name: &str) -> Option<usize>;
    /// The names of a block's arguments.
    fn arguments(&self, block: u32) -> Vec<&str>;
    /// The names of all blocks.
    fn names(&self) -> Vec<&str>;
}

impl LayerDefinition {
    /// Reads one table. `number` counts the layers of the same list, to name a nameless one by.
    pub(crate) fn read(
        table: TableRef<'_>,
        number: usize,
        block: Option<u32>,
        blocks: &dyn Blocks,
        reader: &mut Reader<'_>,
    ) -> LayerDefinition {
        let mut layer = LayerDefinition {
            span: table.span(),
            block,
            names: SmallVec::new(),
            name_span: None,
            body: Body::Faulty,
            body_span: table.span(),
            inputs: None,
            repeat: None,
            split: None,
            attributes: SmallVec::new(),
            frozen: false,
            init: None,
            dtype: None,
            stated: Vec::new(),
        };
        if let Some(entry) = table.entry("name") {
            layer.read_name(entry, reader);
        }
        if layer.names.is_empty() {
            layer.names.push(super::number_name(number));
        }
        // The path is for findings only; most layers have none.
        let label = layer.names[0].clone();
        reader.within(&label, |reader| layer.read_body(table, blocks, reader));
        layer
    }

    fn read_name(&mut self, entry: EntryRef<'_>, reader: &mut Reader<'_>) {
        let node = entry.value();
        self.name_span = Some(node.span());
        if let Some(name) = node.as_str() {
            self.push_name(name, node, reader);
        } else if let Some(array) = node.as_array() {
            for item in array.iter() {
                match item.as_str() {
                    Some(name) => self.push_name(name, item, reader),
                    None => {
                        let _: Option<()> = reader.expected(item, "a string");
                    }
                }
            }
        } else {
            let _: Option<()> =
                reader.expected(node, "a string, or a list with one for each output");
        }
    }

    fn push_name(&mut self, name: &str, node: NodeRef<'_>, reader: &mut Reader<'_>) {
        let fits = !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !fits {
            let message = format!("`{name}` is no name: formulas could not use it");
            reader
                .report(names::INVALID_VALUE, node.span(), message)
                .help("use letters, digits and underscores, with no digit in front");
        }
        self.names.push(name.into());
    }

    fn read_body(&mut self, table: TableRef<'_>, blocks: &dyn Blocks, reader: &mut Reader<'_>) {
        let (op, formula) = (table.entry("op"), table.entry("formula"));
        match (op, formula) {
            (Some(op), Some(formula)) => {
                reader
                    .report(
                        names::INVALID_VALUE,
                        formula.key_span(),
                        "a layer has one body, but both `op` and `formula` are given",
                    )
                    .also(Some(op.key_span()), "the other one")
                    .help("split it into two layers");
            }
            (Some(op), None) => self.read_op(op, blocks, reader),
            (None, Some(formula)) => {
                self.body_span = formula.value().span();
                if formula.value().as_str().is_none() {
                    let _: Option<()> =
                        reader.within("formula", |r| r.expected(formula.value(), "a string"));
                } else if let Some(expression) = reader.expression(formula.value(), names::FORMULA)
                {
                    self.body = Body::Formula(Box::new(expression));
                }
            }
            (None, None) => {
                reader
                    .report(
                        names::MISSING_KEY,
                        table.span(),
                        "the layer says neither `op` nor `formula`",
                    )
                    .help("write op = \"linear\", or formula = \"x + y\"");
            }
        }
        for entry in table.entries() {
            self.read_entry(entry, blocks, reader);
        }
    }

    fn read_op(&mut self, entry: EntryRef<'_>, blocks: &dyn Blocks, reader: &mut Reader<'_>) {
        let node = entry.value();
        self.body_span = node.span();
        let Some(name) = node.as_str() else {
            let _: Option<()> = reader.within("op", |reader| reader.expected(node, "a string"));
            return;
        };
        if let Some(block) = blocks.find(name) {
            self.body = Body::Block(block);
        } else if let Some(op) = ops::find(name) {
            self.body = Body::Op(op);
        } else {
            let mut known = ops::names();
            known.extend(blocks.names());
            let help = suggest::did_you_mean(name, &known);
            reader
                .report(
                    names::UNKNOWN_OP,
                    node.span(),
                    format!("there is no op or block `{name}`"),
                )
                .maybe_help(help);
        }
    }

    fn read_entry(&mut self, entry: EntryRef<'_>, blocks: &dyn Blocks, reader: &mut Reader<'_>) {
        let (key, node) = (entry.key(), entry.value());
        match key {
            "name" | "op" | "formula" => {}
            "in" => self.inputs = reader.within(key, |r| operand::read_sources(node, r)),
            "repeat" => {
                let value = reader.within(key, |r| RawValue::read(node, AttributeKind::Size, r));
                self.repeat = Some(Box::new(AttributeEntry::new(0, entry, value)));
            }
            "split" => {
                let value = reader.within(key, |r| RawValue::read(node, AttributeKind::Sizes, r));
                self.split = Some(Box::new(AttributeEntry::new(0, entry, value)));
            }
            "frozen" => match node.as_bool() {
                Some(frozen) => self.frozen = frozen,
                None => {
                    let _: Option<()> = reader.within(key, |r| r.expected(node, "true or false"));
                }
            },
            "stated" => self.read_stated(entry, reader),
            _ => self.read_attribute(entry, blocks, reader),
        }
    }

    fn read_stated(&mut self, entry: EntryRef<'_>, reader: &mut Reader<'_>) {
        if let Body::Block(_) | Body::Formula(_) = self.body {
            let message = "only of an op can the types be stated";
            reader
                .report(names::INVALID_VALUE, entry.key_span(), message)
                .help("state them of the op whose types are in question");
            return;
        }
        let node = entry.value();
        self.stated = reader.within("stated", |r| operand::read_stated(node, r));
    }

    fn read_attribute(
        &mut self,
        entry: EntryRef<'_>,
        blocks: &dyn Blocks,
        reader: &mut Reader<'_>,
    ) {
        let (key, node) = (entry.key(), entry.value());
        let own = match &self.body {
            Body::Op(op) => op
                .attribute_position(key)
                .map(|at| (at, Some(op.attributes[at].kind))),
            Body::Block(block) => blocks.argument(*block, key).map(|at| (at, None)),
            Body::Formula(_) | Body::Faulty => None,
        };
        if let Some((position, kind)) = own {
            let value = reader.within(key, |reader| match kind {
                Some(kind) => RawValue::read(node, kind, reader),
                None => RawValue::read_argument(node, reader),
            });
            self.attributes
                .push(AttributeEntry::new(position, entry, value));
            return;
        }
        match key {
            "init" => self.init = reader.within(key, |reader| read_init(node, reader)),
            "init_std" => {
                if let Some(deviation) = reader.within(key, |reader| reader.real(node)) {
                    self.init = Some(Init::Normal(0.0, deviation));
                }
            }
            "dtype" => {
                self.dtype = reader.within(key, |reader| {
                    <Dtype as super::setting::FromNode>::from_node(node, reader)
                });
            }
            // What a layer of an unknown op takes is unknown too.
            _ if matches!(self.body, Body::Faulty) => {}
            _ => {
                let mut known: Vec<&str> = KEYS.to_vec();
                match &self.body {
                    Body::Op(op) => known.extend(op.attributes.iter().map(|a| a.name)),
                    Body::Block(block) => known.extend(blocks.arguments(*block)),
                    _ => {}
                }
                let what = match &self.body {
                    Body::Op(op) => format!("`{}` has no attribute `{key}`", op.name),
                    Body::Block(_) => format!("the block has no argument `{key}`"),
                    _ => format!("a formula's layer has no key `{key}`"),
                };
                let help = suggest::did_you_mean(key, &known);
                reader
                    .report(names::UNKNOWN_KEY, entry.key_span(), what)
                    .maybe_help(help);
            }
        }
    }

    /// The attribute at `position`, if given.
    pub fn attribute(&self, position: usize) -> Option<&AttributeEntry> {
        self.attributes
            .iter()
            .find(|entry| usize::from(entry.position) == position)
    }
}

/// Reads an initialisation by its name, or the number that all elements start as.
pub(crate) fn read_init(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Option<Init> {
    if let Some(value) = node.as_number() {
        return Some(Init::Constant(value));
    }
    let Some(name) = node.as_str() else {
        return reader.expected(node, "the name of an initialisation, or a number");
    };
    match name {
        "default" => None,
        "kaiming_normal" | "kaiming_uniform" | "he" => Some(Init::Kaiming),
        "xavier_normal" | "xavier_uniform" | "glorot" => Some(Init::Xavier),
        "orthogonal" => Some(Init::Orthogonal),
        "normal" | "trunc_normal" => Some(Init::Normal(0.0, 0.02)),
        "zeros" => Some(Init::Constant(0.0)),
        "ones" => Some(Init::Constant(1.0)),
        _ => {
            reader.unknown_word(node, "initialisation", name, &Init::NAMES);
            None
        }
    }
}

impl AttributeEntry {
    fn new(position: usize, entry: EntryRef<'_>, value: RawValue) -> AttributeEntry {
        let span = entry.value().span();
        AttributeEntry {
            position: position as u16,
            key_span: entry.key_span(),
            span,
            value,
        }
    }
}

impl RawValue {
    /// Reads a value of that kind.
    pub(crate) fn read(
        node: NodeRef<'_>,
        kind: AttributeKind,
        reader: &mut Reader<'_>,
    ) -> RawValue {
        use AttributeKind as K;
        let plain = |value: AttributeValue| RawValue::Value(value);
        match kind {
            K::Size | K::Integer => match node.as_integer() {
                Some(value) => plain(AttributeValue::Integer(value)),
                None => RawValue::read_expression(node, "a whole number or an expression", reader),
            },
            K::Float => match node.as_number() {
                Some(value) => plain(AttributeValue::Float(value)),
                None => RawValue::read_expression(node, "a number or an expression", reader),
            },
            K::Sizes | K::Integers => RawValue::read_list(node, kind, reader),
            K::Boolean => match (node.as_bool(), node.as_str()) {
                (Some(value), _) => plain(AttributeValue::Boolean(value)),
                // The name of a block argument.
                (None, Some(_)) => RawValue::read_expression(node, "true or false", reader),
                _ => RawValue::wrong(node, "true or false", reader),
            },
            K::Parameter => match (node.as_bool(), node.as_str()) {
                (Some(value), _) => plain(AttributeValue::Boolean(value)),
                (None, Some(path)) => plain(AttributeValue::Text(path.into())),
                _ => RawValue::wrong(node, "true, false, or the name of a parameter", reader),
            },
            K::Choice(words) => match node.as_str() {
                Some(word) if words.contains(&word) => plain(word.into()),
                Some(word) => {
                    let key = reader.path();
                    let key = key.rsplit('.').next().unwrap_or("").to_owned();
                    reader.unknown_word(node, &key, word, words);
                    RawValue::Faulty
                }
                None => RawValue::wrong(node, &format!("one of {}", words.join(", ")), reader),
            },
            K::SizesOr(words) => match node.as_str() {
                Some(word) if words.contains(&word) => plain(word.into()),
                _ => RawValue::read_list(node, AttributeKind::Sizes, reader),
            },
            K::Text => match node.as_str() {
                Some(text) => plain(text.into()),
                None => RawValue::wrong(node, "a string", reader),
            },
            K::Dtype => match <Dtype as super::setting::FromNode>::from_node(node, reader) {
                Some(dtype) => plain(AttributeValue::Dtype(dtype)),
                None => RawValue::Faulty,
            },
        }
    }

    /// Reads a block's argument, of which any kind may come.
    pub(crate) fn read_argument(node: NodeRef<'_>, reader: &mut Reader<'_>) -> RawValue {
        if let Some(value) = node.as_integer() {
            RawValue::Value(AttributeValue::Integer(value))
        } else if let Some(value) = node.as_float() {
            RawValue::Value(AttributeValue::Float(value))
        } else if let Some(value) = node.as_bool() {
            RawValue::Value(AttributeValue::Boolean(value))
        } else if node.as_array().is_some() {
            RawValue::read_list(node, AttributeKind::Integers, reader)
        } else {
            RawValue::read_expression(node, "a number, a truth value or an expression", reader)
        }
    }

    fn wrong(node: NodeRef<'_>, what: &str, reader: &mut Reader<'_>) -> RawValue {
        let _: Option<()> = reader.expected(node, what);
        RawValue::Faulty
    }

    fn read_expression(node: NodeRef<'_>, what: &str, reader: &mut Reader<'_>) -> RawValue {
        if node.as_str().is_none() {
            return RawValue::wrong(node, what, reader);
        }
        if let Some(name) = node.as_str().filter(|text| is_plain_name(text)) {
            return RawValue::Name(name.into());
        }
        match reader.expression(node, names::INCONSISTENT_DIM) {
            Some(expression) => RawValue::Expression(Box::new(expression)),
            None => RawValue::Faulty,
        }
    }

    fn read_list(node: NodeRef<'_>, kind: AttributeKind, reader: &mut Reader<'_>) -> RawValue {
        let one = if kind == AttributeKind::Sizes {
            AttributeKind::Size
        } else {
            AttributeKind::Integer
        };
        let Some(array) = node.as_array() else {
            return RawValue::read(node, one, reader);
        };
        let items: Vec<RawValue> = array
            .iter()
            .map(|item| RawValue::read(item, one, reader))
            .collect();
        let whole: Option<Vec<i64>> = items
            .iter()
            .map(|item| match item {
                RawValue::Value(AttributeValue::Integer(value)) => Some(*value),
                _ => None,
            })
            .collect();
        match whole {
            Some(values) => RawValue::Value(values.into()),
            None => RawValue::List(items),
        }
    }
}

/// Whether a text is one ASCII name and no word of the expression language.
fn is_plain_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes
        .first()
        .is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && !matches!(
            text,
            "True"
                | "False"
                | "None"
                | "true"
                | "false"
                | "not"
                | "and"
                | "or"
                | "if"
                | "else"
                | "inf"
                | "nan"
                | "lambda"
                | "is"
                | "in"
                | "for"
        )
}
