//! FSDP2 (`torch.distributed.fsdp.fully_shard` of each repeated layer and of the model around
//! them): parameters lie in shards of their rows, are gathered before a unit runs and freed after
//! it, and gradients are reduced and scattered when it has run backwards.
//!
//! After `_fsdp_param_group.py` and `_fsdp_collectives.py` of PyTorch 2.15. A unit is gathered into
//! one flat tensor, and copied out of it into its parameters. In the forward pass the flat tensor
//! stays until the next unit is gathered, in the backward pass that of the unit before is fetched
//! ahead. What a unit handed to the reduction stays until the next unit hands over its own.

use super::heap::{Handle, Phase, Recorder};
use super::rank::Rank;
use super::step::Step;
use crate::facts::memory::{MemoryKind, repeated};
use crate::facts::precision::Policy;
use crate::graph::{Graph, LayerId, NodeId, Parameter, TensorKind};
use crate::spec::run::{Offload, Run};
use crate::tensor::Dtype;

/// A parameter of a unit.
#[derive(Debug, Clone, Copy)]
struct Part {
    number: usize,
    /// Bytes of the whole parameter, its rows filled up, in the type of the forward pass.
    whole: u64,
    /// The same in the type in which gradients are reduced.
    reduced: u64,
    /// Bytes of the shard in the type of the forward pass.
    cast: u64,
    /// Bytes of the gradient's shard.
    gradient: u64,
    /// Whether gradients are reduced in another type than they are kept in.
    recast: bool,
}

/// Parameters that are gathered together, and the calls between which they are whole.
#[derive(Debug, Clone)]
struct Unit {
    first: u32,
    end: u32,
    parts: Vec<Part>,
    /// Whether a gradient leaves the unit for what stands before it. Without one it is reduced at
    /// the end of the backward pass.
    has_gradient_of_input: bool,
}

/// The units of a model; the first is the model around the others.
#[derive(Debug, Clone)]
pub(super) struct Units {
    units: Vec<Unit>,
    /// Ranks among which a unit is sharded.
    shards: u64,
    /// Whether gathered parameters are freed after the forward pass; the outermost ones are only if
    /// that is asked for.
    reshard: Option<bool>,
    /// Whether shards are cast before they are gathered.
    casts: bool,
    /// Whether shards lie in the memory of the host.
    on_host: bool,
    /// Whether shards of gradients go there.
    gradients_on_host: bool,
    /// Whether there are replicas of the shards, which reduce further (HSDP).
    replicated: bool,
}

impl Units {
    /// Finds the units. `O(nodes + parameters)`.
    pub fn of(graph: &Graph, run: &Run, policy: &Policy, rank: &Rank) -> Units {
        let mut layers = repeated(graph).unwrap_or_default();
        if layers.is_empty() {
            // Without repeated layers each outermost one is wrapped.
            let all = (0..graph.layers.len() as u32).map(LayerId);
            layers = all
                .filter(|&id| graph.layer(id).parent.is_none())
                .filter(|&id| graph.layer(id).first_node < graph.layer(id).end_node)
                .collect();
        }
        let mut units = vec![Unit {
            first: 0,
            end: graph.dag.node_count() as u32,
            parts: Vec::new(),
            has_gradient_of_input: false,
        }];
        let mut unit_of = vec![0; graph.layers.len()];
        for layer in layers {
            unit_of[layer.0 as usize] = units.len();
            let range = graph.layer_nodes(layer);
            units.push(Unit {
                has_gradient_of_input: takes_gradients(graph, range.start, range.end),
                first: range.start,
                end: range.end,
                parts: Vec::new(),
            });
        }
        let master = policy.master.value;
        for (number, parameter) in graph.parameters.iter().enumerate() {
            if parameter.buffer || !rank.holds(number) {
                continue;
            }
            let own = graph.ty(parameter.tensor).dtype;
            let kept = sharded_dtype(graph, policy, parameter);
            let reduce = match policy.reduce.value == policy.params.value {
                true => own,
                false => policy.reduce.value,
            };
            let padded = rank.padded(graph, number);
            let shard = rank.shard(graph, number, 3).elements();
            units[unit_of_parameter(graph, parameter, &unit_of)]
                .parts
                .push(Part {
                    number,
                    whole: own.bytes_for(padded),
                    reduced: reduce.bytes_for(padded),
                    cast: own.bytes_for(shard),
                    gradient: kept.bytes_for(shard),
                    recast: kept != reduce,
                });
        }
        Units {
            units,
            shards: rank.degrees.fsdp,
            reshard: run.parallel.reshard_after_forward.get(),
            casts: master.is_some_and(|master| master != policy.params.value),
            on_host: run.train.offloads(Offload::Parameters),
            gradients_on_host: run.train.offloads(Offload::Gradients),
            replicated: rank.degrees.data > 1,
        }
    }

    /// Whether a unit is freed after the forward pass.
    fn reshards(&self, unit: usize) -> bool {
        self.reshard.unwrap_or(unit > 0)
    }
}

