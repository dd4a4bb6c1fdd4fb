//! Witnesses: inputs on which an operation is run and fails.
//!
//! A range says what may be reached; a witness shows it. Every declared input is set to one value
//! in all its elements, so that views keep it, sums multiply it, and every element-wise op is its
//! own scalar function, rounded after each step to the element type. What needs values of
//! different size in one tensor, or parameters, has no witness here.

use smallvec::SmallVec;

use super::precision::NodeDtypes;
use super::ranges::{Ranges, opmath};
use crate::graph::{Graph, Node, NodeId, TensorId, TensorKind};
use crate::ops::Call;

/// What an operation was run on, and what came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// The inputs and the value of all their elements.
    pub inputs: SmallVec<[(TensorId, f64); 2]>,
    /// The operands of the operation.
    pub operands: SmallVec<[f64; 3]>,
    /// Its result.
    pub value: f64,
}

/// How many calls a witness may run through, and how many inputs it may set.
const MOST_NODES: usize = 48;
const MOST_INPUTS: usize = 3;

impl Witness {
    /// Runs the node at the corners of its inputs' ranges until `fails` says so of its operands and
    /// its result. `O(48 calls · 4³ corners)` at most.
    pub fn find(
        graph: &Graph,
        dtypes: &NodeDtypes,
        ranges: &Ranges,
        node: NodeId,
        fails: impl Fn(&[f64], f64) -> bool,
    ) -> Option<Witness> {
        let (nodes, inputs) = cone(graph, ranges, node)?;
        let candidates: SmallVec<[SmallVec<[f64; 4]>; 3]> =
            inputs.iter().map(|&input| corners(ranges, input)).collect();
        let total: usize = candidates.iter().map(SmallVec::len).product();
        (0..total).find_map(|mut number| {
            let mut values: SmallVec<[(TensorId, f64); 16]> = SmallVec::new();
            for (&input, candidates) in inputs.iter().zip(&candidates) {
                values.push((input, candidates[number % candidates.len()]));
                number /= candidates.len();
            }
            let inputs = values.iter().copied().collect();
            let mut operands = SmallVec::new();
            let mut value = f64::NAN;
            for &id in &nodes {
                let node = graph.node(id);
                operands = operands_of(graph, dtypes, node, &values)?;
                value = run(graph, dtypes, node, &operands)?;
                values.push((node.first_output, value));
            }
            fails(&operands, value).then_some(Witness {
                inputs,
                operands,
                value,
            })
        })
    }

    /// `x = 300 and y = 0 in every element`.
    pub fn describe(&self, graph: &Graph, number: impl Fn(f64) -> String) -> String {
        let parts: Vec<String> = self
            .inputs
            .iter()
            .map(|&(input, value)| format!("{} = {}", graph.tensor_name(input), number(value)))
            .collect();
        match parts.is_empty() {
            true => "on constants alone".to_owned(),
            false => format!("with {} in every element", parts.join(" and ")),
        }
    }
}

type Cone = (Vec<NodeId>, SmallVec<[TensorId; 2]>);

/// The calls that a node depends on, itself last, and the declared inputs among their operands;
/// `None` where there are too many, or something else.
fn cone(graph: &Graph, ranges: &Ranges, node: NodeId) -> Option<Cone> {
    let (mut nodes, mut inputs) = (vec![node], SmallVec::<[TensorId; 2]>::new());
    let mut next = 0;
    while let Some(&id) = nodes.get(next) {
        next += 1;
        for &argument in &graph.node(id).arguments {
            if !argument.is_present() {
                continue;
            }
            match graph.tensor(argument).kind {
                TensorKind::Constant(_) => {}
                TensorKind::Input(_) | TensorKind::Parameter(_) => {
                    let known = ranges.known(argument);
                    let fits = known.declared && known.interval().is_bounded();
                    if !fits {
                        return None;
                    }
                    if !inputs.contains(&argument) {
                        inputs.push(argument);
                    }
                }
                TensorKind::Output(producer) => {
                    if graph.node(producer).first_output != argument {
                        return None;
                    }
                    if !nodes.contains(&producer) {
                        nodes.push(producer);
                    }
                }
            }
        }
        if nodes.len() > MOST_NODES || inputs.len() > MOST_INPUTS {
            return None;
        }
    }
    nodes.sort_unstable();
    Some((nodes, inputs))
}

/// The ends of an input's range, and what is special between them.
fn corners(ranges: &Ranges, input: TensorId) -> SmallVec<[f64; 4]> {
    let range = ranges.known(input).interval();
    let mut corners: SmallVec<[f64; 4]> = smallvec::smallvec![range.high, range.low];
    for special in [0.0, 1.0] {
        if range.contains(special) && !corners.contains(&special) {
            corners.push(special);
        }
    }
    corners.dedup();
    corners
}

