//! `[inputs]`, `[params]` and `[buffers]`: tensors that the model is given.

use smol_str::SmolStr;

use super::document::{EntryRef, NodeRef, TableRef};
use super::layer::RawValue;
use super::names;
use super::reader::Reader;
use super::setting::{FromNode, Range};
use crate::ops::{AttributeKind, Init};
use crate::source::Span;
use crate::tensor::Dtype;

/// A tensor as it is declared.
#[derive(Debug, Clone)]
pub struct TensorDefinition {
    /// The name.
    pub name: SmolStr,
    /// Where the name was written.
    pub key_span: Span,
    /// Where the value was written.
    pub span: Span,
    /// The shape: numbers and expressions over dims.
    pub shape: RawValue,
    /// Where the shape was written.
    pub shape_span: Span,
    /// The element type; `None` for the model's.
    pub dtype: Option<Dtype>,
    /// Where the element type was written.
    pub dtype_span: Option<Span>,
    /// Least and greatest value.
    pub range: Option<Range>,
    /// Where the range was written.
    pub range_span: Option<Span>,
    /// How a parameter is initialised.
    pub init: Option<Init>,
    /// Whether a parameter is frozen.
    pub frozen: bool,
    /// The named dims of the shape, by axis, as far as an axis is one dim and nothing else.
    pub axes: Vec<Option<SmolStr>>,
}

/// The keys of a tensor's table.
const KEYS: [&str; 5] = ["shape", "dtype", "range", "init", "frozen"];

impl TensorDefinition {
    /// Reads one entry: a shape, or a table with one.
    pub(crate) fn read(entry: EntryRef<'_>, reader: &mut Reader<'_>) -> TensorDefinition {
        TensorDefinition::read_node(entry.key().into(), entry.key_span(), entry.value(), reader)
    }

    /// Reads the value of an entry of that name.
    pub(crate) fn read_node(
        name: SmolStr,
        key_span: Span,
        node: NodeRef<'_>,
        reader: &mut Reader<'_>,
    ) -> TensorDefinition {
        let mut tensor = TensorDefinition {
            name,
            key_span,
            span: node.span(),
            shape: RawValue::Faulty,
            shape_span: node.span(),
            dtype: None,
            dtype_span: None,
            range: None,
            range_span: None,
            init: None,
            frozen: false,
            axes: Vec::new(),
        };
        let label = tensor.name.clone();
        reader.within(&label, |reader| match node.as_table() {
            Some(table) => tensor.read_table(table, reader),
            None => tensor.read_shape(node, reader),
        });
        tensor
    }

    fn read_shape(&mut self, node: NodeRef<'_>, reader: &mut Reader<'_>) {
        self.shape_span = node.span();
        let Some(array) = node.as_array() else {
            let _: Option<()> = reader.expected(node, "a shape such as [\"batch\", 3, 224, 224]");
            return;
        };
        let is_name = |text: &&str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !text.starts_with(|c: char| c.is_ascii_digit())
        };
        self.axes = array
            .iter()
            .map(|item| item.as_str().filter(is_name).map(SmolStr::from))
            .collect();
        self.shape = RawValue::read(node, AttributeKind::Sizes, reader);
    }

    fn read_table(&mut self, table: TableRef<'_>, reader: &mut Reader<'_>) {
        for entry in table.entries() {
            let (key, node) = (entry.key(), entry.value());
            reader.within(key, |reader| match key {
                "shape" => self.read_shape(node, reader),
                "dtype" => {
                    self.dtype_span = Some(node.span());
                    self.dtype = Dtype::from_node(node, reader);
                }
                "range" => {
                    self.range_span = Some(node.span());
                    self.range = Range::from_node(node, reader);
                }
                "init" => self.init = super::layer::read_init(node, reader),
                "frozen" => self.frozen = bool::from_node(node, reader).unwrap_or(false),
                _ => {}
            });
            if !KEYS.contains(&key) {
                reader.unknown_key(key, entry.key_span(), &KEYS);
            }
        }
        if table.get("shape").is_none() && !reader.beside {
            reader
                .report(
                    names::MISSING_KEY,
                    self.span,
                    format!("`{}` has no shape", self.name),
                )
                .help("write shape = [\"batch\", 3, 224, 224]; a scalar has shape = []");
        }
    }
}
