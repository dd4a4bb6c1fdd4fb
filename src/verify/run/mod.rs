//! Runs a model: forward and backward by the reference kernels, with counted storages.
//!
//! A storage lives as long as something refers to it. What refers to it is what a run has in hand:
//! tensors that are yet to be read, what autograd keeps, gradients. Nothing here works out when a
//! tensor dies; it dies when its last reference is dropped, as in PyTorch. The calls of a recomputed
//! layer keep nothing, and are run again once a gradient comes to it.

mod backward;
mod history;
mod step;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::{Rc, Weak};

use rustc_hash::FxHashMap;

use history::{Held, History, Recomputed};

use super::ledger::{Ledger, Purpose, Storage};
use super::values::values;
use crate::facts::liveness::Liveness;
use crate::facts::precision::NodeDtypes;
use crate::facts::ranges::Ranges;
use crate::facts::storage::Storages;
use crate::graph::{Graph, Node, NodeId, TensorId, TensorKind};
use crate::kernels::{Array, Count, Setting, held_sizes};
use crate::ops::Call;

/// What a model is run with.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// The model.
    pub graph: &'a Graph,
    /// The calls that its outputs depend on.
    pub liveness: &'a Liveness,
    /// The types in which they run.
    pub dtypes: &'a NodeDtypes,
    /// In whose storage each tensor lies.
    pub storages: &'a Storages,
}

/// A call that could not be run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The call.
    pub node: NodeId,
    /// Why.
    pub message: String,
    /// Whether an index lies outside of what it chooses among.
    pub outside: bool,
}

/// A call as it was run forward.
pub struct Seen<'s> {
    /// Its number.
    pub node: NodeId,
    /// The call.
    pub call: &'s Call<'s>,
    /// Its operands, by position.
    pub operands: &'s [Option<Rc<Array>>],
    /// Its outputs.
    pub outputs: &'s [Rc<Array>],
}

/// What lives after a call, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The call.
    pub node: NodeId,
    /// Whether it ran backward.
    pub backward: bool,
    /// Activations, with all that autograd keeps.
    pub activations: u64,
    /// Gradients of parameters.
    pub gradients: u64,
}

/// The values of inputs, parameters and constants.
pub type Sources = BTreeMap<TensorId, Rc<Array>>;

/// Draws values for everything that a model reads.
pub fn sources(graph: &Graph, ranges: &Ranges, seed: u64) -> Sources {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sources = Sources::default();
    for (number, tensor) in graph.tensors.iter().enumerate() {
        let id = TensorId(number as u32);
        let array = match tensor.kind {
            TensorKind::Constant(value) => {
                Array::from_elem(held_sizes(&graph.types[number]), value)
            }
            TensorKind::Input(_) | TensorKind::Parameter(_) => {
                values(graph, ranges, id, &mut random)
            }
            TensorKind::Output(_) => continue,
        };
        sources.insert(id, Rc::new(array));
    }
    sources
}

/// A forward pass, ready to go back.
pub struct Pass<'a> {
    plan: Plan<'a>,
    setting: Setting,
    ledger: Rc<RefCell<Ledger>>,
    outputs: FxHashMap<TensorId, Held>,
    /// The gradients of parameters that were there before.
    gradients: FxHashMap<TensorId, Rc<Storage>>,
    /// Copies of parameters that autocast keeps until the end of the pass.
    copies: FxHashMap<TensorId, Held>,
    histories: Vec<Weak<History>>,
    /// What was done.
    pub count: Count,
    /// What lived after each call.
    pub levels: Vec<Level>,
    /// The calls that could not be run, whose outputs are drawn instead: gradients do not pass.
    pub drawn: Vec<Stopped>,
    /// Why a gradient is one by convention and no derivative, where that of a trained call is.
    pub convention: Option<&'static str>,
}

/// What came of a backward pass.
pub struct Returned {
    /// The gradients of parameters, by tensor.
    pub gradients: FxHashMap<TensorId, Array>,
    /// What was done.
    pub count: Count,
    /// What lived after each call.
    pub levels: Vec<Level>,
    /// What the next micro-batch finds.
    pub left: Left,
    /// The calls that could not be run backward, which hand on zeros.
    pub stopped: Vec<Stopped>,
}

/// What a micro-batch leaves to the next one: gradients, and outputs until there are others.
#[derive(Debug, Default)]
pub struct Left {
    ledger: Rc<RefCell<Ledger>>,
    gradients: FxHashMap<TensorId, Rc<Storage>>,
    outputs: FxHashMap<TensorId, Held>,
}

impl<'a> Plan<'a> {
    fn call<R>(&self, node: &Node, f: impl FnOnce(&Call) -> R) -> R {
        let strides = |tensor| self.storages.strides(tensor);
        self.dtypes.with_call(self.graph, node, strides, f)
    }

    /// Whether a call is run.
    pub fn runs(&self, id: NodeId) -> bool {
        self.liveness.is_live(id) && self.graph.is_known(self.graph.node(id))
    }

