//! In whose storage each tensor lies, and with which strides.
//!
//! Views share the storage of what they look at; everything else has its own. Tensors of a graph
//! are never written in place, so a storage is known by the tensor that it was made for.

use smallvec::SmallVec;

use super::precision::NodeDtypes;
use crate::graph::{Graph, Node, TensorId};
use crate::ops::layout::{Placement, Strides, contiguous_strides, dense_like};

/// Where the tensors of a model lie.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Storages {
    roots: Vec<TensorId>,
    strides: Vec<Strides>,
}

impl Storages {
    /// Places all tensors. `O(tensors · rank²)`.
    ///
    /// Left out: memory formats that a framework chooses by itself, such as channels-last
    /// convolutions; inputs and parameters lie contiguously.
    pub fn of(graph: &Graph, dtypes: &NodeDtypes) -> Storages {
        let mut storages = Storages {
            roots: (0..graph.types.len() as u32).map(TensorId).collect(),
            strides: graph
                .types
                .iter()
                .map(|ty| contiguous_strides(ty.shape.sizes()))
                .collect(),
        };
        for (_, node) in graph.nodes() {
            if graph.is_known(node) {
                storages.place(graph, dtypes, node);
            }
        }
        storages
    }

    fn place(&mut self, graph: &Graph, dtypes: &NodeDtypes, node: &Node) {
        let operands: SmallVec<[Strides; 4]> = (0..node.arguments.len())
            .map(|position| self.operand_strides(graph, dtypes, node, position))
            .collect();
        let known = |id: TensorId| self.strides.get(id.0 as usize).map(|s| &s[..]);
        let placement =
            dtypes.with_call(graph, node, known, |call| (node.op.layout)(call, &operands));
        let first = node.first_output.0 as usize;
        let (shared, strides) = match placement {
            Placement::Shared(strides) => (true, strides),
            Placement::Own(strides) => (false, strides),
        };
        if shared {
            for (number, output) in node.outputs().enumerate() {
                // Each output of `meshgrid` looks at the operand of its number.
                let looked_at = if node.op.is_variadic() { number } else { 0 };
                let Some(&operand) = node.arguments.get(looked_at) else {
                    continue;
                };
                if operand.is_present() && !dtypes.is_cast(graph, node, looked_at) {
                    self.roots[output.0 as usize] = self.roots[operand.0 as usize];
                }
                // The parts of a split all have the strides of the whole.
                if !node.op.is_variadic() && strides.len() == graph.ty(output).shape.rank() {
                    self.strides[output.0 as usize] = strides.clone();
                }
            }
        }
        self.strides[first] = strides;
    }

    /// The strides of an operand as the op sees it. A copy that autocast makes keeps the order of
    /// the axes.
    fn operand_strides(
        &self,
        graph: &Graph,
        dtypes: &NodeDtypes,
        node: &Node,
        position: usize,
    ) -> Strides {
        let id = node.arguments[position];
        let Some(strides) = self.strides.get(id.0 as usize) else {
            return Strides::new();
        };
        match dtypes.is_cast(graph, node, position) {
            true => dense_like(graph.ty(id).shape.sizes(), strides),
            false => strides.clone(),
        }
    }

    /// The tensor whose storage a tensor lies in: itself, unless it is a view.
    pub fn root(&self, id: TensorId) -> TensorId {
        self.roots.get(id.0 as usize).copied().unwrap_or(id)
    }

    /// The strides of a tensor; `None` for one that is left out.
    pub fn strides(&self, id: TensorId) -> Option<&[u64]> {
        self.strides.get(id.0 as usize).map(|strides| &strides[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;
    use crate::facts::precision::Policy;

    /// For each node: whether its output lies in storage of its own, or in whose.
    fn shown(layers: &str) -> String {
        let (spec, model) = lowered(&format!("spec = 1\n[inputs]\nx = [2, 6, 8]\n{layers}"));
        let graph = &model.graph;
        let dtypes = NodeDtypes::of(graph, &Policy::of(&spec.run, model.dtype));
        let storages = Storages::of(graph, &dtypes);
        let line = |(_, node): (_, &Node)| {
            let output = node.first_output;
            let root = storages.root(output);
            let place = match root == output {
                true => "own".to_owned(),
                false => graph.tensor_name(root),
            };
            let strides = storages.strides(output).unwrap_or_default();
            format!("{}: {place} {strides:?}", node.op.name)
        };
        graph.nodes().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Guards views of views, the copy that `reshape` makes of what has no strides, and pointwise
    /// ops that keep the order of the axes.
    #[test]
    fn views_share_and_copies_do_not() {
        insta::assert_snapshot!(
            shown(
                r#"
[[layers]]
name = "heads"
formula = "x.reshape([2, 6, 4, 2]).transpose(1, 2)"
[[layers]]
name = "kept"
formula = "relu(heads)"
[[layers]]
name = "merged"
formula = "kept.reshape([2, 24, 2])"
[[layers]]
name = "back"
formula = "kept.transpose(1, 2).reshape([2, 6, 8])"
"#
            ),
            @r"
        reshape: x [48, 8, 2, 1]
        transpose: x [48, 2, 8, 1]
        relu: own [48, 2, 8, 1]
        reshape: own [48, 2, 1]
        transpose: kept [48, 8, 2, 1]
        reshape: kept [48, 8, 1]
        "
        );
    }
}
