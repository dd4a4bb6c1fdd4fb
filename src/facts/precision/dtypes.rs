//! The element types at which ops run and tensors lie in memory.

use smallvec::SmallVec;

use super::Policy;
use super::followed::followed;
use crate::graph::{Graph, Node, TensorId};
use crate::ops::{Argument, Autocast, Call};
use crate::tensor::{Dtype, TensorType};

/// The element types of a model's tensors under its precision policy.
///
/// A graph's own types are those without `torch.autocast`. Under it, ops that it lists are handed
/// copies of their operands in another type (`at::autocast::cached_cast`), and types follow from
/// that through the graph. CUDA's lists: operands that are floating point and not float64 are
/// cast; written numbers are not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeDtypes {
    /// The lower type of autocast.
    lower: Option<Dtype>,
    /// The type of products that run in an eight-bit type.
    products: Option<Dtype>,
    /// By tensor; empty without autocast.
    dtypes: Vec<Dtype>,
}

impl NodeDtypes {
    /// Follows the types through a graph. `O(nodes + operands)`, and `O(1)` without autocast.
    pub fn of(graph: &Graph, policy: &Policy) -> NodeDtypes {
        let compute = policy.compute.value;
        let mut result = NodeDtypes {
            lower: policy.autocast,
            products: (compute != policy.params.value).then_some(compute),
            dtypes: Vec::new(),
        };
        if result.lower.is_none() {
            return result;
        }
        result.dtypes = graph.types.iter().map(|ty| ty.dtype).collect();
        let followed = followed(graph);
        for (_, node) in graph.nodes() {
            if !graph.is_known(node) {
                continue;
            }
            if let Some(&other) = followed.get(&node.first_output) {
                let dtype = result.tensor(graph, other);
                result.dtypes[node.first_output.0 as usize] = dtype;
                continue;
            }
            // Where the operands are what lowering saw, so are the outputs.
            let differs = (0..node.arguments.len()).any(|position| {
                let id = node.arguments[position];
                id.is_present() && result.operand(graph, node, position) != graph.ty(id).dtype
            });
            if !differs {
                continue;
            }
            let outputs = result.with_operands(graph, node, &[], |_| None, node.op.infer);
            // What ran in one type runs in another; if an op disagrees, its types stay.
            let Ok(outputs) = outputs else { continue };
            let widens = node.op.autocast == Autocast::Float32Result;
            for (id, ty) in node.outputs().zip(outputs) {
                result.dtypes[id.0 as usize] = match widens && ty.dtype.is_half() {
                    true => Dtype::Float32,
                    false => ty.dtype,
                };
            }
        }
        result
    }

    /// The type of autocast, if the model runs under it.
    pub fn autocast(&self) -> Option<Dtype> {
        self.lower
    }

    /// The type of a tensor as the op that makes it leaves it.
    pub fn tensor(&self, graph: &Graph, id: TensorId) -> Dtype {
        let known = self.dtypes.get(id.0 as usize);
        known.copied().unwrap_or_else(|| graph.ty(id).dtype)
    }

    /// The bytes of a tensor in its type; saturating.
    pub fn bytes(&self, graph: &Graph, id: TensorId) -> u64 {
        self.tensor(graph, id)
            .bytes_for(graph.ty(id).shape.elements())
    }

    /// Whether autocast casts a tensor at all.
    fn is_eligible(&self, graph: &Graph, id: TensorId) -> bool {
        let dtype = self.tensor(graph, id);
        dtype.is_float() && dtype != Dtype::Float64 && graph.constant(id).is_none()
    }

    /// The type of an operand as the op sees it, after autocast's cast. The position must not be
    /// one that is left out.
    pub fn operand(&self, graph: &Graph, node: &Node, position: usize) -> Dtype {
        let id = node.arguments[position];
        let own = self.tensor(graph, id);
        let Some(lower) = self.lower else { return own };
        if !self.is_eligible(graph, id) {
            return own;
        }
        match node.op.autocast {
            Autocast::Lower => lower,
            Autocast::Float32 => Dtype::Float32,
            Autocast::Promote => node
                .arguments
                .iter()
                .filter(|id| id.is_present() && self.is_eligible(graph, **id))
                .map(|&id| self.tensor(graph, id))
                .fold(lower, Dtype::promote),
            Autocast::Keep | Autocast::Float32Result => own,
        }
    }

    /// Whether autocast hands the op a copy of that operand.
    pub fn is_cast(&self, graph: &Graph, node: &Node, position: usize) -> bool {
        let id = node.arguments[position];
        self.lower.is_some()
            && id.is_present()
            && self.operand(graph, node, position) != self.tensor(graph, id)
    }

