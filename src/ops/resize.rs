//! Resampling over positions: `interpolate`, `grid_sample`, `affine_grid`.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute, operand};
use super::pointwise::{operations, range};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Outputs, Work, multilinear};
use crate::tensor::{Interval, Moments, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "interpolate",
        aliases: &["upsample"],
        summary: "resizes the positions behind [batch, channels]",
        attributes: &[
            attribute(
                "size",
                AttributeKind::Sizes,
                Default::None,
                "sizes of the output",
            ),
            attribute(
                "scale_factor",
                AttributeKind::Float,
                Default::None,
                "sizes of the output over those of the input, instead of `size`",
            ),
            attribute(
                "mode",
                AttributeKind::Choice(MODES),
                Default::Text("nearest"),
                "how values between the positions of the input are made",
            ),
            ALIGN_CORNERS,
            attribute(
                "antialias",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether to smooth when making smaller, in the modes bilinear and bicubic",
            ),
        ],
        infer: interpolate,
        autocast: Autocast::Float32,
        work: |call| {
            let axes = call
                .output()
                .map_or(0, |ty| ty.shape.rank().saturating_sub(2)) as u32;
            let taps = 2u128.pow(axes.min(3));
            match mode(call) {
                Mode::Nearest => Work::default(),
                // A product and a sum for each neighbour.
                Mode::Linear => operations(call, 2 * taps),
                Mode::Cubic => operations(call, 2 * taps * taps),
                Mode::Area => Work::other(u128::from(call.elements(0).max(call.output_elements()))),
            }
        },
        saved: |call, saved| {
            // `area` is an adaptive average pool, which into one bin keeps only sizes.
            let one = call
                .output()
                .is_some_and(|ty| ty.shape.sizes()[2..].iter().all(|&size| size == 1));
            if mode(call) == Mode::Area && !one {
                saved.argument(call, 0);
            }
        },
        interval: |call, ranges| overshot(call, range(ranges, 0)),
        moments: |call, moments| {
            let input = (*moments.first()?)?;
            Some(Moments::new(
                input.mean,
                input.variance * weight_squares(call)?,
            ))
        },
        gradient_gain: |call, position, _| {
            (position == 0).then_some(())?;
            let repeats = call.output_elements() as f64 / call.elements(0).max(1) as f64;
            Some(repeats * weight_squares(call)?)
        },
        ..BASE
    },
    Op {
        name: "grid_sample",
        aliases: &["grid_sampler"],
        summary: "values of the input at the positions, from −1 to 1, that a grid gives",
        operands: &[operand("input"), operand("grid")],
        attributes: &[
            attribute(
                "mode",
                AttributeKind::Choice(&["bilinear", "nearest", "bicubic"]),
                Default::Text("bilinear"),
                "how values between the positions of the input are made",
            ),
            attribute(
                "padding_mode",
                AttributeKind::Choice(&["zeros", "border", "reflection"]),
                Default::Text("zeros"),
                "what lies outside the input",
            ),
            ALIGN_CORNERS,
        ],
        infer: grid_sample,
        autocast: Autocast::Promote,
        work: |call| {
            let axes = call
                .output()
                .map_or(0, |ty| ty.shape.rank().saturating_sub(2)) as u32;
            let taps = 2u128.pow(axes.min(3));
            match mode(call) {
                Mode::Cubic => operations(call, 2 * taps * taps),
                Mode::Nearest => Work::default(),
                _ => operations(call, 2 * taps),
            }
        },
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.argument(call, 1);
        },
        interval: |call, ranges| {
            let mut input = range(ranges, 0);
            if call.text("padding_mode").as_deref() == Some("zeros") {
                input = input.union(Interval::point(0.0));
            }
            overshot(call, input)
        },
        moments: |call, moments| {
            let input = (*moments.first()?)?;
            Some(Moments::new(
                input.mean,
                input.variance * weight_squares(call)?,
            ))
        },
        gradient_gain: |call, position, _| {
            (position == 0).then_some(())?;
            let repeats = call.output_elements() as f64 / call.elements(0).max(1) as f64;
            Some(repeats * weight_squares(call)?)
        },
        ..BASE
    },
    Op {
        name: "affine_grid",
        summary: "the positions, from −1 to 1, that affine maps give to those of an output",
        operands: &[operand("theta")],
        attributes: &[
            attribute(
                "size",
                AttributeKind::Sizes,
                Default::Required,
                "the shape of the output: [batch, channels, height, width]",
            ),
            ALIGN_CORNERS,
        ],
        infer: affine_grid,
        // A product and a sum for each axis of a position and for the shift, in one kernel. Its
        // derivative makes the positions anew, so nothing is kept, and multiplies them by `bmm`.
        work: |call| Work::other(grid_flops(call)),
        backward: |call| match call.requires_grad(0) {
            true => grid_flops(call),
            false => 0,
        },
        interval: |call, ranges| {
            let theta = range(ranges, 0);
            let turned = theta * Interval::new(-1.0, 1.0) * Interval::point(grid_axes(call) as f64);
            turned + theta
        },
        ..BASE
    },
];

