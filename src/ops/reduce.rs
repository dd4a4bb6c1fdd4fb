//! Reductions along axes: sums, means, variances, products, norms.
//!
//! Those that choose an element or count stand in `extreme`, what keeps the size of an axis (`cumsum`, `sort`) stands in `ranking`, distances in `distance`.

use smallvec::smallvec;

use super::conversion::converted;
use super::definition::{BASE, Default, Infer, attribute, save_input, save_output};
use super::gradient::{self, Gradient};
use super::pointwise::{LIBRARY_ERROR, float_of, operand_moments, range, refuse};
use super::reduction_gradient;
use super::{
    Attribute, AttributeKind, Autocast, Call, Op, OpError, Outputs, Saved, Work, gaussian,
};
use crate::tensor::{Dtype, Interval, Moments, Shape, TensorType};

/// The axes of a reduction.
pub const DIM: Attribute = attribute(
    "dim",
    AttributeKind::Integers,
    Default::None,
    "the axes; all of them if left out",
)
.or(&["axis"]);

/// Whether the axes of a reduction stay, with size 1.
pub const KEEPDIM: Attribute = attribute(
    "keepdim",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether the axes stay, with size 1",
)
.or(&["keepdims"]);

const DTYPE: Attribute = attribute(
    "dtype",
    AttributeKind::Dtype,
    Default::None,
    "the element type to compute in and to give",
);

const SUM: &[Attribute] = &[DIM, KEEPDIM, DTYPE];
/// The attributes of a plain reduction.
pub const PLAIN: &[Attribute] = &[DIM, KEEPDIM];

const SPREAD: &[Attribute] = &[
    DIM,
    attribute(
        "correction",
        AttributeKind::Float,
        Default::None,
        "what is taken off the number of elements; 1 if left out",
    )
    .or(&["ddof"]),
    KEEPDIM,
    attribute(
        "unbiased",
        AttributeKind::Boolean,
        Default::Boolean(true),
        "false for a correction of 0",
    ),
];

