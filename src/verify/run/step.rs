//! One call forward: autocast's copies, the kernel, and what autograd keeps.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::history::{Held, History, KeptTensors, Recomputed};
use super::{Pass, Plan, Seen, Stopped, hand_on, operands};
use crate::graph::{NodeId, TensorKind};
use crate::kernels::{self, Array, Count, Kept, KernelError, Ran, Setting, held_sizes, store};
use crate::ops::{Call, Saved};
use crate::tensor::Dtype;
use crate::verify::call::is_kept;
use crate::verify::ledger::{Purpose, Storage};

/// What a call made forward.
struct Made {
    outputs: Vec<Held>,
    extras: Vec<(Kept, Rc<Array>)>,
}

/// Outputs of the types that are stated, with values between -1 and 1.
fn drawn(call: &Call, setting: Setting) -> Ran {
    let mut random = fastrand::Rng::with_seed(setting.seed);
    let outputs = call.outputs.iter().map(|ty| {
        let float = ty.dtype.is_float();
        let draw = |_: f64| if float { random.f64() * 2.0 - 1.0 } else { 0.0 };
        Rc::new(Array::zeros(held_sizes(ty)).mapv(draw))
    });
    Ran {
        outputs: outputs.collect(),
        extras: Vec::new(),
        count: Count::default(),
        convention: None,
    }
}

/// Each call draws from chance of its own.
pub(super) fn setting_of(setting: Setting, id: NodeId) -> Setting {
    Setting {
        seed: setting.seed.wrapping_add(u64::from(id.0) << 20),
        ..setting
    }
}

impl Pass<'_> {
    /// One call forward. In a recomputed layer it keeps nothing.
    pub(super) fn step(
        &mut self,
        id: NodeId,
        call: &Call,
        mut operands: Vec<Option<Held>>,
        layer: Option<&Rc<Recomputed>>,
        watch: &mut dyn FnMut(&Seen),
    ) -> Vec<Held> {
        let graph = self.plan.graph;
        let node = graph.node(id);
        self.copy(id, &mut operands);
        let Made {
            mut outputs,
            extras,
        } = self.run(id, call, &operands, watch);
        let wants = |output| graph.tensor(output).requires_grad;
        if graph.training && node.outputs().any(wants) {
            let kept = match layer {
                None => self.keep(call, &operands, &outputs, &extras),
                Some(_) => KeptTensors::default(),
            };
            let before = operands.iter().flatten();
            let history = Rc::new(History {
                kept: RefCell::new(kept),
                before: RefCell::new(before.filter_map(|held| held.history.clone()).collect()),
                layer: RefCell::new(layer.map(Rc::clone)),
            });
            self.histories[id.0 as usize] = Rc::downgrade(&history);
            for (output, held) in node.outputs().zip(&mut outputs) {
                if wants(output) {
                    held.history = Some(Rc::clone(&history));
                }
            }
        }
        outputs
    }

    /// Runs the calls of a recomputed layer once more, and lets those that are yet to run backward
    /// keep what they would have kept.
    pub(super) fn recompute(&mut self, layer: &Recomputed) {
        let plan = self.plan;
        let mut tensors: FxHashMap<_, Held> = layer.read.clone();
        let mut reads = plan.reads(&layer.calls);
        // What is read behind the layer, too, is there until its calls have run.
        let behind = plan.reads(&(layer.calls.end..plan.graph.dag.node_count() as u32));
        for id in behind.into_keys().chain(plan.graph.outputs.iter().copied()) {
            *reads.entry(id).or_default() += 1;
        }
        for id in layer.calls.clone().map(NodeId).filter(|&id| plan.runs(id)) {
            let node = plan.graph.node(id);
            let mut operands = operands(node, &tensors);
            let made = plan.call(node, |call| {
                self.copy(id, &mut operands);
                let made = self.run(id, call, &operands, &mut |_| {});
                if let Some(history) = self.histories[id.0 as usize].upgrade() {
                    let kept = self.keep(call, &operands, &made.outputs, &made.extras);
                    history.kept.replace(kept);
                }
                made.outputs
            });
            drop(operands);
            hand_on(node, made, &mut tensors, &mut reads);
        }
        self.copies.clear();
    }

    /// Hands a call copies of operands in the types in which autocast lets it run. Those of trained
    /// float32 parameters in the lower type serve all their uses.
    fn copy(&mut self, id: NodeId, operands: &mut [Option<Held>]) {
        let Plan { graph, dtypes, .. } = self.plan;
        let node = graph.node(id);
        for (position, operand) in operands.iter_mut().enumerate() {
            let Some(held) = operand else { continue };
            if !dtypes.is_cast(graph, node, position) {
                continue;
            }
            let tensor = node.arguments[position];
            let dtype = dtypes.operand(graph, node, position);
            let serves_all = matches!(graph.tensor(tensor).kind, TensorKind::Parameter(_))
                && graph.tensor(tensor).requires_grad
                && dtypes.tensor(graph, tensor) == Dtype::Float32
                && dtypes.autocast() == Some(dtype);
            if let Some(copy) = self.copies.get(&tensor).filter(|_| serves_all) {
                *held = copy.clone();
                continue;
            }
            let purpose = match serves_all {
                true => Purpose::Other,
                false => Purpose::Activation,
            };
            let bytes = dtype.bytes_for(graph.ty(tensor).shape.elements());
            held.elements = Rc::new(store(dtype, (*held.elements).clone()));
            held.storage = Storage::new(&self.ledger, purpose, Some(tensor), bytes);
            if serves_all {
                self.copies.insert(tensor, held.clone());
            }
        }
    }

    /// Runs the kernel of a call, and gives its outputs storages.
    fn run(
        &mut self,
        id: NodeId,
        call: &Call,
        operands: &[Option<Held>],
        watch: &mut dyn FnMut(&Seen),
    ) -> Made {
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
        // What has another shape than is stated, which is contradicted where the call is held to its
        // claims, would only spoil what follows.
        let ran = kernels::forward(call, &arrays, setting).and_then(|ran| {
            let mut both = ran.outputs.iter().zip(call.outputs);
            match both.all(|(output, ty)| output.shape() == held_sizes(ty)) {
                true => Ok(ran),
                false => Err(KernelError::new(
                    "the kernel makes another shape than is stated",
                )),
            }
        });
        let ran = ran.unwrap_or_else(|error| {
            self.drawn.push(Stopped {
                node: id,
                message: error.message,
                outside: error.outside,
            });
            drawn(call, setting)
        });
        if node
            .outputs()
            .any(|output| graph.tensor(output).requires_grad)
        {
            self.convention = self.convention.or(ran.convention);
        }
        self.count = self.count.plus(ran.count);
        watch(&Seen {
            node: id,
            call,
            operands: &arrays,
            outputs: &ran.outputs,
        });
        let mut outputs: Vec<Held> = Vec::with_capacity(ran.outputs.len());
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
            outputs.push(Held {
                elements: Rc::clone(elements),
                storage,
                history: None,
            });
        }
        Made {
            outputs,
            extras: ran.extras,
        }
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
}
