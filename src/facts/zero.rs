//! Where a tensor can be exactly 0 by the way it is made: a sum of squares, a variance, a count.
//!
//! A range whose end is 0 does not tell `sigmoid(x)`, which comes close to 0, from `sum(x * x)`,
//! which is 0 where `x` is: a padded row, an inactive unit, two equal points.

use smallvec::SmallVec;

use super::idiom::Idioms;
use crate::graph::TensorId;

/// Why a tensor can be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// It is made of squares or magnitudes: 0 where all of these are.
    OfMagnitudes(TensorId),
    /// It is a variance or deviation: 0 where all values are equal.
    OfSpread(TensorId),
    /// It is the output of a rectifier: 0 for all inputs that are not positive.
    OfRectifier(TensorId),
    /// It counts: 0 where nothing is chosen.
    OfCount(TensorId),
}

/// How many calls are looked through.
const MOST_STEPS: usize = 12;

/// Why the tensor can be exactly 0; `None` where its making does not say that it can.
pub fn zero(idioms: &Idioms<'_>, id: TensorId) -> Option<Zero> {
    let mut at = id;
    for _ in 0..MOST_STEPS {
        at = idioms.unscaled(at).0;
        let (_, node) = idioms.producer(at)?;
        let x = node.arguments.first().copied()?;
        // Of trained weights no slice is exactly 0 or constant.
        let of_data = |id: TensorId| idioms.graph.parameter(idioms.content(id)).is_none();
        if let Some(base) = idioms.square(at).or_else(|| idioms.sum_of_squares(at)) {
            return of_data(base).then_some(Zero::OfMagnitudes(base));
        }
        at = match node.op.name {
            "norm" | "abs" => return of_data(x).then_some(Zero::OfMagnitudes(x)),
            "var" | "std" => return of_data(x).then_some(Zero::OfSpread(x)),
            "relu" | "relu6" => return Some(Zero::OfRectifier(x)),
            "count_nonzero" => return Some(Zero::OfCount(x)),
            "sum" | "mean" if is_choice(idioms, x) => return Some(Zero::OfCount(x)),
            "clamp" => {
                let low = idioms.graph.with_call(node, |call| call.float("min"));
                if low == Some(0.0) {
                    return Some(Zero::OfRectifier(x));
                }
                return None;
            }
            // 0 wherever a factor is.
            "mul" => {
                let zeros: SmallVec<[Zero; 2]> = node
                    .arguments
                    .iter()
                    .filter_map(|&factor| shallow(idioms, factor))
                    .collect();
                return zeros.first().copied();
            }
            // 0 where both terms are, if neither is negative.
            "add" => {
                let [a, b] = node.arguments[..] else {
                    return None;
                };
                return shallow(idioms, a).filter(|_| shallow(idioms, b).is_some());
            }
            "sqrt" | "sum" | "mean" | "amax" | "expand" | "transpose" | "permute" => x,
            "pow"
                if idioms
                    .constant(node.arguments[1])
                    .is_some_and(|power| power > 0.0) =>
            {
                x
            }
            _ => return None,
        };
    }
    None
}

/// The same for an operand of a sum or product, without looking into its own sums and products.
fn shallow(idioms: &Idioms<'_>, id: TensorId) -> Option<Zero> {
    let (inner, _) = idioms.unscaled(id);
    let root = idioms.root(inner).unwrap_or(inner);
    let (_, node) = idioms.producer(root)?;
    let nested = matches!(node.op.name, "add" | "mul") && idioms.square(root).is_none();
    if nested { None } else { zero(idioms, root) }
}

/// Whether a tensor is of truth values, or of truth values made numbers.
fn is_choice(idioms: &Idioms<'_>, id: TensorId) -> bool {
    let mut at = id;
    for _ in 0..MOST_STEPS {
        if idioms.graph.ty(at).dtype == crate::tensor::Dtype::Bool {
            return true;
        }
        match idioms.call(at, "to") {
            Some(node) => at = node.arguments[0],
            None => return false,
        }
    }
    false
}
