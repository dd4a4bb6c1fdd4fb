//! Functions of all elements along an axis that give as many: softmax and its kin, and the gated
//! linear unit.

use smallvec::smallvec;

use super::activation::float_input;
use super::definition::{BASE, Default, attribute, save_input, save_output};
use super::pointwise::{LIBRARY_ERROR, operand_moments, operations, range, refuse};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Outputs, gaussian};
use crate::tensor::{Interval, Moments, TensorType};

const DIM: Attribute = attribute(
    "dim",
    AttributeKind::Integer,
    Default::Integer(-1),
    "the axis along which the outputs sum to 1",
)
.or(&["axis"]);

const ATTRIBUTES: &[Attribute] = &[
    DIM,
    attribute(
        "dtype",
        AttributeKind::Dtype,
        Default::None,
        "the element type to compute in and to give",
    ),
];

/// The entries of this family. The work of a softmax counts five operations an element: maximum,
/// difference, exponential, sum, quotient.
pub static OPS: &[Op] = &[
    Op {
        name: "softmax",
        summary: "exp(input) / sum(exp(input)) along an axis",
        interval: |call, ranges| probabilities(call, range(ranges, 0)),
        ..SOFTMAX
    },
    Op {
        name: "softmin",
        summary: "softmax(-input)",
        work: |call| operations(call, 6),
        interval: |call, ranges| probabilities(call, -range(ranges, 0)),
        ..SOFTMAX
    },
    Op {
        name: "log_softmax",
        summary: "log(softmax(input)) along an axis, without overflow",
        interval: |call, ranges| {
            let x = range(ranges, 0);
            let (low, high) = odds(call, x);
            // It is computed as a difference of numbers as large as the inputs.
            let slack = Interval::new(-1.0, 1.0) * Interval::point(1e-14 * (1.0 + x.magnitude()));
            (Interval::new(-low.ln_1p(), -high.ln_1p()) + slack).clamped(f64::NEG_INFINITY, 0.0)
        },
        // The logarithm of the sum is nearly log(n) + μ + σ²/2 for many normal inputs.
        moments: |call, moments| {
            let (x, count) = (operand_moments(call, moments, 0)?, length(call)?);
            Some(Moments::new(-(count.ln() + x.variance / 2.0), x.variance))
        },
        // gᵢ − pᵢ·Σg.
        gradient_gain: |call, position, moments| {
            (position == 0).then_some(())?;
            Some(1.0 + length(call)? * mean_square(call, moments)?)
        },
        ..SOFTMAX
    },
    Op {
        name: "gumbel_softmax",
        summary: "softmax of (input + Gumbel noise) / tau; one-hot forward if hard",
        attributes: &[
            attribute(
                "tau",
                AttributeKind::Float,
                Default::Float(1.0),
                "temperature",
            ),
            attribute(
                "hard",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "one-hot outputs, with the gradient of the soft ones",
            ),
            DIM,
        ],
        random: true,
        // Noise (two logarithms and two negations), sum and quotient before the softmax.
        work: |call| operations(call, 11),
        saved: |call, saved| {
            // A hard output is another tensor than the soft one that the gradient goes through.
            match call.output() {
                Some(output) if call.boolean("hard") => {
                    saved.extra("soft", output.shape.elements(), output.dtype);
                }
                _ => saved.output(0),
            }
        },
        interval: |_, _| Interval::new(0.0, 1.0),
        moments: |_, _| None,
        gradient_gain: |_, _, _| None,
        ..SOFTMAX
    },
    Op {
        name: "glu",
        summary: "first half times the sigmoid of the second half along an axis",
        attributes: &[attribute(
            "dim",
            AttributeKind::Integer,
            Default::Integer(-1),
            "the axis to halve",
        )
        .or(&["axis"])],
        infer: |call| {
            let mut outputs = float_input(call)?;
            let shape = &mut outputs[0].shape;
            let axis = call.axis("dim", shape)?;
            let size = shape.sizes()[axis];
            if size % 2 != 0 {
                let message = format!(
                    "`glu` halves axis {axis}, but its size {size} in {} is odd",
                    call.shape(0)?
                );
                return Err(OpError::new(message).operands([0]).attribute("dim"));
            }
            shape.set(axis, size / 2);
            Ok(outputs)
        },
        work: |call| operations(call, 5),
        saved: save_input,
        interval: |_, ranges| range(ranges, 0) * sigmoid(range(ranges, 0)),
        moments: |call, moments| {
            let x = operand_moments(call, moments, 0)?;
            let gate = gaussian::moments(x, |x| 1.0 / (1.0 + (-x).exp()))?;
            let mean = x.mean * gate.mean;
            gaussian::moments_from(mean, x.square() * gate.square())
        },
        ..BASE
    },
];