/// The entries of this family. The work is one operation for each element reduced, more where an
/// entry says so.
pub static OPS: &[Op] = &[
    Op {
        attributes: SUM,
        autocast: Autocast::Float32,
        interval: |call, ranges| total(count(call), converted(call, ranges)),
        moments: |call, moments| {
            let (x, count) = (operand_moments(call, moments, 0)?, count(call));
            Some(Moments::new(count * x.mean, count * x.variance))
        },
        gradient: expanded,
        gradient_gain: |_, position, _| (position == 0).then_some(1.0),
        ..reduction("sum", "the sum; of integers in int64", sum_type)
    },
    Op {
        attributes: SUM,
        interval: |call, ranges| {
            let range = range(ranges, 0);
            match call.elements(0) {
                // The mean of nothing.
                0 => Interval::ANYTHING,
                _ => range.widened(count(call) * LIBRARY_ERROR),
            }
        },
        moments: |call, moments| {
            let x = operand_moments(call, moments, 0)?;
            Some(Moments::new(x.mean, x.variance / count(call)))
        },
        gradient_gain: |call, position, _| (position == 0).then(|| count(call).powi(-2)),
        ..reduction("mean", "the mean", mean_type)
    },
    Op {
        attributes: SPREAD,
        saved: save_input,
        work: |call| operations(call, 4),
        interval: |call, ranges| variance(call, range(ranges, 0)),
        // For normal elements: E = σ²·(n − 1)/(n − c), Var = 2σ⁴·(n − 1)/(n − c)².
        moments: |call, moments| {
            let (variance, scale, free) = spread(call, moments)?;
            Some(Moments::new(
                variance * free * scale,
                2.0 * variance * variance * free * scale * scale,
            ))
        },
        // 2(x − m)/(n − c).
        gradient_gain: |call, position, moments| {
            let (variance, scale, free) = spread(call, moments)?;
            let gain = 4.0 * variance * scale * scale * free / count(call);
            (position == 0).then_some(gain)
        },
        gradient: reduction_gradient::spread::<false>,
        ..reduction(
            "var",
            "the variance, with Bessel's correction",
            float_reduced,
        )
    },
    Op {
        attributes: SPREAD,
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.output(0);
        },
        work: |call| operations(call, 4),
        interval: |call, ranges| variance(call, range(ranges, 0)).map_increasing(f64::sqrt),
        // By the first order of the square root.
        moments: |call, moments| {
            let (variance, scale, free) = spread(call, moments)?;
            let square = variance * free * scale;
            let deviation = variance * scale / 2.0;
            gaussian::moments_from((square - deviation).max(0.0).sqrt(), square)
        },
        // (x − m)/((n − c)·s).
        gradient_gain: |call, position, moments| {
            let (_, scale, _) = spread(call, moments)?;
            (position == 0).then(|| scale / count(call))
        },
        gradient: reduction_gradient::spread::<true>,
        ..reduction(
            "std",
            "the standard deviation, with Bessel's correction",
            float_reduced,
        )
    },
    Op {
        attributes: SUM,
        autocast: Autocast::Float32Result,
        saved: save_both,
        interval: |call, ranges| product(count(call), converted(call, ranges)),
        moments: |call, moments| {
            let (x, count) = (operand_moments(call, moments, 0)?, count(call));
            gaussian::moments_from(x.mean.powf(count), x.square().powf(count))
        },
        gradient_gain: |call, position, moments| {
            let gain = operand_moments(call, moments, 0)?
                .square()
                .powf(count(call) - 1.0);
            (position == 0 && gain.is_finite()).then_some(gain)
        },
        gradient: reduction_gradient::product,
        ..reduction("prod", "the product; of integers in int64", sum_type)
    },
    Op {
        aliases: &["vector_norm", "linalg_vector_norm"],
        attributes: &[
            attribute("p", AttributeKind::Float, Default::Float(2.0), "the order").or(&["ord"]),
            DIM,
            KEEPDIM,
            DTYPE,
        ],
        autocast: Autocast::Float32Result,
        saved: save_both,
        work: |call| {
            // A power, a sum, and a root at the end.
            let roots = u128::from(call.output_elements());
            Work::other(operations(call, 2).other + roots)
        },
        interval: |call, ranges| {
            norm_range(order(call), count(call), range(ranges, 0)).widened(4.0 * LIBRARY_ERROR)
        },
        // Var[Σx²] = n(2σ⁴ + 4μ²σ²), and that of the root by first order.
        moments: |call, moments| {
            let (x, count) = (operand_moments(call, moments, 0)?, count(call));
            (order(call) == 2.0 && x.square() > 0.0).then_some(())?;
            let fourth = 2.0 * x.variance.powi(2) + 4.0 * x.mean.powi(2) * x.variance;
            let variance = fourth / (4.0 * x.square());
            let mean = (count * x.square() - variance).max(0.0).sqrt();
            Some(Moments::new(mean, variance))
        },
        // x/‖x‖.
        gradient_gain: |call, position, _| {
            (position == 0 && order(call) == 2.0).then(|| 1.0 / count(call))
        },
        gradient: reduction_gradient::norm,
        ..reduction(
            "norm",
            "(Σ|x|ᵖ)^(1/p); the greatest magnitude for p = inf",
            norm_type,
        )
    },
    Op {
        attributes: PLAIN,
        autocast: Autocast::Float32,
        saved: save_both,
        // Maximum, difference, exponential, sum.
        work: |call| operations(call, 4),
        interval: |call, ranges| {
            (range(ranges, 0) + Interval::point(count(call).ln())).widened(4.0 * LIBRARY_ERROR)
        },
        // By the first two orders for many normal elements.
        moments: |call, moments| {
            let (x, count) = (operand_moments(call, moments, 0)?, count(call));
            let variance = (x.variance.exp() - 1.0) / count;
            let mean = x.mean + x.variance / 2.0 + count.ln() - variance / 2.0;
            Some(Moments::new(mean, variance))
        },
        // The softmax.
        gradient_gain: |call, position, moments| {
            let (x, count) = (operand_moments(call, moments, 0)?, count(call));
            (position == 0).then(|| (x.variance.exp() / (count * count)).min(1.0 / count))
        },
        gradient: gradient::after_of_input::<2>,
        ..reduction(
            "logsumexp",
            "log(Σ exp(x)), without overflow",
            float_reduced,
        )
    },
];

/// The incoming gradient, shown repeatedly along the axes that were summed.
fn expanded(call: &Call, gradient: &mut Gradient<'_>) {
    let axes = axes(call).unwrap_or_default();
    gradient::repeated(call, gradient, &axes, call.boolean("keepdim"));
}

/// An entry of one operation an element.
pub const fn reduction(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        name,
        summary,
        infer,
        work: |call| operations(call, 1),
        ..BASE
    }
}

