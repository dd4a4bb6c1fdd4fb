//! Parameters, FLOPs and bytes moved: of each node, and of the model.
//!
//! Product FLOPs follow PyTorch's `FlopCounterMode`; all other arithmetic is kept apart. What is
//! left out: kernels' own padding and recomputation, and ops whose operands are unknown because
//! of an error.

use super::timeline::{begins, reached};
use crate::graph::{Graph, NodeId, TensorKind};
use crate::quantity::{Bytes, Elements, Flops};

/// What one node costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCost {
    /// Product FLOPs of the forward pass.
    pub forward: u128,
    /// Product FLOPs of the backward pass.
    pub backward: u128,
    /// Other arithmetic of the forward pass.
    pub other: u128,
    /// Bytes of operands, each once; a view reads nothing.
    pub read: u64,
    /// Bytes of outputs; a view writes nothing.
    pub written: u64,
}

impl NodeCost {
    /// What it costs to make the call so often.
    fn times(self, times: u64) -> NodeCost {
        NodeCost {
            forward: self.forward.saturating_mul(times.into()),
            backward: self.backward.saturating_mul(times.into()),
            other: self.other.saturating_mul(times.into()),
            read: self.read.saturating_mul(times),
            written: self.written.saturating_mul(times),
        }
    }
}

/// What a model costs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cost {
    /// By node.
    pub nodes: Vec<NodeCost>,
    /// Parameters, shared ones once.
    pub parameters: Elements,
    /// Those of them that are trained.
    pub trainable: Elements,
    /// Bytes of the parameters.
    pub parameter_bytes: Bytes,
    /// Bytes of the buffers.
    pub buffer_bytes: Bytes,
    /// Product FLOPs of the forward pass.
    pub forward: Flops,
    /// Product FLOPs of the backward pass.
    pub backward: Flops,
    /// Other arithmetic of the forward pass.
    pub other_forward: Flops,
    /// Bytes read by the forward pass, op by op.
    pub read: Bytes,
    /// Bytes written by the forward pass, op by op.
    pub written: Bytes,
    /// Nodes of which nothing is known.
    pub unknown: usize,
}

impl Cost {
    /// Adds up a graph. `O(nodes + operands)`.
    pub fn of(graph: &Graph) -> Cost {
        let mut cost = Cost::default();
        for parameter in &graph.parameters {
            let ty = graph.ty(parameter.tensor);
            let bytes = Bytes(ty.bytes());
            if parameter.buffer {
                cost.buffer_bytes += bytes;
                continue;
            }
            let elements = Elements(ty.shape.elements());
            cost.parameters += elements;
            cost.parameter_bytes += bytes;
            if parameter.trainable {
                cost.trainable += elements;
            }
        }
        let runs = graph.runs();
        // No gradient comes to calls that the loss does not depend on.
        let reached = graph.training.then(|| reached(graph, &begins(graph)));
        cost.nodes.reserve(graph.dag.node_count());
        for (id, node) in graph.nodes() {
            if !graph.is_known(node) {
                cost.unknown += 1;
                cost.nodes.push(NodeCost::default());
                continue;
            }
            let mut one = node_cost(graph, id);
            if reached
                .as_ref()
                .is_some_and(|reached| !reached[id.0 as usize])
            {
                one.backward = 0;
            }
            if let Some(times) = runs.as_ref().and_then(|runs| runs.get(id.0 as usize)) {
                one = one.times(*times);
            }
            cost.forward += Flops(one.forward);
            cost.backward += Flops(one.backward);
            cost.other_forward += Flops(one.other);
            cost.read += Bytes(one.read);
            cost.written += Bytes(one.written);
            cost.nodes.push(one);
        }
        cost
    }

    /// What the node of that number costs.
    pub fn node(&self, id: NodeId) -> NodeCost {
        self.nodes.get(id.0 as usize).copied().unwrap_or_default()
    }
}

fn node_cost(graph: &Graph, id: NodeId) -> NodeCost {
    let node = graph.node(id);
    let (work, backward) = graph.with_call(node, |call| {
        ((node.op.work)(call), (node.op.backward)(call))
    });
    let mut cost = NodeCost {
        forward: work.products,
        backward,
        other: work.other,
        read: 0,
        written: 0,
    };
    if !node.op.view {
        for (position, &argument) in node.arguments.iter().enumerate() {
            let counted = argument.is_present()
                && !node.arguments[..position].contains(&argument)
                && !matches!(graph.tensor(argument).kind, TensorKind::Constant(_));
            if counted {
                cost.read = cost.read.saturating_add(graph.ty(argument).bytes());
            }
        }
        for output in node.outputs() {
            cost.written = cost.written.saturating_add(graph.ty(output).bytes());
        }
    }
    cost
}
