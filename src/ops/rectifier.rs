//! The rectifiers: ReLU and its kin with a slope below 0.
//!
//! Moments of a normal input pass through them in closed form.

use smallvec::smallvec;

use super::activation::{INPLACE, activation, float_input, number, pieces, save_result_in_place};
use super::definition::{BASE, Default, attribute, like_first, operand, save_output, unknown_gain};
use super::layout::preserved;
use super::pointwise::{
    function, increasing_exactly, operand_moments, operations, range, refuse, save_operands,
};
use super::{AttributeKind, Autocast, Call, Init, Op, OpError, ParameterDefinition, gaussian};
use crate::tensor::{Dtype, Interval, Moments};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        infer: |call| {
            refuse(call, [0], "bool tensors", |dtype| dtype == Dtype::Bool)?;
            like_first(call)
        },
        saved: save_output,
        interval: increasing_exactly,
        moments: |call, moments| rectified_moments(call, moments, 0.0, 0.0),
        gradient_gain: |call, position, moments| rectified_gain(call, position, moments, 0.0),
        ..function("relu", "max(input, 0)", |_, x| x[0].max(0.0))
    },
    Op {
        aliases: &["lrelu"],
        attributes: &[number("negative_slope", 0.01, "slope below 0"), INPLACE],
        saved: save_result_in_place,
        interval: |call, ranges| pieces(call, ranges, &[0.0]),
        moments: |call, moments| {
            let slope = slope(call);
            rectified_moments(call, moments, slope, slope * slope)
        },
        gradient_gain: |call, position, moments| {
            rectified_gain(call, position, moments, slope(call).powi(2))
        },
        ..activation(
            "leaky_relu",
            "input, times negative_slope below 0",
            2,
            |call, x| {
                if x[0] > 0.0 { x[0] } else { slope(call) * x[0] }
            },
        )
    },
    Op {
        name: "prelu",
        summary: "input, times weight below 0",
        operands: &[operand("input"), operand("weight")],
        attributes: &[
            attribute(
                "num_parameters",
                AttributeKind::Size,
                Default::Integer(1),
                "1, or the size of axis 1 for a slope of each channel",
            ),
            number("init", 0.25, "the slope to begin with"),
            attribute(
                "weight",
                AttributeKind::Parameter,
                Default::None,
                "a weight to share",
            ),
        ],
        parameters: Some(|call| {
            let init = Init::Constant(call.float("init").unwrap_or(0.25));
            let count = call.size("num_parameters")?;
            Ok(smallvec![ParameterDefinition::new(
                1,
                "weight",
                [count],
                init
            )])
        }),
        infer: |call| {
            let mut outputs = float_input(call)?;
            let (input, weight) = (call.shape(0)?, call.shape(1)?);
            let channels = if input.rank() >= 2 {
                input.sizes()[1]
            } else {
                1
            };
            if weight.elements() != 1 && (weight.rank() != 1 || weight.sizes()[0] != channels) {
                let message = format!(
                    "the weight of `prelu` is {weight}, but the input {input} has {channels} channels"
                );
                return Err(OpError::new(message).operands([1, 0]));
            }
            outputs[0].dtype = call.promoted_dtype();
            Ok(outputs)
        },
        layout: preserved,
        autocast: Autocast::Lower,
        work: |call| operations(call, 2),
        saved: save_operands,
        // One kernel makes both, that of the slope with the size of the input.
        gradient: |call, gradient| {
            gradient.make_anyway(0);
            match call.requires_grad(1) {
                true => gradient.make_summed(1),
                false => gradient.scratch(gradient.output_bytes()),
            }
        },
        interval: |_, ranges| {
            let (x, weight) = (range(ranges, 0), range(ranges, 1));
            let positive = Interval::new(x.low.max(0.0), x.high.max(0.0));
            let negative = Interval::new(x.low.min(0.0), x.high.min(0.0)) * weight;
            match (x.low >= 0.0, x.high <= 0.0) {
                (true, _) => positive,
                (_, true) => negative,
                _ => positive.union(negative),
            }
        },
        moments: |call, moments| {
            let slope = operand_moments(call, moments, 1)?;
            rectified_moments(call, moments, slope.mean, slope.square())
        },
        gradient_gain: |call, position, moments| {
            let slope = operand_moments(call, moments, 1)?;
            rectified_gain(call, position, moments, slope.square())
        },
        ..BASE
    },
    Op {
        name: "rrelu",
        summary: "leaky ReLU with random slopes in training",
        attributes: &[
            number("lower", 1.0 / 8.0, "least slope below 0"),
            number("upper", 1.0 / 3.0, "greatest slope below 0"),
        ],
        infer: float_input,
        layout: preserved,
        random: true,
        work: |call| operations(call, 2),
        saved: |call, saved| {
            saved.argument(call, 0);
            if let (true, Some(output)) = (call.training, call.output()) {
                saved.extra("slopes", output.shape.elements(), output.dtype);
            }
        },
        interval: |call, ranges| {
            let x = range(ranges, 0);
            let slopes = slopes(call);
            let negative = Interval::new(x.low.min(0.0), x.high.min(0.0)) * slopes;
            let positive = Interval::new(x.low.max(0.0), x.high.max(0.0));
            positive.union(negative)
        },
        moments: |call, moments| {
            let (mean, square) = slope_moments(call);
            rectified_moments(call, moments, mean, square)
        },
        gradient_gain: |call, position, moments| {
            rectified_gain(call, position, moments, slope_moments(call).1)
        },
        ..BASE
    },
];

