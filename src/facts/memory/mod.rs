//! What a device must hold while a model trains or serves: a sum of parts, each with its
//! arithmetic.
//!
//! Exact for one device: parameters, buffers, gradients, optimizer state, inputs, and what
//! autograd keeps of the forward pass. An estimate over several: see [`Degrees`], [`Split`],
//! [`Stages`] and [`Experts`] for how parts are divided. Where ranks of a pipeline hold different
//! amounts, the figures are those of the rank that holds most. Not in the sum, see [`LEFT_OUT`]; how
//! all of it lives over a step of a rank is for `facts/timeline`.

mod forward;
mod optimizer;
mod plan;
mod saved;
mod shards;
mod stages;
mod sum;
#[cfg(test)]
mod tests;

use std::fmt;

pub use forward::{ForwardPeak, forward_peak};
pub use optimizer::{scaler_bytes, state_bytes, state_name};
pub use plan::{Degrees, Experts, Split};
pub use saved::{Kept, KeptKind, Recomputed, Saved};
pub use shards::{REDUCE_BUCKET, ddp_buckets};
pub(super) use shards::{bucket_cap, reduce_bucket};
pub use stages::{Held, Stages, repeated, stage_work};

use crate::facts::precision::Policy;
use crate::graph::{Graph, LayerId};
use crate::quantity::Bytes;
use crate::spec::run::Run;
use sum::Sum;

/// What the sum of the parts leaves out.
pub const LEFT_OUT: &str = "temporaries of the forward and backward pass and of the optimizer \
     step, rounding and fragmentation of the allocator";

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
    /// Buffers of communication: buckets of ZeRO, keys and values that go round a ring, tokens
    /// that go to experts.
    Communication,
    /// Where nothing is kept for a backward pass: the most that lives at once of the forward pass.
    Forward,
    /// What the backward pass and the optimizer's step need for a while: gradients of activations,
    /// and what kernels make besides.
    Temporaries,
}

impl MemoryKind {
    /// How many there are.
    pub const COUNT: usize = MemoryKind::ALL.len();

    /// All of them, in order.
    pub const ALL: [MemoryKind; 15] = [
        MemoryKind::Parameters,
        MemoryKind::Master,
        MemoryKind::Gradients,
        MemoryKind::Buckets,
        MemoryKind::Optimizer,
        MemoryKind::Average,
        MemoryKind::Buffers,
        MemoryKind::Inputs,
        MemoryKind::Activations,
        MemoryKind::WeightCasts,
        MemoryKind::Recomputed,
        MemoryKind::Gathered,
        MemoryKind::Communication,
        MemoryKind::Forward,
        MemoryKind::Temporaries,
    ];

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
            MemoryKind::Communication => "communication buffers",
            MemoryKind::Forward => "forward pass",
            MemoryKind::Temporaries => "temporaries",
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
    /// What lies in the memory of the host, for each device.
    pub host: Vec<Part>,
    /// The layers that keep activations, the largest first.
    pub owners: Vec<Owner>,
    /// The degrees by which it is divided.
    pub degrees: Degrees,
    /// The rank of the pipeline that holds most; these are its figures.
    pub rank: u64,
    /// The sums of all ranks of the pipeline.
    pub ranks: Vec<Bytes>,
}

impl Memory {
    /// Adds up what there is. `O(nodes + parameters + ranks of the pipeline)`.
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
        let forward = saved.kept.is_empty().then(forward);
        let sum = Sum::new(graph, run, policy, degrees, saved);
        let of_rank = |rank: u64| {
            let mut memory = Memory {
                parts: Vec::new(),
                total: Bytes::ZERO,
                host: Vec::new(),
                owners: Vec::new(),
                degrees,
                rank,
                ranks: Vec::new(),
            };
            sum.rank(rank, forward, &mut memory);
            memory.total = memory.parts.iter().map(|part| part.bytes).sum();
            memory
        };
        let mut most = of_rank(0);
        let mut ranks = vec![most.total];
        for rank in 1..degrees.pipeline {
            let memory = of_rank(rank);
            ranks.push(memory.total);
            if memory.total > most.total {
                most = memory;
            }
        }
        most.ranks = ranks;
        most
    }

    /// What that part takes.
    pub fn part(&self, kind: MemoryKind) -> Bytes {
        self.parts
            .iter()
            .filter(|part| part.kind == kind)
            .map(|part| part.bytes)
            .sum()
    }

    /// Adds a part to what lies on the host, or else on the device.
    fn place(&mut self, on_host: bool, kind: MemoryKind, bytes: u64, how: impl Into<String>) {
        self.add(kind, bytes, how);
        if on_host && bytes > 0 {
            self.host.extend(self.parts.pop());
        }
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
