//! Pools: the greatest, the mean or a norm of the elements under a sliding window, or in a given
//! number of bins.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute, no_work};
use super::gaussian::{cumulative, density};
use super::pointwise::range;
use super::pool_geometry::{bins, divisor, geometry, mean_taken, per_input, slide, taken};
use super::window::{Window, spatial_axes};
use super::{Attribute, AttributeKind, Op, OpError, Saved, Work};
use crate::tensor::{Dtype, Interval, Moments, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    max(
        "max_pool1d",
        "greatest element under a window that slides over the last axis",
    ),
    max(
        "max_pool2d",
        "greatest element under a window that slides over the last two axes",
    ),
    max(
        "max_pool3d",
        "greatest element under a window that slides over the last three axes",
    ),
    average(
        "avg_pool1d",
        "mean of the elements under a window that slides over the last axis",
    ),
    average(
        "avg_pool2d",
        "mean of the elements under a window that slides over the last two axes",
    ),
    average(
        "avg_pool3d",
        "mean of the elements under a window that slides over the last three axes",
    ),
    adaptive_average(
        "adaptive_avg_pool1d",
        "means of a given number of bins of the last axis",
    ),
    adaptive_average(
        "adaptive_avg_pool2d",
        "means of given numbers of bins of the last two axes",
    ),
    adaptive_average(
        "adaptive_avg_pool3d",
        "means of given numbers of bins of the last three axes",
    ),
    adaptive_max(
        "adaptive_max_pool1d",
        "greatest elements of a given number of bins",
    ),
    adaptive_max(
        "adaptive_max_pool2d",
        "greatest elements of given numbers of bins of two axes",
    ),
    adaptive_max(
        "adaptive_max_pool3d",
        "greatest elements of given numbers of bins of three axes",
    ),
    lp(
        "lp_pool1d",
        "p-norm of the elements under a window that slides over the last axis",
    ),
    lp(
        "lp_pool2d",
        "p-norm of the elements under a window that slides over the last two axes",
    ),
    lp(
        "lp_pool3d",
        "p-norm of the elements under a window that slides over the last three axes",
    ),
    Op {
        name: "global_avg_pool",
        aliases: &["global_average_pool"],
        summary: "mean over all positions of each channel, which keep size 1",
        // As a mean it keeps only sizes.
        saved: |_, _| {},
        ..ADAPTIVE_AVERAGE
    },
    Op {
        name: "pool_indices",
        summary: "where a pool found its greatest elements, as places in the flattened input",
        attributes: &[
            attribute(
                "size",
                AttributeKind::Integers,
                Default::Required,
                "sizes of the output",
            ),
            Attribute {
                default: Default::None,
                ..KERNEL
            },
            STRIDE,
            PADDING,
            DILATION,
        ],
        infer: |call| {
            let sizes = call.integers("size").unwrap_or_default();
            let shape: Option<Shape> = sizes.iter().map(|&n| u64::try_from(n).ok()).collect();
            let shape = shape.ok_or_else(|| {
                OpError::new(format!("`size` is {sizes:?}, and one is below 0")).attribute("size")
            })?;
            Ok(smallvec![TensorType::new(shape, Dtype::Int64)])
        },
        differentiable: false,
        // The pool itself finds them.
        work: no_work,
        interval: |call, _| Interval::new(0.0, call.elements(0).saturating_sub(1) as f64),
        ..BASE
    },
    Op {
        name: "global_max_pool",
        summary: "greatest element of all positions of each channel, which keep size 1",
        ..ADAPTIVE_MAX
    },
];

const KERNEL: Attribute = attribute(
    "kernel_size",
    AttributeKind::Sizes,
    Default::Required,
    "size of the window",
);

const STRIDE: Attribute = attribute(
    "stride",
    AttributeKind::Sizes,
    Default::None,
    "step of the window; its size where not given",
);

const PADDING: Attribute = attribute(
    "padding",
    AttributeKind::Sizes,
    Default::Integer(0),
    "elements added on both sides: zeros to a mean, none to a maximum",
);

const DILATION: Attribute = attribute(
    "dilation",
    AttributeKind::Sizes,
    Default::Integer(1),
    "distance of the elements under the window",
);

const CEIL: Attribute = attribute(
    "ceil_mode",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether a last window may hang over the end",
);

const OUTPUT_SIZE: Attribute = attribute(
    "output_size",
    AttributeKind::Sizes,
    Default::Required,
    "number of bins",
);

const MAX_ATTRIBUTES: &[Attribute] = &[KERNEL, STRIDE, PADDING, DILATION, CEIL];