const MODES: &[&str] = &[
    "nearest",
    "nearest-exact",
    "linear",
    "bilinear",
    "bicubic",
    "trilinear",
    "area",
];

const ALIGN_CORNERS: Attribute = attribute(
    "align_corners",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether the centres of the corners, not their outer edges, are kept in place",
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
    Area,
}

fn mode(call: &Call) -> Mode {
    match call.text("mode").as_deref() {
        Some("linear" | "bilinear" | "trilinear") => Mode::Linear,
        Some("bicubic") => Mode::Cubic,
        Some("area") => Mode::Area,
        _ => Mode::Nearest,
    }
}

fn interpolate(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let sizes = input.shape.sizes();
    let text = call.text("mode").unwrap_or_default();
    let expected = match text.as_str() {
        "linear" => 3..=3,
        "bilinear" | "bicubic" => 4..=4,
        "trilinear" => 5..=5,
        _ => 3..=5,
    };
    if !expected.contains(&sizes.len()) {
        let message = format!(
            "`mode = \"{text}\"` resizes [batch, channels, positions …] of {} axes, but the input \
             {} has {}",
            match (*expected.start(), *expected.end()) {
                (low, high) if low == high => low.to_string(),
                (low, high) => format!("{low} to {high}"),
            },
            input.shape,
            sizes.len()
        );
        return Err(OpError::new(message).operands([0]).attribute("mode"));
    }
    if call.boolean("align_corners") && matches!(mode(call), Mode::Nearest | Mode::Area) {
        let message =
            format!("`align_corners` goes with linear and cubic modes, not with `{text}`");
        return Err(OpError::new(message).attribute("align_corners"));
    }
    if call.boolean("antialias") && !matches!(text.as_str(), "bilinear" | "bicubic") {
        let message = format!("`antialias` goes with bilinear and bicubic, not with `{text}`");
        return Err(OpError::new(message).attribute("antialias"));
    }
    let axes = sizes.len() - 2;
    let resized = match (call.is_given("size"), call.float("scale_factor")) {
        (true, None) => call.sizes("size", axes)?,
        (false, Some(factor)) if factor.is_finite() && factor > 0.0 => sizes[2..]
            .iter()
            .map(|&size| (size as f64 * factor).floor() as u64)
            .collect(),
        (false, Some(factor)) => {
            let message = format!("`scale_factor` is {factor}, but must be above 0");
            return Err(OpError::new(message).attribute("scale_factor"));
        }
        (given, _) => {
            let message = match given {
                true => "`size` and `scale_factor` exclude each other",
                false => "`interpolate` needs `size` or `scale_factor`",
            };
            return Err(OpError::new(message).attribute("size"));
        }
    };
    let shape: Shape = sizes[..2].iter().copied().chain(resized).collect();
    if shape.sizes()[2..].contains(&0) || sizes[2..].contains(&0) {
        let message = format!("{} resized to {shape}: sizes must be above 0", input.shape);
        return Err(OpError::new(message).operands([0]).attribute("size"));
    }
    Ok(smallvec![TensorType {
        shape,
        dtype: input.dtype
    }])
}

