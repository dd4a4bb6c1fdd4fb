//! Normalisation of rows and groups: `layer_norm`, `group_norm`, `rms_norm`,
//! `local_response_norm`.

use smallvec::{SmallVec, smallvec};

use super::definition::{BASE, Default, attribute, operand, optional};
use super::normalised::{
    EPS, affine, affine_interval, affine_moments, affine_parameters, channels, eps, fits, floating,
    infer_channels, normalising_work, root_mean_square_gradient, save_root_mean_square,
    scaled_gain, standardised, standardised_moments, statistics,
};
use super::pointwise::{operations, range};
use super::{
    Attribute, AttributeKind, Autocast, Call, Init, Op, OpError, Operand, Outputs,
    ParameterDefinition,
};
use crate::tensor::{Dtype, Interval, Moments, Shape};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "layer_norm",
        summary: "normalises over the last axes",
        operands: AFFINE,
        attributes: &[
            NORMALIZED_SHAPE,
            EPS,
            ELEMENTWISE_AFFINE,
            attribute(
                "bias",
                AttributeKind::Parameter,
                Default::Boolean(true),
                "whether to add one",
            ),
        ],
        parameters: Some(|call| {
            if !call.boolean("elementwise_affine") {
                return Ok(SmallVec::new());
            }
            let shape = normalized_shape(call)?;
            Ok(smallvec![
                ParameterDefinition::new(1, "weight", shape.clone(), Init::Constant(1.0)),
                ParameterDefinition::new(2, "bias", shape, Init::Constant(0.0)),
            ])
        }),
        infer: |call| infer_shaped(call, &[1, 2]),
        autocast: Autocast::Float32,
        work: |call| normalising_work(call, 4),
        saved: |call, saved| {
            for position in 0..3 {
                saved.argument(call, position);
            }
            statistics(call, saved, &["mean", "rstd"], rows(call));
        },
        interval: |call, ranges| {
            let count = normalized_shape(call).map_or(0, |shape| shape.elements());
            affine_interval(call, ranges, standardised(call, ranges, count))
        },
        ..STANDARDISED
    },
    Op {
        name: "group_norm",
        summary: "normalises groups of channels of each sample",
        operands: AFFINE,
        attributes: &[
            attribute(
                "num_groups",
                AttributeKind::Size,
                Default::Required,
                "number of groups",
            ),
            EPS,
            affine(true),
            attribute(
                "num_channels",
                AttributeKind::Size,
                Default::None,
                "checked if given",
            ),
        ],
        parameters: Some(|call| affine_parameters(call, channels(call, 2)?)),
        infer: |call| {
            let (channels, groups) = (channels(call, 2)?, call.size("num_groups")?);
            if groups == 0 || channels % groups != 0 {
                let message = format!("{channels} channels do not divide into {groups} groups");
                return Err(OpError::new(message).operands([0]).attribute("num_groups"));
            }
            infer_channels(call, 2)
        },
        autocast: Autocast::Float32,
        work: |call| normalising_work(call, 4),
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.argument(call, 1);
            // In the input's own type, unlike the statistics of the other normalisations.
            let batch = call
                .shape(0)
                .ok()
                .and_then(|shape| shape.size(0))
                .unwrap_or(1);
            let count = batch.saturating_mul(call.size("num_groups").unwrap_or(0));
            let dtype = call.dtype(0).unwrap_or(Dtype::Float32);
            saved.extra("mean", count, dtype);
            saved.extra("rstd", count, dtype);
        },
        interval: |call, ranges| {
            let samples = call
                .shape(0)
                .ok()
                .and_then(|shape| shape.size(0))
                .unwrap_or(1);
            let groups = call.size("num_groups").unwrap_or(1).saturating_mul(samples);
            let scaled = standardised(call, ranges, call.elements(0) / groups.max(1));
            affine_interval(call, ranges, scaled)
        },
        ..STANDARDISED
    },
    Op {
        name: "rms_norm",
        summary: "divides by the root mean square over the last axes",
        operands: &[operand("input"), optional("weight")],
        attributes: &[
            NORMALIZED_SHAPE,
            attribute(
                "eps",
                AttributeKind::Float,
                Default::None,
                "added to the mean square; the resolution of float32 (float64) where not given",
            ),
            ELEMENTWISE_AFFINE,
        ],
        parameters: Some(|call| {
            if !call.boolean("elementwise_affine") {
                return Ok(SmallVec::new());
            }
            let shape = normalized_shape(call)?;
            Ok(smallvec![ParameterDefinition::new(
                1,
                "weight",
                shape,
                Init::Constant(1.0)
            )])
        }),
        infer: |call| infer_shaped(call, &[1]),
        autocast: Autocast::Float32,
        work: |call| operations(call, 3 + u128::from(call.has(1))),
        saved: |call, saved| save_root_mean_square(call, saved, rows(call)),
        gradient: |call, gradient| root_mean_square_gradient(call, gradient, rows(call)),
        interval: |call, ranges| {
            let count = normalized_shape(call).map_or(0, |shape| shape.elements());
            let (input, eps) = (range(ranges, 0), eps(call));
            let bound = |end: f64| {
                let limit = (count as f64).sqrt();
                if end == 0.0 {
                    0.0
                } else {
                    (end / eps.max(0.0).sqrt()).clamp(-limit, limit)
                }
            };
            // The sign stays, and no element is more than √n root mean squares.
            let scaled = Interval::new(bound(input.low.min(0.0)), bound(input.high.max(0.0)));
            let unguarded = eps <= 0.0 && input.contains(0.0);
            affine_interval(call, ranges, scaled.or_non_finite(unguarded))
        },
        moments: |call, moments| {
            let input = (*moments.first()?)?;
            let scale = 1.0 / (input.square() + eps(call)).sqrt();
            let scaled = Moments::new(input.mean * scale, input.variance * scale * scale);
            affine_moments(call, moments, scaled)
        },
        gradient_gain: |call, position, moments| {
            let square = (*moments.first()?)?.square();
            scaled_gain(call, position, moments, square)
        },
        ..BASE
    },
    Op {
        name: "local_response_norm",
        aliases: &["lrn"],
        summary: "divides by a power of the mean square over neighbouring channels",
        attributes: &[
            attribute(
                "size",
                AttributeKind::Size,
                Default::Required,
                "number of channels",
            ),
            attribute(
                "alpha",
                AttributeKind::Float,
                Default::Float(1e-4),
                "factor of the mean",
            ),
            attribute(
                "beta",
                AttributeKind::Float,
                Default::Float(0.75),
                "exponent",
            ),
            attribute(
                "k",
                AttributeKind::Float,
                Default::Float(1.0),
                "added to the mean",
            ),
        ],
        infer: |call| {
            let input = call.ty(0)?;
            if input.shape.rank() < 3 {
                let message = format!(
                    "`local_response_norm` takes [batch, channels, …], but its input is {}",
                    input.shape
                );
                return Err(OpError::new(message).operands([0]));
            }
            if call.size("size")? == 0 {
                return Err(OpError::new("`size` must be at least 1").attribute("size"));
            }
            Ok(smallvec![input.clone()])
        },
        // Square, `size` additions, mean, `alpha`, `k`, power, quotient.
        work: |call| operations(call, 6 + u128::from(call.size("size").unwrap_or(0))),
        // As `torch.nn.functional` writes it: the padded squares, that the average pool keeps, the
        // base of the power, and both sides of the quotient.
        saved: |call, saved| {
            saved.argument(call, 0);
            let Ok(ty) = call.ty(0) else { return };
            let channels = ty.shape.sizes()[1];
            let size = call.size("size").unwrap_or(1);
            let padded = (ty.shape.elements() / channels.max(1))
                .saturating_mul(channels.saturating_add(size.saturating_sub(1)));
            saved.extra("padded squares", padded, ty.dtype);
            saved.extra("base", ty.shape.elements(), ty.dtype);
            saved.extra("divisor", ty.shape.elements(), ty.dtype);
        },
        interval: |call, ranges| {
            let number = |name| call.float(name).unwrap_or(f64::NAN);
            let (alpha, beta, k) = (number("alpha"), number("beta"), number("k"));
            if !(alpha >= 0.0 && beta >= 0.0 && k > 0.0) {
                return Interval::ANYTHING;
            }
            range(ranges, 0) * Interval::new(0.0, k.powf(-beta))
        },
        moments: |call, moments| {
            let input = (*moments.first()?)?;
            let scale = response_scale(call, input)?;
            Some(Moments::new(
                input.mean * scale,
                input.variance * scale * scale,
            ))
        },
        gradient_gain: |call, position, moments| {
            (position == 0).then_some(())?;
            Some(response_scale(call, (*moments.first()?)?)?.powi(2))
        },
        ..BASE
    },
];