const AVERAGE_ATTRIBUTES: &[Attribute] = &[
    KERNEL,
    STRIDE,
    PADDING,
    CEIL,
    attribute(
        "count_include_pad",
        AttributeKind::Boolean,
        Default::Boolean(true),
        "whether the zeros of the padding count",
    ),
    attribute(
        "divisor_override",
        AttributeKind::Size,
        Default::None,
        "what to divide the sum by, instead of the number of elements",
    ),
];

const LP_ATTRIBUTES: &[Attribute] = &[
    attribute("norm_type", AttributeKind::Float, Default::Required, "p"),
    KERNEL,
    STRIDE,
    CEIL,
];

const fn max(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        attributes: MAX_ATTRIBUTES,
        infer: slide,
        ..ADAPTIVE_MAX
    }
}

const fn adaptive_max(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        attributes: &[OUTPUT_SIZE],
        ..ADAPTIVE_MAX
    }
}

const fn average(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        // `avg_pool1d` alone has no `divisor_override`.
        attributes: match name.as_bytes()[8] {
            b'1' => AVERAGE_ATTRIBUTES.split_at(5).0,
            _ => AVERAGE_ATTRIBUTES,
        },
        infer: slide,
        saved: |call, saved| saved.argument(call, 0),
        ..ADAPTIVE_AVERAGE
    }
}

const fn adaptive_average(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        attributes: &[OUTPUT_SIZE],
        ..ADAPTIVE_AVERAGE
    }
}

const ADAPTIVE_MAX: Op = Op {
    infer: bins,
    // One comparison for each element but the first.
    work: |call| Work::other(taken(call).saturating_sub(u128::from(call.output_elements()))),
    saved: |call, saved| {
        saved.argument(call, 0);
        saved.extra("indices", call.output_elements(), Dtype::Int64);
    },
    interval: |call, ranges| {
        // Padding never wins, unless a dilated window can step over the whole axis.
        let missed = geometry(call).is_ok_and(|(sizes, windows)| {
            let misses =
                |(size, window): (&u64, &Window)| window.is_padded() && *size < window.dilation;
            sizes.iter().zip(&windows).any(misses)
        });
        range(ranges, 0).or_non_finite(missed)
    },
    moments: |call, moments| {
        let (input, count) = ((*moments.first()?)?, mean_taken(call));
        let (mean, variance) = greatest_of(count);
        let deviation = input.variance.sqrt();
        Some(Moments::new(
            input.mean + deviation * mean,
            input.variance * variance,
        ))
    },
    // Each element of the output passes its gradient to one of the input.
    gradient_gain: |call, position, _| (position == 0).then(|| per_input(call)),
    ..BASE
};

const ADAPTIVE_AVERAGE: Op = Op {
    infer: bins,
    // A sum and a quotient.
    work: |call| Work::other(taken(call)),
    saved: |call, saved| {
        // Into one bin it is a mean, which keeps only sizes.
        let axes = spatial_axes(call);
        let one = call.output().is_some_and(|ty| {
            let sizes = ty.shape.sizes();
            sizes[sizes.len() - axes..].iter().all(|&size| size == 1)
        });
        if !one {
            saved.argument(call, 0);
        }
    },
    interval: |call, ranges| {
        let input = range(ranges, 0);
        let Ok((_, windows)) = geometry(call) else {
            return input;
        };
        let padded = windows.iter().any(Window::is_padded);
        let zeros = padded && call.boolean("count_include_pad");
        let Some(divisor) = divisor(call) else {
            return match zeros {
                true => input.union(Interval::point(0.0)),
                false => input,
            };
        };
        // A sum of at least one and at most all elements under the window.
        let count = windows
            .iter()
            .map(|window| window.kernel as f64)
            .product::<f64>();
        let all = input * Interval::point(count / divisor);
        all.union(input * Interval::point(1.0 / divisor))
    },
    moments: |call, moments| {
        let (input, count) = ((*moments.first()?)?, mean_taken(call));
        let scale = divisor(call).map_or(1.0, |divisor| count / divisor);
        Some(Moments::new(
            input.mean * scale,
            input.variance * scale * scale / count,
        ))
    },
    gradient_gain: |call, position, _| {
        (position == 0).then_some(())?;
        let count = mean_taken(call);
        let scale = divisor(call).map_or(1.0, |divisor| count / divisor);
        Some(per_input(call) * scale * scale / count)
    },
    ..BASE
};

