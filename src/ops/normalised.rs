//! What normalisations share: weight and bias, statistics, and the ranges and moments of what has
//! been normalised.
//!
//! Other arithmetic is counted per element: 1 for a mean, 3 for a variance, 2 for subtracting and
//! scaling, 1 each for weight and bias.

use smallvec::{SmallVec, smallvec};

use super::definition::{Default, attribute};
use super::gradient::{self, Gradient, Kernels};
use super::pointwise::{operations, range};
use super::{
    Attribute, AttributeKind, Call, Init, OpError, Outputs, ParameterDefinition, Saved, Work,
    multilinear,
};
use crate::tensor::{Dtype, Interval, Moments, Shape};

pub(super) const EPS: Attribute = attribute(
    "eps",
    AttributeKind::Float,
    Default::Float(1e-5),
    "added to the variance",
);

pub(super) const fn affine(default: bool) -> Attribute {
    let summary = "whether to multiply by a weight and add a bias";
    attribute(
        "affine",
        AttributeKind::Boolean,
        Default::Boolean(default),
        summary,
    )
}

/// What is added to the variance or mean square.
pub(super) fn eps(call: &Call) -> f64 {
    call.float("eps").unwrap_or_else(|| match call.dtype(0) {
        Ok(Dtype::Float64) => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    })
}

/// The size of the second axis of an input of at least `rank` axes.
pub(super) fn channels(call: &Call, rank: usize) -> Result<u64, OpError> {
    let input = call.shape(0)?;
    if input.rank() < rank || input.rank() > 5 {
        let positions = if rank > 2 { ", positions …" } else { ", …" };
        let message = format!(
            "`{}` takes [batch, channels{positions}], but its input is {input}",
            call.op.name
        );
        return Err(OpError::new(message).operands([0]));
    }
    let channels = input.sizes()[1];
    for name in ["num_features", "num_channels"] {
        if call.op.attribute_position(name).is_some()
            && let Some(given) = call.integer(name)
            && given != channels as i64
        {
            let message = format!("`{name}` is {given}, but the input {input} has {channels}");
            let position = call.op.attribute_position(name).unwrap_or(0);
            let name = call.op.attributes[position].name;
            return Err(OpError::new(message).operands([0]).attribute(name));
        }
    }
    Ok(channels)
}

pub(super) fn affine_parameters(
    call: &Call,
    channels: u64,
) -> Result<SmallVec<[ParameterDefinition; 2]>, OpError> {
    if !call.boolean("affine") {
        return Ok(SmallVec::new());
    }
    Ok(smallvec![
        ParameterDefinition::new(1, "weight", [channels], Init::Constant(1.0)),
        ParameterDefinition::new(2, "bias", [channels], Init::Constant(0.0)),
    ])
}

pub(super) fn fits(call: &Call, position: usize, expected: &Shape) -> Result<(), OpError> {
    if let Some(argument) = call.argument(position)
        && argument.ty.shape != *expected
    {
        let message = format!(
            "`{}` of `{}` is {}, but must be {expected} for the input {}",
            call.op.operand_name(position),
            call.op.name,
            argument.ty.shape,
            call.shape(0)?
        );
        return Err(OpError::new(message).operands([position, 0]));
    }
    Ok(())
}

pub(super) fn floating(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    if !input.dtype.is_float() {
        let message = format!(
            "`{}` needs floating point, but its input is {input}",
            call.op.name
        );
        return Err(OpError::new(message)
            .operands([0])
            .help("cast it with `to`"));
    }
    Ok(smallvec![input.clone()])
}

/// The input's own type, if weight, bias and statistics have one element for each channel.
pub(super) fn infer_channels(call: &Call, rank: usize) -> Result<Outputs, OpError> {
    let expected = Shape::from([channels(call, rank)?]);
    for position in 1..call.arguments.len().min(5) {
        fits(call, position, &expected)?;
    }
    floating(call)
}

