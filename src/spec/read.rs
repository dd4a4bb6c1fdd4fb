//! Reading a whole spec.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::block::{BlockDefinition, read_tensors};
use super::dims::{DimValues, Dims};
use super::document::{Document, NodeRef, TableRef};
use super::layer::{Blocks, LayerDefinition};
use super::lint::Lint;
use super::names;
use super::reader::Reader;
use super::run::{Offload, Run, Train};
use super::setting::Read;
use super::{ModelTable, Spec};
use crate::diag::{Level, Sink};
use crate::graph::DefinitionId;

/// The keys at the top of a spec.
const KEYS: [&str; 21] = [
    "spec",
    "extends",
    "model",
    "dims",
    "inputs",
    "params",
    "buffers",
    "blocks",
    "layers",
    "train",
    "cluster",
    "parallel",
    "baseline",
    "budget",
    "data",
    "quantization",
    "allocator",
    "serve",
    "verify",
    "lint",
    "variants",
];

/// The version of the language that this program reads.
pub const VERSION: i64 = 1;

struct BlockTable {
    blocks: Vec<BlockDefinition>,
    index: FxHashMap<SmolStr, u32>,
}

impl Blocks for BlockTable {
    fn find(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    fn argument(&self, block: u32, name: &str) -> Option<usize> {
        self.blocks[block as usize]
            .arguments
            .iter()
            .position(|argument| argument.name == name)
    }

    fn arguments(&self, block: u32) -> Vec<&str> {
        self.blocks[block as usize]
            .arguments
            .iter()
            .map(|argument| argument.name.as_str())
            .collect()
    }

    fn names(&self) -> Vec<&str> {
        self.blocks
            .iter()
            .map(|block| block.name.as_str())
            .collect()
    }
}

impl Spec {
    /// Reads the tables of a document; whatever is wrong goes to `sink`. `O(size)`.
    pub fn read(document: Document, sink: &mut Sink) -> Spec {
        let spec = Spec::read_tables(document, false, sink);
        let root = spec.document.root();
        let may_hold = |node: NodeRef<'_>| node.as_array().is_some();
        if spec.layers.is_empty() && root.get("layers").is_none_or(may_hold) {
            Reader::new(sink, &DimValues::default())
                .report(
                    names::MISSING_KEY,
                    root.span().start_only(),
                    "the spec has no layers",
                )
                .help("add one: [[layers]] with op = \"linear\" or a formula");
        }
        spec
    }

    /// Reads a document that may have no layers, for it stands beside a model that was imported;
    /// nor do its inputs, parameters and buffers say their shapes.
    pub fn read_beside(document: Document, sink: &mut Sink) -> Spec {
        Spec::read_tables(document, true, sink)
    }

    fn read_tables(document: Document, beside: bool, sink: &mut Sink) -> Spec {
        let root = document.root();
        // Where the text could not be read whole, what is missing may stand in the rest.
        let whole = !sink.has_errors();
        let none = DimValues::default();
        let mut reader = Reader::new(sink, &none);
        check_top(root, whole, &mut reader);
        let dims = match root.get("dims").map(|node| (node, node.as_table())) {
            Some((_, Some(table))) => reader.within("dims", |reader| Dims::read(table, reader)),
            Some((node, None)) => {
                let _: Option<()> = reader.within("dims", |r| r.expected(node, "a table"));
                Dims::default()
            }
            None => Dims::default(),
        };
        let known: Vec<&str> = dims.entries.iter().map(|dim| dim.name.as_str()).collect();
        let values = dims.evaluate(&[], |dim, mut error| {
            let name = error
                .message
                .strip_prefix("unknown dim `")
                .and_then(|r| r.strip_suffix('`'));
            let rule = if name.is_some() {
                names::UNKNOWN_DIM
            } else {
                names::INCONSISTENT_DIM
            };
            if let Some(name) = name {
                error.help = crate::source::suggest::did_you_mean(name, &known);
            }
            let path = format!("dims.{}", dim.name);
            sink.report(rule, Level::Error, Some(error.span), path, error.message)
                .maybe_help(error.help);
        });
        let mut reader = Reader::new(sink, &values);
        reader.beside = beside;
        let reader = &mut reader;

        let mut model = ModelTable::default();
        read_settings("model", root, &mut model, reader);
        let mut run = Run::default();
        read_settings("train", root, &mut run.train, reader);
        offloaded_together(&run.train, reader);
        read_settings("cluster", root, &mut run.cluster, reader);
        read_settings("parallel", root, &mut run.parallel, reader);
        offloaded_sharded(&run, reader);
        read_settings("baseline", root, &mut run.baseline, reader);
        read_settings("budget", root, &mut run.budget, reader);
        read_settings("data", root, &mut run.data, reader);
        read_settings("quantization", root, &mut run.quantization, reader);
        read_settings("allocator", root, &mut run.allocator, reader);
        read_settings("serve", root, &mut run.serve, reader);
        read_settings("verify", root, &mut run.verify, reader);

        let tensors = |key: &str, reader: &mut Reader<'_>| {
            root.get(key).map_or_else(Vec::new, |node| {
                reader.within(key, |reader| read_tensors(node, reader))
            })
        };
        let inputs = tensors("inputs", reader);
        let params = tensors("params", reader);
        let buffers = tensors("buffers", reader);