/// That many operations for every element reduced.
pub fn operations(call: &Call, count: u128) -> Work {
    Work::other(count.saturating_mul(u128::from(call.elements(0))))
}

/// The axes reduced; all where `dim` is left out, empty, or the input has none.
pub fn axes(call: &Call) -> Result<Vec<usize>, OpError> {
    let shape = call.shape(0)?;
    match call.integers("dim") {
        Some(given) if !given.is_empty() && shape.rank() > 0 => call.axes("dim", shape),
        Some(given) if given.iter().any(|&axis| axis != 0 && axis != -1) => call.axes("dim", shape),
        _ => Ok((0..shape.rank()).collect()),
    }
}

/// How many elements make one.
pub fn count(call: &Call) -> f64 {
    let sizes = call.shape(0).map(Shape::sizes).unwrap_or_default();
    axes(call)
        .unwrap_or_default()
        .into_iter()
        .map(|axis| sizes[axis] as f64)
        .product()
}

fn reduced_shape(call: &Call) -> Result<Shape, OpError> {
    let shape = call.shape(0)?;
    let axes = axes(call)?;
    let keep = call.boolean("keepdim");
    Ok(shape
        .sizes()
        .iter()
        .enumerate()
        .filter_map(|(axis, &size)| match axes.contains(&axis) {
            true => keep.then_some(1),
            false => Some(size),
        })
        .collect())
}

/// The input reduced, in that element type.
pub fn with_dtype(call: &Call, dtype: Dtype) -> Result<Outputs, OpError> {
    Ok(smallvec![TensorType {
        shape: reduced_shape(call)?,
        dtype,
    }])
}

fn sum_type(call: &Call) -> Result<Outputs, OpError> {
    let own = call.dtype(0)?;
    let otherwise = if own.is_float() { own } else { Dtype::Int64 };
    with_dtype(call, call.dtype_attribute("dtype").unwrap_or(otherwise))
}

fn mean_type(call: &Call) -> Result<Outputs, OpError> {
    let dtype = call.dtype_attribute("dtype").unwrap_or(call.dtype(0)?);
    if !dtype.is_float() {
        let message = format!(
            "`mean` does not take integers, but `input` is {}",
            call.ty(0)?
        );
        let help = "give `dtype = \"float32\"`, or cast the input";
        return Err(OpError::new(message).operands([0]).help(help));
    }
    with_dtype(call, dtype)
}

fn float_reduced(call: &Call) -> Result<Outputs, OpError> {
    if call.op.name == "logsumexp" {
        return with_dtype(call, float_of(call.dtype(0)?));
    }
    refuse(call, [0], "integers", |dtype| !dtype.is_float())?;
    with_dtype(call, call.dtype(0)?)
}

fn norm_type(call: &Call) -> Result<Outputs, OpError> {
    refuse(call, [0], "integers", |dtype| !dtype.is_float())?;
    let own = super::pointwise::real_of(call.dtype(0)?);
    with_dtype(call, call.dtype_attribute("dtype").unwrap_or(own))
}

/// Keeps the input and the output.
pub fn save_both(call: &Call, saved: &mut Saved) {
    save_input(call, saved);
    save_output(call, saved);
}

/// The range of sums of `count` elements.
pub fn total(count: f64, x: Interval) -> Interval {
    (x * Interval::point(count)).widened(count * LIBRARY_ERROR)
}

fn product(count: f64, x: Interval) -> Interval {
    let most = x.magnitude().powf(count);
    let range = if count == 0.0 {
        Interval::point(1.0)
    } else if x.low >= 0.0 {
        Interval::new(x.low.powf(count), most)
    } else if x.high <= 0.0 && count % 2.0 == 0.0 {
        Interval::new(x.least_magnitude().powf(count), most)
    } else if x.high <= 0.0 {
        Interval::new(-most, -x.least_magnitude().powf(count))
    } else {
        Interval::new(-most, most)
    };
    range.widened((count + 1.0) * LIBRARY_ERROR)
}

fn correction(call: &Call) -> f64 {
    let otherwise = f64::from(u8::from(call.boolean("unbiased")));
    call.float("correction").unwrap_or(otherwise)
}

