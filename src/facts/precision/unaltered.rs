//! Uses of a conversion that changed nothing while a program was traced, but were written of what was
//! converted.
//!
//! `x.to(torch.float32)` of a tensor that is float32 gives `x` itself, and a tracer that knows tensors by
//! their identity takes every later use of `x` for one of the conversion: `x + block(norm(x))` reads as if
//! the sum were float32 throughout. Such uses are given back to `x`.

use rustc_hash::FxHashSet;

use crate::graph::{Graph, NodeId, TensorId};
use crate::ops::Autocast;

/// Gives uses of conversions that changed nothing back to what was converted: those with what came of
/// the conversion by a product, as a residual sum; and where nothing leads back to the old type before that, the
/// scaling by a statistic of the tensor, for which alone it was converted. A tensor that is itself used
/// later was told apart, and nothing is to be given back. `O(nodes + operands)` for each conversion, up
/// to its last use.
pub(super) fn give_back(graph: &mut Graph) {
    let mut last: Vec<u32> = vec![0; graph.types.len()];
    for (id, node) in graph.nodes() {
        for operand in node.arguments.iter().filter(|id| id.is_present()) {
            last[operand.0 as usize] = id.0;
        }
    }
    for at in 0..graph.dag.node_count() as u32 {
        let node = graph.node(NodeId(at));
        let (converted, source) = (node.first_output, node.arguments.first().copied());
        let Some(source) = source.filter(|id| id.is_present() && is_idle(graph, NodeId(at))) else {
            continue;
        };
        if last[source.0 as usize] > at || graph.constant(source).is_some() {
            continue;
        }
        let uses = uses(graph, NodeId(at), last[converted.0 as usize]);
        for use_of in uses {
            let Some(node) = graph.dag.node_weight_mut(use_of.0.into()) else {
                continue;
            };
            for operand in &mut node.arguments {
                if *operand == converted {
                    *operand = source;
                }
            }
        }
    }
}

/// Whether a call states a type that its operand has already.
fn is_idle(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let states = node.op.attribute_position("dtype");
    node.op.name == "to"
        && states.is_some_and(|position| node.attributes.get(position).is_some())
        && node
            .arguments
            .first()
            .filter(|operand| operand.is_present())
            .is_some_and(|&operand| {
                let dtype = graph.ty(node.first_output).dtype;
                dtype.is_float() && graph.ty(operand).dtype == dtype
            })
}

/// The calls that use a conversion though they were written of its source.
fn uses(graph: &Graph, conversion: NodeId, last: u32) -> Vec<NodeId> {
    let converted = graph.node(conversion).first_output;
    let mut made: FxHashSet<TensorId> = FxHashSet::from_iter([converted]);
    let mut multiplied: FxHashSet<TensorId> = FxHashSet::default();
    let (mut behind, mut scaled) = (Vec::new(), Vec::new());
    let mut back = false;
    // The way back may come after the last use.
    for id in (conversion.0 + 1..graph.dag.node_count() as u32).map(NodeId) {
        if id.0 > last && (!multiplied.is_empty() || back || scaled.is_empty()) {
            break;
        }
        let node = graph.node(id);
        let direct = node.arguments.contains(&converted);
        let of = |set: &FxHashSet<TensorId>| node.arguments.iter().any(|id| set.contains(id));
        let past = of(&multiplied);
        if past || (of(&made) && node.op.autocast == Autocast::Lower) {
            multiplied.extend(node.outputs());
            if direct && past {
                behind.push(id);
            }
            continue;
        }
        if !of(&made) {
            continue;
        }
        back |= is_idle(graph, id);
        let statistic = |operand: &TensorId| *operand != converted && made.contains(operand);
        if direct && matches!(node.op.name, "mul" | "div") && node.arguments.iter().any(statistic) {
            scaled.push(id);
        }
        made.extend(node.outputs());
    }
    if !back && !multiplied.is_empty() {
        behind.extend(scaled);
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    /// The layers that read `x` and those that read its conversion, after uses were given back.
    fn readers(layers: &str) -> [Vec<String>; 2] {
        let text = format!("spec = 1\n[inputs]\nx = [2, 8]\n{layers}");
        let (_, mut model) = lowered(&text);
        give_back(&mut model.graph);
        let graph = &model.graph;
        ["x", "wide"].map(|name| {
            let reads = |id: TensorId| id.is_present() && graph.tensor_name(id) == name;
            let nodes = graph.nodes().map(|(_, node)| node);
            let readers = nodes.filter(|node| node.arguments.iter().any(|&id| reads(id)));
            let named = readers.map(|node| graph.tensor_name(node.first_output));
            named.collect()
        })
    }

    const WIDE: &str =
        "[[layers]]\nname = \"wide\"\nop = \"to\"\ndtype = \"float32\"\nin = \"x\"\n";
    const STATISTIC: &str = "[[layers]]\nname = \"square\"\nformula = \"wide ** 2\"\n[[layers]]\n\
         name = \"rest\"\nformula = \"rsqrt(mean(square, dim=-1, keepdim=true))\"\n[[layers]]\n\
         name = \"scaled\"\nformula = \"wide * rest\"\n";
    const BACK: &str = "[[layers]]\nname = \"back\"\nop = \"to\"\ndtype = \"float32\"\n";
    const BLOCK: &str = "[[layers]]\nname = \"product\"\nop = \"linear\"\nout_features = 8\n[[layers]]\n\
         name = \"sum\"\nformula = \"wide + product\"\n";

    /// Guards the residual sum behind a norm in float32.
    #[test]
    fn a_sum_behind_a_product_is_of_what_was_converted() {
        let [x, wide] = readers(&format!("{WIDE}{STATISTIC}{BACK}{BLOCK}"));
        assert_eq!(x, ["wide", "sum"]);
        assert_eq!(wide, ["square", "scaled"]);
    }

    /// Guards a norm of which only the statistic is in float32.
    #[test]
    fn what_nothing_leads_back_from_was_converted_for_its_statistic() {
        let [x, wide] = readers(&format!("{WIDE}{STATISTIC}{BLOCK}"));
        assert_eq!(x, ["wide", "scaled", "sum"]);
        assert_eq!(wide, ["square"]);
    }

    /// Guards a tracer that told both apart.
    #[test]
    fn a_tensor_that_is_used_later_keeps_its_uses() {
        let text = format!("{WIDE}{STATISTIC}{BACK}{BLOCK}").replace("wide + p", "x + p");
        let [x, wide] = readers(&text);
        assert_eq!(x, ["wide", "sum"]);
        assert_eq!(wide, ["square", "scaled"]);
    }
}