const SOFTMAX: Op = Op {
    attributes: ATTRIBUTES,
    infer: softmax_type,
    autocast: Autocast::Float32,
    work: |call| operations(call, 5),
    saved: save_output,
    // For many normal inputs the sum is nearly its mean, so that the outputs are log-normal:
    // E[p²] = exp(σ²)/n².
    moments: |call, moments| {
        let count = length(call)?;
        gaussian::moments_from(1.0 / count, mean_square(call, moments)?)
    },
    // pᵢ·(gᵢ − Σ p·g), of which the second term is smaller by Σ p².
    gradient_gain: |call, position, moments| {
        (position == 0).then_some(())?;
        mean_square(call, moments)
    },
    ..BASE
};

fn softmax_type(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let dtype = call.dtype_attribute("dtype").unwrap_or(input.dtype);
    if !dtype.is_float() {
        refuse(call, [0], "integers", |dtype| !dtype.is_float())?;
        let message = format!("`{}` cannot give {dtype}", call.op.name);
        return Err(OpError::new(message).attribute("dtype"));
    }
    if input.shape.rank() > 0 {
        call.axis("dim", &input.shape)?;
    }
    Ok(smallvec![TensorType {
        shape: input.shape.clone(),
        dtype,
    }])
}

/// Number of elements along the axis.
fn length(call: &Call) -> Option<f64> {
    let shape = call.shape(0).ok()?;
    if shape.rank() == 0 {
        return Some(1.0);
    }
    let axis = call.axis("dim", shape).ok()?;
    Some(shape.sizes()[axis].max(1) as f64)
}

/// `E[p²]`, an estimate for many normal inputs; never above `1/n`, where one output is 1.
fn mean_square(call: &Call, moments: &[Option<Moments>]) -> Option<f64> {
    let (x, count) = (operand_moments(call, moments, 0)?, length(call)?);
    Some((x.variance.exp() / (count * count)).min(1.0 / count))
}

/// The greatest and the least that the other terms of the sum can be, relative to one's own.
fn odds(call: &Call, x: Interval) -> (f64, f64) {
    let others = length(call).unwrap_or(f64::INFINITY) - 1.0;
    if others == 0.0 {
        return (0.0, 0.0);
    }
    let spread = x.high - x.low;
    (others * spread.exp(), others * (-spread).exp())
}

fn probabilities(call: &Call, x: Interval) -> Interval {
    let (low, high) = odds(call, x);
    Interval::new(1.0 / (1.0 + low), 1.0 / (1.0 + high))
        .widened(4.0 * LIBRARY_ERROR)
        .clamped(0.0, 1.0)
}

