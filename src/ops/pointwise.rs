//! What ops that work element by element have in common: broadcasting and promotion, and ranges,
//! moments and gradient gains that follow from the value of one element.
//!
//! The entries themselves stand in `arithmetic`, `unary`, `comparison`, `conversion` and
//! `activation`.

use smallvec::smallvec;

use super::definition::{BASE, Element, operand};
use super::layout::preserved;
use super::{Argument, Call, Op, OpError, Operand, Outputs, Saved, gaussian};
use crate::tensor::{Dtype, Interval, Moments, TensorType};

/// The relative slack for what the platform's mathematical library computes.
pub const LIBRARY_ERROR: f64 = 1e-15;

/// `input`.
pub const INPUT: &[Operand] = &[operand("input")];
/// `input` and `other`.
pub const INPUT_OTHER: &[Operand] = &[operand("input"), operand("other")];

/// An entry for a function of one element that makes floats of integers (`exp`, `sqrt`).
pub const fn function(name: &'static str, summary: &'static str, element: Element) -> Op {
    Op {
        name,
        summary,
        infer: float_like_first,
        layout: preserved,
        element: Some(element),
        interval: increasing,
        moments: normal_moments,
        gradient_gain: normal_gain,
        ..BASE
    }
}

/// An entry for a function of two elements that broadcasts and promotes (`add`, `maximum`).
pub const fn binary(name: &'static str, summary: &'static str, element: Element) -> Op {
    Op {
        name,
        summary,
        operands: INPUT_OTHER,
        infer: broadcast_promoted,
        layout: preserved,
        element: Some(element),
        moments: normal_moments,
        gradient_gain: normal_gain,
        ..BASE
    }
}

/// The float type that a function of reals gives for elements of `dtype`: integers become
/// float32.
pub fn float_of(dtype: Dtype) -> Dtype {
    if dtype.is_float() {
        dtype
    } else {
        Dtype::Float32
    }
}

/// The real type of the parts of a complex type; other types are their own.
pub fn real_of(dtype: Dtype) -> Dtype {
    match dtype {
        Dtype::Complex64 => Dtype::Float32,
        Dtype::Complex128 => Dtype::Float64,
        dtype => dtype,
    }
}

/// The first operand's shape, in floats.
pub fn float_like_first(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    Ok(smallvec![TensorType {
        shape: input.shape.clone(),
        dtype: float_of(input.dtype),
    }])
}

/// The operands broadcast together, in the type that they promote to.
pub fn broadcast_promoted(call: &Call) -> Result<Outputs, OpError> {
    Ok(smallvec![TensorType {
        shape: call.broadcast()?,
        dtype: call.promoted_dtype(),
    }])
}

/// The same, in floats.
pub fn broadcast_float(call: &Call) -> Result<Outputs, OpError> {
    Ok(smallvec![TensorType {
        shape: call.broadcast()?,
        dtype: float_of(call.promoted_dtype()),
    }])
}

/// The operands broadcast together, in booleans.
pub fn broadcast_boolean(call: &Call) -> Result<Outputs, OpError> {
    Ok(smallvec![TensorType {
        shape: call.broadcast()?,
        dtype: Dtype::Bool,
    }])
}

/// Fails where one of the operands at `positions` is of a type that `refused` says.
///
/// # Errors
/// `"`name` does not take bool tensors: `operand` is bool [3]"`.
pub fn refuse(
    call: &Call,
    positions: impl IntoIterator<Item = usize>,
    what: &str,
    refused: impl Fn(Dtype) -> bool,
) -> Result<(), OpError> {
    for position in positions {
        if let Some(argument) = call.argument(position)
            && refused(argument.ty.dtype)
        {
            let operand = call.op.operand_name(position);
            let message = format!(
                "`{}` does not take {what}, but `{operand}` is {}",
                call.op.name, argument.ty
            );
            return Err(OpError::new(message).operands([position]));
        }
    }
    Ok(())
}

/// `count` operations for every element of the first output.
pub fn operations(call: &Call, count: u128) -> super::Work {
    super::Work::other(count.saturating_mul(u128::from(call.output_elements())))
}

/// Keeps the operand, unless it is a number written in the spec.
pub fn keep(call: &Call, saved: &mut Saved, position: usize) {
    if call.constant(position).is_none() {
        saved.argument(call, position);
    }
}

