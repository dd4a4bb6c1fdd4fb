//! What a device must hold while a model trains or serves: a sum of parts, each with its
//! arithmetic.
//!
//! Exact for one device: parameters, buffers, gradients, optimizer state, inputs, and what
//! autograd keeps of the forward pass. An estimate over several: see [`Degrees`] and [`Split`]
//! for how parts are divided; pipeline stages are taken to be equal. Not in the sum, see
//! [`LEFT_OUT`].

mod forward;
mod optimizer;
mod plan;
mod saved;
#[cfg(test)]
mod tests;

use std::fmt;

pub use forward::{ForwardPeak, forward_peak};
pub use optimizer::{state_bytes, state_name};
pub use plan::{Degrees, Split};
pub use saved::{Kept, KeptKind, Recomputed, Saved};

use crate::facts::precision::Policy;
use crate::graph::{Graph, LayerId, Parameter, TensorKind};
use crate::quantity::Bytes;
use crate::spec::run::Run;
use crate::tensor::Dtype;

/// What the sum of the parts leaves out.
pub const LEFT_OUT: &str = "temporaries of the forward and backward pass and of the optimizer \
     step, rounding and fragmentation of the allocator, workspaces of libraries, the device's \
     context, and buffers of communication";

/// What memory is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemoryKind {
    /// Parameters as the forward pass sees them.
    Parameters,
    /// The master copy of the trained parameters.
    Master,
    /// Gradients of the trained parameters.
    Gradients,
    /// The copy of the gradients in the buckets of `DistributedDataParallel`.
    Buckets,
    /// The optimizer's state.
    Optimizer,
    /// The exponential moving average of the weights.
    Average,
    /// Buffers.
    Buffers,
    /// The model's inputs.
    Inputs,
    /// What autograd keeps of the forward pass.
    Activations,
    /// Copies of weights that autocast keeps.
    WeightCasts,
    /// The recomputed layer that needs most.
    Recomputed,
    /// Layers whose sharded parameters are gathered to be used.
    Gathered,
    /// Where nothing is kept for a backward pass: the most that lives at once of the forward pass.
    Forward,
}

impl MemoryKind {
    /// The name in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            MemoryKind::Parameters => "parameters",
            MemoryKind::Master => "master weights",
            MemoryKind::Gradients => "gradients",
            MemoryKind::Buckets => "gradient buckets",
            MemoryKind::Optimizer => "optimizer state",
            MemoryKind::Average => "averaged weights",
            MemoryKind::Buffers => "buffers",
            MemoryKind::Inputs => "inputs",
            MemoryKind::Activations => "activations",
            MemoryKind::WeightCasts => "casts of weights",
            MemoryKind::Recomputed => "recomputed activations",
            MemoryKind::Gathered => "gathered layers",
            MemoryKind::Forward => "forward pass",
        }
    }
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A part of the sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What for.
    pub kind: MemoryKind,
    /// How much on one device.
    pub bytes: Bytes,
    /// How it comes about: `two moments, float32`.
    pub how: String,
}

/// The activations of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The layer.
    pub layer: LayerId,
    /// What it is the first to keep, on one device and for one micro-batch.
    pub bytes: Bytes,
}

/// What one device holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// The parts, those of nothing left out.
    pub parts: Vec<Part>,
    /// Their sum.
    pub total: Bytes,
    /// The layers that keep activations, the largest first.
    pub owners: Vec<Owner>,
    /// The degrees by which it is divided.
    pub degrees: Degrees,
}

impl Memory {
    /// Adds up what there is. `O(nodes + parameters)`.
    ///
    /// `forward` is asked only where nothing is kept for a backward pass.
    pub fn of(
        graph: &Graph,
        run: &Run,
        policy: &Policy,
        saved: &Saved,
        forward: impl FnOnce() -> ForwardPeak,
        data_ranks: u64,
    ) -> Memory {
        let degrees = Degrees::of(run, data_ranks);
        let split = Split::of(graph, degrees.tensor);
        let sum = Sum {
            graph,
            run,
            policy,
            degrees,
            split,
        };
        let mut memory = Memory {
            parts: Vec::new(),
            total: Bytes::ZERO,
            owners: Vec::new(),
            degrees,
        };
        sum.states(&mut memory);
        sum.inputs(&mut memory);
        match saved.kept.is_empty() {
            true => sum.forward(forward(), &mut memory),
            false => sum.activations(saved, &mut memory),
        }
        memory.total = memory.parts.iter().map(|part| part.bytes).sum();
        memory
    }

    /// What that part takes.
    pub fn part(&self, kind: MemoryKind) -> Bytes {
        self.parts
            .iter()
            .filter(|part| part.kind == kind)
            .map(|part| part.bytes)
            .sum()
    }

    fn add(&mut self, kind: MemoryKind, bytes: u64, how: impl Into<String>) {
        if bytes > 0 {
            self.parts.push(Part {
                kind,
                bytes: Bytes(bytes),
                how: how.into(),
            });
        }
    }
}

