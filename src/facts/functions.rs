//! Which elementwise calls together are one function of one tensor: `0.5 * x * (1 + tanh(x))`.
//!
//! Whether such a function had better be one op is for the rules.

use rustc_hash::FxHashSet;

use super::liveness::Liveness;
use crate::graph::{Graph, NodeId, TensorId};

/// Groups of at least two elementwise calls that read one tensor in all, numbers aside, and hand on
/// one: the tensor, and the calls in order. `O(calls + uses)` but for the walks, each of which ends
/// where the group does.
pub fn functions(graph: &Graph, liveness: &Liveness) -> Vec<(TensorId, Vec<NodeId>)> {
    let elementwise = |id: NodeId| {
        let node = graph.node(id);
        let ty = graph.ty(node.first_output);
        node.op.element.is_some() && !node.op.view && node.op.differentiable && ty.dtype.is_float()
    };
    let mut taken: FxHashSet<NodeId> = FxHashSet::default();
    let mut groups = Vec::new();
    let mut ids: Vec<NodeId> = graph
        .node_ids()
        .filter(|&id| liveness.is_live(id) && elementwise(id))
        .collect();
    ids.reverse();
    for end in ids {
        if taken.contains(&end) {
            continue;
        }
        let shape = &graph.ty(graph.node(end).first_output).shape;
        let mut inside: FxHashSet<NodeId> = FxHashSet::from_iter([end]);
        let mut grown = true;
        // A producer joins when all that read it are inside.
        while grown && inside.len() <= MOST_CALLS {
            grown = false;
            let sources: Vec<NodeId> = inside
                .iter()
                .flat_map(|&id| &graph.node(id).arguments)
                .filter_map(|&tensor| graph.producer(tensor))
                .collect();
            for source in sources {
                let node = graph.node(source);
                let joins = !inside.contains(&source)
                    && elementwise(source)
                    && graph.ty(node.first_output).shape == *shape
                    && !graph.outputs.contains(&node.first_output)
                    && graph
                        .uses_of(source)
                        .all(|(user, _)| inside.contains(&user));
                grown |= joins && inside.insert(source);
            }
        }
        let mut outside: Vec<TensorId> = inside
            .iter()
            .flat_map(|&id| graph.node(id).arguments.iter().copied())
            .filter(|&tensor| tensor.is_present() && graph.constant(tensor).is_none())
            .filter(|&tensor| {
                !graph
                    .producer(tensor)
                    .is_some_and(|id| inside.contains(&id))
            })
            .collect();
        outside.sort_unstable();
        outside.dedup();
        let [source] = outside.as_slice() else {
            continue;
        };
        if inside.len() < 2 || !graph.tensor(*source).requires_grad {
            continue;
        }
        let mut calls: Vec<NodeId> = inside.into_iter().collect();
        calls.sort_unstable();
        taken.extend(&calls);
        groups.push((*source, calls));
    }
    groups.reverse();
    groups
}

/// Functions of one tensor are short.
const MOST_CALLS: usize = 24;
