//! What a program would have had another type of, had it been exported in another type, though nothing
//! in it says so: a mask that was made in the type of the scores, a conversion that Python left out
//! because there was nothing to convert.
//!
//! PyTorch refuses a product of factors of different types. Where the types that follow from the
//! parameters come to such a product, something between was of the parameters' type: what was made
//! from no real number at all, such as a mask; and if there is nothing of the kind, the wider of two
//! tensors that were added or multiplied on the way; or else the conversion before the product, which was
//! one to the type of the other factor.

use rustc_hash::{FxHashMap, FxHashSet};

use super::NodeDtypes;
use crate::graph::{Graph, Node, NodeId, TensorId, followed};
use crate::ops::Autocast;
use crate::tensor::Dtype;

/// Rounds of repair, each of which settles all products that conflict at once; more than blocks of
/// any known kind need.
const MOST_ROUNDS: usize = 16;

/// Lets types follow through a graph whose given tensors are of the type `to`, and gives the
/// outputs that are of that type though no operand says so. `O(rounds · (nodes + operands))`.
pub(super) fn unstated(
    graph: &Graph,
    dtypes: &mut NodeDtypes,
    to: Dtype,
) -> FxHashMap<TensorId, Dtype> {
    let mut found = FxHashMap::default();
    let followed = followed(graph);
    for _ in 0..MOST_ROUNDS {
        dtypes.follow_but(graph, &found);
        let search = Search {
            graph,
            dtypes,
            followed: &followed,
            to,
        };
        let wide = search.refused();
        let mut more = search.made(&wide);
        if more.is_empty() {
            more = search.met(&wide);
        }
        if more.is_empty() {
            more = search.converted(&wide);
        }
        let before = found.len();
        found.extend(more.into_iter().map(|id| (id, to)));
        if found.len() == before {
            break;
        }
    }
    found
}

struct Search<'a> {
    graph: &'a Graph,
    dtypes: &'a NodeDtypes,
    followed: &'a FxHashMap<TensorId, TensorId>,
    to: Dtype,
}

