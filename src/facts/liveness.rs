//! Which nodes the model's outputs depend on.

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use crate::graph::{Graph, NodeId};

/// For each node, whether an output of the model depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Liveness {
    live: Vec<bool>,
}

impl Liveness {
    /// Walks backwards from the outputs. Node numbers are a topological order, so one sweep from
    /// the end suffices: `O(nodes + uses)`, no recursion.
    pub fn of(graph: &Graph) -> Liveness {
        let mut live = vec![false; graph.dag.node_count()];
        for &output in &graph.outputs {
            if let Some(node) = graph.producer(output) {
                live[node.0 as usize] = true;
            }
        }
        for at in (0..live.len()).rev() {
            if live[at] {
                let sources = graph
                    .dag
                    .neighbors_directed(NodeIndex::new(at), Direction::Incoming);
                for source in sources {
                    live[source.index()] = true;
                }
            }
        }
        Liveness { live }
    }

    /// The same with nothing needed from that node on, as if the model ended before it.
    pub fn before(&self, node: NodeId) -> Liveness {
        let mut live = self.live.clone();
        live.truncate(node.0 as usize);
        Liveness { live }
    }

    /// Whether an output depends on the node.
    pub fn is_live(&self, node: NodeId) -> bool {
        self.live.get(node.0 as usize).copied().unwrap_or(false)
    }
}
