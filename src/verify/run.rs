//! Runs a model: forward and backward by the reference kernels, with counted storages.
//!
//! A storage lives as long as something refers to it. What refers to it is what a run has in hand:
//! tensors that are yet to be read, what autograd keeps, gradients. Nothing here works out when a
//! tensor dies; it dies when its last reference is dropped, as in PyTorch.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use rustc_hash::FxHashMap;

use super::call::is_kept;
use super::ledger::{Ledger, Purpose, Storage};
use super::values::values;
use crate::facts::liveness::Liveness;
use crate::facts::precision::NodeDtypes;
use crate::facts::ranges::Ranges;
use crate::facts::storage::Storages;
use crate::graph::{Graph, Node, NodeId, TensorId, TensorKind};
use crate::kernels::{self, Array, Count, Gradients, Kept, Ran, Setting, Supplied};
use crate::ops::{Call, Saved};

/// A tensor in hand.
#[derive(Debug, Clone)]
struct Held {
    elements: Rc<Array>,
    /// The storage, shared with the tensors that are views of it.
    storage: Rc<Storage>,
    /// The call that made it, if a gradient may flow back to it.
    history: Option<Rc<History>>,
}

/// What autograd knows of a call: what it keeps, and the calls before it. It lives as long as a
/// tensor that it made or a call behind it.
#[derive(Debug)]
struct History {
    kept: RefCell<KeptTensors>,
    before: RefCell<Vec<Rc<History>>>,
}

#[derive(Debug, Default)]
struct KeptTensors {
    operands: Vec<(usize, Rc<Array>)>,
    others: Vec<(Kept, Rc<Array>)>,
    storages: Vec<Rc<Storage>>,
}

impl Drop for History {
    /// Chains of calls are long; dropping them one inside the other would take the stack.
    fn drop(&mut self) {
        let mut ahead = std::mem::take(&mut *self.before.borrow_mut());
        while let Some(one) = ahead.pop() {
            if let Some(last) = Rc::into_inner(one) {
                ahead.append(&mut last.before.borrow_mut());
            }
        }
    }
}

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
            TensorKind::Constant(value) => Array::from_elem(vec![], value),
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
    histories: Vec<Weak<History>>,
    /// What was done.
    pub count: Count,
    /// What lived after each call.
    pub levels: Vec<Level>,
    /// The calls that could not be run, whose outputs are drawn instead: gradients do not pass.
    pub drawn: Vec<Stopped>,
}

/// What came of a backward pass.
pub struct Returned {
    /// The gradients of parameters, by tensor.
    pub gradients: FxHashMap<TensorId, Array>,
    /// What was done.
    pub count: Count,
    /// What lived after each call.
    pub levels: Vec<Level>,
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
        let graph = self.graph;
        let mut pass = Pass {
            plan: self,
            setting,
            ledger: Ledger::shared(),
            outputs: FxHashMap::default(),
            histories: (0..graph.dag.node_count()).map(|_| Weak::new()).collect(),
            count: Count::default(),
            levels: Vec::new(),
            drawn: Vec::new(),
        };
        let mut reads = vec![0u32; graph.types.len()];
        for (_, node) in graph.nodes().filter(|(id, _)| self.runs(*id)) {
            for argument in node.arguments.iter().filter(|id| id.is_present()) {
                reads[argument.0 as usize] += 1;
            }
        }
        for output in graph.outputs.iter().filter(|id| id.is_present()) {
            reads[output.0 as usize] += 1;
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
        for (id, node) in graph.nodes().filter(|(id, _)| self.runs(*id)) {
            let operands: Vec<Option<Held>> = node
                .arguments
                .iter()
                .map(|id| tensors.get(id).cloned())
                .collect();
            let made = self.call(node, |call| pass.step(id, call, &operands, watch));
            drop(operands);
            for (output, held) in node.outputs().zip(made) {
                if reads[output.0 as usize] > 0 {
                    tensors.insert(output, held);
                }
            }
            for argument in node.arguments.iter().filter(|id| id.is_present()) {
                let left = &mut reads[argument.0 as usize];
                *left -= 1;
                if *left == 0 {
                    tensors.remove(argument);
                }
            }
            let (activations, gradients) = pass.ledger.borrow().bytes();
            pass.levels.push(Level {
                node: id,
                backward: false,
                activations,
                gradients,
            });
        }
        for output in graph.outputs.iter().filter(|id| id.is_present()) {
            if let Some(held) = tensors.get(output) {
                pass.outputs.insert(*output, held.clone());
            }
        }
        pass
    }
}