/// The type in which the shard of a parameter is kept, and its gradient: that of the master copy,
/// which FSDP2 keeps in place of the parameter.
pub(super) fn sharded_dtype(graph: &Graph, policy: &Policy, parameter: &Parameter) -> Dtype {
    let own = graph.ty(parameter.tensor).dtype;
    match parameter.trainable {
        true => policy.master.value.unwrap_or(own),
        false => own,
    }
}

/// Whether calls of a range read something from before it that wants a gradient.
fn takes_gradients(graph: &Graph, first: u32, end: u32) -> bool {
    (first..end).map(NodeId).any(|id| {
        graph.node(id).arguments.iter().any(|&tensor| {
            tensor.is_present()
                && matches!(graph.tensor(tensor).kind, TensorKind::Output(made) if made.0 < first)
                && graph.tensor(tensor).requires_grad
        })
    })
}

fn unit_of_parameter(graph: &Graph, parameter: &Parameter, unit_of: &[usize]) -> usize {
    let mut at = parameter.layer;
    while let Some(layer) = at {
        match unit_of[layer.0 as usize] {
            0 => at = graph.layer(layer).parent,
            unit => return unit,
        }
    }
    0
}

/// What is gathered and on its way at a moment.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// By unit, its whole parameters.
    whole: Vec<Vec<Handle>>,
    /// By unit, the flat tensor that it is yet to be copied out of.
    flat: Vec<Option<Handle>>,
    /// The flat tensor of the last unit of the forward pass.
    last: Option<Handle>,
    /// Units in the order of the forward pass.
    order: Vec<usize>,
    /// Which units are reduced.
    reduced: Vec<bool>,
    /// What was handed to the reduction last.
    reducing: Option<Handle>,
    /// Sums over shards that are reduced over replicas, until the backward pass ends.
    summed: Vec<Handle>,
    /// By parameter, the whole gradient.
    pub gradients: Vec<Option<Handle>>,
}