const fn lp(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        attributes: LP_ATTRIBUTES,
        infer: |call| {
            if call
                .float("norm_type")
                .is_none_or(|p| p.is_nan() || p <= 0.0)
            {
                return Err(OpError::new("`norm_type` must be above 0").attribute("norm_type"));
            }
            slide(call)
        },
        // Powers and sums; quotient, sign, magnitude, rectifier, product, factor and root.
        work: |call| {
            let outputs = u128::from(call.output_elements());
            Work::other(u128::from(call.elements(0)) + taken(call) + 7 * outputs)
        },
        // As `torch.nn.functional` writes it: `avg_pool(xᵖ)`, of which sign and rectified magnitude
        // are multiplied, times the size of the window, to the power of `1/p`.
        saved: |call, saved: &mut Saved| {
            saved.argument(call, 0);
            let (dtype, outputs) = (
                call.dtype(0).unwrap_or(Dtype::Float32),
                call.output_elements(),
            );
            saved.extra("power", call.elements(0), dtype);
            for name in ["mean", "sign", "magnitude", "base"] {
                saved.extra(name, outputs, dtype);
            }
        },
        interval: |call, ranges| {
            let (input, p) = (range(ranges, 0), call.float("norm_type").unwrap_or(1.0));
            if input.low < 0.0 && p % 2.0 != 0.0 {
                return Interval::ANYTHING;
            }
            let count = geometry(call).map_or(1.0, |(_, windows)| {
                windows
                    .iter()
                    .map(|window| window.kernel as f64)
                    .product::<f64>()
            });
            let sum = count * input.magnitude().powf(p);
            let limit = call.dtype(0).ok().and_then(|dtype| dtype.float_format());
            let overflows = limit.is_some_and(|format| sum >= format.overflow);
            // The mean may be off by a rounding that the root enlarges where it is below 1.
            let bound = sum.powf(1.0 / p);
            Interval::new(0.0, bound)
                .widened(1e-15)
                .or_non_finite(overflows)
        },
        ..BASE
    }
}