const AFFINE: &[Operand] = &[operand("input"), optional("weight"), optional("bias")];

const NORMALIZED_SHAPE: Attribute = attribute(
    "normalized_shape",
    AttributeKind::Sizes,
    Default::None,
    "the last sizes of the input; its last size where not given",
);

const ELEMENTWISE_AFFINE: Attribute = attribute(
    "elementwise_affine",
    AttributeKind::Boolean,
    Default::Boolean(true),
    "whether to multiply by a weight",
);

/// Normalised by the statistics of the input itself.
const STANDARDISED: Op = Op {
    moments: |call, moments| affine_moments(call, moments, standardised_moments(call, moments)?),
    gradient_gain: |call, position, moments| {
        let variance = (*moments.first()?)?.variance;
        scaled_gain(call, position, moments, variance)
    },
    ..BASE
};

/// The input's own type, if the operands at `positions` have the normalised shape.
fn infer_shaped(call: &Call, positions: &[usize]) -> Result<Outputs, OpError> {
    let expected = normalized_shape(call)?;
    for &position in positions {
        fits(call, position, &expected)?;
    }
    floating(call)
}

/// The sizes that are normalised together: the last ones of the input.
fn normalized_shape(call: &Call) -> Result<Shape, OpError> {
    let input = call.shape(0)?;
    let Some(&last) = input.sizes().last() else {
        let message = format!(
            "`{}` needs at least one axis, but its input is a scalar",
            call.op.name
        );
        return Err(OpError::new(message).operands([0]));
    };
    let Some(given) = call.integers("normalized_shape") else {
        return Ok(Shape::from([last]));
    };
    let shape: Option<Shape> = given.iter().map(|&size| u64::try_from(size).ok()).collect();
    let shown = shape.unwrap_or_default();
    let from = input.rank().checked_sub(shown.rank());
    match from.map(|from| &input.sizes()[from..]) {
        Some(end) if !given.is_empty() && end == shown.sizes() => Ok(shown),
        end => {
            let end = end.map_or_else(|| input.clone(), Shape::from);
            let message = match given.is_empty() {
                true => "`normalized_shape` names no axis".to_owned(),
                false => {
                    format!("`normalized_shape` is {shown}, but the input {input} ends in {end}")
                }
            };
            Err(OpError::new(message)
                .operands([0])
                .attribute("normalized_shape"))
        }
    }
}

