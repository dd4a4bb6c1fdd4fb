//! What calls of a split model gather and exchange while they run: whole inputs and outputs of split
//! matrices where the sequence is split outside of them, keys and values on their way round a ring,
//! tokens on their way to experts.
//!
//! After Megatron-LM: a matrix that is split by columns gathers its input, in the backward pass once
//! more with the whole gradient of it; one that is split by rows makes the whole output before it is
//! reduced and scattered, and gathers the gradient of it.

use smallvec::SmallVec;

use super::heap::{Handle, Recorder};
use super::rank::Rank;
use super::step::Step;
use crate::facts::memory::MemoryKind;
use crate::graph::{Graph, NodeId, TensorId, TensorKind};
use crate::spec::run::Run;

/// What a call exchanges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Bytes that lie in buffers while it runs forwards.
    forward: u64,
    /// The same backwards.
    backward: u64,
}

impl Exchange {
    /// What each call exchanges. `O(operands)`.
    pub fn all(graph: &Graph, run: &Run, rank: &Rank) -> Vec<Exchange> {
        let of = |id: NodeId| Exchange::of(graph, run, rank, id);
        graph.node_ids().map(of).collect()
    }

    fn of(graph: &Graph, run: &Run, rank: &Rank, id: NodeId) -> Exchange {
        let (node, degrees) = (graph.node(id), &rank.degrees);
        let bytes = |tensor: TensorId| match tensor.is_present() {
            true => graph.ty(tensor).bytes().div_ceil(degrees.context),
            false => 0,
        };
        let input = node.arguments.first().copied().unwrap_or(TensorId::ABSENT);
        match node.op.name {
            "linear" if degrees.sequence && degrees.tensor > 1 => {
                match rank.split.tensor(node.first_output) {
                    true => Exchange {
                        forward: bytes(input),
                        backward: bytes(input).saturating_mul(2),
                    },
                    false => Exchange {
                        forward: bytes(node.first_output),
                        backward: bytes(node.first_output),
                    },
                }
            }
            "scaled_dot_product_attention" if degrees.context > 1 => {
                let pair = node.arguments.iter().skip(1).take(2);
                let pair = pair.fold(0, |sum: u64, &id| sum.saturating_add(bytes(id)));
                let pair = pair.div_ceil(degrees.tensor);
                // Two pairs of buffers forwards; backwards as many for their gradients.
                Exchange {
                    forward: pair.saturating_mul(2),
                    backward: pair.saturating_mul(4),
                }
            }
            _ => {
                let is_expert =
                    |&id: &TensorId| match id.is_present().then(|| graph.tensor(id).kind) {
                        Some(TensorKind::Parameter(number)) => rank.is_expert(number as usize),
                        _ => false,
                    };
                if degrees.expert == 1 || !node.arguments.iter().any(is_expert) {
                    return Exchange::default();
                }
                let factor = run.parallel.capacity_factor.or(1.0).clamp(0.0, 1e6);
                let tokens = node.arguments.iter().filter(|id| !is_expert(id));
                let tokens = tokens.map(|&id| bytes(id)).max().unwrap_or(0);
                let tokens = (2.0 * tokens as f64 * factor) as u64;
                let tokens = tokens.div_ceil(degrees.tensor);
                Exchange {
                    forward: tokens,
                    backward: tokens,
                }
            }
        }
    }
}

impl<R: Recorder> Step<'_, R> {
    /// Buffers that a call needs while it runs in a direction.
    pub(super) fn exchange(&mut self, id: NodeId, backward: bool) -> SmallVec<[Handle; 1]> {
        let Some(rank) = self.of.rank else {
            return SmallVec::new();
        };
        let Some(exchange) = rank.exchanges.get(id.0 as usize) else {
            return SmallVec::new();
        };
        let bytes = match backward {
            true => exchange.backward,
            false => exchange.forward,
        };
        let made = (bytes > 0).then(|| self.heap.allocate(bytes, MemoryKind::Communication));
        made.into_iter().collect()
    }
}