/// Outputs of the types that are stated, with values between -1 and 1.
fn drawn(call: &Call, setting: Setting) -> Ran {
    let mut random = fastrand::Rng::with_seed(setting.seed);
    let outputs = call.outputs.iter().map(|ty| {
        let float = ty.dtype.is_float();
        let draw = |_: f64| if float { random.f64() * 2.0 - 1.0 } else { 0.0 };
        Rc::new(Array::zeros(kernels::held_sizes(ty)).mapv(draw))
    });
    Ran {
        outputs: outputs.collect(),
        extras: Vec::new(),
        count: Count::default(),
        convention: None,
    }
}

/// Gradients of zeros.
fn nothing(call: &Call) -> Gradients {
    let operands = call.arguments.iter().map(|argument| {
        let argument = argument.as_ref()?;
        let wanted = argument.requires_grad && argument.ty.dtype.is_float();
        wanted.then(|| Array::zeros(kernels::held_sizes(argument.ty)))
    });
    Gradients {
        operands: operands.collect(),
        count: Count::default(),
    }
}

/// Each call draws from chance of its own.
fn setting_of(setting: Setting, id: NodeId) -> Setting {
    Setting {
        seed: setting.seed.wrapping_add(u64::from(id.0) << 20),
        ..setting
    }
}