/// How many times the normalised shape stands in the input.
fn rows(call: &Call) -> u64 {
    let each = normalized_shape(call).map_or(1, |shape| shape.elements());
    call.elements(0) / each.max(1)
}

/// `(k + alpha · E[x²])^-beta`.
fn response_scale(call: &Call, input: Moments) -> Option<f64> {
    let (alpha, beta, k) = (call.float("alpha")?, call.float("beta")?, call.float("k")?);
    let scale = (k + alpha * input.square()).powf(-beta);
    scale.is_finite().then_some(scale)
}

#[cfg(test)]
mod tests {
    use super::super::cases::{
        Random, check, check_intervals, check_parameters, check_saved, with,
    };
    use super::*;

    #[test]
    fn shapes_and_errors() {
        check(&[
            ("batch_norm([2, 3])", "float32 [2, 3]"),
            ("batch_norm(bfloat16 [2, 3, 4, 5])", "bfloat16 [2, 3, 4, 5]"),
            (
                "batch_norm([3])",
                "error: `batch_norm` takes [batch, channels, …], but its input is [3]",
            ),
            (
                "batch_norm([2, 3, 4], num_features=4)",
                "error: `num_features` is 4, but the input [2, 3, 4] has 3",
            ),
            (
                "batch_norm([2, 3, 4], [4])",
                "error: `weight` of `batch_norm` is [4], but must be [3] for the input [2, 3, 4]",
            ),
            (
                "batch_norm(int64 [2, 3])",
                "error: `batch_norm` needs floating point, but its input is int64 [2, 3]",
            ),
            ("layer_norm([2, 3, 4])", "float32 [2, 3, 4]"),
            (
                "layer_norm([2, 3, 4], normalized_shape=[3, 4])",
                "float32 [2, 3, 4]",
            ),
            (
                "layer_norm([2, 3, 4], normalized_shape=3)",
                "error: `normalized_shape` is [3], but the input [2, 3, 4] ends in [4]",
            ),
            (
                "layer_norm([4], normalized_shape=[3, 4])",
                "error: `normalized_shape` is [3, 4], but the input [4] ends in [4]",
            ),
            (
                "layer_norm([])",
                "error: `layer_norm` needs at least one axis, but its input is a scalar",
            ),
            ("group_norm([2, 6, 4], num_groups=3)", "float32 [2, 6, 4]"),
            (
                "group_norm([2, 6, 4], num_groups=4)",
                "error: 6 channels do not divide into 4 groups",
            ),
            (
                "instance_norm([2, 6])",
                "error: `instance_norm` takes [batch, channels, positions …], but its input is [2, 6]",
            ),
            ("rms_norm([2, 6])", "float32 [2, 6]"),
            (
                "local_response_norm([2, 6, 4], size=3)",
                "float32 [2, 6, 4]",
            ),
        ]);
        check_parameters(&[
            (
                "batch_norm([2, 3, 4])",
                "weight [3], bias [3], (running_mean [3]), (running_var [3]), (num_batches_tracked [])",
            ),
            (
                "batch_norm([2, 3, 4], affine=false, track_running_stats=false)",
                "",
            ),
            (
                "layer_norm([2, 3, 4], normalized_shape=[3, 4])",
                "weight [3, 4], bias [3, 4]",
            ),
            ("layer_norm([2, 3, 4], bias=false)", "weight [4]"),
            ("layer_norm([2, 3, 4], elementwise_affine=false)", ""),
            (
                "group_norm([2, 6, 4], num_groups=3)",
                "weight [6], bias [6]",
            ),
            ("instance_norm([2, 6, 4])", ""),
            ("rms_norm([2, 6])", "weight [6]"),
        ]);
    }