impl Search<'_> {
    /// The tensors among a call's operands that are real.
    fn reals<'n>(&self, node: &'n Node) -> impl Iterator<Item = TensorId> + use<'n, '_> {
        let (graph, dtypes) = (self.graph, self.dtypes);
        let present = node.arguments.iter().copied().filter(|id| id.is_present());
        present.filter(move |&id| {
            let dtype = dtypes.tensor(graph, id);
            graph.constant(id).is_none() && dtype.is_float() && !dtype.is_complex()
        })
    }

    fn is_wide(&self, id: TensorId) -> bool {
        let dtype = self.dtypes.tensor(self.graph, id);
        dtype != self.to && dtype == self.graph.ty(id).dtype
    }

    fn is_narrow(&self, id: TensorId) -> bool {
        self.dtypes.tensor(self.graph, id) == self.to
    }

    /// The factors of the original type in products whose other factor is of the new one.
    fn refused(&self) -> Vec<TensorId> {
        let mut wide = Vec::new();
        for (_, node) in self.graph.nodes() {
            let product = node.op.autocast == Autocast::Lower && self.graph.is_known(node);
            if product && self.reals(node).any(|id| self.is_narrow(id)) {
                wide.extend(self.reals(node).filter(|&id| self.is_wide(id)));
            }
        }
        wide
    }

    /// Goes back from some tensors through those of the original type, up to products; `visit` is shown each call, and says whether to go on.
    fn back(&self, from: &[TensorId], mut visit: impl FnMut(&Node) -> bool) {
        let mut seen: FxHashSet<NodeId> = FxHashSet::default();
        let mut open: Vec<TensorId> = from.to_vec();
        while let Some(id) = open.pop() {
            let Some(producer) = self.graph.producer(id) else {
                continue;
            };
            let node = self.graph.node(producer);
            // What a product gives follows from its factors, which are looked at by themselves.
            let product = node.op.autocast == Autocast::Lower;
            if seen.insert(producer) && !product && visit(node) {
                open.extend(self.reals(node).filter(|&id| self.is_wide(id)));
            }
        }
    }

    /// Whether a call converts a real number to a type that is written, and not to that of an
    /// earlier tensor.
    fn converts(&self, node: &Node) -> bool {
        let follows = self.followed.contains_key(&node.first_output);
        node.op.name == "to" && !follows && self.reals(node).next().is_some()
    }

    /// What is made from no real number.
    fn made(&self, wide: &[TensorId]) -> Vec<TensorId> {
        let mut made = Vec::new();
        self.back(wide, |node| {
            if self.reals(node).next().is_none() {
                made.push(node.first_output);
            }
            !self.converts(node)
        });
        made
    }

    /// The conversions that were to the type of the other factor, `x.to(weight.dtype)`.
    fn converted(&self, wide: &[TensorId]) -> Vec<TensorId> {
        let mut converted = Vec::new();
        self.back(wide, |node| {
            let converts = self.converts(node);
            if converts {
                converted.push(node.first_output);
            }
            !converts
        });
        converted
    }

    /// The wider operands of the last calls in which both types meet.
    fn met(&self, wide: &[TensorId]) -> Vec<TensorId> {
        let mut met = Vec::new();
        self.back(wide, |node| {
            let mixed = self.reals(node).any(|id| self.is_narrow(id));
            if mixed {
                let outputs = self.reals(node).filter(|&id| {
                    let first = |producer| self.graph.node(producer).first_output == id;
                    self.is_wide(id) && self.graph.producer(id).is_some_and(first)
                });
                met.extend(outputs);
            }
            !mixed && !self.converts(node)
        });
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    /// The outputs that are bfloat16 though no operand says so.
    fn shown(layers: &str) -> Vec<String> {
        let text = format!("spec = 1\n[inputs]\nx = [4, 4]\n[params]\nw = [4, 4]\n{layers}");
        let (_, model) = lowered(&text);
        let graph = &model.graph;
        let mut dtypes = NodeDtypes::stated(graph);
        for id in graph.inputs.iter().map(|(_, id)| *id) {
            dtypes.set(id, Dtype::Bfloat16);
        }
        for parameter in &graph.parameters {
            dtypes.set(parameter.tensor, Dtype::Bfloat16);
        }
        let found = unstated(graph, &mut dtypes, Dtype::Bfloat16);
        let mut names: Vec<String> = found.keys().map(|&id| graph.tensor_name(id)).collect();
        names.sort();
        names
    }

    /// Guards a mask that is added to scores, and one whose sum comes to no product.
    #[test]
    fn masks_are_of_the_type_of_the_scores() {
        let sum = "[[layers]]\nname = \"mask\"\nformula = \"ones(4, 4)\"\n[[layers]]\nname = \"s\"\n\
                   formula = \"x + mask\"\n";
        let product = format!("{sum}[[layers]]\nname = \"p\"\nformula = \"s @ w\"\n");
        assert_eq!(shown(&product), ["mask"]);
        assert!(shown(sum).is_empty());
    }

    /// Guards a conversion to the type of a weight.
    #[test]
    fn a_conversion_before_a_product_is_to_the_type_of_the_other_factor() {
        let product = "[[layers]]\nname = \"same\"\nop = \"to\"\ndtype = \"float32\"\nin = \"x\"\n\
                       [[layers]]\nname = \"p\"\nformula = \"same @ w\"\n";
        assert_eq!(shown(product), ["same"]);
    }

    /// Guards a norm in float32 whose result was converted only where that changed something.
    #[test]
    fn a_conversion_that_python_left_out_stands_where_the_types_meet() {
        let norm = "[[layers]]\nname = \"wide\"\nop = \"to\"\ndtype = \"float32\"\nin = \"x\"\n\
                    [[layers]]\nname = \"normed\"\nformula = \"exp(wide)\"\n[[layers]]\nname = \"y\"\n\
                    formula = \"w * normed\"\n[[layers]]\nname = \"p\"\nformula = \"y @ w\"\n";
        assert_eq!(shown(norm), ["normed"]);
    }
}