impl Pass<'_> {
    /// One call forward.
    fn step(
        &mut self,
        id: NodeId,
        call: &Call,
        operands: &[Option<Held>],
        watch: &mut dyn FnMut(&Seen),
    ) -> Vec<Held> {
        let Plan {
            graph,
            dtypes,
            storages,
            ..
        } = self.plan;
        let node = graph.node(id);
        let arrays: Vec<Option<Rc<Array>>> = operands
            .iter()
            .map(|held| held.as_ref().map(|held| Rc::clone(&held.elements)))
            .collect();
        let setting = setting_of(self.setting, id);
        let ran = kernels::forward(call, &arrays, setting).unwrap_or_else(|error| {
            self.drawn.push(Stopped {
                node: id,
                message: error.message,
                outside: error.outside,
            });
            drawn(call, setting)
        });
        self.count = self.count.plus(ran.count);
        watch(&Seen {
            node: id,
            call,
            operands: &arrays,
            outputs: &ran.outputs,
        });
        let mut made: Vec<Held> = Vec::with_capacity(ran.outputs.len());
        for (output, elements) in node.outputs().zip(&ran.outputs) {
            let root = storages.root(output);
            let shared = (root != output).then(|| {
                let mut sources = node.arguments.iter().zip(operands);
                let found = sources.find(|(id, _)| id.is_present() && storages.root(**id) == root);
                found.and_then(|(_, held)| Some(Rc::clone(&held.as_ref()?.storage)))
            });
            let storage = shared.flatten().unwrap_or_else(|| {
                let bytes = dtypes.bytes(graph, output);
                Storage::new(&self.ledger, Purpose::Activation, Some(output), bytes)
            });
            made.push(Held {
                elements: Rc::clone(elements),
                storage,
                history: None,
            });
        }
        let wants = graph.training
            && node
                .outputs()
                .any(|output| graph.tensor(output).requires_grad);
        if wants {
            let kept = self.keep(call, operands, &made, &ran.extras);
            let before = operands.iter().flatten();
            let history = Rc::new(History {
                kept: RefCell::new(kept),
                before: RefCell::new(before.filter_map(|held| held.history.clone()).collect()),
            });
            self.histories[id.0 as usize] = Rc::downgrade(&history);
            for (output, held) in node.outputs().zip(&mut made) {
                if graph.tensor(output).requires_grad {
                    held.history = Some(Rc::clone(&history));
                }
            }
        }
        made
    }

    /// What `Op::saved` says is kept of a call.
    fn keep(
        &self,
        call: &Call,
        operands: &[Option<Held>],
        made: &[Held],
        extras: &[(Kept, Rc<Array>)],
    ) -> KeptTensors {
        let mut asked = Saved::default();
        (call.op.saved)(call, &mut asked);
        let mut kept = KeptTensors::default();
        for &position in &asked.arguments {
            if let Some(held) = operands.get(position).and_then(Option::as_ref) {
                kept.operands.push((position, Rc::clone(&held.elements)));
                kept.storages.push(Rc::clone(&held.storage));
            }
        }
        for (position, held) in operands.iter().enumerate() {
            // Numbers of the spec are part of the call.
            if let (Some(_), Some(held)) = (call.constant(position), held) {
                kept.operands.push((position, Rc::clone(&held.elements)));
            }
        }
        for &position in &asked.outputs {
            if let Some(held) = made.get(position) {
                let elements = Rc::clone(&held.elements);
                kept.others.push((Kept::Output(position), elements));
                kept.storages.push(Rc::clone(&held.storage));
            }
        }
        for &(_, elements, dtype) in &asked.extra {
            let bytes = dtype.bytes_for(elements);
            let storage = Storage::new(&self.ledger, Purpose::Activation, None, bytes);
            kept.storages.push(storage);
        }
        let found = extras
            .iter()
            .filter(|(what, elements)| is_kept(&asked, *what, elements));
        kept.others.extend(found.cloned());
        kept
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
            for storage in &history.kept.borrow().storages {
                seen.insert(Rc::as_ptr(storage), (storage.tensor, storage.bytes));
            }
        }
        seen.into_values().collect()
    }

    /// Runs the model backward from gradients of its outputs; `watch` sees the gradients of each
    /// call's operands. Those of calls that could not be run are zeros.
    pub fn backward(
        mut self,
        seeds: Vec<(TensorId, Array)>,
        watch: &mut dyn FnMut(NodeId, &[Option<Array>]),
    ) -> Returned {
        let graph = self.plan.graph;
        let mut on_their_way: FxHashMap<TensorId, Array> = seeds.into_iter().collect();
        let mut owned: Vec<Rc<Storage>> = Vec::new();
        let mut returned = Returned {
            gradients: FxHashMap::default(),
            count: Count::default(),
            levels: Vec::new(),
        };
        for at in (0..graph.dag.node_count() as u32).rev() {
            let id = NodeId(at);
            let Some(history) = self.histories[at as usize].upgrade() else {
                continue;
            };
            let node = graph.node(id);
            let incoming: Vec<Option<Array>> = node
                .outputs()
                .map(|output| on_their_way.remove(&output))
                .collect();
            let kept = history.kept.take();
            if incoming.iter().any(Option::is_some) && node.op.differentiable {
                let mut operands = vec![None; node.arguments.len()];
                for (position, elements) in &kept.operands {
                    operands[*position] = Some(Rc::clone(elements));
                }
                let supplied = Supplied {
                    operands,
                    kept: kept.others.clone(),
                };
                let setting = setting_of(self.setting, id);
                let run = |call: &Call| kernels::backward(call, &supplied, &incoming, setting);
                let found = self
                    .plan
                    .call(node, |call| run(call).unwrap_or_else(|_| nothing(call)));
                returned.count = returned.count.plus(found.count);
                watch(id, &found.operands);
                for (&argument, gradient) in node.arguments.iter().zip(found.operands) {
                    let Some(gradient) = gradient else { continue };
                    let parameter = matches!(graph.tensor(argument).kind, TensorKind::Parameter(_));
                    let sums = match parameter {
                        true => &mut returned.gradients,
                        false => &mut on_their_way,
                    };
                    match sums.get_mut(&argument) {
                        Some(sum) => {
                            let whole = &*sum + &gradient;
                            *sum = setting.stored(graph.ty(argument).dtype, whole);
                        }
                        None => {
                            sums.insert(argument, gradient);
                            if parameter {
                                let bytes = graph.ty(argument).bytes();
                                let purpose = Purpose::Gradient;
                                let tensor = Some(argument);
                                owned.push(Storage::new(&self.ledger, purpose, tensor, bytes));
                            }
                        }
                    }
                }
            }
            drop((kept, history));
            let (activations, gradients) = self.ledger.borrow().bytes();
            returned.levels.push(Level {
                node: id,
                backward: true,
                activations,
                gradients,
            });
        }
        self.outputs.clear();
        returned
    }
}
