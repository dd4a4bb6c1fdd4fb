//! The backward pass: gradients, sums of gradients where a tensor is used several times, and what
//! kernels need besides.

use std::ops::Range;

use smallvec::SmallVec;

use super::heap::{Handle, Phase, Recorder};
use super::step::{Pending, Step};
use crate::facts::memory::{MemoryKind, scaler_bytes};
use crate::graph::{Node, NodeId, TensorId};
use crate::ops::gradient::{Gradient, Kernels, Step as Part};
use crate::ops::layout::{Strides, contiguous_strides};
use crate::spec::run::Offload;

/// The gradient that a call makes of the operand at a position.
struct Made {
    position: usize,
    handle: Handle,
    strides: Strides,
}

impl<R: Recorder> Step<'_, R> {
    /// The calls of a range in reverse order.
    pub(super) fn backward_pass(&mut self, calls: Range<u32>) {
        self.at(Phase::Backward, None);
        self.count_uses(&calls);
        self.seed(&calls);
        self.start_zero_backward();
        self.start_units_backward();
        let mut regions = self.regions_in(&calls);
        for at in calls.clone().rev() {
            self.at(Phase::Backward, Some(NodeId(at)));
            self.enter_units_backward(at);
            if let Some(range) = regions.pop_if(|range| range.end == at + 1)
                && range.clone().any(|at| self.has_gradient(NodeId(at)))
            {
                self.recompute(range);
            }
            let id = NodeId(at);
            self.at(Phase::Backward, Some(id));
            self.fetch(id, true);
            if self.runs(id) {
                self.node(id);
            }
            self.let_fetched_go(id, true);
            self.leave_units_backward(at);
        }
        self.at(Phase::Backward, None);
        // What no gradient reached goes with the graph.
        for at in calls {
            self.let_go(NodeId(at));
        }
        for (_, pending) in std::mem::take(&mut self.pending) {
            self.heap.release(pending.handle);
        }
        self.end_units_backward();
        self.end_zero_backward();
        for handle in std::mem::take(&mut self.seeds) {
            self.heap.release(handle);
        }
    }

    /// Gives up the outputs of the model, which the caller holds to the end.
    pub(super) fn release_outputs(&mut self) {
        for handle in self.take_outputs() {
            self.heap.release(handle);
        }
    }

    /// The storages of the outputs of the model.
    pub(super) fn take_outputs(&mut self) -> Vec<Handle> {
        let roots = self.output_roots().into_iter();
        roots
            .filter_map(|root| self.storages[root.0 as usize].take())
            .collect()
    }

    /// The first tensors of the storages of the outputs, each once.
    pub(super) fn output_roots(&self) -> Vec<TensorId> {
        let graph = self.of.graph;
        let mut roots: Vec<TensorId> = graph
            .outputs
            .iter()
            .filter(|id| id.is_present())
            .map(|&id| self.of.storages.root(id))
            .filter(|&root| graph.producer(root).is_some())
            .collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    fn count_uses(&mut self, calls: &Range<u32>) {
        let graph = self.of.graph;
        self.uses.fill(0);
        for id in calls.clone().map(NodeId) {
            if !self.runs(id) {
                continue;
            }
            for &tensor in graph.node(id).arguments.iter().filter(|id| id.is_present()) {
                if let Some(number) = self.parameter(tensor) {
                    self.uses[number as usize] += 1;
                }
            }
        }
    }

    /// The gradients to begin with.
    fn seed(&mut self, calls: &Range<u32>) {
        let graph = self.of.graph;
        for id in self.begins.clone() {
            if !graph
                .producer(id)
                .is_none_or(|made| calls.contains(&made.0))
            {
                continue;
            }
            let bytes = self.share(id, self.of.dtypes.bytes(graph, id));
            let mut handle = self.heap.allocate(bytes, MemoryKind::Temporaries);
            let strides = contiguous_strides(graph.ty(id).shape.sizes());
            // `backward` holds what it begins with to its end.
            self.seeds.push(handle);
            if scaler_bytes(self.of.policy.loss_scale.value) > 0 {
                // The scaled loss, from which it begins, and the gradient of the loss itself.
                self.seeds
                    .push(self.heap.allocate(bytes, MemoryKind::Activations));
                handle = self.heap.allocate(bytes, MemoryKind::Temporaries);
            } else {
                handle = self.heap.retain(handle);
            }
            self.arrive(id, Pending { handle, strides });
        }
    }

    /// Gives up what is kept for a node.
    fn let_go(&mut self, id: NodeId) {
        for held in std::mem::take(&mut self.held[id.0 as usize]) {
            self.heap.release(held.handle);
        }
    }

    fn node(&mut self, id: NodeId) {
        let node = self.of.graph.node(id);
        let outputs: SmallVec<[Option<Pending>; 1]> =
            node.outputs().map(|id| self.pending.remove(&id)).collect();
        if outputs.iter().any(Option::is_some) {
            self.fetch_back(id);
            let exchanged = self.exchange(id, true);
            let made = self.run_backwards(id, node, outputs);
            exchanged
                .into_iter()
                .for_each(|handle| self.heap.release(handle));
            self.let_go(id);
            for one in made {
                self.hand_on(node, one);
            }
        } else {
            self.let_go(id);
        }
        for &tensor in node.arguments.iter().filter(|id| id.is_present()) {
            if let Some(number) = self.parameter(tensor) {
                self.used(number as usize);
            }
        }
    }

    /// Runs what the op's entry says, and gives up what the nodes were handed.
    fn run_backwards(
        &mut self,
        id: NodeId,
        node: &Node,
        outputs: SmallVec<[Option<Pending>; 1]>,
    ) -> SmallVec<[Made; 3]> {
        let (graph, dtypes) = (self.of.graph, self.of.dtypes);
        let incoming: SmallVec<[Option<Strides>; 1]> = outputs
            .iter()
            .map(|one| one.as_ref().map(|pending| pending.strides.clone()))
            .collect();
        let mut handed: SmallVec<[Option<Handle>; 2]> = outputs
            .iter()
            .map(|one| one.as_ref().map(|pending| pending.handle))
            .collect();
        let strides = |tensor| self.of.storages.strides(tensor);
        let steps = dtypes.with_call(graph, node, strides, |call| {
            let mut gradient = Gradient::new(call, &incoming, self.of.kernels);
            (node.op.gradient)(call, &mut gradient);
            gradient.steps
        });
        let mut scratch: SmallVec<[Handle; 4]> = SmallVec::new();
        let mut made: SmallVec<[Made; 3]> = SmallVec::new();
        for part in steps {
            match part {
                Part::Scratch(bytes) => {
                    let bytes = self.share_of_node(id, bytes);
                    scratch.push(self.heap.allocate(bytes, MemoryKind::Temporaries));
                }
                Part::Drop(first, count) => {
                    let first = first.min(scratch.len());
                    let end = (first + count).min(scratch.len());
                    for handle in scratch.drain(first..end) {
                        self.heap.release(handle);
                    }
                }
                Part::Make(position, strides) => {
                    let tensor = node.arguments[position];
                    let dtype = dtypes.operand(graph, node, position);
                    let bytes = dtype.bytes_for(graph.ty(tensor).shape.elements());
                    let bytes = self.share(tensor, bytes);
                    let handle = self.heap.allocate(bytes, self.kind_of_gradient(tensor));
                    made.push(Made {
                        position,
                        handle,
                        strides,
                    });
                }
                Part::Share(position, output, strides) => {
                    if let Some(Some(handle)) = handed.get(output).copied() {
                        let handle = self.heap.retain(handle);
                        made.push(Made {
                            position,
                            handle,
                            strides,
                        });
                    }
                }
                Part::Node(bytes) => {
                    let bytes = self.share_of_node(id, bytes);
                    let next = self.heap.allocate(bytes, MemoryKind::Temporaries);
                    self.end_node(&mut scratch, &mut handed);
                    handed.push(Some(next));
                }
                Part::End => self.end_node(&mut scratch, &mut handed),
                Part::Hand(position) => {
                    let ready = made.iter().position(|one| one.position == position);
                    if let Some(place) = ready {
                        let one = made.remove(place);
                        self.hand_on(node, one);
                    }
                }
                Part::Release(name) => {
                    let held = &mut self.held[id.0 as usize];
                    if let Some(place) = held.iter().position(|held| held.name == name) {
                        let held = held.swap_remove(place);
                        self.heap.release(held.handle);
                    }
                }
            }
        }
        self.end_node(&mut scratch, &mut handed);
        made
    }

    fn end_node(
        &mut self,
        scratch: &mut SmallVec<[Handle; 4]>,
        handed: &mut SmallVec<[Option<Handle>; 2]>,
    ) {
        for handle in scratch.drain(..).chain(handed.drain(..).flatten()) {
            self.heap.release(handle);
        }
    }

    fn kind_of_gradient(&self, tensor: TensorId) -> MemoryKind {
        match self.parameter(tensor) {
            Some(_) => MemoryKind::Gradients,
            None => MemoryKind::Temporaries,
        }
    }

    /// Hands a gradient to the operand's producer, after the cast back to the operand's type.
    fn hand_on(&mut self, node: &Node, made: Made) {
        let (graph, dtypes) = (self.of.graph, self.of.dtypes);
        let tensor = node.arguments[made.position];
        let mut handle = made.handle;
        if dtypes.is_cast(graph, node, made.position) {
            let bytes = self.share(tensor, dtypes.bytes(graph, tensor));
            let cast = self.heap.allocate(bytes, self.kind_of_gradient(tensor));
            self.heap.release(handle);
            handle = cast;
        }
        let pending = Pending {
            handle,
            strides: made.strides,
        };
        match self.parameter(tensor) {
            Some(number) => self.arrive_at_parameter(number as usize, tensor, pending),
            None if graph.producer(tensor).is_some() => self.arrive(tensor, pending),
            None => self.heap.release(handle),
        }
    }

    /// Stores a gradient, or adds it to the one that is there.
    pub(super) fn arrive(&mut self, tensor: TensorId, new: Pending) {
        let Some(old) = self.pending.remove(&tensor) else {
            self.pending.insert(tensor, new);
            return;
        };
        let handle = self.sum(tensor, old.handle, new.handle, MemoryKind::Temporaries);
        let strides = old.strides;
        self.pending.insert(tensor, Pending { handle, strides });
    }

    fn arrive_at_parameter(&mut self, number: usize, tensor: TensorId, new: Pending) {
        if self.heap.is_sole(new.handle) {
            self.heap.relabel(new.handle, MemoryKind::Gradients);
        }
        self.incoming[number] = Some(match self.incoming[number].take() {
            None => new.handle,
            Some(old) => self.sum(tensor, old, new.handle, MemoryKind::Gradients),
        });
    }

    /// The sum of two gradients: into the first, if nothing else refers to it and its storage may be
    /// written over.
    fn sum(&mut self, tensor: TensorId, old: Handle, new: Handle, kind: MemoryKind) -> Handle {
        if self.of.kernels == Kernels::Device && self.heap.is_sole(old) {
            self.heap.release(new);
            return old;
        }
        let bytes = self.share(tensor, self.of.dtypes.bytes(self.of.graph, tensor));
        let sum = self.heap.allocate(bytes, kind);
        self.heap.release(old);
        self.heap.release(new);
        sum
    }

    /// One use of a parameter less. After the last one its gradient is complete: it becomes the
    /// parameter's, or is added to that of earlier micro-batches.
    fn used(&mut self, number: usize) {
        self.uses[number] = self.uses[number].saturating_sub(1);
        if self.uses[number] > 0 {
            return;
        }
        if let Some(handle) = self.incoming[number].take() {
            let handle = self.owned(number, handle);
            let bucket = self.bucket(number);
            match self.gradients[number] {
                _ if self.is_fsdp() => self.gathering.gradients[number] = Some(handle),
                _ if self.of.run.train.offloads(Offload::Gradients) => self.heap.release(handle),
                _ if self.zero().is_some() => {
                    if let Some(handle) = self.partitioned(number, handle) {
                        match self.gradients[number] {
                            Some(_) => self.heap.release(handle),
                            None => self.gradients[number] = Some(handle),
                        }
                    }
                }
                Some(_) => self.heap.release(handle),
                None => {
                    self.gradients[number] = Some(match bucket {
                        Some(bucket) => {
                            self.heap.release(handle);
                            self.heap.retain(bucket)
                        }
                        None => handle,
                    });
                }
            }
        }
    }

    /// A gradient that belongs to a parameter: what arrived, if nothing else refers to it, else a copy
    /// (`AccumulateGrad`).
    fn owned(&mut self, number: usize, handle: Handle) -> Handle {
        if self.heap.is_sole(handle) {
            self.heap.relabel(handle, MemoryKind::Gradients);
            return handle;
        }
        let tensor = self.of.graph.parameters[number].tensor;
        let bytes = self.share(tensor, self.of.dtypes.bytes(self.of.graph, tensor));
        let copy = self.heap.allocate(bytes, MemoryKind::Gradients);
        self.heap.release(handle);
        copy
    }
}
