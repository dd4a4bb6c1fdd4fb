//! `[blocks]`: functions of tensors, to be used like ops.

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::document::{EntryRef, NodeRef};
use super::layer::RawValue;
use super::names;
use super::reader::Reader;
use super::tensors::TensorDefinition;
use crate::graph::DefinitionId;
use crate::source::Span;

/// A block as it is written.
#[derive(Debug, Clone)]
pub struct BlockDefinition {
    /// The name.
    pub name: SmolStr,
    /// Where the name was written.
    pub key_span: Span,
    /// The tensors that it takes.
    pub inputs: Vec<(SmolStr, Span)>,
    /// The arguments that it takes, with their defaults.
    pub arguments: Vec<BlockArgument>,
    /// The tensors that it hands on; empty for its last layer's output.
    pub outputs: SmallVec<[(SmolStr, Span); 1]>,
    /// Parameters of its own.
    pub params: Vec<TensorDefinition>,
    /// Buffers of its own.
    pub buffers: Vec<TensorDefinition>,
    /// Its layers.
    pub layers: Vec<DefinitionId>,
}

/// An argument of a block.
#[derive(Debug, Clone)]
pub struct BlockArgument {
    /// The name.
    pub name: SmolStr,
    /// The default; `None` where the argument must be given.
    pub default: Option<RawValue>,
    /// Where it was written.
    pub span: Span,
}

/// The keys of a block.
pub const KEYS: [&str; 6] = ["inputs", "args", "outputs", "params", "buffers", "layers"];

impl BlockDefinition {
    /// Reads what other blocks and layers must know: inputs, arguments, outputs and parameters.
    /// The layers are read once all blocks are known.
    pub(crate) fn read_signature(entry: EntryRef<'_>, reader: &mut Reader<'_>) -> BlockDefinition {
        let mut block = BlockDefinition {
            name: entry.key().into(),
            key_span: entry.key_span(),
            inputs: Vec::new(),
            arguments: Vec::new(),
            outputs: SmallVec::new(),
            params: Vec::new(),
            buffers: Vec::new(),
            layers: Vec::new(),
        };
        reader.within(entry.key(), |reader| {
            let Some(table) = entry.value().as_table() else {
                let _: Option<()> = reader.expected(entry.value(), "a table");
                return;
            };
            for entry in table.entries() {
                let (key, node) = (entry.key(), entry.value());
                reader.within(key, |reader| match key {
                    "inputs" => block.inputs = read_names(node, reader).into_vec(),
                    "outputs" => block.outputs = read_names(node, reader),
                    "args" => block.arguments = read_arguments(node, reader),
                    "params" => block.params = read_tensors(node, reader),
                    "buffers" => block.buffers = read_tensors(node, reader),
                    _ => {}
                });
                if !KEYS.contains(&key) {
                    reader.unknown_key(key, entry.key_span(), &KEYS);
                }
            }
            if table.get("layers").is_none() {
                let message = format!("the block `{}` has no layers", block.name);
                reader.report(names::MISSING_KEY, block.key_span, message);
            }
            if table.get("inputs").is_none() {
                block.inputs.push(("x".into(), block.key_span));
            }
        });
        block
    }
}

/// Reads a name or a list of names.
pub(crate) fn read_names(
    node: NodeRef<'_>,
    reader: &mut Reader<'_>,
) -> SmallVec<[(SmolStr, Span); 1]> {
    let mut names = SmallVec::new();
    if let Some(name) = node.as_str() {
        names.push((name.into(), node.span()));
    } else if let Some(array) = node.as_array() {
        for item in array.iter() {
            match item.as_str() {
                Some(name) => names.push((name.into(), item.span())),
                None => {
                    let _: Option<()> = reader.expected(item, "a name");
                }
            }
        }
    } else {
        let _: Option<()> = reader.expected(node, "a list of names");
    }
    names
}

fn read_arguments(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Vec<BlockArgument> {
    if let Some(table) = node.as_table() {
        return table
            .entries()
            .map(|entry| BlockArgument {
                name: entry.key().into(),
                default: Some(RawValue::read_argument(entry.value(), reader)),
                span: entry.key_span(),
            })
            .collect();
    }
    read_names(node, reader)
        .into_iter()
        .map(|(name, span)| BlockArgument {
            name,
            default: None,
            span,
        })
        .collect()
}

/// Reads a table of tensors.
pub(crate) fn read_tensors(node: NodeRef<'_>, reader: &mut Reader<'_>) -> Vec<TensorDefinition> {
    let Some(table) = node.as_table() else {
        let _: Option<()> = reader.expected(node, "a table of shapes");
        return Vec::new();
    };
    table
        .entries()
        .map(|entry| TensorDefinition::read(entry, reader))
        .collect()
}
