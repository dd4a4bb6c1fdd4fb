//! What sums of products have in common: `Σ a·b` of matrix products, convolutions, einsums.
//!
//! How many terms a sum has is the ops' matter.

use super::{Call, OpError};
use crate::tensor::{Dtype, Interval, Moments};

/// The element type of a sum of products of the operands at `positions`, of which those left out
/// do not count.
///
/// PyTorch wants them all of one type, which under autocast they are once it has cast them; so
/// different floats promote here.
///
/// # Errors
/// Where floats meet integers.
pub fn dtype(call: &Call, positions: impl IntoIterator<Item = usize>) -> Result<Dtype, OpError> {
    let mut result: Option<(Dtype, usize)> = None;
    for position in positions {
        let Some(argument) = call.argument(position) else {
            continue;
        };
        let dtype = argument.ty.dtype;
        result = match result {
            Some((first, at)) if first.is_float() != dtype.is_float() => {
                let message = format!(
                    "`{}` cannot multiply {first} with {dtype}: `{}` and `{}` must both be \
                     floating point or both be integers",
                    call.op.name,
                    call.op.operand_name(at),
                    call.op.operand_name(position),
                );
                let help = "cast one of them with `to`";
                return Err(OpError::new(message).operands([at, position]).help(help));
            }
            Some((first, at)) => Some((first.promote(dtype), at)),
            None => Some((dtype, position)),
        };
    }
    Ok(result.map_or(Dtype::Float32, |(dtype, _)| dtype))
}

/// The range of a sum of `terms` products, each of one element of every factor.
pub fn interval(factors: impl IntoIterator<Item = Interval>, terms: u64) -> Interval {
    let product = factors
        .into_iter()
        .fold(Interval::point(1.0), |product, factor| product * factor);
    product * Interval::point(terms as f64)
}

/// Moments of a sum of `terms` products of independent factors:
/// `Var[Σ ab] = n·(E[a²]E[b²] − E[a]²E[b]²)`.
pub fn moments(factors: impl IntoIterator<Item = Option<Moments>>, terms: f64) -> Option<Moments> {
    let (mut mean, mut square) = (1.0, 1.0);
    for factor in factors {
        let factor = factor?;
        mean *= factor.mean;
        square *= factor.square();
    }
    Some(Moments::new(terms * mean, terms * (square - mean * mean)))
}

/// By what factor the variance of a gradient grows towards the operand at `position`: the number of
/// products that one of its elements takes part in, times the second moments of the other factors.
pub fn gain(
    call: &Call,
    position: usize,
    others: impl IntoIterator<Item = Option<Moments>>,
    terms: f64,
) -> Option<f64> {
    let elements = call.elements(position).max(1) as f64;
    let mut gain = call.output_elements() as f64 * terms / elements;
    for other in others {
        gain *= other?.square();
    }
    Some(gain)
}

/// Two for each of a number of multiply-adds that is the product of these sizes; saturates.
pub fn flops(sizes: impl IntoIterator<Item = u64>) -> u128 {
    let multiply = |product: u128, size: u64| product.saturating_mul(u128::from(size));
    sizes.into_iter().fold(2, multiply)
}
