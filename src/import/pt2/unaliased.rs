//! Conversions that changed nothing while the program was traced.
//!
//! `x.to(dtype)` gives `x` itself where it has that type already, and from then on a tracer calls
//! `x` by the name of the conversion. Once a result is converted back to the type of `x`, whatever
//! reads that name means `x` as it was: the residual around a norm that is computed in float32. It
//! is given back its own name, for in another precision the two are not the same.

use rustc_hash::FxHashMap;

use crate::graph::{Graph, NodeId, TensorId};
use crate::ops::Autocast;

/// A conversion without effect.
#[derive(Clone, Copy)]
struct Conversion {
    input: TensorId,
    output: TensorId,
}

/// Lets what is read after a conversion back be the tensor from before the conversion.
/// `O(nodes + operands)`.
pub(super) fn unalias(graph: &mut Graph) {
    // For what is computed of a converted tensor: the conversion.
    let mut conversions: FxHashMap<TensorId, Conversion> = FxHashMap::default();
    let mut ended: FxHashMap<TensorId, TensorId> = FxHashMap::default();
    let ids: Vec<NodeId> = graph.node_ids().collect();
    for id in ids {
        for position in 0..graph.node(id).arguments.len() {
            let read = graph.node(id).arguments[position];
            if let Some(&meant) = ended.get(&read) {
                graph.read_instead(id, position, meant);
            }
        }
        let node = graph.node(id);
        let output = node.first_output;
        let Some(&input) = node.arguments.first().filter(|id| id.is_present()) else {
            continue;
        };
        if !graph.ty(output).dtype.is_float() || node.op.autocast == Autocast::Lower {
            continue;
        }
        let states = node.op.attribute_position("dtype");
        let converts = node.op.name == "to"
            && states.is_some_and(|position| node.attributes.get(position).is_some())
            && graph.ty(input).dtype == graph.ty(output).dtype;
        let operands = node.arguments.iter();
        let conversion = operands
            .filter_map(|id| conversions.get(id))
            .next()
            .copied();
        match (conversion, converts) {
            (Some(conversion), true) => {
                ended.insert(conversion.output, conversion.input);
            }
            (Some(conversion), false) => {
                conversions.insert(output, conversion);
            }
            (None, true) => {
                conversions.insert(output, Conversion { input, output });
            }
            (None, false) => {}
        }
    }
}