/// Keeps statistics, in at least float32.
pub(super) fn statistics(call: &Call, saved: &mut Saved, names: &[&'static str], count: u64) {
    let dtype = match call.dtype(0) {
        Ok(Dtype::Float64) => Dtype::Float64,
        _ => Dtype::Float32,
    };
    for name in names {
        saved.extra(name, count, dtype);
    }
}

/// `statistics`, subtracting and scaling, weight and bias, for every element.
pub(super) fn normalising_work(call: &Call, statistics: u128) -> Work {
    operations(
        call,
        statistics + 2 + u128::from(call.has(1)) + u128::from(call.has(2)),
    )
}

/// The range of `(x − mean)/√(variance + eps)` over `count` elements: at most `√(count − 1)`, which
/// one outlier among equals reaches, and at most the width of the input's range over `√eps`.
pub(super) fn standardised(call: &Call, ranges: &[Interval], count: u64) -> Interval {
    let (input, eps) = (range(ranges, 0), eps(call));
    let outlier = (count.saturating_sub(1) as f64).sqrt();
    let width = input.high - input.low;
    let bound = match eps > 0.0 {
        true => outlier.min(width / eps.sqrt()),
        false => outlier,
    };
    Interval::new(0.0 - bound, bound).or_non_finite(eps <= 0.0)
}

pub(super) fn affine_interval(call: &Call, ranges: &[Interval], mut scaled: Interval) -> Interval {
    if call.has(1) {
        scaled = scaled * range(ranges, 1);
    }
    if call.op.operands.len() > 2 && call.has(2) {
        scaled = scaled + range(ranges, 2);
    }
    scaled
}

pub(super) fn standardised_moments(call: &Call, moments: &[Option<Moments>]) -> Option<Moments> {
    let variance = (*moments.first()?)?.variance;
    Some(Moments::new(
        0.0,
        variance / (variance + eps(call)).max(f64::MIN_POSITIVE),
    ))
}

pub(super) fn affine_moments(
    call: &Call,
    moments: &[Option<Moments>],
    mut scaled: Moments,
) -> Option<Moments> {
    if call.has(1) {
        scaled = multilinear::moments([Some(scaled), *moments.get(1)?], 1.0)?;
    }
    if call.op.operands.len() > 2 && call.has(2) {
        let bias = (*moments.get(2)?)?;
        scaled = Moments::new(scaled.mean + bias.mean, scaled.variance + bias.variance);
    }
    Some(scaled)
}

/// `E[weight²] / (variance + eps)`, the gradient through the statistics left out: it is smaller by
/// the number of elements that share them.
pub(super) fn scaled_gain(
    call: &Call,
    position: usize,
    moments: &[Option<Moments>],
    variance: f64,
) -> Option<f64> {
    (position == 0).then_some(())?;
    let weight = match call.has(1) {
        true => (*moments.get(1)?)?.square(),
        false => 1.0,
    };
    let gain = weight / (variance + eps(call));
    gain.is_finite().then_some(gain)
}

/// What `rms_norm` keeps: both operands and the statistic of each row. Taken apart, its product with
/// the weight keeps its other factor, too.
pub(super) fn save_root_mean_square(call: &Call, saved: &mut Saved, rows: u64) {
    saved.argument(call, 0);
    saved.argument(call, 1);
    statistics(call, saved, &["rstd"], rows);
    if let (Kernels::Traced, true, Some(output)) =
        (saved.kernels, call.requires_grad(1), call.output())
    {
        saved.extra("normalised", call.elements(0), output.dtype);
    }
}

/// The gradient of `rms_norm`: one kernel, or the gradients of x · rstd · weight and of rstd one by
/// one, down to that of the squares, which is added to that of x · rstd.
pub(super) fn root_mean_square_gradient(call: &Call, gradient: &mut Gradient<'_>, rows: u64) {
    if !gradient.is_traced() {
        return gradient::each(call, gradient);
    }
    let all = gradient.operand_bytes(0);
    let each = rows.saturating_mul(all) / call.elements(0).max(1);
    if call.has(1) {
        gradient.make_summed(1);
        gradient.node(all);
        gradient.release("normalised");
    }
    if !call.requires_grad(0) {
        return;
    }
    gradient.make(0);
    gradient.moment(&[all, each]);
    gradient.node(each);
    gradient.release("rstd");
    gradient.moment(&[each, each]);
    gradient.node(all);
    gradient.scratch_all(&[all, all]);
    gradient.make(0);
}
