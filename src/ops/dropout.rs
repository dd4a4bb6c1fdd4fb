//! Dropout: random zeros in training, nothing in evaluation.

use super::definition::{BASE, Default, attribute, like_first};
use super::layout;
use super::pointwise::{operations, range};
use super::{Attribute, AttributeKind, Call, Op, OpError, Outputs, Saved, Work};
use crate::tensor::{Dtype, Interval, Moments};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "dropout",
        attributes: &[
            P,
            attribute(
                "inplace",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether the input is overwritten, which keeps factors instead of a mask",
            ),
        ],
        summary: "zeros elements with probability p and scales the others by 1/(1 − p)",
        saved: |call, saved| {
            // CUDA's `native_dropout` keeps its mask, which for p = 1 is one zero.
            match probability(call) {
                Some(1.0) => saved.extra("zero", 1, call.dtype(0).unwrap_or(Dtype::Float32)),
                Some(_) if call.boolean("inplace") => save_noise(call, saved),
                Some(_) => saved.extra("mask", call.elements(0), Dtype::Bool),
                None => {}
            }
        },
        ..SCALED
    },
    channels(
        "dropout1d",
        "zeros whole channels of [batch, channels, length]",
    ),
    channels(
        "dropout2d",
        "zeros whole channels of [batch, channels, height, width]",
    ),
    channels(
        "dropout3d",
        "zeros whole channels of [batch, channels, depth, height, width]",
    ),
    Op {
        name: "alpha_dropout",
        summary: "sets elements to the lower limit of `selu`, and keeps mean and variance",
        saved: |call, saved| {
            if probability(call).is_some() {
                save_noise(call, saved);
            }
        },
        ..ALPHA
    },
    Op {
        name: "feature_alpha_dropout",
        summary: "sets whole channels to the lower limit of `selu`, and keeps mean and variance",
        infer: infer_channels,
        saved: save_channel_noise,
        ..ALPHA
    },
];

const P: Attribute = attribute(
    "p",
    AttributeKind::Float,
    Default::Float(0.5),
    "probability of dropping",
);

const SCALED: Op = Op {
    attributes: &[P],
    infer: checked,
    random: true,
    // With nothing to drop the input itself is handed on.
    layout: |call, strides| match probability(call) {
        Some(_) => layout::preserved(call, strides),
        None => layout::same(call, strides),
    },
    // Drawing and multiplying.
    work: |call| match probability(call) {
        Some(_) => operations(call, 2),
        None => Work::default(),
    },
    interval: |call, ranges| match probability(call) {
        Some(1.0) => Interval::point(0.0),
        Some(p) => {
            let kept = range(ranges, 0) * Interval::point(1.0 / (1.0 - p));
            kept.union(Interval::point(0.0))
        }
        None => range(ranges, 0),
    },
    moments: |call, moments| {
        let input = (*moments.first()?)?;
        Some(match probability(call) {
            Some(1.0) => Moments::constant(0.0),
            Some(p) => {
                let square = input.square() / (1.0 - p);
                Moments::new(input.mean, square - input.mean * input.mean)
            }
            None => input,
        })
    },
    gradient_gain: |call, position, _| {
        (position == 0).then_some(())?;
        Some(match probability(call) {
            Some(1.0) => 0.0,
            Some(p) => 1.0 / (1.0 - p),
            None => 1.0,
        })
    },
    ..BASE
};

const fn channels(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        infer: infer_channels,
        saved: save_channel_noise,
        ..SCALED
    }
}

/// `−λα` of `selu`, with the sign turned: what a dropped element becomes, before scaling.
const ALPHA_PRIME: f64 = 1.7580993408473766;

const ALPHA: Op = Op {
    // Drawing, two products and two additions.
    work: |call| match probability(call) {
        Some(_) => operations(call, 5),
        None => Work::default(),
    },
    interval: |call, ranges| match (probability(call), alpha_scale(call)) {
        (Some(p), Some(scale)) => {
            let input = range(ranges, 0).union(Interval::point(-ALPHA_PRIME));
            (input + Interval::point(ALPHA_PRIME * p)) * Interval::point(scale)
        }
        (Some(_), None) => Interval::point(0.0),
        (None, _) => range(ranges, 0),
    },
    moments: |call, moments| {
        let input = (*moments.first()?)?;
        Some(match (probability(call), alpha_scale(call)) {
            (Some(p), Some(scale)) => {
                let mean = (1.0 - p) * input.mean - p * ALPHA_PRIME;
                let square = (1.0 - p) * input.square() + p * ALPHA_PRIME * ALPHA_PRIME;
                let shifted = scale * (mean + p * ALPHA_PRIME);
                Moments::new(shifted, scale * scale * (square - mean * mean))
            }
            (Some(_), None) => Moments::constant(0.0),
            (None, _) => input,
        })
    },
    gradient_gain: |call, position, _| {
        (position == 0).then_some(())?;
        Some(match (probability(call), alpha_scale(call)) {
            (Some(p), Some(scale)) => (1.0 - p) * scale * scale,
            (Some(_), None) => 0.0,
            (None, _) => 1.0,
        })
    },
    ..SCALED
};

/// The probability of dropping; `None` where nothing is dropped.
fn probability(call: &Call) -> Option<f64> {
    let p = call.float("p").unwrap_or(0.5);
    (call.training && p > 0.0).then_some(p)
}