fn grid_sample(call: &Call) -> Result<Outputs, OpError> {
    let (input, grid) = (call.ty(0)?, call.shape(1)?);
    let (sizes, points) = (input.shape.sizes(), grid.sizes());
    let axes = sizes.len().saturating_sub(2);
    let fits = (2..=3).contains(&axes)
        && points.len() == sizes.len()
        && points[0] == sizes[0]
        && points[points.len() - 1] == axes as u64;
    if !fits {
        let message = format!(
            "`grid_sample` takes [batch, channels, height, width] and a grid [batch, rows, \
             columns, 2], or with depth [.., 3], but they are {} and {grid}",
            input.shape
        );
        return Err(OpError::new(message).operands([0, 1]));
    }
    if mode(call) == Mode::Cubic && axes == 3 {
        let message = "`mode = \"bicubic\"` samples two axes, not three";
        return Err(OpError::new(message).attribute("mode"));
    }
    let positions = &points[1..points.len() - 1];
    Ok(smallvec![TensorType {
        shape: sizes[..2].iter().chain(positions).copied().collect(),
        dtype: input.dtype,
    }])
}

/// The number of spatial axes of the output.
fn grid_axes(call: &Call) -> u64 {
    call.shape(0)
        .ok()
        .and_then(|shape| shape.size(-2))
        .unwrap_or(2)
}

fn affine_grid(call: &Call) -> Result<Outputs, OpError> {
    let theta = call.ty(0)?;
    let size = call.integers("size").unwrap_or_default();
    let axes = match *theta.shape.sizes() {
        [_, 2, 3] => 2,
        [_, 3, 4] => 3,
        _ => {
            let message = format!(
                "`affine_grid` takes maps [batch, 2, 3] or [batch, 3, 4], but they are {}",
                theta.shape
            );
            return Err(OpError::new(message).operands([0]));
        }
    };
    let sizes: Option<Shape> = size.iter().map(|&size| u64::try_from(size).ok()).collect();
    let sizes = sizes
        .filter(|sizes| sizes.rank() == axes + 2 && sizes.sizes()[0] == theta.shape.sizes()[0]);
    let Some(sizes) = sizes else {
        let message = format!(
            "`size` is {size:?}, but must be [batch, channels and {axes} sizes] for the maps {}",
            theta.shape
        );
        return Err(OpError::new(message).operands([0]).attribute("size"));
    };
    let positions = sizes.sizes()[2..].iter().copied();
    let shape = [sizes.sizes()[0]]
        .into_iter()
        .chain(positions)
        .chain([axes as u64]);
    Ok(smallvec![TensorType {
        shape: shape.collect(),
        dtype: theta.dtype
    }])
}

fn grid_flops(call: &Call) -> u128 {
    multilinear::flops([call.output_elements(), grid_axes(call) + 1])
}

