//! The forward pass: what calls make, and what autograd keeps of it.
//!
//! A storage lives from the call that makes it to the last one that reads it or a view of it, and
//! longer where a node keeps it for the backward pass.

use std::ops::Range;

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::heap::{Handle, Phase, Recorder};
use super::step::{Held, Step};
use crate::facts::memory::MemoryKind;
use crate::graph::{Node, NodeId, TensorId, TensorKind};
use crate::ops::Saved;
use crate::spec::run::Offload;
use crate::tensor::Dtype;

/// What becomes of what autograd asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// It is kept until the node has run backwards.
    All,
    /// Nothing is kept: no gradient is wanted, or the layer is recomputed.
    Nothing,
}

impl<R: Recorder> Step<'_, R> {
    /// The calls of a range in order. Of a recomputed layer only what it reads from outside is kept.
    pub(super) fn forward_pass(&mut self, calls: Range<u32>) {
        let graph = self.of.graph;
        let keeping = match graph.training {
            true => Keeping::All,
            false => Keeping::Nothing,
        };
        self.send_buffers();
        self.start_units();
        let mut at = calls.start;
        for region in self.regions_in(&calls) {
            self.forward(at..region.start, Phase::Forward, keeping);
            self.keep_inputs(&region);
            self.forward(region.clone(), Phase::Forward, Keeping::Nothing);
            at = region.end;
        }
        self.forward(at..calls.end, Phase::Forward, keeping);
        self.end_units();
        if !graph.training {
            self.release_all();
        }
        self.end_casts();
    }

    /// The recomputed layers that lie within a range of calls, in order.
    pub(super) fn regions_in(&self, calls: &Range<u32>) -> Vec<Range<u32>> {
        let regions = self.regions.iter();
        regions
            .map(|&layer| self.of.graph.layer_nodes(layer))
            .filter(|region| region.start >= calls.start && region.end <= calls.end)
            .collect()
    }

    /// The calls of a recomputed layer once more, now with what autograd keeps. An output of the
    /// model that is made in it stays the one of the forward pass.
    pub(super) fn recompute(&mut self, region: Range<u32>) {
        let outputs: Vec<(usize, Option<Handle>)> = self
            .output_roots()
            .into_iter()
            .map(|root| (root.0 as usize, self.storages[root.0 as usize]))
            .collect();
        let made = self.forward(region, Phase::Backward, Keeping::All);
        made.into_iter()
            .for_each(|handle| self.heap.release(handle));
        for (root, handle) in outputs {
            self.storages[root] = handle;
        }
        self.end_casts();
    }

    fn end_casts(&mut self) {
        for (_, handle) in std::mem::take(&mut self.casts) {
            self.heap.release(handle);
        }
    }

    /// Keeps what the calls of a range read from outside it for the first of them that has a gradient,
    /// which is the last to run backwards.
    fn keep_inputs(&mut self, range: &Range<u32>) {
        let runs_back = |&at: &u32| self.runs(NodeId(at)) && self.has_gradient(NodeId(at));
        let Some(first) = range.clone().find(runs_back) else {
            return;
        };
        for (_, handle) in self.read_from_outside(range) {
            let handle = self.heap.retain(handle);
            self.held[first as usize].push(Held { handle, name: "" });
        }
    }

    /// The storages that the calls of a range read and do not make, by first tensor.
    pub(super) fn read_from_outside(&self, range: &Range<u32>) -> Vec<(TensorId, Handle)> {
        let graph = self.of.graph;
        let mut found: Vec<(TensorId, Handle)> = Vec::new();
        let mut seen: FxHashSet<TensorId> = FxHashSet::default();
        for id in range.clone().map(NodeId).filter(|&id| self.runs(id)) {
            for &tensor in graph.node(id).arguments.iter().filter(|id| id.is_present()) {
                let root = self.of.storages.root(tensor);
                let inside = |made: NodeId| range.contains(&made.0);
                let Some(handle) = self.storages[root.0 as usize] else {
                    continue;
                };
                if !graph.producer(root).is_some_and(inside) && seen.insert(root) {
                    found.push((root, handle));
                }
            }
        }
        found
    }

    /// Runs a range of calls, and gives what of it is still referred to from elsewhere.
    fn forward(&mut self, range: Range<u32>, phase: Phase, keeping: Keeping) -> Vec<Handle> {
        let mut open = Vec::new();
        let waiting = self.heap.now.node.filter(|_| phase == Phase::Backward);
        for id in range.clone().map(NodeId) {
            self.at(phase, Some(id));
            self.heap.now.waiting = waiting;
            match phase {
                Phase::Forward => {
                    self.enter_units(id);
                    self.fetch(id, false);
                }
                _ => self.fetch_again(id),
            }
            if self.runs(id) {
                self.call(id, keeping);
                self.end_of_uses(id, &range, phase, &mut open);
            }
            if phase == Phase::Forward {
                self.leave_units(id);
                self.let_fetched_go(id, false);
            }
        }
        open
    }

    /// One call: casts, outputs and what is kept besides.
    fn call(&mut self, id: NodeId, keeping: Keeping) {
        let (graph, dtypes) = (self.of.graph, self.of.dtypes);
        let node = graph.node(id);
        let mut asked = Saved::by(self.of.kernels);
        let strides = |tensor| self.of.storages.strides(tensor);
        let has_gradient = self.has_gradient(id);
        let besides = dtypes.with_call(graph, node, strides, |call| {
            (node.op.saved)(call, &mut asked);
            (node.op.temporaries)(call, self.of.kernels)
        });
        let exchanged = self.exchange(id, false);
        let mut casts: SmallVec<[(usize, Handle); 2]> = SmallVec::new();
        for position in 0..node.arguments.len() {
            if dtypes.is_cast(graph, node, position) {
                let handle = self.cast(node, position);
                casts.push((position, handle));
            }
        }
        for output in node.outputs() {
            if self.of.storages.root(output) == output {
                let bytes = self.share(output, dtypes.bytes(graph, output));
                let handle = self.heap.allocate(bytes, MemoryKind::Activations);
                self.storages[output.0 as usize] = Some(handle);
            }
        }
        let mut held: Vec<Held> = Vec::new();
        for &(name, elements, dtype) in &asked.extra {
            let bytes = self.share_of_node(id, dtype.bytes_for(elements));
            let handle = self.heap.allocate(bytes, MemoryKind::Activations);
            held.push(Held { handle, name });
        }
        if besides > 0 {
            let bytes = self.share_of_node(id, besides);
            let handle = self.heap.allocate(bytes, MemoryKind::Temporaries);
            self.heap.release(handle);
        }
        exchanged
            .into_iter()
            .for_each(|handle| self.heap.release(handle));
        if keeping == Keeping::Nothing || !has_gradient {
            held.drain(..)
                .for_each(|held| self.heap.release(held.handle));
            casts
                .into_iter()
                .for_each(|(_, handle)| self.heap.release(handle));
            return;
        }
        for &position in &asked.arguments {
            let cast = casts.iter().find(|(at, _)| *at == position);
            let operand = node.arguments.get(position).filter(|id| id.is_present());
            let handle = match (cast, operand) {
                (Some(&(_, handle)), _) => Some(handle),
                (None, Some(&tensor)) => self.storage(tensor),
                (None, None) => None,
            };
            let name = node.op.operand_name(position);
            held.extend(handle.map(|handle| self.hold(handle, name)));
        }
        for &position in &asked.outputs {
            let handle = node.outputs().nth(position).and_then(|id| self.storage(id));
            held.extend(handle.map(|handle| self.hold(handle, "")));
        }
        casts
            .into_iter()
            .for_each(|(_, handle)| self.heap.release(handle));
        match self.of.run.train.offloads(Offload::Activations) {
            true => self.send_away(id, held),
            false => self.held[id.0 as usize].append(&mut held),
        }
    }

    /// Copies what a node keeps to the host.
    fn send_away(&mut self, id: NodeId, held: Vec<Held>) {
        for one in held {
            self.away[id.0 as usize].push((self.heap.bytes(one.handle), one.name));
            self.heap.release(one.handle);
        }
    }

    /// Copies what a node keeps on the host back, each tensor by itself.
    pub(super) fn fetch_back(&mut self, id: NodeId) {
        for (bytes, name) in std::mem::take(&mut self.away[id.0 as usize]) {
            let handle = self.heap.allocate(bytes, MemoryKind::Activations);
            self.held[id.0 as usize].push(Held { handle, name });
        }
    }

    fn hold(&mut self, handle: Handle, name: &'static str) -> Held {
        let handle = self.heap.retain(handle);
        Held { handle, name }
    }

    pub(super) fn storage(&self, tensor: TensorId) -> Option<Handle> {
        self.storages[self.of.storages.root(tensor).0 as usize]
    }

    /// The copy of an operand that autocast hands a call. Copies of trained float32 parameters
    /// into the lower type serve all their uses; copies of other tensors serve one.
    fn cast(&mut self, node: &Node, position: usize) -> Handle {
        let (graph, dtypes) = (self.of.graph, self.of.dtypes);
        let tensor = node.arguments[position];
        let dtype = dtypes.operand(graph, node, position);
        let bytes = dtype.bytes_for(graph.ty(tensor).shape.elements());
        let bytes = self.share(tensor, bytes);
        let cached = match self.parameter(tensor) {
            Some(number)
                if graph.tensor(tensor).requires_grad
                    && dtypes.tensor(graph, tensor) == Dtype::Float32
                    && dtypes.autocast() == Some(dtype) =>
            {
                Some(number)
            }
            _ => None,
        };
        let Some(number) = cached else {
            return self.heap.allocate(bytes, MemoryKind::Activations);
        };
        let handle = match self.casts.get(&number) {
            Some(&handle) => handle,
            None => {
                let handle = self.heap.allocate(bytes, MemoryKind::WeightCasts);
                self.casts.insert(number, handle);
                handle
            }
        };
        self.heap.retain(handle)
    }

    /// Gives up what nothing reads after this call. What is read only after a range that is
    /// recomputed goes at its end.
    fn end_of_uses(
        &mut self,
        id: NodeId,
        range: &Range<u32>,
        phase: Phase,
        open: &mut Vec<Handle>,
    ) {
        let graph = self.of.graph;
        let node = graph.node(id);
        let operands = node.arguments.iter().copied().filter(|id| id.is_present());
        let mut seen: SmallVec<[TensorId; 8]> = SmallVec::new();
        for tensor in operands.chain(node.outputs()) {
            let root = self.of.storages.root(tensor);
            let TensorKind::Output(producer) = graph.tensor(root).kind else {
                continue;
            };
            // What is made before a range that is recomputed has had its last use.
            let again = phase == Phase::Backward;
            if seen.contains(&root) || (again && !range.contains(&producer.0)) {
                continue;
            }
            seen.push(root);
            let Some(handle) = self.storages[root.0 as usize] else {
                continue;
            };
            let last = self.last[root.0 as usize];
            if last == id.0 {
                self.heap.release(handle);
            } else if again && producer == id && last >= range.end {
                open.push(handle);
            }
        }
    }
}