/// Keeps each of two factors if the other one needs a gradient.
pub fn save_factors(call: &Call, saved: &mut Saved) {
    for (kept, needed_by) in [(1, 0), (0, 1)] {
        if call.requires_grad(needed_by) {
            keep(call, saved, kept);
        }
    }
}

/// Keeps all operands but numbers.
pub fn save_operands(call: &Call, saved: &mut Saved) {
    for position in 0..call.arguments.len() {
        keep(call, saved, position);
    }
}

/// The operand's range; anything where there is none.
pub fn range(ranges: &[Interval], position: usize) -> Interval {
    ranges.get(position).copied().unwrap_or(Interval::ANYTHING)
}

/// The image of the first operand's range under the op's element function, which never falls.
pub fn increasing(call: &Call, ranges: &[Interval]) -> Interval {
    match call.op.element {
        Some(element) => range(ranges, 0)
            .map_increasing(|x| element(call, &[x]))
            .widened(LIBRARY_ERROR),
        None => Interval::ANYTHING,
    }
}

/// The image of the first operand's range under the op's element function, which never falls and
/// is exact in floating point: rounding, clamping, `max(x, 0)`.
pub fn increasing_exactly(call: &Call, ranges: &[Interval]) -> Interval {
    match call.op.element {
        Some(element) => range(ranges, 0).map_increasing(|x| element(call, &[x])),
        None => Interval::ANYTHING,
    }
}

/// The smallest range over the corners of the box of two ranges; right for a function that is
/// monotone in each argument while the other is held.
pub fn corners(a: Interval, b: Interval, f: impl Fn(f64, f64) -> f64) -> Interval {
    let values = [
        f(a.low, b.low),
        f(a.low, b.high),
        f(a.high, b.low),
        f(a.high, b.high),
    ];
    if values.iter().any(|value| value.is_nan()) {
        return Interval::REAL;
    }
    values
        .into_iter()
        .map(Interval::point)
        .reduce(Interval::union)
        .unwrap_or(Interval::REAL)
        .or_non_finite(a.non_finite || b.non_finite)
}

/// The operand's moments; a number's own where it is one.
pub fn operand_moments(
    call: &Call,
    moments: &[Option<Moments>],
    position: usize,
) -> Option<Moments> {
    match call.constant(position) {
        Some(value) => Some(Moments::constant(value)),
        None => moments.get(position).copied().flatten(),
    }
}

/// Moments of the element function of one or two independent normal operands.
pub fn normal_moments(call: &Call, moments: &[Option<Moments>]) -> Option<Moments> {
    let element = call.op.element?;
    let x = operand_moments(call, moments, 0)?;
    match call.op.operands.len() {
        1 => gaussian::moments(x, |x| element(call, &[x])),
        2 => {
            let y = operand_moments(call, moments, 1)?;
            let mean = gaussian::expectation_of_two(x, y, |x, y| element(call, &[x, y]));
            let square = gaussian::expectation_of_two(x, y, |x, y| element(call, &[x, y]).powi(2));
            gaussian::moments_from(mean, square)
        }
        _ => None,
    }
}

/// `E[(∂f/∂xᵢ)²]` of the element function of one or two independent normal operands, times the
/// number of elements that each element of the operand was broadcast to, whose gradients are
/// summed.
pub fn normal_gain(call: &Call, position: usize, moments: &[Option<Moments>]) -> Option<f64> {
    let element = call.op.element?;
    let x = operand_moments(call, moments, 0)?;
    let gain = match (call.op.operands.len(), position) {
        (1, 0) => gaussian::gain(x, |x| element(call, &[x]))?,
        (2, 0 | 1) => {
            let y = operand_moments(call, moments, 1)?;
            let step = gaussian::difference_step(if position == 0 { x } else { y });
            let (dx, dy) = if position == 0 {
                (step, 0.0)
            } else {
                (0.0, step)
            };
            gaussian::expectation_of_two(x, y, |x, y| {
                let rise = element(call, &[x + dx, y + dy]) - element(call, &[x - dx, y - dy]);
                (rise / (2.0 * step)).powi(2)
            })
        }
        _ => return None,
    };
    let gain = gain * broadcast_factor(call, position)?;
    gain.is_finite().then_some(gain)
}

/// How many elements of the output each element of the operand goes to.
pub fn broadcast_factor(call: &Call, position: usize) -> Option<f64> {
    let Argument { ty, constant, .. } = call.argument(position)?;
    if constant.is_some() {
        return None;
    }
    let elements = ty.shape.elements().max(1) as f64;
    Some(call.output_elements() as f64 / elements)
}