    /// What PyTorch 2.15's `saved_tensors_hooks` showed on (fake) CUDA tensors.
    #[test]
    fn input_and_statistics_are_kept() {
        check_saved(&[
            (
                "batch_norm([2, 3, 4])",
                "input, weight, running_mean, running_var, mean: 3 float32, invstd: 3 float32, reserve space: 0 uint8",
            ),
            (
                "batch_norm([2, 3, 4]) eval",
                "input, weight, running_mean, running_var, reserve space: 0 uint8",
            ),
            // cuDNN takes neither bfloat16 nor batches without positions.
            (
                "batch_norm(bfloat16 [2, 3, 4]) eval",
                "input, weight, running_mean, running_var, mean: 3 float32, invstd: 3 float32",
            ),
            (
                "batch_norm([2, 3])",
                "input, weight, running_mean, running_var, mean: 3 float32, invstd: 3 float32",
            ),
            (
                "layer_norm(bfloat16 [2, 3, 4])",
                "input, weight, bias, mean: 6 float32, rstd: 6 float32",
            ),
            ("rms_norm([2, 3, 4])", "input, weight, rstd: 6 float32"),
            (
                "group_norm(bfloat16 [2, 6, 4], num_groups=3)",
                "input, weight, mean: 6 bfloat16, rstd: 6 bfloat16",
            ),
            (
                "instance_norm([2, 6, 4], affine=true)",
                "input, weight: 12 float32, mean: 12 float32, invstd: 12 float32, reserve space: 0 uint8",
            ),
            (
                "local_response_norm([2, 6, 4], size=3)",
                "input, padded squares: 64 float32, base: 48 float32, divisor: 48 float32",
            ),
        ]);
    }