/// `1/√((α'²p + 1)(1 − p))`; `None` where all is dropped, and zero comes out.
fn alpha_scale(call: &Call) -> Option<f64> {
    let p = probability(call)?;
    let scale = 1.0 / ((ALPHA_PRIME * ALPHA_PRIME * p + 1.0) * (1.0 - p)).sqrt();
    scale.is_finite().then_some(scale)
}

fn checked(call: &Call) -> Result<Outputs, OpError> {
    let p = call.float("p").unwrap_or(0.5);
    if !(0.0..=1.0).contains(&p) {
        let message = format!("`p` is {p}, but a probability lies between 0 and 1");
        return Err(OpError::new(message).attribute("p"));
    }
    let input = call.ty(0)?;
    if call.training && p > 0.0 && !input.dtype.is_float() {
        let message = format!(
            "`{}` needs floating point, but its input is {input}",
            call.op.name
        );
        return Err(OpError::new(message)
            .operands([0])
            .help("cast it with `to`"));
    }
    like_first(call)
}

fn infer_channels(call: &Call) -> Result<Outputs, OpError> {
    let input = call.shape(0)?;
    if input.rank() < 2 {
        let message = format!(
            "`{}` takes [batch, channels, …], but its input is {input}",
            call.op.name
        );
        return Err(OpError::new(message).operands([0]));
    }
    checked(call)
}

/// One factor for each element.
fn save_noise(call: &Call, saved: &mut Saved) {
    let dtype = call.dtype(0).unwrap_or(Dtype::Float32);
    saved.extra("noise", call.elements(0), dtype);
}

/// One factor for each channel of each sample. `dropout1d` and `dropout3d` take an input without a
/// batch, `dropout2d` takes [batch, channels, length] too.
fn save_channel_noise(call: &Call, saved: &mut Saved) {
    let (Some(_), Ok(ty)) = (probability(call), call.ty(0)) else {
        return;
    };
    let sizes = ty.shape.sizes();
    let unbatched = match call.op.name {
        "dropout1d" => sizes.len() == 2,
        "dropout3d" => sizes.len() == 4,
        _ => false,
    };
    let count = if unbatched {
        sizes[0]
    } else {
        sizes[0].saturating_mul(sizes[1])
    };
    saved.extra("noise", count, ty.dtype);
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Random, check, check_intervals, check_saved, with};
    use super::*;

    #[test]
    fn shapes_errors_and_what_is_kept() {
        check(&[
            ("dropout(bfloat16 [2, 3])", "bfloat16 [2, 3]"),
            (
                "dropout([2, 3], p=1.5)",
                "error: `p` is 1.5, but a probability lies between 0 and 1",
            ),
            (
                "dropout(int64 [2, 3])",
                "error: `dropout` needs floating point, but its input is int64 [2, 3]",
            ),
            (
                "dropout2d([3])",
                "error: `dropout2d` takes [batch, channels, …], but its input is [3]",
            ),
        ]);
        check_saved(&[
            ("dropout([2, 3])", "mask: 6 bool"),
            ("dropout([2, 3], p=0)", ""),
            ("dropout([2, 3], p=1)", "zero: 1 float32"),
            ("dropout([2, 3], inplace=true)", "noise: 6 float32"),
            ("dropout([2, 3]) eval", ""),
            ("dropout2d([2, 3, 4, 5])", "noise: 6 float32"),
            ("dropout3d([3, 4, 5, 6])", "noise: 3 float32"),
            ("alpha_dropout(float16 [2, 3])", "noise: 6 float16"),
        ]);
        check_intervals(&[
            ("dropout([2, 3], p=0.75)", &[(1.0, 2.0)], "[0, 8]"),
            ("dropout([2, 3], p=0.75) eval", &[(1.0, 2.0)], "[1, 2]"),
            ("dropout([2, 3], p=1)", &[(1.0, 2.0)], "[0, 0]"),
        ]);
    }

    /// Ranges and moments are held to drawing.
    #[test]
    fn ranges_and_moments_agree_with_drawing() {
        let mut random = Random(11);
        let given = Moments::uniform(-1.0, 3.0);
        for (name, p) in [
            ("dropout", 0.3),
            ("alpha_dropout", 0.3),
            ("alpha_dropout", 0.05),
        ] {
            with(&format!("{name}([2, 3], p={p})"), |call| {
                let expected = (call.op.moments)(call, &[Some(given)]).unwrap();
                let range = (call.op.interval)(call, &[Interval::new(-1.0, 3.0)]);
                let (mut sum, mut squares) = (0.0, 0.0);
                let samples = 50_000;
                for _ in 0..samples {
                    let x = random.uniform(-1.0, 3.0);
                    let dropped = random.uniform(0.0, 1.0) < p;
                    let y = match (name, dropped) {
                        ("dropout", true) => 0.0,
                        ("dropout", false) => x / (1.0 - p),
                        (_, dropped) => {
                            let a = ((ALPHA_PRIME.powi(2) * p + 1.0) * (1.0 - p)).powf(-0.5);
                            let kept = if dropped { -ALPHA_PRIME } else { x };
                            a * kept + a * ALPHA_PRIME * p
                        }
                    };
                    assert!(range.widened(1e-12).contains(y), "{name} {y} in {range}");
                    sum += y;
                    squares += y * y;
                }
                let mean = sum / f64::from(samples);
                let variance = squares / f64::from(samples) - mean * mean;
                assert!(
                    (mean - expected.mean).abs() < 0.03,
                    "{name} {mean} {expected:?}"
                );
                assert!(
                    (variance / expected.variance - 1.0).abs() < 0.03,
                    "{name} {variance}"
                );
            })
            .unwrap();
        }
    }
}