/// The variance is greatest where half of the elements lie at each end (Popoviciu 1935).
fn variance(call: &Call, x: Interval) -> Interval {
    let (count, free) = (count(call), count(call) - correction(call));
    if free <= 0.0 {
        // PyTorch divides by 0.
        return Interval::ANYTHING;
    }
    // The mean of equal elements may be off by a little.
    let spread = x.high - x.low + count * LIBRARY_ERROR * x.magnitude();
    let most = spread * spread / 4.0 * count / free;
    Interval::new(0.0, most).widened((count + 4.0) * LIBRARY_ERROR)
}

/// The variance of the elements, `1/(n − c)` and `n − 1`.
fn spread(call: &Call, moments: &[Option<Moments>]) -> Option<(f64, f64, f64)> {
    let free = count(call) - correction(call);
    (free > 0.0).then_some(())?;
    let x = operand_moments(call, moments, 0)?;
    Some((x.variance, 1.0 / free, count(call) - 1.0))
}

pub(super) fn order(call: &Call) -> f64 {
    call.float("p").unwrap_or(2.0)
}

/// The range of norms of `count` elements: `n^(1/p)` times that of the magnitudes, for a norm is
/// between those of the vectors whose elements are all least or all greatest.
pub fn norm_range(order: f64, count: f64, x: Interval) -> Interval {
    let (least, most) = (x.least_magnitude(), x.magnitude());
    if count == 0.0 {
        Interval::point(0.0)
    } else if order == 0.0 {
        let low = if least > 0.0 { count } else { 0.0 };
        Interval::new(low, if most > 0.0 { count } else { 0.0 })
    } else {
        let scale = count.powf(1.0 / order);
        let times = |size: f64| if size == 0.0 { 0.0 } else { scale * size };
        Interval::new(times(least), times(most))
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{Random, check, check_intervals, check_saved, with};
    use crate::tensor::{Interval, Moments};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("sum([2, 3])", "float32 []"),
            ("sum(int32 [2, 3], dim=0)", "int64 [3]"),
            ("sum(bool [2], dtype=float16)", "float16 []"),
            (
                "sum([2, 3, 4], axis=[0, -1], keepdims=true)",
                "float32 [1, 3, 1]",
            ),
            ("sum([2, 3], dim=[])", "float32 []"),
            ("sum([], dim=-1)", "float32 []"),
            (
                "sum([2, 3], dim=2)",
                "error: `dim` names axis 2, but [2, 3] has 2 axes",
            ),
            (
                "sum([2, 3], dim=[0, -2])",
                "error: `dim` names axis -2 twice",
            ),
            ("mean(float16 [2, 3], dim=-1)", "float16 [2]"),
            ("mean(int64 [2], dtype=float32)", "float32 []"),
            (
                "mean(int64 [2])",
                "error: `mean` does not take integers, but `input` is int64 [2]",
            ),
            ("var([2, 3], dim=1, correction=0)", "float32 [2]"),
            ("std(complex64 [2, 3])", "complex64 []"),
            ("prod(bool [2])", "int64 []"),
            ("norm([2, 3], p=1, dim=1)", "float32 [2]"),
            ("norm(complex128 [2])", "float64 []"),
            ("logsumexp([2, 3], dim=[0, 1])", "float32 []"),
        ]);
    }

    /// From PyTorch's saved tensors on CUDA.
    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("sum([2, 3])", ""),
            ("mean([2, 3])", ""),
            ("var([2, 3])", "input"),
            ("std([2, 3])", "input, output"),
            ("norm([2, 3])", "input, output"),
            ("logsumexp([2, 3])", "input, output"),
            ("prod([2, 3])", "input, output"),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("sum([4])", &[(-1.0, 2.0)], "[-4, 8]"),
            ("mean([4])", &[(-1.0, 2.0)], "[-1, 2]"),
            ("mean([0])", &[(-1.0, 2.0)], "[-∞, ∞]?"),
            ("var([4])", &[(-1.0, 2.0)], "[0, 3]"),
            ("var([1])", &[(-1.0, 2.0)], "[-∞, ∞]?"),
            ("var([1], ddof=0)", &[(-1.0, 1.0)], "[0, 1]"),
            ("norm([4])", &[(-1.0, 2.0)], "[0, 4]"),
            ("norm([4])", &[(1.0, 2.0)], "[2, 4]"),
            ("norm([4], p=inf)", &[(-3.0, 2.0)], "[0, 3]"),
            ("logsumexp([4])", &[(0.0, 0.0)], "[1.3863, 1.3863]"),
            ("prod([3])", &[(-2.0, -1.0)], "[-8, -1]"),
        ]);
    }

    type Reduction = fn(&[f64]) -> f64;

    fn spread(x: &[f64]) -> f64 {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (x.len() as f64 - 1.0)
    }

    const REDUCTIONS: &[(&str, Reduction)] = &[
        ("sum([6])", |x| x.iter().sum()),
        ("mean([6])", |x| x.iter().sum::<f64>() / 6.0),
        ("var([6])", spread),
        ("std([6])", |x| spread(x).sqrt()),
        ("prod([6])", |x| x.iter().product()),
        ("norm([6])", |x| x.iter().map(|x| x * x).sum::<f64>().sqrt()),
        ("norm([6], p=1)", |x| x.iter().map(|x| x.abs()).sum()),
        ("norm([6], p=3)", |x| {
            x.iter().map(|x| x.abs().powi(3)).sum::<f64>().cbrt()
        }),
        ("norm([6], p=-1)", |x| {
            1.0 / x.iter().map(|x| 1.0 / x.abs()).sum::<f64>()
        }),
        ("norm([6], p=0)", |x| {
            x.iter().filter(|x| **x != 0.0).count() as f64
        }),
        ("norm([6], p=inf)", |x| {
            x.iter().fold(0.0, |m, x| m.max(x.abs()))
        }),
        ("logsumexp([6])", |x| {
            x.iter().map(|x| x.exp()).sum::<f64>().ln()
        }),
    ];

    #[test]
    fn ranges_contain_every_value() {
        let mut random = Random(17);
        for (text, reduce) in REDUCTIONS {
            for round in 0..400 {
                let scale = [0.1, 1.0, 10.0][round % 3];
                let (a, b) = (random.uniform(-scale, scale), random.uniform(-scale, scale));
                let given = match round % 4 {
                    0 => Interval::new(a.abs(), b.abs()),
                    1 => Interval::new(0.0, b),
                    2 => Interval::point(a),
                    _ => Interval::new(a, b),
                };
                let image = with(text, |call| (call.op.interval)(call, &[given])).unwrap();
                let x: Vec<f64> = (0..6)
                    .map(|_| match random.bits() % 4 {
                        0 => given.low,
                        1 => given.high,
                        _ => random.uniform(given.low, given.high),
                    })
                    .collect();
                let value = reduce(&x);
                assert!(image.contains(value), "{text} {value} {image:?} {x:?}");
            }
        }
    }

    /// Loose tolerances: some of the moments are of first order in 1/n.
    #[test]
    fn moments_and_gains_agree_with_samples() {
        let mut random = Random(23);
        let rounds = 20_000;
        for (text, reduce) in REDUCTIONS {
            for (mean, variance) in [(0.0, 1.0), (1.0, 0.25)] {
                let given = [Some(Moments::new(mean, variance))];
                let (claimed, gain) = with(text, |call| {
                    let gain = (call.op.gradient_gain)(call, 0, &given);
                    ((call.op.moments)(call, &given), gain)
                })
                .unwrap();
                let (mut sum, mut square, mut slopes) = (0.0, 0.0, 0.0);
                for _ in 0..rounds {
                    let x: Vec<f64> = (0..6)
                        .map(|_| mean + f64::sqrt(variance) * random.normal())
                        .collect();
                    let value = reduce(&x);
                    sum += value;
                    square += value * value;
                    let at = |d: f64| {
                        let mut x = x.clone();
                        x[0] += d;
                        reduce(&x)
                    };
                    slopes += ((at(1e-5) - at(-1e-5)) / 2e-5).powi(2);
                }
                let rounds = f64::from(rounds);
                let average = sum / rounds;
                let spread = square / rounds - average * average;
                if let Some(claimed) = claimed {
                    let error = (claimed.mean - average).abs();
                    assert!(
                        error < 0.08 * spread.sqrt() + 0.01 * average.abs(),
                        "{text} {claimed:?} {average}"
                    );
                    let ratio = claimed.variance / spread;
                    assert!((0.6..1.6).contains(&ratio), "{text} {claimed:?} {spread}");
                }
                if let Some(gain) = gain {
                    let ratio = gain / (slopes / rounds);
                    assert!(
                        (0.6..1.6).contains(&ratio),
                        "{text} {gain} {}",
                        slopes / rounds
                    );
                }
            }
        }
    }
}
