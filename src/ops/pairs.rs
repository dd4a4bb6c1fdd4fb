//! What losses over pairs of tensors share: the pairs, and the shape, work and range of their
//! reduction.

use smallvec::smallvec;

use super::definition::{BASE, operand};
use super::reduction::{REDUCTION, Reduction, same_shape};
use super::{Autocast, Call, Op, OpError, Operand, Outputs, Saved, Work};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

pub(super) const INPUT_TARGET: &[Operand] = &[operand("input"), operand("target")];

/// A loss of each pair of elements.
pub(super) const PAIR: Op = Op {
    operands: INPUT_TARGET,
    attributes: &[REDUCTION],
    infer: infer_pair,
    autocast: Autocast::Float32,
    ..BASE
};

/// The range of `|x|`.
pub(super) fn magnitude(x: Interval) -> Interval {
    Interval::new(x.least_magnitude(), x.magnitude()).or_non_finite(x.non_finite)
}

/// The pairs that broadcasting makes of input and target.
pub(super) fn pair_shape(call: &Call) -> Result<Shape, OpError> {
    let (input, target) = (call.shape(0)?, call.shape(1)?);
    input.broadcast(target).ok_or_else(|| {
        let message = format!("the input {input} and the target {target} do not broadcast");
        OpError::new(message).operands([0, 1])
    })
}

pub(super) fn infer_pair(call: &Call) -> Result<Outputs, OpError> {
    pair_outputs(call, pair_shape(call)?)
}

pub(super) fn pair_outputs(call: &Call, pairs: Shape) -> Result<Outputs, OpError> {
    let dtype = call.promoted_dtype();
    if !dtype.is_float() {
        let message = format!(
            "`{}` needs floating point, but its operands are {dtype}",
            call.op.name
        );
        return Err(OpError::new(message)
            .operands([0, 1])
            .help("cast them with `to`"));
    }
    Ok(smallvec![TensorType {
        shape: Reduction::of(call).shape(pairs),
        dtype
    }])
}

/// The rows of operands `[rows, width]` or `[width]`, all of one shape, and of a target for each.
pub(super) fn rows(
    call: &Call,
    positions: &[usize],
    target: Option<usize>,
) -> Result<Shape, OpError> {
    for &position in &positions[1..] {
        same_shape(call, position, positions[0])?;
    }
    let first = call.shape(positions[0])?;
    if first.rank() == 0 || (target.is_some() && first.rank() > 2) {
        let message = format!(
            "`{}` takes [batch, width], but `{}` is {first}",
            call.op.name,
            call.op.operand_name(positions[0])
        );
        return Err(OpError::new(message).operands([positions[0]]));
    }
    let rows = Shape::from(&first.sizes()[..first.rank() - 1]);
    if let Some(position) = target
        && *call.shape(position)? != rows
    {
        let message = format!(
            "the target is {}, but must have one element for each row: {rows}",
            call.shape(position)?
        );
        return Err(OpError::new(message).operands([position, positions[0]]));
    }
    Ok(rows)
}

/// The losses before reduction: how many, and how many in the first axis.
pub(super) fn counts(call: &Call) -> Option<(u64, u64)> {
    let shape = match call.op.name {
        "cosine_embedding_loss" => rows(call, &[0, 1], Some(2)).ok()?,
        "triplet_margin_loss" => rows(call, &[0, 1, 2], None).ok()?,
        "margin_ranking_loss" | "gaussian_nll_loss" => call.broadcast().ok()?,
        _ => pair_shape(call).ok()?,
    };
    Some((shape.elements(), shape.size(0).unwrap_or(1)))
}

pub(super) fn pairs(call: &Call) -> u64 {
    counts(call).map_or(0, |(count, _)| count)
}

pub(super) fn pairs_work(call: &Call, each: u128) -> Work {
    Work::other(each * u128::from(pairs(call)))
}

pub(super) fn output_dtype(call: &Call) -> Dtype {
    call.output().map_or(Dtype::Float32, |ty| ty.dtype)
}

/// Both, for the gradient of either needs them.
pub(super) fn save_pair(call: &Call, saved: &mut Saved) {
    saved.argument(call, 0);
    saved.argument(call, 1);
}

/// The range after reduction, from that of the loss of an element.
pub(super) fn finish(call: &Call, element: Interval) -> Interval {
    let Some((count, batch)) = counts(call) else {
        return Interval::ANYTHING;
    };
    Reduction::of(call).interval(element, count, batch)
}
