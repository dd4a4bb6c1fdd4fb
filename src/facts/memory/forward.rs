//! The most that lives at once in a forward pass without gradients.

use crate::facts::liveness::Liveness;
use crate::facts::precision::NodeDtypes;
use crate::facts::storage::Storages;
use crate::graph::{Graph, NodeId, TensorId, TensorKind};

/// The peak of a forward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardPeak {
    /// Bytes of the tensors that ops made and something still needs, those that autocast casts
    /// included.
    pub bytes: u64,
    /// The call that runs at the peak.
    pub node: Option<NodeId>,
}

/// Runs through the calls in order. A storage lives from the call that makes it to the last one
/// that reads it or a view of it; outputs of the model live to the end, parameters and inputs do
/// not count. Calls on which no output depends are not run. `O(nodes + operands)`.
pub fn forward_peak(
    graph: &Graph,
    liveness: &Liveness,
    dtypes: &NodeDtypes,
    storages: &Storages,
) -> ForwardPeak {
    let made = |id: TensorId| matches!(graph.tensor(id).kind, TensorKind::Output(_));
    let run = || {
        graph
            .nodes()
            .filter(|(id, node)| liveness.is_live(*id) && graph.is_known(node))
    };
    let mut last = vec![0u32; graph.types.len()];
    for (id, node) in run() {
        let operands = node.arguments.iter().copied().filter(|id| id.is_present());
        for tensor in operands.chain(node.outputs()) {
            last[storages.root(tensor).0 as usize] = id.0;
        }
    }
    for &output in graph.outputs.iter().filter(|id| id.is_present()) {
        last[storages.root(output).0 as usize] = u32::MAX;
    }
    let mut peak = ForwardPeak::default();
    let mut alive = 0u64;
    for (id, node) in run() {
        let mut copies = 0u64;
        for (position, &tensor) in node.arguments.iter().enumerate() {
            if tensor.is_present() && dtypes.is_cast(graph, node, position) {
                let dtype = dtypes.operand(graph, node, position);
                let elements = graph.ty(tensor).shape.elements();
                copies = copies.saturating_add(dtype.bytes_for(elements));
            }
        }
        for output in node.outputs().filter(|&id| storages.root(id) == id) {
            alive = alive.saturating_add(dtypes.bytes(graph, output));
        }
        if alive.saturating_add(copies) > peak.bytes {
            peak = ForwardPeak {
                bytes: alive.saturating_add(copies),
                node: Some(id),
            };
        }
        let operands = node.arguments.iter().copied().filter(|id| id.is_present());
        for tensor in operands.chain(node.outputs()) {
            let root = storages.root(tensor);
            let place = &mut last[root.0 as usize];
            // Each storage ends once, however often the call names it.
            if *place == id.0 && made(root) {
                *place = u32::MAX;
                alive = alive.saturating_sub(dtypes.bytes(graph, root));
            }
        }
    }
    peak
}