fn sigmoid(x: Interval) -> Interval {
    x.map_increasing(|x| 1.0 / (1.0 + (-x).exp()))
        .widened(4.0 * LIBRARY_ERROR)
        .clamped(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{Random, check, check_intervals, check_saved, with};
    use crate::tensor::{Interval, Moments};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("softmax([2, 3])", "float32 [2, 3]"),
            (
                "softmax(float16 [2, 3], dim=0, dtype=float32)",
                "float32 [2, 3]",
            ),
            ("softmax(int64 [2], dtype=float32)", "float32 [2]"),
            (
                "softmax(int64 [2])",
                "error: `softmax` does not take integers, but `input` is int64 [2]",
            ),
            (
                "softmax([2, 3], axis=2)",
                "error: `dim = 2` lies outside [2, 3], which has 2 axes",
            ),
            ("log_softmax([], dim=0)", "float32 []"),
            ("glu([2, 6])", "float32 [2, 3]"),
            (
                "glu([2, 5])",
                "error: `glu` halves axis 1, but its size 5 in [2, 5] is odd",
            ),
        ]);
    }

    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("softmax([2, 3])", "output"),
            ("log_softmax([2, 3])", "output"),
            ("gumbel_softmax([2, 3])", "output"),
            ("gumbel_softmax([2, 3], hard=true)", "soft: 6 float32"),
            ("glu([2, 6])", "input"),
        ]);
    }

    #[test]
    fn ranges() {
        let all = (f64::NEG_INFINITY, f64::INFINITY);
        check_intervals(&[
            ("softmax([2, 4])", &[(0.0, 0.0)], "[0.25, 0.25]"),
            ("softmax([2, 4])", &[all], "[0, 1]"),
            ("softmax([2, 1])", &[all], "[1, 1]"),
            ("log_softmax([2, 4])", &[(-1.0, 1.0)], "[-3.1427, -0.3408]"),
            ("log_softmax([2, 4])", &[all], "[-∞, 0]"),
            ("softmin([2, 2])", &[(0.0, 1.0)], "[0.2689, 0.7311]"),
            ("glu([2, 2])", &[(-1.0, 2.0)], "[-0.8808, 1.7616]"),
        ]);
    }

    /// Holds ranges to the softmax of random vectors, computed by its definition.
    #[test]
    fn ranges_contain_every_value() {
        let mut random = Random(3);
        for text in ["softmax([5])", "log_softmax([5])"] {
            for round in 0..300 {
                let scale = [0.1, 1.0, 20.0][round % 3];
                let range =
                    Interval::new(random.uniform(-scale, scale), random.uniform(-scale, scale));
                let image = with(text, |call| (call.op.interval)(call, &[range])).unwrap();
                let x: Vec<f64> = (0..5)
                    .map(|_| match random.bits() % 3 {
                        0 => range.low,
                        1 => range.high,
                        _ => random.uniform(range.low, range.high),
                    })
                    .collect();
                let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = x.iter().map(|x| (x - most).exp()).sum();
                for x in x {
                    let value = if text.starts_with("log") {
                        x - most - sum.ln()
                    } else {
                        (x - most).exp() / sum
                    };
                    assert!(image.contains(value), "{text} {value} {image:?} {range:?}");
                }
            }
        }
    }

    /// Monte Carlo over rows of 64; the estimates are for many inputs, hence the tolerance.
    #[test]
    fn moments_agree_with_samples() {
        let mut random = Random(5);
        let (mut square, mut log_mean, mut log_square, rows) = (0.0, 0.0, 0.0, 2000);
        for _ in 0..rows {
            let x: Vec<f64> = (0..64).map(|_| random.normal()).collect();
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            for x in &x {
                square += (x.exp() / sum).powi(2) / 64.0 / f64::from(rows);
                let log = x - sum.ln();
                log_mean += log / 64.0 / f64::from(rows);
                log_square += log * log / 64.0 / f64::from(rows);
            }
        }
        let claimed = |text: &str| {
            let given = [Some(Moments::STANDARD)];
            with(text, |call| (call.op.moments)(call, &given))
                .unwrap()
                .unwrap()
        };
        let (soft, log) = (claimed("softmax([64])"), claimed("log_softmax([64])"));
        assert!(
            (soft.square() / square - 1.0).abs() < 0.15,
            "{soft:?} {square}"
        );
        assert!((log.mean - log_mean).abs() < 0.1, "{log:?} {log_mean}");
        assert!((log.square() / log_square - 1.0).abs() < 0.05, "{log:?}");
    }
}