/// Weights of the four neighbours at distance `t` past the second, of Keys' cubic convolution with
/// PyTorch's −¾.
fn cubic_weights(t: f64) -> [f64; 4] {
    let a = -0.75;
    let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

/// The range of weighted means: the input's own, but for cubic weights, of which some are below 0.
/// Along one axis these sum to at most `−3/16`, midway.
fn overshot(call: &Call, input: Interval) -> Interval {
    if mode(call) != Mode::Cubic {
        return input;
    }
    let (low, high) = (-0.1875, 1.1875);
    let negative = -2.0 * low * high;
    let slack = (input.high - input.low) * negative;
    Interval {
        low: input.low - slack,
        high: input.high + slack,
        ..input
    }
    .widened(1e-12)
}

/// The mean of the sum of squares of the weights of one output, over all distances from the
/// positions of the input; `None` where windows grow with the scale.
fn weight_squares(call: &Call) -> Option<f64> {
    let axes = call.output()?.shape.rank().checked_sub(2)? as i32;
    let along = match mode(call) {
        Mode::Nearest => 1.0,
        // ∫ t² + (1 − t)².
        Mode::Linear => 2.0 / 3.0,
        Mode::Cubic => {
            let squares = |t: f64| cubic_weights(t).iter().map(|w| w * w).sum::<f64>();
            (0..64)
                .map(|step| squares((f64::from(step) + 0.5) / 64.0))
                .sum::<f64>()
                / 64.0
        }
        Mode::Area => return None,
    };
    (!call.boolean("antialias")).then(|| along.powi(axes))
}

#[cfg(test)]
mod tests {
    use super::super::cases::{check, check_intervals, check_products, check_saved};
    use super::cubic_weights;

    #[test]
    fn shapes_and_errors() {
        check(&[
            (
                "interpolate([2, 3, 4, 5], scale_factor=2)",
                "float32 [2, 3, 8, 10]",
            ),
            (
                "interpolate([2, 3, 4, 5], scale_factor=1.5, mode=bilinear)",
                "float32 [2, 3, 6, 7]",
            ),
            (
                "upsample([2, 3, 4, 5], size=[7, 9], mode=bicubic, align_corners=true)",
                "float32 [2, 3, 7, 9]",
            ),
            (
                "interpolate([2, 3, 4], size=7, mode=linear)",
                "float32 [2, 3, 7]",
            ),
            (
                "interpolate([2, 3, 4], size=7, mode=bilinear)",
                "error: `mode = \"bilinear\"` resizes [batch, channels, positions …] of 4 axes, but the input [2, 3, 4] has 3",
            ),
            (
                "interpolate([2, 3, 4, 5])",
                "error: `interpolate` needs `size` or `scale_factor`",
            ),
            (
                "interpolate([2, 3, 4, 5], size=2, scale_factor=2)",
                "error: `size` and `scale_factor` exclude each other",
            ),
            (
                "interpolate([2, 3, 4, 5], scale_factor=0.1)",
                "error: [2, 3, 4, 5] resized to [2, 3, 0, 0]: sizes must be above 0",
            ),
            (
                "interpolate([2, 3, 4, 5], scale_factor=2, align_corners=true)",
                "error: `align_corners` goes with linear and cubic modes, not with `nearest`",
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 7, 8, 2])",
                "float32 [2, 3, 7, 8]",
            ),
            (
                "grid_sample([2, 3, 4, 5, 6], [2, 7, 8, 9, 3])",
                "float32 [2, 3, 7, 8, 9]",
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 7, 8, 3])",
                "error: `grid_sample` takes [batch, channels, height, width] and a grid [batch, rows, columns, 2], or with depth [.., 3], but they are [2, 3, 4, 5] and [2, 7, 8, 3]",
            ),
            (
                "affine_grid([2, 2, 3], size=[2, 3, 7, 8])",
                "float32 [2, 7, 8, 2]",
            ),
            (
                "affine_grid([2, 2, 3], size=[3, 3, 7, 8])",
                "error: `size` is [3, 3, 7, 8], but must be [batch, channels and 2 sizes] for the maps [2, 2, 3]",
            ),
        ]);
        check_products(&[
            (
                "affine_grid([2, 2, 3], size=[2, 3, 7, 8])",
                (0, 2 * 2 * 56 * 3 * 2),
            ),
            (
                "interpolate([2, 3, 4, 5], scale_factor=2, mode=bilinear)",
                (0, 0),
            ),
        ]);
        check_saved(&[
            (
                "interpolate([2, 3, 4, 5], scale_factor=2, mode=bilinear)",
                "",
            ),
            ("interpolate([2, 3, 4, 5], size=2, mode=area)", "input"),
            ("grid_sample([2, 3, 4, 5], [2, 7, 8, 2])", "input, grid"),
            ("affine_grid([2, 2, 3], size=[2, 3, 7, 8])", ""),
        ]);
    }

    #[test]
    fn cubic_weights_overshoot_as_far_as_the_range_says() {
        let (mut least, mut most) = (0.0f64, 0.0f64);
        for step in 0..=1000 {
            let weights = cubic_weights(f64::from(step) / 1000.0);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            least = least.min(weights.iter().filter(|w| **w < 0.0).sum());
            most = most.max(weights.iter().filter(|w| **w > 0.0).sum());
        }
        assert!((least + 0.1875).abs() < 1e-12 && (most - 1.1875).abs() < 1e-12);
        check_intervals(&[
            (
                "interpolate([2, 3, 4, 5], scale_factor=2)",
                &[(1.0, 2.0)],
                "[1, 2]",
            ),
            (
                "interpolate([2, 3, 4, 5], scale_factor=2, mode=bicubic)",
                &[(0.0, 1.0)],
                "[-0.4453, 1.4453]",
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 7, 8, 2])",
                &[(1.0, 2.0), (-1.0, 1.0)],
                "[0, 2]",
            ),
            (
                "affine_grid([2, 2, 3], size=[2, 3, 7, 8])",
                &[(-1.0, 1.0)],
                "[-3, 3]",
            ),
        ]);
    }
}