struct Sum<'a> {
    graph: &'a Graph,
    run: &'a Run,
    policy: &'a Policy,
    degrees: Degrees,
    split: Split,
}

impl Sum<'_> {
    /// The sum over parameters, on one device of those that split each into `shards`.
    fn over_parameters(&self, shards: u64, bytes: impl Fn(&Parameter) -> u64) -> u64 {
        let (mut whole, mut divided) = (0u64, 0u64);
        for (number, parameter) in self.graph.parameters.iter().enumerate() {
            let sum = match self.split.parameter(number) {
                true => &mut divided,
                false => &mut whole,
            };
            *sum = sum.saturating_add(bytes(parameter));
        }
        whole
            .saturating_add(divided.div_ceil(self.degrees.tensor))
            .div_ceil(self.degrees.pipeline)
            .div_ceil(shards)
    }

    fn elements(&self, parameter: &Parameter) -> u64 {
        self.graph.ty(parameter.tensor).shape.elements()
    }

    fn own_dtype(&self, parameter: &Parameter) -> Dtype {
        self.graph.ty(parameter.tensor).dtype
    }

    /// A type of the policy for a parameter: its own, where the policy has none but that of the
    /// parameters in general.
    fn dtype(&self, parameter: &Parameter, chosen: Dtype) -> Dtype {
        match chosen == self.policy.params.value {
            true => self.own_dtype(parameter),
            false => chosen,
        }
    }

    fn gradient_bytes(&self, parameter: &Parameter) -> u64 {
        match parameter.trainable {
            true => self
                .dtype(parameter, self.policy.accumulate.value)
                .bytes_for(self.elements(parameter)),
            false => 0,
        }
    }

    fn divided(&self, shards: u64, what: &str) -> String {
        let mut text = what.to_owned();
        for (degree, name) in [
            (shards, "shards"),
            (self.degrees.tensor, "tensor-parallel ranks"),
            (self.degrees.pipeline, "pipeline stages"),
        ] {
            if degree > 1 {
                text += &format!(", over {degree} {name}");
            }
        }
        text
    }

    /// Parameters and everything that is kept of each.
    fn states(&self, memory: &mut Memory) {
        let (policy, degrees) = (self.policy, &self.degrees);
        let own = |parameter: &Parameter| {
            let bytes = self.own_dtype(parameter);
            bytes.bytes_for(self.elements(parameter))
        };
        let parameters = degrees.shards(3);
        memory.add(
            MemoryKind::Parameters,
            self.over_parameters(parameters, |p| if p.buffer { 0 } else { own(p) }),
            self.divided(parameters, policy.params.value.name()),
        );
        let buffers = self.over_parameters(1, |p| if p.buffer { own(p) } else { 0 });
        if self.graph.training {
            self.trained(memory);
        }
        if parameters > 1 {
            let gathered = self.gathered();
            memory.add(
                MemoryKind::Gathered,
                gathered,
                "parameters of two layers, gradients of one, while they are whole",
            );
        }
        memory.add(MemoryKind::Buffers, buffers, "as they are declared");
    }

    fn trained(&self, memory: &mut Memory) {
        let (policy, degrees) = (self.policy, &self.degrees);
        let trained = |dtype: Dtype| {
            move |p: &Parameter| match p.trainable {
                true => dtype.bytes_for(self.elements(p)),
                false => 0,
            }
        };
        let state = degrees.shards(1);
        if let Some(master) = policy.master.value {
            memory.add(
                MemoryKind::Master,
                self.over_parameters(state, trained(master)),
                self.divided(state, master.name()),
            );
        }
        let shards = degrees.shards(2);
        let name = policy.accumulate.value.name();
        let gradients = self.over_parameters(shards, |p| self.gradient_bytes(p));
        memory.add(MemoryKind::Gradients, gradients, self.divided(shards, name));
        if degrees.has_buckets() {
            memory.add(
                MemoryKind::Buckets,
                gradients,
                format!("{name}; none with gradient_as_bucket_view=True"),
            );
        }
        let optimizer = &self.run.train.optimizer;
        let bytes = |p: &Parameter| match p.trainable {
            true => {
                let dtype = self.dtype(p, policy.optimizer.value);
                state_bytes(optimizer, &self.graph.ty(p.tensor).shape, dtype)
            }
            false => 0,
        };
        let how = format!("{}, {}", state_name(optimizer), policy.optimizer.value);
        memory.add(
            MemoryKind::Optimizer,
            self.over_parameters(state, bytes),
            self.divided(state, &how),
        );
        if let Some(average) = policy.ema.value {
            memory.add(
                MemoryKind::Average,
                self.over_parameters(1, trained(average)),
                self.divided(1, average.name()),
            );
        }
    }

    /// While a sharded layer runs, it and the next one are whole, and in the backward pass so are
    /// its gradients: twice the largest unit and once its gradients, units being the model's
    /// layers.
    fn gathered(&self) -> u64 {
        let graph = self.graph;
        let mut units = vec![(0u64, 0u64); graph.layers.len() + 1];
        for parameter in graph.parameters.iter().filter(|p| !p.buffer) {
            let mut unit = graph.layers.len();
            let mut at = parameter.layer;
            while let Some(layer) = at {
                unit = layer.0 as usize;
                at = graph.layer(layer).parent;
            }
            let bytes = self
                .own_dtype(parameter)
                .bytes_for(self.elements(parameter));
            let (parameters, gradients) = &mut units[unit];
            *parameters = parameters.saturating_add(bytes);
            *gradients = gradients.saturating_add(self.gradient_bytes(parameter));
        }
        let largest = units
            .iter()
            .map(|(parameters, gradients)| {
                let gradients = if graph.training { *gradients } else { 0 };
                parameters.saturating_mul(2).saturating_add(gradients)
            })
            .max();
        largest.unwrap_or(0).div_ceil(self.degrees.tensor)
    }

    fn inputs(&self, memory: &mut Memory) {
        let bytes = self.graph.inputs.iter().fold(0u64, |sum, (_, id)| {
            sum.saturating_add(self.graph.ty(*id).bytes())
        });
        let bytes = bytes.div_ceil(self.degrees.context);
        memory.add(MemoryKind::Inputs, bytes, "one micro-batch");
    }

    /// What of a kept storage lies on one device.
    fn share(&self, kept: &Kept) -> u64 {
        let degrees = &self.degrees;
        let split = match (kept.kind, kept.tensor) {
            (KeptKind::WeightCast, Some(tensor)) => match self.graph.tensor(tensor).kind {
                TensorKind::Parameter(number) => self.split.parameter(number as usize),
                _ => false,
            },
            (_, Some(tensor)) => degrees.sequence || self.split.tensor(tensor),
            (_, None) => degrees.sequence || self.split.node(self.graph, kept.node),
        };
        let whole = match split {
            true => kept.bytes.div_ceil(degrees.tensor),
            false => kept.bytes,
        };
        match kept.kind {
            KeptKind::WeightCast => whole,
            KeptKind::Activation | KeptKind::Input => whole.div_ceil(degrees.context),
        }
    }

    /// What a forward pass without gradients holds, on one of the devices that split the sequence.
    fn forward(&self, peak: ForwardPeak, memory: &mut Memory) {
        let Some(node) = peak.node else { return };
        let bytes = peak.bytes.div_ceil(self.degrees.context);
        let path = self.graph.layer_path(self.graph.node(node).layer);
        let how = format!("tensors alive at once, in `{path}`");
        memory.add(MemoryKind::Forward, bytes, how);
    }

    fn activations(&self, saved: &Saved, memory: &mut Memory) {
        let degrees = &self.degrees;
        let (mut activations, mut casts) = (0u64, 0u64);
        let mut by_layer = vec![0u64; self.graph.layers.len()];
        for kept in &saved.kept {
            let share = self.share(kept);
            match kept.kind {
                KeptKind::Activation => activations = activations.saturating_add(share),
                KeptKind::WeightCast => casts = casts.saturating_add(share),
                // Inputs are counted whether they are kept or not.
                KeptKind::Input => continue,
            }
            let layer = self.graph.node(kept.node).layer.0 as usize;
            if let Some(sum) = by_layer.get_mut(layer) {
                *sum = sum.saturating_add(share);
            }
        }
        let mut how = match saved.recomputed.len() {
            0 => "kept for the backward pass".to_owned(),
            1 => "kept for the backward pass, 1 layer recomputed".to_owned(),
            n => format!("kept for the backward pass, {n} layers recomputed"),
        };
        let in_flight = degrees.in_flight();
        if degrees.pipeline > 1 {
            how += &format!(
                ", {in_flight} micro-batches on one of {} stages",
                degrees.pipeline
            );
        }
        let activations = activations
            .div_ceil(degrees.pipeline)
            .saturating_mul(in_flight);
        memory.add(MemoryKind::Activations, activations, how);
        let casts = casts.div_ceil(degrees.pipeline);
        let lower = self.policy.autocast.map_or("", Dtype::name);
        let how = format!("{lower} copies of the weights of products, until the backward pass");
        memory.add(MemoryKind::WeightCasts, casts, how);
        if let Some(largest) = saved.largest_recomputed() {
            let bytes = largest
                .kept
                .iter()
                .fold(0u64, |sum, kept| sum.saturating_add(self.share(kept)));
            let path = self.graph.layer_path(largest.layer);
            memory.add(
                MemoryKind::Recomputed,
                bytes,
                format!("while `{path}` runs backwards"),
            );
        }
        memory.owners = by_layer
            .into_iter()
            .enumerate()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(layer, bytes)| Owner {
                layer: LayerId(layer as u32),
                bytes: Bytes(bytes),
            })
            .collect();
        memory
            .owners
            .sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    }
}
