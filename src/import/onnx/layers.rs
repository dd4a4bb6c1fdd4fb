//! The calls of a model as layers, in blocks for the modules that their names tell of.

use rustc_hash::{FxHashMap, FxHashSet};

use super::names::{self, Path};
use super::schema::NodeProto;
use crate::graph::{Builder, DefinitionId, LayerId, LayerKind, TensorId};

/// Calls that are hardly ever there once shapes are known.
const PASSING: &[&str] = &["Constant", "Identity", "Shape", "Cast"];

/// The layers of a model under construction.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The path of each definition.
    pub places: Vec<String>,
    definitions: FxHashMap<String, DefinitionId>,
    open: Vec<Open>,
    /// How many of them stand around the graph that is being lowered.
    base: usize,
    /// How often each place was used: names need not be unique.
    used: FxHashMap<String, u32>,
    /// Modules of this graph in which one call stands and nothing else.
    single: FxHashSet<String>,
}

/// An open layer.
#[derive(Debug)]
struct Open {
    layer: LayerId,
    name: String,
    /// Its path.
    path: String,
}

/// What is put aside while a graph in a graph is lowered.
#[derive(Debug)]
pub(super) struct Outer {
    base: usize,
    single: FxHashSet<String>,
}

impl Layers {
    /// Begins a graph inside of the layers that are open.
    pub(super) fn enter(&mut self, nodes: &[NodeProto]) -> Outer {
        let mut calls: FxHashMap<String, u32> = FxHashMap::default();
        let mut inner: FxHashSet<String> = FxHashSet::default();
        for node in nodes {
            let path = names::path(node);
            for depth in 1..path.modules.len() {
                inner.insert(path.modules[..depth].join("."));
            }
            if !PASSING.contains(&node.op_type.as_str()) {
                *calls.entry(path.modules.join(".")).or_default() += 1;
            }
        }
        let single = calls
            .into_iter()
            .filter(|(path, count)| *count == 1 && !path.is_empty() && !inner.contains(path))
            .map(|(path, _)| path)
            .collect();
        Outer {
            base: std::mem::replace(&mut self.base, self.open.len()),
            single: std::mem::replace(&mut self.single, single),
        }
    }

    /// Ends a graph.
    pub(super) fn leave(&mut self, builder: &mut Builder, outer: Outer) {
        self.close(builder, self.base);
        self.base = outer.base;
        self.single = outer.single;
    }

    /// How many layers are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Forgets layers that the builder has taken back.
    pub(super) fn truncate(&mut self, depth: usize) {
        self.open.truncate(depth);
    }

    /// Closes all layers but the outermost `keep`.
    pub(super) fn close(&mut self, builder: &mut Builder, keep: usize) {
        while self.open.len() > keep {
            self.open.pop();
            builder.end_layer(&[]);
        }
    }

    /// Opens the layer of a call, and the modules around it.
    pub(super) fn open(
        &mut self,
        builder: &mut Builder,
        node: &NodeProto,
        signature: &str,
    ) -> LayerId {
        let Path {
            mut modules,
            mut leaf,
        } = names::path(node);
        if self.single.contains(&modules.join("."))
            && let Some(module) = modules.pop()
        {
            leaf = module;
        }
        let common = self.open[self.base..]
            .iter()
            .zip(&modules)
            .take_while(|(open, module)| open.name == **module)
            .count();
        self.close(builder, self.base + common);
        for module in modules.into_iter().skip(common) {
            self.begin(builder, module, LayerKind::Block("module".into()), "");
        }
        let place = self.place(&leaf);
        let count = self.used.entry(place).or_default();
        *count += 1;
        if *count > 1 {
            leaf = format!("{leaf}_{count}");
        }
        self.begin(builder, leaf, LayerKind::Formula, signature)
    }

    /// Opens a layer for a call that is several: a function, a loop.
    pub(super) fn open_block(&mut self, builder: &mut Builder, node: &NodeProto) -> LayerId {
        let layer = self.open(builder, node, &node.op_type);
        builder.set_layer_kind(layer, LayerKind::Block(node.op_type.as_str().into()));
        layer
    }

    /// Opens a layer for an output of the model that no call makes.
    pub(super) fn open_output(&mut self, builder: &mut Builder, name: &str) -> LayerId {
        self.begin(builder, name.to_owned(), LayerKind::Formula, "output")
    }

    /// Closes the layer of a call: what it is shows from the calls that it became.
    pub(super) fn close_call(&mut self, builder: &mut Builder, layer: LayerId, made: &[TensorId]) {
        self.open.pop();
        builder.end_layer(made);
        let graph = builder.graph();
        let mut ops = graph
            .layer_nodes(layer)
            .map(|at| graph.node(crate::graph::NodeId(at)).op);
        let main = ops.clone().rev().max_by_key(|op| {
            let lower = op.autocast == crate::ops::Autocast::Lower;
            (lower, !op.view, !op.operands.is_empty())
        });
        let kind = match (ops.next(), main) {
            (Some(_), Some(op)) => LayerKind::Op(op.name),
            _ => LayerKind::Formula,
        };
        builder.set_layer_kind(layer, kind);
    }

    /// Closes the layer of a call that is several, with the modules in it.
    pub(super) fn close_block(&mut self, builder: &mut Builder, made: &[TensorId]) {
        self.open.pop();
        builder.end_layer(made);
    }

    fn place(&self, name: &str) -> String {
        match self.open.last() {
            Some(open) => format!("{}.{name}", open.path),
            None => name.to_owned(),
        }
    }

    fn begin(
        &mut self,
        builder: &mut Builder,
        name: String,
        kind: LayerKind,
        signature: &str,
    ) -> LayerId {
        let path = self.place(&name);
        let next = DefinitionId(self.places.len() as u32);
        let key = format!("{} {signature}", general(&path));
        let definition = *self.definitions.entry(key).or_insert(next);
        if definition == next {
            self.places.push(path.clone());
        }
        let layer = builder.begin_layer(name.as_str(), None, kind, definition);
        self.open.push(Open { layer, name, path });
        layer
    }

    /// The layer that owns a parameter of that name, and its name there: the innermost open layer
    /// whose path the name goes on from, or else the innermost one.
    pub(super) fn owner<'n>(&self, name: &'n str) -> (Option<LayerId>, &'n str) {
        for open in self.open.iter().rev() {
            let rest = name
                .strip_prefix(open.path.as_str())
                .and_then(|rest| rest.strip_prefix(['.', '/']));
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                return (Some(open.layer), rest);
            }
        }
        (self.open.last().map(|open| open.layer), name)
    }
}

/// A path with a mark for each number: `net.h.#.attn`.
fn general(path: &str) -> String {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = path
        .split('.')
        .map(|part| if number(part) { "#" } else { part })
        .collect();
    parts.join(".")
}