impl<'a, R: Recorder> Step<'a, R> {
    fn units(&self) -> Option<&'a Units> {
        self.of.rank.and_then(|rank| rank.units.as_ref())
    }

    /// The model begins to run forwards.
    pub(super) fn start_units(&mut self) {
        let Some(units) = self.units() else { return };
        let count = units.units.len();
        self.gathering.whole.resize_with(count, Vec::new);
        self.gathering.flat.resize(count, None);
        self.gathering.order.clear();
        let parameters = self.of.graph.parameters.len();
        self.gathering.gradients.resize(parameters, None);
        self.at(Phase::Forward, None);
        self.gather(units, 0);
        self.copy_out(units, 0, true);
    }

    /// Gathers the units that begin with a call.
    pub(super) fn enter_units(&mut self, id: NodeId) {
        let Some(units) = self.units() else { return };
        for number in units.beginning(id.0) {
            self.gather(units, number);
            self.copy_out(units, number, true);
        }
    }

    /// Frees the units that end with a call.
    pub(super) fn leave_units(&mut self, id: NodeId) {
        let Some(units) = self.units() else { return };
        for number in units.ending(id.0 + 1) {
            self.after_forward(units, number);
        }
    }

    /// The model has run forwards.
    pub(super) fn end_units(&mut self) {
        let Some(units) = self.units() else { return };
        self.after_forward(units, 0);
        if let Some(last) = self.gathering.last.take() {
            self.heap.release(last);
        }
        if !self.of.graph.training {
            for number in 0..units.units.len() {
                self.reshard(number);
            }
        }
    }

    fn after_forward(&mut self, units: &Units, number: usize) {
        if units.reshards(number) {
            self.reshard(number);
        }
        self.gathering.order.push(number);
    }

    /// The backward pass begins: the outermost parameters are needed.
    pub(super) fn start_units_backward(&mut self) {
        let Some(units) = self.units() else { return };
        self.gathering.reduced = vec![false; units.units.len()];
        self.before_backward(units, 0);
    }

    /// Before the calls up to this one run backwards, the units that end with it are gathered.
    pub(super) fn enter_units_backward(&mut self, at: u32) {
        let Some(units) = self.units() else { return };
        for number in units.ending(at + 1) {
            let unit = &units.units[number];
            if (unit.first..unit.end).any(|at| self.has_gradient(NodeId(at))) {
                self.before_backward(units, number);
            }
        }
    }

    /// After a call has run backwards, the units that begin with it are reduced.
    pub(super) fn leave_units_backward(&mut self, at: u32) {
        let Some(units) = self.units() else { return };
        for number in units.beginning(at) {
            if units.units[number].has_gradient_of_input {
                self.after_backward(units, number);
            }
        }
    }

    /// What is left is reduced, and everything on its way has arrived.
    pub(super) fn end_units_backward(&mut self) {
        let Some(units) = self.units() else { return };
        for number in 0..units.units.len() {
            if !self.gathering.reduced[number] {
                self.after_backward(units, number);
            }
        }
        let flat = self.gathering.flat.iter_mut().filter_map(Option::take);
        let rest: Vec<Handle> = flat
            .chain(self.gathering.reducing.take())
            .chain(std::mem::take(&mut self.gathering.summed))
            .collect();
        rest.into_iter()
            .for_each(|handle| self.heap.release(handle));
    }

    /// Gathers a unit into a flat tensor, if it is neither whole nor under way.
    fn gather(&mut self, units: &Units, number: usize) {
        let unit = &units.units[number];
        let gathering = &self.gathering;
        if unit.parts.is_empty()
            || gathering.flat[number].is_some()
            || !gathering.whole[number].is_empty()
        {
            return;
        }
        let sum = |of: fn(&Part) -> u64| unit.parts.iter().map(of).fold(0, u64::saturating_add);
        // Shards that are cast or come from the host lie in a tensor of their own first.
        let shards = (units.casts || units.on_host).then(|| {
            self.heap
                .allocate(sum(|part| part.cast), MemoryKind::Communication)
        });
        let flat = self
            .heap
            .allocate(sum(|part| part.whole), MemoryKind::Communication);
        self.gathering.flat[number] = Some(flat);
        if let Some(shards) = shards {
            self.heap.release(shards);
        }
    }

    /// Copies a gathered unit into its parameters. The flat tensor stays until the next unit is
    /// copied in the forward pass; else it goes at once.
    fn copy_out(&mut self, units: &Units, number: usize, forward: bool) {
        let Some(flat) = self.gathering.flat[number].take() else {
            return;
        };
        if forward && let Some(last) = self.gathering.last.take() {
            self.heap.release(last);
        }
        let moment = self.heap.now;
        for part in &units.units[number].parts {
            self.heap.now.parameter = Some(part.number as u32);
            let handle = self.heap.allocate(part.whole, MemoryKind::Gathered);
            self.gathering.whole[number].push(handle);
        }
        self.heap.now = moment;
        match forward {
            true => self.gathering.last = Some(flat),
            false => self.heap.release(flat),
        }
    }

    fn reshard(&mut self, number: usize) {
        for handle in std::mem::take(&mut self.gathering.whole[number]) {
            self.heap.release(handle);
        }
    }

    /// Gathers a unit, and fetches the one before it in the forward pass ahead.
    fn before_backward(&mut self, units: &Units, number: usize) {
        self.gather(units, number);
        self.copy_out(units, number, false);
        let place = self.gathering.order.iter().rposition(|&at| at == number);
        if let Some(before) = place.and_then(|place| place.checked_sub(1)) {
            let before = self.gathering.order[before];
            self.gather(units, before);
        }
    }

    /// Frees a unit, and reduces and scatters its gradients.
    fn after_backward(&mut self, units: &Units, number: usize) {
        self.gathering.reduced[number] = true;
        let taken: Vec<(Part, Handle)> = units.units[number]
            .parts
            .iter()
            .filter_map(|part| Some((*part, self.gathering.gradients[part.number].take()?)))
            .collect();
        self.reshard(number);
        if let Some(before) = self.gathering.reducing.take() {
            self.heap.release(before);
        }
        if taken.is_empty() {
            return;
        }
        let sum = |of: fn(&Part) -> u64| {
            let bytes = taken.iter().map(|(part, _)| of(part));
            bytes.fold(0, u64::saturating_add)
        };
        let input = sum(|part| part.reduced);
        self.gathering.reducing = Some(self.heap.allocate(input, MemoryKind::Communication));
        for &(_, gradient) in &taken {
            self.heap.release(gradient);
        }
        let recast = taken.iter().any(|(part, _)| part.recast);
        let kind = match recast {
            true => MemoryKind::Communication,
            false => MemoryKind::Gradients,
        };
        let mut output = self.heap.allocate(input / units.shards, kind);
        if recast {
            let cast = self
                .heap
                .allocate(sum(|part| part.gradient), MemoryKind::Gradients);
            match units.replicated {
                true => self.gathering.summed.push(output),
                false => self.heap.release(output),
            }
            output = cast;
        }
        for (part, _) in &taken {
            // Shards of gradients are views of one tensor; later micro-batches are added to them.
            if self.gradients[part.number].is_none() && !units.gradients_on_host {
                let handle = self.heap.retain(output);
                self.gradients[part.number] = Some(handle);
            }
        }
        self.heap.release(output);
    }
}

impl Units {
    /// The units within the model that begin with a call.
    fn beginning(&self, at: u32) -> impl Iterator<Item = usize> {
        let from = self.units[1..].partition_point(|unit| unit.first < at);
        let found = self.units[1..].get(from).filter(|unit| unit.first == at);
        found.map(|_| from + 1).into_iter()
    }

    /// The units within the model whose calls end before that one.
    fn ending(&self, at: u32) -> impl Iterator<Item = usize> {
        let from = self.units[1..].partition_point(|unit| unit.end < at);
        let found = self.units[1..].get(from).filter(|unit| unit.end == at);
        found.map(|_| from + 1).into_iter()
    }
}