    /// Runs the model forward; `watch` sees each call. What a call makes whose kernel does not cover
    /// it is drawn at random, so that the others are run all the same.
    pub fn forward(
        self,
        sources: &Sources,
        setting: Setting,
        watch: &mut dyn FnMut(&Seen),
    ) -> Pass<'a> {
        self.forward_after(Left::default(), sources, setting, watch)
    }

    /// The same, after an earlier micro-batch.
    pub fn forward_after(
        self,
        left: Left,
        sources: &Sources,
        setting: Setting,
        watch: &mut dyn FnMut(&Seen),
    ) -> Pass<'a> {
        let graph = self.graph;
        let earlier = left.outputs;
        let mut pass = Pass {
            plan: self,
            setting,
            ledger: left.ledger,
            outputs: FxHashMap::default(),
            gradients: left.gradients,
            copies: FxHashMap::default(),
            histories: (0..graph.dag.node_count()).map(|_| Weak::new()).collect(),
            count: Count::default(),
            levels: Vec::new(),
            drawn: Vec::new(),
            convention: None,
        };
        let all = 0..graph.dag.node_count() as u32;
        let mut reads = self.reads(&all);
        for output in graph.outputs.iter().filter(|id| id.is_present()) {
            *reads.entry(*output).or_default() += 1;
        }
        let mut tensors: FxHashMap<TensorId, Held> = FxHashMap::default();
        for (&id, elements) in sources {
            let storage = Storage::new(&pass.ledger, Purpose::Other, Some(id), 0);
            tensors.insert(
                id,
                Held {
                    elements: Rc::clone(elements),
                    storage,
                    history: None,
                },
            );
        }
        let mut layers = graph.recomputed_layers().into_iter().peekable();
        let mut layer: Option<Rc<Recomputed>> = None;
        for (id, node) in graph.nodes() {
            layer = layer.filter(|layer| layer.calls.contains(&id.0));
            if let Some(starts) = layers.next_if(|&layer| graph.layer(layer).first_node == id.0) {
                let calls = graph.layer_nodes(starts);
                let read = self.read_from_outside(&calls, &tensors);
                let again = Cell::new(false);
                layer = Some(Rc::new(Recomputed { calls, again, read }));
            }
            if !self.runs(id) {
                continue;
            }
            let operands = operands(node, &tensors);
            let made = self.call(node, |call| {
                pass.step(id, call, operands, layer.as_ref(), watch)
            });
            hand_on(node, made, &mut tensors, &mut reads);
            pass.level(id);
        }
        for output in graph.outputs.iter().filter(|id| id.is_present()) {
            if let Some(held) = tensors.get(output) {
                pass.outputs.insert(*output, held.clone());
            }
        }
        pass.copies.clear();
        drop(earlier);
        pass
    }

    /// How often calls of a range read each tensor.
    fn reads(&self, calls: &Range<u32>) -> FxHashMap<TensorId, u32> {
        let mut reads = FxHashMap::default();
        for id in calls.clone().map(NodeId).filter(|&id| self.runs(id)) {
            let arguments = self.graph.node(id).arguments.iter();
            for &argument in arguments.filter(|id| id.is_present()) {
                *reads.entry(argument).or_default() += 1;
            }
        }
        reads
    }

    /// What calls of a range read that they do not make.
    fn read_from_outside(
        &self,
        calls: &Range<u32>,
        tensors: &FxHashMap<TensorId, Held>,
    ) -> FxHashMap<TensorId, Held> {
        let read = self.reads(calls).into_keys();
        let held = read.filter_map(|id| {
            let held = tensors.get(&id)?;
            Some((
                id,
                Held {
                    history: None,
                    ..held.clone()
                },
            ))
        });
        held.collect()
    }
}

/// The operands of a call, of those tensors.
fn operands(node: &Node, tensors: &FxHashMap<TensorId, Held>) -> Vec<Option<Held>> {
    let arguments = node.arguments.iter();
    arguments.map(|id| tensors.get(id).cloned()).collect()
}

/// Takes what a call made in hand, as far as something is to read it, and lets go what it was the
/// last to read.
fn hand_on(
    node: &Node,
    made: Vec<Held>,
    tensors: &mut FxHashMap<TensorId, Held>,
    reads: &mut FxHashMap<TensorId, u32>,
) {
    for (output, held) in node.outputs().zip(made) {
        if reads.get(&output).is_some_and(|&left| left > 0) {
            tensors.insert(output, held);
        }
    }
    for argument in node.arguments.iter().filter(|id| id.is_present()) {
        if let Some(left) = reads.get_mut(argument) {
            *left -= 1;
            if *left == 0 {
                tensors.remove(argument);
            }
        }
    }
}

impl Pass<'_> {
    /// Notes what lives after a call of the forward pass.
    fn level(&mut self, node: NodeId) {
        let (activations, gradients) = self.ledger.borrow().bytes();
        self.levels.push(Level {
            node,
            backward: false,
            activations,
            gradients,
        });
    }

    /// The elements of an output of the model.
    pub fn output(&self, id: TensorId) -> Option<&Rc<Array>> {
        self.outputs.get(&id).map(|held| &held.elements)
    }

    /// The storages that autograd keeps: the tensor that lies in each, and its bytes. Sources,
    /// which are there anyway, come with 0 bytes.
    pub fn kept(&self) -> Vec<(Option<TensorId>, u64)> {
        let mut seen: FxHashMap<*const Storage, (Option<TensorId>, u64)> = FxHashMap::default();
        for history in self.histories.iter().filter_map(Weak::upgrade) {
            let layer = history.layer.borrow();
            let read = layer.iter().flat_map(|layer| layer.read.values());
            let kept = history.kept.borrow();
            for storage in kept.storages.iter().chain(read.map(|held| &held.storage)) {
                seen.insert(Rc::as_ptr(storage), (storage.tensor, storage.bytes));
            }
        }
        seen.into_values().collect()
    }
}
