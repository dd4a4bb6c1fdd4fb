//! Relations between tensors that intervals of each alone cannot see.
//!
//! `x - max(x)` is never above 0, however large `x` may be; its exponential is at most 1, and a sum
//! of these at least 1. Each relation here holds in floating point too, not only for reals; that
//! is said where it is not plain.

use super::Ranges;
use crate::facts::idiom::Idioms;
use crate::graph::{Node, TensorId};
use crate::tensor::{FloatFormat, Interval};

/// The range of a node's first output, cut by what relations say. `format` is the one that the op
/// computes in.
pub(super) fn refine(
    idioms: &Idioms<'_>,
    ranges: &Ranges,
    node: &Node,
    format: Option<&FloatFormat>,
    image: Interval,
) -> Interval {
    let bound = match node.op.name {
        "sub" => difference(idioms, ranges, node),
        "mul" => product(idioms, ranges, node),
        "div" => quotient(idioms, node, format),
        "sum" | "amax" => sum_of_shifted(idioms, node),
        "einsum" | "dot" => paired_with_itself(idioms, node),
        "where" => guarded(idioms, ranges, node, format),
        _ => None,
    };
    bound.map_or(image, |bound| image.clamped(bound.low, bound.high))
}

const NOT_NEGATIVE: Interval = Interval {
    low: 0.0,
    ..Interval::REAL
};

/// The sign of a difference is that of the exact one, as is its bound: rounding never falls.
fn difference(idioms: &Idioms<'_>, ranges: &Ranges, node: &Node) -> Option<Interval> {
    let [a, b] = node.arguments[..] else {
        return None;
    };
    if idioms.graph.with_call(node, |call| call.is_given("alpha")) {
        return None;
    }
    if idioms.values.same(a, b) {
        return Some(Interval::point(0.0));
    }
    let spread = |of: TensorId| {
        let range = ranges.known(of).assuming_finite();
        range.high - range.low
    };
    if idioms
        .reduction_beside(b, a, &["amax", "max_dim"])
        .is_some()
    {
        return Some(Interval::new(-spread(a), 0.0));
    }
    if idioms
        .reduction_beside(a, b, &["amax", "max_dim"])
        .is_some()
    {
        return Some(Interval::new(0.0, spread(b)));
    }
    if idioms
        .reduction_beside(b, a, &["amin", "min_dim"])
        .is_some()
    {
        return Some(Interval::new(0.0, spread(a)));
    }
    if idioms
        .call(b, "floor")
        .is_some_and(|floor| idioms.values.same(floor.arguments[0], a))
    {
        return Some(Interval::new(0.0, 1.0));
    }
    None
}

fn product(idioms: &Idioms<'_>, ranges: &Ranges, node: &Node) -> Option<Interval> {
    let [a, b] = node.arguments[..] else {
        return None;
    };
    idioms.values.same(a, b).then(|| {
        let x = ranges.known(a).assuming_finite();
        Interval::new(x.least_magnitude(), x.magnitude()).map_increasing(|x| x * x)
    })
}

/// An element over the norm, or over the sum of magnitudes, of a slice that it is in.
fn quotient(idioms: &Idioms<'_>, node: &Node, format: Option<&FloatFormat>) -> Option<Interval> {
    let [a, b] = node.arguments[..] else {
        return None;
    };
    if idioms
        .graph
        .with_call(node, |call| call.is_given("rounding_mode"))
    {
        return None;
    }
    let unit = format?.unit_roundoff();
    // What is added to a norm or sum only makes the quotient smaller.
    let (whole, _) = idioms
        .plus_number(idioms.bare(b))
        .filter(|(_, number)| *number >= 0.0)
        .unwrap_or((b, 0.0));
    let beside = |axes: &[usize]| idioms.lies_beside(b, a, axes);
    if let Some((sum, _)) = idioms.sum_of_exponentials(whole)
        && idioms.values.same(sum.input, a)
        && beside(&sum.axes)
    {
        return Some(Interval::new(0.0, 1.0 + sum.count as f64 * unit));
    }
    let norm = idioms.norm(whole)?;
    let inside = idioms.values.same(norm.of, a) && beside(norm.axes.as_deref()?);
    (inside && !norm.is_mean).then(|| {
        let count = idioms.shape(norm.of).elements() as f64;
        let bound = 1.0 + (count + 4.0) * unit;
        Interval::new(-bound, bound)
    })
}

/// A sum, or the maximum, of `exp(x - max(x))` over at least the axes of the maximum: the greatest
/// term is exp(0) = 1, and in floating point a sum of terms that are not negative is no less than
/// one of them.
fn sum_of_shifted(idioms: &Idioms<'_>, node: &Node) -> Option<Interval> {
    let reduction = idioms.reduction(node.first_output, &["sum", "amax"])?;
    let exponent = idioms.exponential(reduction.input)?;
    let shifted = idioms.shifted(exponent)?;
    let all = shifted
        .axes
        .iter()
        .all(|axis| reduction.axes.contains(axis));
    all.then_some(Interval {
        low: 1.0,
        ..Interval::REAL
    })
}

/// Sums of squares.
fn paired_with_itself(idioms: &Idioms<'_>, node: &Node) -> Option<Interval> {
    let [a, b] = node.arguments[..] else {
        return None;
    };
    let squares = idioms.values.same(a, b)
        && (node.op.name != "einsum" || idioms.einsum_pairs_equal_labels(node));
    squares.then_some(NOT_NEGATIVE)
}

/// `where(x > c, x, y)`: the branch that is taken obeys the condition.
fn guarded(
    idioms: &Idioms<'_>,
    ranges: &Ranges,
    node: &Node,
    format: Option<&FloatFormat>,
) -> Option<Interval> {
    let [condition, taken, other] = node.arguments[..] else {
        return None;
    };
    let (_, comparison) = idioms.producer(condition)?;
    let [a, b] = comparison.arguments[..] else {
        return None;
    };
    let branch = |of: TensorId, holds: bool| {
        let range = ranges.operand(idioms.graph, of, format).assuming_finite();
        let (bound, name) = match (idioms.constant(a), idioms.constant(b)) {
            (None, Some(bound)) if idioms.values.same(a, of) => (bound, comparison.op.name),
            (Some(bound), None) if idioms.values.same(b, of) => {
                let mirrored = match comparison.op.name {
                    "lt" => "gt",
                    "le" => "ge",
                    "gt" => "lt",
                    "ge" => "le",
                    _ => return range,
                };
                (bound, mirrored)
            }
            _ => return range,
        };
        match (name, holds) {
            ("gt" | "ge", true) | ("lt" | "le", false) => range.clamped(bound, f64::INFINITY),
            ("lt" | "le", true) | ("gt" | "ge", false) => range.clamped(f64::NEG_INFINITY, bound),
            _ => range,
        }
    };
    Some(branch(taken, true).union(branch(other, false)))
}