fn slope(call: &Call) -> f64 {
    call.float("negative_slope").unwrap_or(0.01)
}

/// The slopes of `rrelu` below 0.
fn slopes(call: &Call) -> Interval {
    let lower = call.float("lower").unwrap_or(1.0 / 8.0);
    let upper = call.float("upper").unwrap_or(1.0 / 3.0);
    if call.training {
        Interval::new(lower, upper)
    } else {
        Interval::point((lower + upper) / 2.0)
    }
}

fn slope_moments(call: &Call) -> (f64, f64) {
    let slopes = Moments::uniform(slopes(call).low, slopes(call).high);
    (slopes.mean, slopes.square())
}

/// Moments of `x` above 0 and `s·x` below, for normal `x` and an independent slope with
/// `E[s] = slope`, `E[s²] = square`. Of the rectified part (Hernández-Lobato & Adams 2015):
/// `E[x⁺] = μΦ(z) + σφ(z)` and `E[x⁺²] = (μ² + σ²)Φ(z) + μσφ(z)` with `z = μ/σ`.
fn rectified_moments(
    call: &Call,
    moments: &[Option<Moments>],
    slope: f64,
    square: f64,
) -> Option<Moments> {
    let x = operand_moments(call, moments, 0)?;
    let deviation = x.variance.sqrt();
    let (mean, positive) = if deviation == 0.0 {
        (x.mean.max(0.0), x.mean.max(0.0).powi(2))
    } else {
        let z = x.mean / deviation;
        let (density, below) = (gaussian::density(z), gaussian::cumulative(z));
        (
            x.mean * below + deviation * density,
            x.square() * below + x.mean * deviation * density,
        )
    };
    gaussian::moments_from(
        mean + slope * (x.mean - mean),
        positive + square * (x.square() - positive),
    )
}

/// `P(x > 0) + E[s²] · P(x ≤ 0)`.
fn rectified_gain(
    call: &Call,
    position: usize,
    moments: &[Option<Moments>],
    square: f64,
) -> Option<f64> {
    if position != 0 {
        return unknown_gain(call, position, moments);
    }
    let x = operand_moments(call, moments, 0)?;
    if x.variance == 0.0 {
        return Some(if x.mean > 0.0 { 1.0 } else { square });
    }
    let above = gaussian::cumulative(x.mean / x.variance.sqrt());
    Some(above + square * (1.0 - above))
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_parameters, check_saved, with};
    use crate::tensor::Moments;

    #[test]
    fn types_and_parameters_follow_pytorch() {
        check(&[
            ("relu(int64 [2])", "int64 [2]"),
            (
                "relu(bool [2])",
                "error: `relu` does not take bool tensors, but `input` is bool [2]",
            ),
            ("prelu([2, 3, 4])", "float32 [2, 3, 4]"),
            ("prelu([2, 3, 4], num_parameters=3)", "float32 [2, 3, 4]"),
            (
                "prelu([2, 3, 4], num_parameters=4)",
                "error: the weight of `prelu` is [4], but the input [2, 3, 4] has 3 channels",
            ),
        ]);
        check_parameters(&[
            ("prelu([2, 3], num_parameters=3)", "weight [3]"),
            ("relu([2])", ""),
        ]);
    }

    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("relu([2])", "output"),
            ("leaky_relu([2])", "input"),
            ("leaky_relu([2], inplace=true)", "output"),
            ("prelu([2, 3])", "input, weight"),
            ("rrelu([2, 3])", "input, slopes: 6 float32"),
            ("rrelu([2, 3]) eval", "input"),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("relu([2])", &[(-1.0, 2.0)], "[0, 2]"),
            (
                "leaky_relu([2], negative_slope=-1)",
                &[(-3.0, 2.0)],
                "[0, 3]",
            ),
            ("prelu([2])", &[(-3.0, 2.0), (0.25, 0.5)], "[-1.5, 2]"),
            ("prelu([2])", &[(-3.0, -2.0), (0.25, 0.5)], "[-1.5, -0.5]"),
            ("rrelu([2])", &[(-9.0, 2.0)], "[-3, 2]"),
        ]);
    }

    /// He et al. 2015: ReLU halves the second moment, and so the gradient's.
    #[test]
    fn rectified_moments_have_closed_forms() {
        let given = [Some(Moments::new(0.0, 3.0)), Some(Moments::constant(0.5))];
        for (text, square, gain) in [
            ("relu([2])", 1.5, 0.5),
            ("leaky_relu([2], negative_slope=0.5)", 1.5 + 0.375, 0.625),
            ("prelu([2])", 1.5 + 0.375, 0.625),
        ] {
            let (moments, factor) = with(text, |call| {
                let moments = (call.op.moments)(call, &given);
                (moments, (call.op.gradient_gain)(call, 0, &given))
            })
            .unwrap();
            assert!((moments.unwrap().square() - square).abs() < 1e-12, "{text}");
            assert!((factor.unwrap() - gain).abs() < 1e-12, "{text}");
        }
    }
}