/// Mean and variance of the greatest of `count` standard normal numbers, from its density
/// `n·φ(z)·Φ(z)^(n−1)`.
fn greatest_of(count: f64) -> (f64, f64) {
    let steps = 400;
    let (low, high) = (-8.0, 8.0);
    let (mut total, mut mean, mut square) = (0.0, 0.0, 0.0);
    for step in 0..steps {
        let z = low + (high - low) * (f64::from(step) + 0.5) / f64::from(steps);
        let weight = density(z) * cumulative(z).powf(count - 1.0);
        total += weight;
        mean += weight * z;
        square += weight * z * z;
    }
    if total <= 0.0 {
        return (0.0, 1.0);
    }
    let mean = mean / total;
    (mean, (square / total - mean * mean).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Random, check, check_intervals, check_saved, with};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shapes_and_errors() {
        check(&[
            (
                "max_pool2d([2, 3, 8, 9], kernel_size=2)",
                "float32 [2, 3, 4, 4]",
            ),
            (
                "max_pool2d([2, 3, 8, 9], kernel_size=2, ceil_mode=true)",
                "float32 [2, 3, 4, 5]",
            ),
            (
                "max_pool2d([2, 64, 112, 112], kernel_size=3, stride=2, padding=1)",
                "float32 [2, 64, 56, 56]",
            ),
            (
                "max_pool2d([3, 8, 9], kernel_size=[2, 3], dilation=2)",
                "float32 [3, 3, 2]",
            ),
            (
                "max_pool1d([2, 3, 8], kernel_size=3, padding=2)",
                "error: `padding` is 2, but at most half of what the kernel spans, 3, is allowed",
            ),
            (
                "max_pool1d([2, 3, 8], kernel_size=9)",
                "error: kernel 9 does not fit: the input has 8",
            ),
            (
                "max_pool2d([8, 8], kernel_size=2)",
                "error: `max_pool2d` takes [batch, channels, height, width], but its input [8, 8] has 2 axes",
            ),
            (
                "avg_pool3d([2, 3, 8, 8, 8], kernel_size=2)",
                "float32 [2, 3, 4, 4, 4]",
            ),
            (
                "avg_pool2d([2, 3, 8, 8], kernel_size=2, divisor_override=0)",
                "error: `divisor_override` must not be 0",
            ),
            (
                "adaptive_avg_pool2d([2, 3, 8, 8], output_size=[7, 1])",
                "float32 [2, 3, 7, 1]",
            ),
            (
                "adaptive_avg_pool2d([2, 3, 8, 8], output_size=7)",
                "float32 [2, 3, 7, 7]",
            ),
            (
                "adaptive_max_pool1d([2, 3, 0], output_size=7)",
                "error: `adaptive_max_pool1d` of an empty axis: [2, 3, 0]",
            ),
            ("global_avg_pool([2, 3, 8, 8])", "float32 [2, 3, 1, 1]"),
            (
                "lp_pool1d([2, 3, 8], norm_type=2, kernel_size=3)",
                "float32 [2, 3, 2]",
            ),
            (
                "lp_pool1d([2, 3, 8], norm_type=0, kernel_size=3)",
                "error: `norm_type` must be above 0",
            ),
        ]);
    }

    #[test]
    fn maxima_keep_indices_and_means_of_all_keep_nothing() {
        check_saved(&[
            (
                "max_pool2d([2, 3, 8, 8], kernel_size=2)",
                "input, indices: 96 int64",
            ),
            (
                "max_pool1d([2, 3, 8], kernel_size=2)",
                "input, indices: 24 int64",
            ),
            ("avg_pool2d([2, 3, 8, 8], kernel_size=2)", "input"),
            ("adaptive_avg_pool2d([2, 3, 8, 8], output_size=1)", ""),
            ("adaptive_avg_pool2d([2, 3, 8, 8], output_size=7)", "input"),
            ("global_avg_pool([2, 3, 8, 8])", ""),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            (
                "max_pool1d([2, 3, 8], kernel_size=3, padding=1)",
                &[(1.0, 2.0)],
                "[1, 2]",
            ),
            (
                "max_pool1d([2, 3, 1], kernel_size=2, padding=2, dilation=4)",
                &[(1.0, 2.0)],
                "[1, 2]?",
            ),
            (
                "avg_pool1d([2, 3, 8], kernel_size=3, padding=1)",
                &[(1.0, 2.0)],
                "[0, 2]",
            ),
            (
                "avg_pool1d([2, 3, 8], kernel_size=3, padding=1, count_include_pad=false)",
                &[(1.0, 2.0)],
                "[1, 2]",
            ),
            (
                "avg_pool2d([2, 1, 8], kernel_size=[1, 3], divisor_override=1)",
                &[(1.0, 2.0)],
                "[1, 6]",
            ),
            (
                "lp_pool1d([2, 3, 8], kernel_size=4, norm_type=2)",
                &[(-2.0, 1.0)],
                "[0, 4]",
            ),
            (
                "lp_pool1d([2, 3, 8], kernel_size=4, norm_type=3)",
                &[(-2.0, 1.0)],
                "[-∞, ∞]?",
            ),
            (
                "lp_pool1d(float16 [2, 3, 8], kernel_size=4, norm_type=2)",
                &[(-200.0, 1.0)],
                "[0, 400]?",
            ),
        ]);
    }

    proptest! {
        /// The bins of adaptive pools, by their definition in PyTorch.
        #[test]
        fn bins_take_as_many_elements_as_counting_finds(size in 1u64..30, bins in 1u64..30) {
            let text = format!("adaptive_avg_pool1d([1, 1, {size}], output_size={bins})");
            let counted: u64 = (0..bins)
                .map(|i| ((i + 1) * size).div_ceil(bins) - i * size / bins)
                .sum();
            prop_assert_eq!(with(&text, taken), Ok(u128::from(counted)));
        }
    }

    #[test]
    fn moments_of_maxima_agree_with_sampling() {
        let mut random = Random(3);
        for count in [1usize, 2, 9] {
            let samples = 20_000;
            let maxima: Vec<f64> = (0..samples)
                .map(|_| (0..count).map(|_| random.normal()).fold(f64::MIN, f64::max))
                .collect();
            let mean = maxima.iter().sum::<f64>() / f64::from(samples);
            let square = maxima.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            let (expected, variance) = greatest_of(count as f64);
            assert!((mean - expected).abs() < 0.02, "{count}: {mean} {expected}");
            let sampled = square / f64::from(samples);
            assert!(
                (sampled - variance).abs() < 0.03,
                "{count}: {sampled} {variance}"
            );
        }
        let given = [Some(Moments::new(1.0, 4.0))];
        with("avg_pool2d([2, 3, 8, 8], kernel_size=2)", |call| {
            assert_eq!(
                (call.op.moments)(call, &given),
                Some(Moments::new(1.0, 1.0))
            );
            assert_eq!((call.op.gradient_gain)(call, 0, &given), Some(1.0 / 16.0));
        })
        .unwrap();
    }
}
