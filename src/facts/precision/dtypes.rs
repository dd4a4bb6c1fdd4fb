//! The element types at which ops run and tensors lie in memory.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::Policy;
use crate::graph::{Graph, Node, TensorId, followed};
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
        result.dtypes = NodeDtypes::stated(graph).dtypes;
        result.follow(graph);
        result
    }

    /// The types that a graph states, to be changed and followed.
    pub(super) fn stated(graph: &Graph) -> NodeDtypes {
        NodeDtypes {
            dtypes: graph.types.iter().map(|ty| ty.dtype).collect(),
            ..NodeDtypes::default()
        }
    }

    /// Gives a tensor that no op makes another type.
    pub(super) fn set(&mut self, id: TensorId, dtype: Dtype) {
        if let Some(place) = self.dtypes.get_mut(id.0 as usize) {
            *place = dtype;
        }
    }

    /// Lets the types of all that ops make follow from those of their operands.
    pub(super) fn follow(&mut self, graph: &Graph) {
        self.follow_but(graph, &FxHashMap::default());
    }

    /// The same but for the first outputs of calls whose types are known.
    pub(super) fn follow_but(&mut self, graph: &Graph, known: &FxHashMap<TensorId, Dtype>) {
        let followed = followed(graph);
        for (number, node) in graph.nodes() {
            if !graph.is_known(node) {
                continue;
            }
            if let Some(&dtype) = known.get(&node.first_output) {
                self.set(node.first_output, dtype);
                continue;
            }
            if let Some(&other) = followed.get(&node.first_output) {
                let dtype = self.tensor(graph, other);
                self.dtypes[node.first_output.0 as usize] = dtype;
                continue;
            }
            // Where the operands are what lowering saw, so are the outputs.
            let differs = (0..node.arguments.len()).any(|position| {
                let id = node.arguments[position];
                id.is_present() && self.operand(graph, node, position) != graph.ty(id).dtype
            });
            if !differs {
                continue;
            }
            let outputs = self.with_operands(graph, node, &[], |_| None, node.op.infer);
            // What ran in one type runs in another; if an op disagrees, its types stay. Those that
            // another program states follow the operands if they did so there.
            let Ok(outputs) = outputs else {
                if node.op.autocast == Autocast::Keep {
                    self.follow_operands(graph, node);
                }
                continue;
            };
            let widens = self.lower.is_some() && node.op.autocast == Autocast::Float32Result;
            for (id, ty) in node.outputs().zip(outputs) {
                self.dtypes[id.0 as usize] = match widens && ty.dtype.is_half() {
                    true => Dtype::Float32,
                    false => ty.dtype,
                };
            }
            // What is written into a tensor takes its type: `x += y`.
            if let Some(&written) = graph.written.get(&number) {
                let dtype = self.tensor(graph, written);
                self.dtypes[node.first_output.0 as usize] = dtype;
            }
        }
    }

    fn follow_operands(&mut self, graph: &Graph, node: &Node) {
        let floats = |dtype: &Dtype| dtype.is_float() && !dtype.is_complex();
        let operands = node.arguments.iter().filter(|id| id.is_present());
        let (mut was, mut is): (Option<Dtype>, Option<Dtype>) = (None, None);
        for &id in operands {
            let (before, now) = (graph.ty(id).dtype, self.tensor(graph, id));
            if floats(&before) && graph.constant(id).is_none() {
                was = Some(was.map_or(before, |other| other.promote(before)));
                is = Some(is.map_or(now, |other| other.promote(now)));
            }
        }
        for id in node.outputs() {
            if let (true, Some(is)) = (Some(graph.ty(id).dtype) == was, is) {
                self.dtypes[id.0 as usize] = is;
            }
        }
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
        let real = dtype.is_float() && !dtype.is_complex();
        real && dtype != Dtype::Float64 && graph.constant(id).is_none()
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
        let cast: SmallVec<[Option<TensorType>; 4]> = match self.dtypes.is_empty() {
            true => SmallVec::new(),
            false => (0..node.arguments.len())
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
