//! Which tensors hold the same values: value numbering.
//!
//! `exp(x) / sum(exp(x))` computes `exp(x)` twice, and only one who knows that both are the same
//! sees a softmax. Two calls of one op with the same attributes on the same values give the same
//! values, unless the op draws random numbers.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use crate::graph::{Graph, Node, NodeId, TensorId, TensorKind};
use crate::ops::{AttributeValue, Attributes};

/// A number for every tensor; tensors of one number hold the same values.
#[derive(Debug, Default)]
pub struct Values {
    /// For each tensor the first one that holds the same values.
    first: Vec<TensorId>,
}

/// Ops that hand on the values of their first operand, in the same shape and type.
const PASSING: [&str; 4] = ["identity", "clone", "contiguous", "detach"];

/// Ops whose operands may change places.
const COMMUTATIVE: [&str; 4] = ["add", "mul", "maximum", "minimum"];

impl Values {
    /// Numbers the tensors of a graph. Equal values of different form (`x + x` and `2 * x`) are
    /// not found equal. `O(nodes + operands)`.
    pub fn of(graph: &Graph) -> Values {
        let mut values = Values {
            first: (0..graph.types.len() as u32).map(TensorId).collect(),
        };
        values.number_constants(graph);
        let mut seen: FxHashMap<u64, NodeId> = FxHashMap::default();
        for (id, node) in graph.nodes() {
            if !graph.is_known(node) {
                continue;
            }
            if values.passes(graph, node) {
                let source = values.number(node.arguments[0]);
                values.first[node.first_output.0 as usize] = source;
                continue;
            }
            if node.op.random {
                continue;
            }
            let arguments = values.key(node);
            let earlier = *seen.entry(hash(node, &arguments)).or_insert(id);
            let other = graph.node(earlier);
            let same = earlier != id
                && other.op == node.op
                && other.attributes == node.attributes
                && values.key(other) == arguments;
            if same {
                for (mine, theirs) in node.outputs().zip(other.outputs()) {
                    values.first[mine.0 as usize] = theirs;
                }
            }
        }
        values
    }

    fn number_constants(&mut self, graph: &Graph) {
        let mut constants: FxHashMap<(u64, crate::tensor::Dtype), TensorId> = FxHashMap::default();
        for (index, tensor) in graph.tensors.iter().enumerate() {
            if let TensorKind::Constant(value) = tensor.kind {
                let dtype = graph.types[index].dtype;
                let id = TensorId(index as u32);
                self.first[index] = *constants.entry((value.to_bits(), dtype)).or_insert(id);
            }
        }
    }

    fn passes(&self, graph: &Graph, node: &Node) -> bool {
        PASSING.contains(&node.op.name)
            || node.op.name == "dropout" && !graph.training
            || node.op.name == "to"
                && graph.ty(node.arguments[0]).dtype == graph.ty(node.first_output).dtype
    }

    fn key(&self, node: &Node) -> SmallVec<[TensorId; 4]> {
        let mut arguments: SmallVec<[TensorId; 4]> =
            node.arguments.iter().map(|&id| self.number(id)).collect();
        if COMMUTATIVE.contains(&node.op.name) && node.attributes == Attributes::new() {
            arguments.sort_unstable();
        }
        arguments
    }

    /// The first tensor that holds the same values as this one.
    pub fn number(&self, id: TensorId) -> TensorId {
        self.first.get(id.0 as usize).copied().unwrap_or(id)
    }

    /// Whether two tensors hold the same values.
    pub fn same(&self, a: TensorId, b: TensorId) -> bool {
        a.is_present() && self.number(a) == self.number(b)
    }
}

fn hash(node: &Node, arguments: &[TensorId]) -> u64 {
    let mut hasher = FxHasher::default();
    std::ptr::from_ref(node.op).addr().hash(&mut hasher);
    arguments.hash(&mut hasher);
    for (position, value) in node.attributes.iter() {
        position.hash(&mut hasher);
        match value {
            AttributeValue::Integer(value) => value.hash(&mut hasher),
            AttributeValue::Integers(values) => values.hash(&mut hasher),
            AttributeValue::Float(value) => value.to_bits().hash(&mut hasher),
            AttributeValue::Boolean(value) => value.hash(&mut hasher),
            AttributeValue::Text(text) => text.hash(&mut hasher),
            AttributeValue::Dtype(dtype) => dtype.hash(&mut hasher),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    /// `a` and `b` are the arguments of the last layer's comparison.
    fn same(a: &str, b: &str) -> bool {
        let layers = format!("[[layers]]\nformula = \"({a}) == ({b})\"\n");
        let inputs = "[inputs]\nx = [4, 4]\ny = [4, 4]\n";
        let (_, model) = lowered(&format!("spec = 1\n{inputs}{layers}"));
        let graph = &model.graph;
        let (_, last) = graph.nodes().last().unwrap();
        assert_eq!(last.op.name, "eq");
        Values::of(graph).same(last.arguments[0], last.arguments[1])
    }

    #[test]
    fn calls_that_give_the_same_are_known() {
        for (a, b, expected) in [
            ("x", "x", true),
            ("x", "y", false),
            ("exp(x)", "exp(x)", true),
            ("exp(x)", "exp(y)", false),
            ("x + y", "y + x", true),
            ("x - y", "y - x", false),
            ("x * 2", "2 * x", true),
            ("softmax(x, dim=0)", "softmax(x, dim=0)", true),
            ("softmax(x, dim=0)", "softmax(x, dim=1)", false),
            ("exp(identity(x))", "exp(x.contiguous())", true),
            ("dropout(x)", "dropout(x)", false),
            ("x.half()", "x", false),
            ("x.float()", "x", true),
            ("clamp(x, min=1)", "clamp(x, min=2)", false),
        ] {
            assert_eq!(same(a, b), expected, "{a} and {b}");
        }
    }
}
