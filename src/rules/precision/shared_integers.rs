//! Whole numbers that a narrow float is given: where they come from, and how many stay apart.

use crate::facts::precision::NodeDtypes;
use crate::graph::{Graph, NodeId, TensorId, TensorKind};
use crate::rules::Context;
use crate::tensor::{Dtype, FloatFormat};

/// A place where whole numbers become a narrow float.
#[derive(Debug, Clone, Copy)]
pub struct Narrowed {
    /// The call that makes or is handed the float.
    pub node: NodeId,
    /// The type.
    pub dtype: Dtype,
    /// Its format.
    pub format: &'static FloatFormat,
    /// Where the whole numbers come from.
    pub source: TensorId,
    /// The greatest of them.
    pub most: f64,
    /// Whether they are counted by `arange`, so that each occurs.
    pub counted: bool,
}

/// The least whole number that a format does not have.
pub fn first_missing(format: &FloatFormat) -> f64 {
    f64::from(format.precision).exp2() + 1.0
}

/// How many of the whole numbers from 0 to `most` stay apart: all up to `2^p`, and `2^(p−1)` in each
/// binade above.
pub fn distinct(format: &FloatFormat, most: f64) -> u64 {
    let (mut count, mut last) = (0u64, f64::NAN);
    let mut number = 0.0;
    while number <= most && count < 1 << 20 {
        let rounded = format.round(number);
        if rounded != last {
            count += 1;
            last = rounded;
        }
        // Above 2^p numbers of one rounding lie together; half a spacing leads to the next.
        let spacing = (number.max(1.0).log2().floor() - f64::from(format.precision)).exp2();
        number += spacing.floor().max(1.0);
    }
    count
}

/// All places where whole numbers past the last exact one become a narrow float.
pub fn narrowed(context: &Context<'_>) -> Vec<Narrowed> {
    let graph = context.graph;
    let dtypes = context.facts.dtypes();
    let mut found = Vec::new();
    // Nothing is narrow where no tensor is and nothing is cast.
    let narrow = |dtype: Dtype| dtype.is_half();
    let any = dtypes.autocast().is_some() || graph.types.iter().any(|ty| narrow(ty.dtype));
    if !any {
        return found;
    }
    for (id, node) in graph.nodes() {
        if !graph.is_known(node) {
            continue;
        }
        let made = (node.op.name == "arange").then_some(node.first_output);
        let handed =
            (node.op.element.is_some() || node.op.name == "to" || is_product(node.op.name))
                .then_some(&node.arguments[..]);
        let tensors = made
            .into_iter()
            .chain(handed.into_iter().flatten().copied());
        for (position, tensor) in tensors.enumerate() {
            if !tensor.is_present() {
                continue;
            }
            let dtype = match made {
                Some(tensor) => dtypes.tensor(graph, tensor),
                None => seen(graph, dtypes, id, position),
            };
            let Some(format) = dtype.float_format().filter(|_| narrow(dtype)) else {
                continue;
            };
            // What was narrow before is narrowed elsewhere.
            let fresh = made.is_some() || !narrow(dtypes.tensor(graph, tensor));
            if let Some((source, most, counted)) = whole(context, tensor)
                && fresh
                && most >= first_missing(format)
            {
                found.push(Narrowed {
                    node: id,
                    dtype,
                    format,
                    source,
                    most,
                    counted,
                });
                break;
            }
        }
    }
    found
}

fn is_product(name: &str) -> bool {
    matches!(
        name,
        "matmul" | "mm" | "bmm" | "outer" | "einsum" | "linear"
    )
}

/// The type in which a call sees an operand: that of its result, for casts and where integers meet
/// floats.
fn seen(graph: &Graph, dtypes: &NodeDtypes, id: NodeId, position: usize) -> Dtype {
    let node = graph.node(id);
    let operand = dtypes.operand(graph, node, position);
    let result = dtypes.tensor(graph, node.first_output);
    match operand.is_float() && node.op.name != "to" {
        true => operand,
        false => result,
    }
}

/// Where the whole numbers of a tensor come from, the greatest magnitude, and whether each occurs;
/// `None` where they are not known to be whole, or not bounded.
fn whole(context: &Context<'_>, tensor: TensorId) -> Option<(TensorId, f64, bool)> {
    let graph = context.graph;
    let source = context.facts.idioms().content(tensor);
    let counted = graph
        .producer(source)
        .is_some_and(|id| graph.node(id).op.name == "arange");
    let dtype = graph.ty(source).dtype;
    let integers = !dtype.is_float() && dtype != Dtype::Bool;
    let declared = matches!(graph.tensor(source).kind, TensorKind::Input(_)) && integers;
    if !counted && !declared {
        return None;
    }
    if counted {
        let node = graph.node(graph.producer(source)?);
        let (start, step) = graph.with_call(node, |call| {
            let start = call.float("end").and(call.float("start")).unwrap_or(0.0);
            (start, call.float("step").unwrap_or(1.0))
        });
        let count = graph.ty(source).shape.elements() as f64;
        let most = start.abs().max((start + step * (count - 1.0)).abs());
        // Steps of more than 1 may keep apart what is rounded.
        let whole = start.fract() == 0.0 && step.abs() == 1.0;
        return whole.then_some((source, most, true));
    }
    let known = context.facts.ranges().known(source);
    let range = known.assuming_finite();
    (known.declared && range.is_bounded()).then(|| (source, range.magnitude(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against counting one by one.
    #[test]
    fn distinct_numbers_are_counted() {
        for dtype in [Dtype::Bfloat16, Dtype::Float16, Dtype::Float8E4m3fn] {
            let format = dtype.float_format().unwrap();
            for most in [0, 5, 16, 17, 100, 255, 256, 257, 440, 1000, 4095, 32767] {
                if f64::from(most) >= format.overflow {
                    continue;
                }
                let mut rounded: Vec<f64> =
                    (0..=most).map(|n| format.round(f64::from(n))).collect();
                rounded.dedup();
                let counted = distinct(format, f64::from(most));
                assert_eq!(counted, rounded.len() as u64, "{dtype} {most}");
            }
        }
        let bfloat16 = Dtype::Bfloat16.float_format().unwrap();
        assert_eq!(distinct(bfloat16, 4095.0), 769);
    }
}
