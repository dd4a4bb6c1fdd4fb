//! Where gradients begin, which calls they reach, and which layers are recomputed for them.

use crate::graph::{Graph, NodeId, TensorId};

/// The outputs that gradients begin with: the loss, or where none is a single number, all of them.
pub(in crate::facts) fn begins(graph: &Graph) -> Vec<TensorId> {
    let is_single = |id: &TensorId| graph.ty(*id).shape.elements() == 1;
    let mut begins: Vec<TensorId> = Vec::new();
    for &id in graph.outputs.iter().filter(|id| id.is_present()) {
        if graph.training && graph.tensor(id).requires_grad && !begins.contains(&id) {
            begins.push(id);
        }
    }
    if begins.iter().any(is_single) {
        begins.retain(is_single);
    }
    begins
}

/// Which nodes gradients flow to from these outputs. `O(nodes + operands)`.
pub(in crate::facts) fn reached(graph: &Graph, begins: &[TensorId]) -> Vec<bool> {
    let mut reached = vec![false; graph.dag.node_count()];
    for &tensor in begins {
        if let Some(node) = graph.producer(tensor) {
            reached[node.0 as usize] = true;
        }
    }
    for at in (0..reached.len()).rev() {
        let node = graph.node(NodeId(at as u32));
        if !reached[at] || !node.op.differentiable {
            continue;
        }
        for &tensor in node.arguments.iter().filter(|id| id.is_present()) {
            if let Some(producer) = graph.producer(tensor)
                && graph.tensor(tensor).requires_grad
            {
                reached[producer.0 as usize] = true;
            }
        }
    }
    reached
}
