//! Normalisation of each channel: `batch_norm` and `instance_norm`, with running statistics.

use smallvec::SmallVec;

use super::definition::{BASE, Default, attribute, operand, optional};
use super::normalised::{
    EPS, affine, affine_interval, affine_moments, affine_parameters, channels, eps, infer_channels,
    normalising_work, scaled_gain, standardised, standardised_moments, statistics,
};
use super::pointwise::range;
use super::{
    Attribute, AttributeKind, Call, Init, Op, OpError, Operand, ParameterDefinition, Saved,
};
use crate::tensor::{Dtype, Interval, Moments, Shape};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "batch_norm",
        aliases: &["batch_norm1d", "batch_norm2d", "batch_norm3d"],
        summary: "normalises each channel over the batch and all positions",
        operands: TRACKED,
        attributes: &[
            EPS,
            MOMENTUM,
            affine(true),
            tracking(true),
            attribute(
                "sync",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether all data-parallel ranks share their statistics",
            ),
            attribute(
                "num_features",
                AttributeKind::Size,
                Default::None,
                "checked if given",
            ),
        ],
        parameters: Some(|call| tracked_parameters(call, channels(call, 2)?)),
        infer: |call| infer_channels(call, 2),
        work: |call| normalising_work(call, if uses_batch(call) { 4 } else { 0 }),
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.argument(call, 1);
            saved.argument(call, 3);
            saved.argument(call, 4);
            let count = channels(call, 2).unwrap_or(0);
            kernel_saved(call, count, saved);
        },
        interval: |call, ranges| {
            let scaled = match uses_batch(call) {
                true => standardised(call, ranges, per_channel(call)),
                false => by_running_statistics(call, ranges),
            };
            affine_interval(call, ranges, scaled)
        },
        moments: |call, moments| {
            let scaled = match uses_batch(call) {
                true => standardised_moments(call, moments)?,
                false => by_running_moments(call, moments)?,
            };
            affine_moments(call, moments, scaled)
        },
        gradient_gain: |call, position, moments| {
            let variance = match uses_batch(call) {
                true => (*moments.first()?)?.variance,
                false => (*moments.get(4)?)?.mean.max(0.0),
            };
            scaled_gain(call, position, moments, variance)
        },
        ..BASE
    },
    Op {
        name: "instance_norm",
        aliases: &["instance_norm1d", "instance_norm2d", "instance_norm3d"],
        summary: "normalises each channel of each sample over all positions",
        operands: TRACKED,
        attributes: &[
            EPS,
            MOMENTUM,
            affine(false),
            tracking(false),
            attribute(
                "num_features",
                AttributeKind::Size,
                Default::None,
                "checked if given",
            ),
        ],
        parameters: Some(|call| tracked_parameters(call, channels(call, 3)?)),
        infer: |call| infer_channels(call, 3),
        work: |call| normalising_work(call, if uses_batch(call) { 4 } else { 0 }),
        // PyTorch runs it as a `batch_norm` of [1, batch · channels, …], for which it repeats the
        // weight and the running statistics.
        saved: |call, saved| {
            saved.argument(call, 0);
            let Ok(shape) = call.shape(0) else { return };
            let count = shape.sizes()[..2].iter().product();
            for (position, name) in [(1, "weight"), (3, "running mean"), (4, "running variance")] {
                if let Ok(dtype) = call.dtype(position) {
                    saved.extra(name, count, dtype);
                }
            }
            kernel_saved(call, count, saved);
        },
        interval: |call, ranges| {
            let count = call
                .shape(0)
                .map_or(0, |shape| shape.sizes()[2..].iter().product());
            let scaled = match uses_batch(call) {
                true => standardised(call, ranges, count),
                false => by_running_statistics(call, ranges),
            };
            affine_interval(call, ranges, scaled)
        },
        moments: |call, moments| {
            let scaled = match uses_batch(call) {
                true => standardised_moments(call, moments)?,
                false => by_running_moments(call, moments)?,
            };
            affine_moments(call, moments, scaled)
        },
        gradient_gain: |call, position, moments| {
            let variance = match uses_batch(call) {
                true => (*moments.first()?)?.variance,
                false => (*moments.get(4)?)?.mean.max(0.0),
            };
            scaled_gain(call, position, moments, variance)
        },
        ..BASE
    },
];