    #[test]
    fn ranges_are_bounded_by_the_outlier_and_by_eps() {
        let wide = (-1e9, 1e9);
        check_intervals(&[
            (
                "layer_norm([2, 17], elementwise_affine=false)",
                &[wide],
                "[-4, 4]",
            ),
            (
                "layer_norm([2, 17])",
                &[wide, (1.0, 2.0), (-1.0, 1.0)],
                "[-9, 9]",
            ),
            (
                "layer_norm([2, 17], elementwise_affine=false, eps=0)",
                &[wide],
                "[-4, 4]?",
            ),
            (
                "layer_norm([2, 17], elementwise_affine=false, eps=0.25)",
                &[(1.0, 2.0)],
                "[-2, 2]",
            ),
            ("batch_norm([2, 3, 5], affine=false)", &[wide], "[-3, 3]"),
            ("batch_norm([1, 3, 1], affine=false)", &[wide], "[0, 0]"),
            (
                "group_norm([2, 6, 5], num_groups=3)",
                &[wide, (1.0, 1.0), (0.0, 0.0)],
                "[-3, 3]",
            ),
            ("instance_norm([2, 6, 5])", &[wide], "[-2, 2]"),
            (
                "rms_norm([2, 16], elementwise_affine=false)",
                &[(-1.0, 1e9)],
                "[-4, 4]",
            ),
            (
                "rms_norm([2, 16], elementwise_affine=false)",
                &[(0.0, 1e9)],
                "[0, 4]",
            ),
            (
                "rms_norm([2, 16], elementwise_affine=false, eps=0)",
                &[(0.0, 1e9)],
                "[0, 4]?",
            ),
            (
                "rms_norm([2, 16], elementwise_affine=false, eps=0)",
                &[(1.0, 1e9)],
                "[0, 4]",
            ),
            (
                "batch_norm([2, 3], eps=0.25) eval",
                &[
                    (-1.0, 2.0),
                    (1.0, 1.0),
                    (0.0, 0.0),
                    (0.0, 0.0),
                    (2.0, 3.75),
                    (0.0, 9.0),
                ],
                "[-0.6667, 1.3333]",
            ),
            (
                "batch_norm([2, 3], eps=0) eval",
                &[
                    (-1.0, 2.0),
                    (1.0, 1.0),
                    (0.0, 0.0),
                    (0.0, 0.0),
                    (0.0, 1.0),
                    (0.0, 9.0),
                ],
                "[-∞, ∞]?",
            ),
            (
                "local_response_norm([2, 6, 4], size=3, k=4, beta=0.5)",
                &[(-2.0, 4.0)],
                "[-1, 2]",
            ),
        ]);
    }

    /// Whatever the elements, normalised ones lie in the range.
    #[test]
    fn normalised_values_lie_in_the_range() {
        let mut random = Random(7);
        for round in 0..500 {
            let scale = 10f64.powf(random.uniform(-6.0, 6.0));
            let mut row: Vec<f64> = (0..5).map(|_| random.normal() * scale).collect();
            if round % 3 == 0 {
                row[1..].fill(random.normal());
            }
            let (low, high) = row.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| {
                (low.min(x), high.max(x))
            });
            let mean = row.iter().sum::<f64>() / 5.0;
            let square = |shift: f64| row.iter().map(|x| (x - shift).powi(2)).sum::<f64>() / 5.0;
            let cases = [("layer_norm", mean, 1e-5), ("rms_norm", 0.0, 1e-5)];
            for (name, shift, eps) in cases {
                let text = format!("{name}([1, 5], elementwise_affine=false, eps={eps})");
                let range = with(&text, |call| {
                    (call.op.interval)(call, &[Interval::new(low, high)])
                })
                .unwrap()
                .widened(1e-12);
                for x in &row {
                    let y = (x - shift) / (square(shift) + eps).sqrt();
                    assert!(range.contains(y), "{text} {row:?}: {y} in {range}");
                }
            }
        }
    }

    #[test]
    fn variance_becomes_one() {
        let moments = |mean, variance| Some(Moments::new(mean, variance));
        let given = [moments(3.0, 4.0), moments(1.0, 0.0), moments(0.5, 0.0)];
        with("layer_norm([2, 3], eps=0)", |call| {
            assert_eq!((call.op.moments)(call, &given), moments(0.5, 1.0));
            assert_eq!((call.op.gradient_gain)(call, 0, &given), Some(0.25));
        })
        .unwrap();
        with("rms_norm([2, 3], eps=0)", |call| {
            let out = (call.op.moments)(call, &given).unwrap();
            assert!((out.square() - 1.0).abs() < 1e-12, "{out:?}");
        })
        .unwrap();
    }
}
