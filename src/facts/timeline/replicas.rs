//! The buckets of `DistributedDataParallel`: flat copies of the gradients, which are there from the
//! first step on, before a backward pass as after it.
//!
//! From the second step on they are filled in the order in which gradients become complete. Where
//! gradients are views of the buckets, autograd's own tensors go as soon as they are copied.

use super::heap::{Handle, Phase, Recorder};
use super::rank::{Rank, dtype_of};
use super::step::Step;
use crate::facts::memory::{MemoryKind, bucket_cap, ddp_buckets};
use crate::facts::precision::Policy;
use crate::graph::{Graph, TensorKind};
use crate::spec::run::Run;

/// The buckets of a plan.
#[derive(Debug, Clone)]
pub(super) struct Replicas {
    /// The bytes of each bucket.
    buckets: Vec<u64>,
    /// The bucket of each parameter that is trained.
    bucket_of: Vec<Option<usize>>,
    /// Whether gradients are views of them.
    views: bool,
    /// The bytes of all buffers, which are sent from the first rank before each forward pass.
    buffers: u64,
}

impl Replicas {
    /// The buckets of the trained parameters, in the order in which their gradients come.
    pub fn of(graph: &Graph, run: &Run, policy: &Policy, rank: &Rank) -> Replicas {
        let mut first_use = vec![u32::MAX; graph.parameters.len()];
        for (id, node) in graph.nodes() {
            for &argument in node.arguments.iter().filter(|id| id.is_present()) {
                if let TensorKind::Parameter(number) = graph.tensor(argument).kind {
                    let first = &mut first_use[number as usize];
                    *first = id.0.min(*first);
                }
            }
        }
        let mut order: Vec<usize> = (0..graph.parameters.len())
            .filter(|&number| graph.parameters[number].trainable && rank.holds(number))
            .collect();
        order.sort_by_key(|&number| first_use[number]);
        let bytes = |number: usize| {
            let dtype = dtype_of(graph, policy, number, policy.accumulate.value);
            dtype.bytes_for(rank.local(graph, number).elements())
        };
        let sizes: Vec<u64> = order.iter().map(|&number| bytes(number)).collect();
        let buckets = ddp_buckets(&sizes, bucket_cap(run));
        let mut bucket_of = vec![None; graph.parameters.len()];
        let (mut at, mut filled) = (0, 0u64);
        for (&number, &bytes) in order
            .iter()
            .zip(&sizes)
            .rev()
            .filter(|(_, bytes)| **bytes > 0)
        {
            bucket_of[number] = Some(at);
            filled = filled.saturating_add(bytes);
            if buckets.get(at).is_some_and(|&bucket| filled >= bucket) {
                (at, filled) = (at + 1, 0);
            }
        }
        let buffers = graph.parameters.iter().filter(|parameter| parameter.buffer);
        Replicas {
            buckets,
            bucket_of,
            views: run.parallel.gradient_as_bucket_view.or(false),
            buffers: buffers.fold(0, |sum, buffer| {
                sum.saturating_add(graph.ty(buffer.tensor).bytes())
            }),
        }
    }
}

impl<R: Recorder> Step<'_, R> {
    fn replicas(&self) -> Option<&Replicas> {
        self.of.rank.and_then(|rank| rank.replicas.as_ref())
    }

    /// Allocates the buckets, which last.
    pub(super) fn make_buckets(&mut self) {
        let sizes = self.replicas().map(|it| it.buckets.clone());
        for bytes in sizes.into_iter().flatten() {
            let handle = self.heap.allocate(bytes, MemoryKind::Buckets);
            self.buckets.push(handle);
        }
    }

    /// Sends the buffers of the first rank to all, as one tensor.
    pub(super) fn send_buffers(&mut self) {
        let bytes = self.replicas().map_or(0, |it| it.buffers);
        if bytes > 0 {
            self.at(Phase::Forward, None);
            let flat = self.heap.allocate(bytes, MemoryKind::Communication);
            self.heap.release(flat);
        }
    }

    /// The bucket that a gradient is a view of, if it is one.
    pub(super) fn bucket(&self, number: usize) -> Option<Handle> {
        let replicas = self.replicas().filter(|it| it.views)?;
        let at = replicas.bucket_of[number]?;
        self.buckets.get(at).copied()
    }
}