/// In the order of ATen's `batch_norm`.
const TRACKED: &[Operand] = &[
    operand("input"),
    optional("weight"),
    optional("bias"),
    optional("running_mean"),
    optional("running_var"),
    optional("num_batches_tracked"),
];

const MOMENTUM: Attribute = attribute(
    "momentum",
    AttributeKind::Float,
    Default::Float(0.1),
    "weight of a new batch in the running statistics",
);

const fn tracking(default: bool) -> Attribute {
    let summary = "whether to keep running statistics for evaluation";
    attribute(
        "track_running_stats",
        AttributeKind::Boolean,
        Default::Boolean(default),
        summary,
    )
}

/// Whether the statistics are those of the input, not running ones.
fn uses_batch(call: &Call) -> bool {
    call.training || !call.has(3)
}

/// What the kernel keeps of its own. cuDNN's has space for a backward pass, of no bytes in the mode
/// that PyTorch takes, and has no statistics of a layer that normalises by running ones; PyTorch's
/// allocates them all the same.
fn kernel_saved(call: &Call, count: u64, saved: &mut Saved) {
    let cudnn = uses_cudnn(call);
    if !cudnn || uses_batch(call) {
        statistics(call, saved, &["mean", "invstd"], count);
    }
    if cudnn {
        saved.extra("reserve space", 0, Dtype::Uint8);
    }
}

/// Whether the call runs in cuDNN, by the conditions in PyTorch's `Normalization.cpp`.
fn uses_cudnn(call: &Call) -> bool {
    let Ok(input) = call.ty(0) else { return false };
    let weight = call.dtype(1).ok();
    let affine = call.has(1) && call.has(2);
    let fits = match input.dtype {
        Dtype::Float32 | Dtype::Float64 => true,
        Dtype::Float16 => weight == Some(Dtype::Float32),
        _ => false,
    };
    let batch = if uses_batch(call) { 880_801 } else { 65_535 };
    fits && weight.is_some_and(|dtype| dtype != Dtype::Bfloat16)
        && affine
        && input.shape.rank() >= 3
        && input.shape.size(0).is_some_and(|size| size <= batch)
}

/// Elements of each channel.
fn per_channel(call: &Call) -> u64 {
    channels(call, 2).map_or(0, |channels| call.elements(0) / channels.max(1))
}

fn tracked_parameters(
    call: &Call,
    channels: u64,
) -> Result<SmallVec<[ParameterDefinition; 2]>, OpError> {
    let mut parameters = affine_parameters(call, channels)?;
    if call.boolean("track_running_stats") {
        // Of the model's type: `model.half()` casts floating point buffers too.
        let statistic = |position, name: &'static str, value| ParameterDefinition {
            buffer: true,
            ..ParameterDefinition::new(position, name, [channels], Init::Constant(value))
        };
        parameters.push(statistic(3, "running_mean", 0.0));
        parameters.push(statistic(4, "running_var", 1.0));
        parameters.push(ParameterDefinition::buffer(
            5,
            "num_batches_tracked",
            Shape::scalar(),
            Dtype::Int64,
            0.0,
        ));
    }
    Ok(parameters)
}

/// The range after normalisation by running statistics, of which the variance is not negative.
fn by_running_statistics(call: &Call, ranges: &[Interval]) -> Interval {
    let variance = range(ranges, 4).clamped(0.0, f64::INFINITY) + Interval::point(eps(call));
    (range(ranges, 0) - range(ranges, 3)) / variance.map_increasing(f64::sqrt)
}

fn by_running_moments(call: &Call, moments: &[Option<Moments>]) -> Option<Moments> {
    let (input, mean) = ((*moments.first()?)?, (*moments.get(3)?)?);
    let scale = 1.0 / ((*moments.get(4)?)?.mean.max(0.0) + eps(call)).sqrt();
    let shifted = Moments::new(input.mean - mean.mean, input.variance + mean.variance);
    Some(Moments::new(
        shifted.mean * scale,
        shifted.variance * scale * scale,
    ))
}