        let mut definitions = Vec::new();
        let blocks = read_blocks(root, &mut definitions, reader);
        let mut layers = Vec::new();
        if let Some(node) = root.get("layers") {
            reader.within("layers", |reader| {
                read_layers(node, None, &blocks, &mut definitions, &mut layers, reader);
            });
        }
        let mut lint = Lint::default();
        if let Some(node) = root.get("lint") {
            reader.within("lint", |reader| lint.read(node, reader));
        }
        lint.read_comments(&document, reader);
        let blocks = blocks.blocks;
        Spec {
            model,
            dims,
            inputs,
            params,
            buffers,
            blocks,
            layers,
            definitions,
            run,
            lint,
            document,
        }
    }
}

fn check_top(root: TableRef<'_>, whole: bool, reader: &mut Reader<'_>) {
    for entry in root.entries() {
        if !KEYS.contains(&entry.key()) {
            reader.unknown_key(entry.key(), entry.key_span(), &KEYS);
        }
    }
    match root.get("spec") {
        None if !whole => {}
        None => {
            reader
                .report(
                    names::MISSING_KEY,
                    root.span().start_only(),
                    "the spec does not say its version",
                )
                .help("write spec = 1 in its first line");
        }
        Some(node) => match node.as_integer() {
            Some(VERSION) => {}
            Some(other) => {
                let message =
                    format!("this is version {other} of the language, but {VERSION} is read here");
                reader.within("spec", |r| {
                    drop(r.report(names::INVALID_VALUE, node.span(), message))
                });
            }
            None => {
                let _: Option<()> = reader.within("spec", |r| r.expected(node, "1"));
            }
        },
    }
}

/// Faults gradients on the host beside an optimizer on the device, which reads them.
fn offloaded_together(train: &Train, reader: &mut Reader<'_>) {
    let Some((offload, span)) = train.offload.get().zip(train.offload.span) else {
        return;
    };
    if offload.contains(&Offload::Gradients) && !offload.contains(&Offload::Optimizer) {
        let message = "gradients are offloaded, but the optimizer that reads them is not";
        reader.within("train", |reader| {
            reader.within("offload", |reader| {
                reader
                    .report(names::INVALID_VALUE, span, message)
                    .help("write `offload = [\"optimizer\", \"gradients\"]`");
            });
        });
    }
}

/// Faults parameters on the host that nothing gathers layer by layer, or whose optimizer lies on the
/// device.
fn offloaded_sharded(run: &Run, reader: &mut Reader<'_>) {
    let Some((offload, span)) = run.train.offload.get().zip(run.train.offload.span) else {
        return;
    };
    if !offload.contains(&Offload::Parameters) {
        return;
    }
    let (message, help) = match run.parallel.gathers() {
        false => (
            "parameters are offloaded, but none are gathered before they are used",
            "set `[parallel] fsdp`, or `zero = 3` over several replicas",
        ),
        true if !offload.contains(&Offload::Optimizer) => (
            "parameters are offloaded, but the optimizer that updates them is not",
            "write `offload = [\"optimizer\", \"parameters\"]`",
        ),
        true => return,
    };
    reader.within("train", |reader| {
        reader.within("offload", |reader| {
            reader
                .report(names::INVALID_VALUE, span, message)
                .help(help);
        });
    });
}

fn read_settings<T: Read>(key: &str, root: TableRef<'_>, into: &mut T, reader: &mut Reader<'_>) {
    if let Some(entry) = root.entry(key) {
        reader.within(key, |reader| {
            into.read(entry.key_span(), entry.value(), reader)
        });
    }
}

fn read_blocks(
    root: TableRef<'_>,
    definitions: &mut Vec<LayerDefinition>,
    reader: &mut Reader<'_>,
) -> BlockTable {
    let mut table = BlockTable {
        blocks: Vec::new(),
        index: FxHashMap::default(),
    };
    let Some(node) = root.get("blocks") else {
        return table;
    };
    let Some(blocks) = node.as_table() else {
        let _: Option<()> = reader.within("blocks", |reader| reader.expected(node, "a table"));
        return table;
    };
    reader.within("blocks", |reader| {
        for entry in blocks.entries() {
            let block = BlockDefinition::read_signature(entry, reader);
            table
                .index
                .insert(block.name.clone(), table.blocks.len() as u32);
            table.blocks.push(block);
        }
        for (number, entry) in blocks.entries().enumerate() {
            let Some(node) = entry
                .value()
                .as_table()
                .and_then(|block| block.get("layers"))
            else {
                continue;
            };
            let mut layers = Vec::new();
            reader.within(entry.key(), |reader| {
                let block = Some(number as u32);
                read_layers(node, block, &table, definitions, &mut layers, reader);
            });
            table.blocks[number].layers = layers;
        }
    });
    table
}

fn read_layers(
    node: NodeRef<'_>,
    block: Option<u32>,
    blocks: &BlockTable,
    definitions: &mut Vec<LayerDefinition>,
    layers: &mut Vec<DefinitionId>,
    reader: &mut Reader<'_>,
) {
    let Some(array) = node.as_array() else {
        let _: Option<()> = reader.expected(node, "an array of tables");
        return;
    };
    layers.reserve(array.len());
    definitions.reserve(array.len());
    for (number, item) in array.iter().enumerate() {
        let Some(table) = item.as_table() else {
            let _: Option<()> = reader.expected(item, "a table");
            continue;
        };
        layers.push(DefinitionId(definitions.len() as u32));
        definitions.push(LayerDefinition::read(table, number, block, blocks, reader));
    }
}