fn operands_of(
    graph: &Graph,
    dtypes: &NodeDtypes,
    node: &Node,
    values: &[(TensorId, f64)],
) -> Option<SmallVec<[f64; 3]>> {
    let format = opmath(dtypes.tensor(graph, node.first_output));
    node.arguments
        .iter()
        .enumerate()
        .map(|(position, &argument)| {
            if !argument.is_present() {
                return Some(f64::NAN);
            }
            if let Some(value) = graph.constant(argument) {
                return Some(format.map_or(value, |format| format.round(value)));
            }
            let (_, value) = values.iter().find(|(tensor, _)| *tensor == argument)?;
            // The copy that autocast hands the op.
            let own = dtypes.operand(graph, node, position).float_format();
            Some(own.map_or(*value, |format| format.round(*value)))
        })
        .collect()
}

/// The value of every element of a node's output, from those of its operands.
fn run(graph: &Graph, dtypes: &NodeDtypes, node: &Node, operands: &[f64]) -> Option<f64> {
    let exact = graph.with_call(node, |call| match node.op.element {
        Some(element) => Some(element(call, operands)),
        None => uniform(call, operands),
    })?;
    let dtype = dtypes.tensor(graph, node.first_output);
    Some(match (dtype.float_format(), dtype.integer_range()) {
        (Some(format), _) => format.round(exact),
        (None, Some((low, high))) => {
            let whole = exact.trunc();
            let fits = low as f64 <= whole && whole <= high as f64;
            return fits.then_some(whole);
        }
        (None, None) => exact,
    })
}

/// An op on tensors that are the same in every element.
fn uniform(call: &Call, operands: &[f64]) -> Option<f64> {
    let x = *operands.first()?;
    let elements = call.elements(0) as f64;
    let count = elements / call.output_elements().max(1) as f64;
    let same_shape_as_any = call.op.view
        || matches!(
            call.op.name,
            "expand" | "repeat" | "tile" | "flip" | "roll" | "repeat_interleave"
        );
    Some(match call.op.name {
        _ if same_shape_as_any => x,
        "mean" | "amax" | "amin" => x,
        "sum" => count * x,
        "norm" if call.float("p").unwrap_or(2.0) == 2.0 => count.sqrt() * x.abs(),
        "var" | "std" if count > 1.0 => 0.0 * x,
        "logsumexp" => x + count.ln(),
        "matmul" | "mm" | "bmm" | "dot" | "mv" => {
            let work = (call.op.work)(call);
            let terms = work.products as f64 / (2.0 * call.output_elements().max(1) as f64);
            terms * x * operands.get(1)?
        }
        "softmax" | "log_softmax" => {
            let shape = call.shape(0).ok()?;
            let count = match shape.rank() {
                0 => 1.0,
                _ => shape.sizes()[call.axis("dim", shape).ok()?] as f64,
            };
            match call.op.name {
                "softmax" => 1.0 / count + 0.0 * x,
                _ => 0.0 * x - count.ln(),
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture::lowered;
    use crate::facts::precision::Policy;
    use crate::facts::values::Values;

    /// A witness for the last node's result not being finite.
    fn witness(formula: &str, dtype: &str) -> String {
        let (spec, model) = lowered(&format!(
            "spec = 1\n[inputs]\nx = {{ shape = [3, 4], dtype = \"{dtype}\", range = [-2, 300] }}\n\
             u = {{ shape = [3, 4], dtype = \"{dtype}\" }}\n[params]\nw = [4, 4]\n\
             [[layers]]\nformula = \"{formula}\"\n[[layers]]\nformula = \"u @ w\"\n"
        ));
        let graph = &model.graph;
        let policy = Policy::of(&spec.run, model.dtype);
        let dtypes = NodeDtypes::of(graph, &policy);
        let ranges = Ranges::of(&spec, &model, &Values::of(graph), &dtypes);
        let node = NodeId(graph.dag.node_count() as u32 - 2);
        Witness::find(graph, &dtypes, &ranges, node, |_, value| !value.is_finite()).map_or_else(
            || "none".to_owned(),
            |witness| {
                format!(
                    "{}: {} of {:?}",
                    witness.describe(graph, |value| value.to_string()),
                    witness.value,
                    witness.operands.as_slice()
                )
            },
        )
    }

    #[test]
    fn failures_are_run() {
        for (formula, dtype, expected) in [
            (
                "exp(x)",
                "float32",
                "with x = 300 in every element: inf of [300.0]",
            ),
            ("exp(x)", "float64", "none"),
            ("exp(x - amax(x))", "float32", "none"),
            (
                "log(x)",
                "float32",
                "with x = -2 in every element: NaN of [-2.0]",
            ),
            (
                "1 / x",
                "float32",
                "with x = 0 in every element: inf of [1.0, 0.0]",
            ),
            (
                "x * x",
                "float16",
                "with x = 300 in every element: inf of [300.0, 300.0]",
            ),
            (
                "sum(x * 100)",
                "float16",
                "with x = 300 in every element: inf of [30000.0]",
            ),
            (
                "x.T @ (x * 100)",
                "float16",
                "with x = 300 in every element: inf of [300.0, 30000.0]",
            ),
            // Nothing is said of the values of `u`, and nothing can be of parameters.
            ("exp(u)", "float32", "none"),
            ("exp(x @ w)", "float32", "none"),
        ] {
            assert_eq!(witness(formula, dtype), expected, "{formula} in {dtype}");
        }
    }
}
