//! The spec of a model: TOML for a person to read, edit and extend.
//!
//! The spec is complete: reading it gives the graph again, call for call. Modules that are alike are
//! written once, as blocks; a layer owns its weights where the op's table says the same of them as
//! the graph does; calls that follow each other are formulas.

mod block;
mod call;
mod expression;
mod fold;
mod formula;
mod names;
mod owned;
mod run;
mod sequence;
mod text;
mod tree;

use std::fmt;

use call::Calls;
use fold::Fold;
use owned::Ownership;
use text::{entries, key, list, quoted, tensor_text};
use tree::Tree;

use crate::graph::{Dims, Graph, NodeId};
use crate::lower::Model;
use crate::spec::Spec;
use crate::tensor::Dtype;

/// How a spec is written.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the model is called; empty for nothing.
    pub name: String,
    /// Whether to write every call as a layer of the model, without blocks and formulas.
    pub flat: bool,
}

/// Why a model cannot be written as a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportError {
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExportError {}

/// Writes the spec of a model, and the tables about the run that stand beside it. `O(size · depth)`.
///
/// # Errors
/// Where a call reads a tensor of which not even the type is known, or stands in a loop or branch.
pub fn write(model: &Model, beside: &Spec, options: &Options) -> Result<String, ExportError> {
    let graph = &model.graph;
    check(graph)?;
    let ownership = Ownership::of(graph, model.dtype);
    let dims = Dims::of(graph, &model.whole_dims());
    let calls = Calls {
        graph,
        ownership: &ownership,
        dims: &dims,
        dtype: model.dtype,
    };
    let tree = Tree::of(graph, &ownership, options.flat);
    let mut fold = Fold::new(&calls, &tree, options.flat);
    fold.run();
    let mut text = document(&fold, model, options);
    text.push_str(&run::tables(&beside.document));
    Ok(text)
}

/// Writes a spec that was read once more, with everything that was laid over it. `O(size)`.
pub fn rewrite(spec: &Spec) -> String {
    run::rewritten(&spec.document)
}

fn check(graph: &Graph) -> Result<(), ExportError> {
    if let Some(region) = graph.regions.first() {
        let message = format!(
            "`{}` stands in a loop or a branch of the program, and a spec has neither",
            graph.layer_path(graph.node(NodeId(region.nodes.start)).layer)
        );
        return Err(ExportError { message });
    }
    for (id, node) in graph.nodes() {
        for &argument in node.arguments.iter().filter(|id| id.is_present()) {
            if !graph.tensor(argument).known {
                let message = format!(
                    "the type of a tensor that `{}` reads is only known when the model runs",
                    graph.layer_path(graph.node(id).layer)
                );
                return Err(ExportError { message });
            }
        }
    }
    Ok(())
}

fn document(fold: &Fold<'_>, model: &Model, options: &Options) -> String {
    let graph = &model.graph;
    let root = &fold.regions[0];
    let mut text = String::from("spec = 1\n");
    table(&mut text, "model", &model_entries(fold, model, options));
    let dims = fold.calls.dims.dims.iter();
    let dims: Vec<String> = dims
        .map(|dim| format!("{} = {}", key(&dim.name), dim.value))
        .collect();
    table(&mut text, "dims", &dims);
    table(&mut text, "inputs", &input_entries(fold, model.dtype));
    table(&mut text, "params", &block::own(root, fold, false));
    table(&mut text, "buffers", &block::own(root, fold, true));
    for block in &fold.blocks {
        text.push('\n');
        text.push_str(block);
    }
    let mut previous = graph.inputs.first().map(|(_, id)| *id);
    for (at, line) in root.lines.iter().enumerate() {
        let given = root.names.lines.get(at).and_then(Option::as_deref);
        text.push_str("\n[[layers]]\n");
        for (key, value) in entries(line, given, &root.names, previous) {
            text.push_str(&format!("{key} = {value}\n"));
        }
        previous = line.outputs.first().copied();
    }
    text
}

fn table(text: &mut String, name: &str, entries: &[String]) {
    if !entries.is_empty() {
        text.push_str(&format!("\n[{name}]\n"));
        for entry in entries {
            text.push_str(entry);
            text.push('\n');
        }
    }
}

fn model_entries(fold: &Fold<'_>, model: &Model, options: &Options) -> Vec<String> {
    let graph = &model.graph;
    let root = &fold.regions[0];
    let mut entries = Vec::new();
    if !options.name.is_empty() {
        entries.push(format!("name = {}", quoted(&options.name)));
    }
    if model.dtype != Dtype::Float32 {
        entries.push(format!("dtype = \"{}\"", model.dtype.name()));
    }
    if !graph.training {
        entries.push("mode = \"inference\"".to_owned());
    }
    if !graph.fused_attention {
        entries.push("attention = \"math\"".to_owned());
    }
    let implied = root
        .lines
        .last()
        .is_some_and(|line| line.outputs == graph.outputs);
    if !implied {
        let outputs = graph
            .outputs
            .iter()
            .map(|&id| quoted(root.names.tensor(id)));
        entries.push(format!("outputs = {}", list(outputs)));
    }
    entries
}

fn input_entries(fold: &Fold<'_>, dtype: Dtype) -> Vec<String> {
    let graph = fold.graph();
    let names = &fold.regions[0].names;
    let entry = |(_, id): &(smol_str::SmolStr, crate::graph::TensorId)| {
        let mut text = text::TensorText::new(graph.ty(*id), dtype);
        fold.calls.sized(*id, &mut text);
        format!("{} = {}", key(names.tensor(*id)), tensor_text(&text))
    };
    graph.inputs.iter().map(entry).collect()
}
