//! Which nodes call which op, so that a rule about logarithms costs nothing where there are none.

use rustc_hash::FxHashMap;

use crate::graph::{Graph, NodeId};
use crate::ops::{Op, find};

/// The nodes of a graph by op.
#[derive(Debug, Default)]
pub struct Index {
    /// By the address of the op's entry: each op stands in one table, once.
    by_op: FxHashMap<usize, Vec<NodeId>>,
}

fn address(op: &'static Op) -> usize {
    std::ptr::from_ref(op).addr()
}

impl Index {
    /// Sorts the nodes by op, leaving out those of unknown type. `O(nodes)`.
    pub fn of(graph: &Graph) -> Index {
        let mut by_op: FxHashMap<usize, Vec<NodeId>> = FxHashMap::default();
        for (id, node) in graph.nodes() {
            if graph.is_known(node) {
                by_op.entry(address(node.op)).or_default().push(id);
            }
        }
        Index { by_op }
    }

    /// The calls of the op of that name or alias, in order. `O(1)`.
    pub fn calls(&self, name: &str) -> &[NodeId] {
        find(name)
            .and_then(|op| self.by_op.get(&address(op)))
            .map_or(&[], Vec::as_slice)
    }

    /// The calls of several ops, op by op.
    pub fn calls_of<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = NodeId> + 'a {
        names.iter().flat_map(|name| self.calls(name)).copied()
    }
}