    /// The type in which a node computes: that of its operands together, or the lower type of
    /// products where they have one of their own.
    pub fn compute(&self, graph: &Graph, node: &Node) -> Dtype {
        match (node.op.autocast, self.products) {
            (Autocast::Lower, Some(products)) => products,
            _ => self.with_call(graph, node, |_| None, |call| call.promoted_dtype()),
        }
    }

    /// Shows a node's call to `f` as it runs: operands in the types that autocast hands it, with
    /// the strides that `strides` knows, and outputs in theirs.
    pub fn with_call<'s, R>(
        &self,
        graph: &Graph,
        node: &Node,
        strides: impl Fn(TensorId) -> Option<&'s [u64]>,
        f: impl FnOnce(&Call) -> R,
    ) -> R {
        let first = node.first_output.0 as usize;
        let range = first..first + node.output_count as usize;
        if self.dtypes.is_empty() {
            return self.with_operands(graph, node, &graph.types[range], strides, f);
        }
        let outputs: SmallVec<[TensorType; 1]> = range
            .map(|at| TensorType {
                shape: graph.types[at].shape.clone(),
                dtype: self.dtypes[at],
            })
            .collect();
        self.with_operands(graph, node, &outputs, strides, f)
    }

    fn with_operands<'s, R>(
        &self,
        graph: &Graph,
        node: &Node,
        outputs: &[TensorType],
        strides: impl Fn(TensorId) -> Option<&'s [u64]>,
        f: impl FnOnce(&Call) -> R,
    ) -> R {
        let cast: SmallVec<[Option<TensorType>; 4]> = match self.lower {
            None => SmallVec::new(),
            Some(_) => (0..node.arguments.len())
                .map(|position| {
                    let id = node.arguments[position];
                    id.is_present().then(|| TensorType {
                        shape: graph.ty(id).shape.clone(),
                        dtype: self.operand(graph, node, position),
                    })
                })
                .collect(),
        };
        let arguments: SmallVec<[Option<Argument>; 6]> = node
            .arguments
            .iter()
            .enumerate()
            .map(|(position, &id)| {
                let mut argument = graph.argument(id)?;
                if let Some(Some(ty)) = cast.get(position) {
                    argument.ty = ty;
                }
                argument.strides = strides(id);
                Some(argument)
            })
            .collect();
        f(&Call {
            op: node.op,
            attributes: &node.attributes,
            arguments: &arguments,
            outputs,
            training: graph.training,
            fused_attention: graph.fused_attention,
            autocast: self.lower.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;

    /// Each layer's op, the type in which it computes, and that of its output.
    fn shown(precision: &str, layers: &str) -> String {
        let text = format!(
            "spec = 1\n[inputs]\nx = [4, 8]\nt = {{ shape = [4], dtype = \"int64\" }}\n{layers}\n\
             [train]\nprecision = \"{precision}\"\n"
        );
        let (spec, model) = lowered(&text);
        let graph = &model.graph;
        let policy = Policy::of(&spec.run, model.dtype);
        let dtypes = NodeDtypes::of(graph, &policy);
        graph
            .nodes()
            .map(|(_, node)| {
                let output = dtypes.tensor(graph, node.first_output);
                format!(
                    "{} in {} gives {output}",
                    node.op.name,
                    dtypes.compute(graph, node)
                )
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Guards the walk: a lower product hands its type on to what keeps it, a norm goes back to
    /// float32, a sum of both promotes, and a loss ends in float32.
    #[test]
    fn types_follow_through_the_graph() {
        let layers = r#"
[[layers]]
name = "a"
op = "linear"
out_features = 8
in = "x"
[[layers]]
name = "b"
op = "gelu"
[[layers]]
name = "c"
op = "layer_norm"
[[layers]]
name = "d"
formula = "b + c"
[[layers]]
name = "e"
op = "linear"
out_features = 8
[[layers]]
op = "cross_entropy"
in = ["e", "t"]
"#;
        insta::assert_snapshot!(shown("amp-bf16", layers), @r"
        linear in bfloat16 gives bfloat16
        gelu in bfloat16 gives bfloat16
        layer_norm in float32 gives float32
        add in float32 gives float32
        linear in bfloat16 gives bfloat16
        cross_entropy in bfloat16 gives float32
        ");
        insta::assert_snapshot!(shown("float32", layers), @r"
        linear in float32 gives float32
        gelu in float32 gives float32
        layer_norm in float32 gives float32
        add in float32 gives float32
        linear in float32 gives float32
        cross_entropy in float32 gives float32
        ");
        insta::assert_snapshot!(shown("fp8", layers), @r"
        linear in float8_e4m3fn gives bfloat16
        gelu in bfloat16 gives bfloat16
        layer_norm in bfloat16 gives bfloat16
        add in bfloat16 gives bfloat16
        linear in float8_e4m3fn gives bfloat16
        cross_entropy in bfloat16 gives bfloat16
        ");
    }
}
