//! Convolutions and transposed convolutions over one, two or three axes.
//!
//! Product FLOPs follow `conv_flop_count` and `conv_backward_flop` of PyTorch's
//! `torch.utils.flop_counter`. Its count of a grouped convolution's weight gradient is too high by
//! the number of groups, and followed here.

use smallvec::{SmallVec, smallvec};

use super::conv_geometry::{Geometry, groups, indivisible, is_transposed, split_input};
use super::definition::{BASE, Default, attribute, operand, optional};
use super::window::Window;
use super::{
    Attribute, AttributeKind, Autocast, Call, Init, Op, OpError, Operand, Outputs,
    ParameterDefinition, Saved, Work, multilinear,
};
use crate::tensor::{Interval, Moments, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    convolution("conv1d", "convolution over [batch, channels, length]"),
    convolution(
        "conv2d",
        "convolution over [batch, channels, height, width]",
    ),
    convolution(
        "conv3d",
        "convolution over [batch, channels, depth, height, width]",
    ),
    transposed(
        "conv_transpose1d",
        "transposed convolution over [batch, channels, length]",
    ),
    transposed(
        "conv_transpose2d",
        "transposed convolution over [batch, channels, height, width]",
    ),
    transposed(
        "conv_transpose3d",
        "transposed convolution over [batch, channels, depth, height, width]",
    ),
];

const OPERANDS: &[Operand] = &[operand("input"), operand("weight"), optional("bias")];

const OUT_CHANNELS: Attribute = attribute(
    "out_channels",
    AttributeKind::Size,
    Default::None,
    "channels of the output",
);

const IN_CHANNELS: Attribute = attribute(
    "in_channels",
    AttributeKind::Size,
    Default::None,
    "checked if given",
);

const KERNEL: Attribute = attribute(
    "kernel_size",
    AttributeKind::Sizes,
    Default::None,
    "size of the kernel",
);

const STRIDE: Attribute = attribute(
    "stride",
    AttributeKind::Sizes,
    Default::Integer(1),
    "step of the kernel",
);

const DILATION: Attribute = attribute(
    "dilation",
    AttributeKind::Sizes,
    Default::Integer(1),
    "distance of its elements",
);

const GROUPS: Attribute = attribute(
    "groups",
    AttributeKind::Size,
    Default::Integer(1),
    "blocks of channels that do not mix",
);

const WEIGHT: Attribute = attribute(
    "weight",
    AttributeKind::Parameter,
    Default::None,
    "a weight to share",
);

const BIAS: Attribute = attribute(
    "bias",
    AttributeKind::Parameter,
    Default::Boolean(true),
    "whether to add one",
);

const PADDING_MODES: &[&str] = &["zeros", "reflect", "replicate", "circular"];

const CONVOLUTION_ATTRIBUTES: &[Attribute] = &[
    OUT_CHANNELS,
    KERNEL,
    STRIDE,
    attribute(
        "padding",
        AttributeKind::SizesOr(&["same", "valid"]),
        Default::Integer(0),
        "elements added on both sides, or `same` for an output like the input",
    ),
    DILATION,
    GROUPS,
    WEIGHT,
    BIAS,
    attribute(
        "padding_mode",
        AttributeKind::Choice(PADDING_MODES),
        Default::Text("zeros"),
        "what is added",
    ),
    IN_CHANNELS,
];

const TRANSPOSED_ATTRIBUTES: &[Attribute] = &[
    OUT_CHANNELS,
    KERNEL,
    STRIDE,
    attribute(
        "padding",
        AttributeKind::Sizes,
        Default::Integer(0),
        "elements taken away on both sides of the output",
    ),
    attribute(
        "output_padding",
        AttributeKind::Sizes,
        Default::Integer(0),
        "elements added behind the output",
    ),
    DILATION,
    GROUPS,
    WEIGHT,
    BIAS,
    IN_CHANNELS,
];

const fn convolution(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        attributes: CONVOLUTION_ATTRIBUTES,
        ..CONVOLUTION
    }
}

const fn transposed(name: &'static str, summary: &'static str) -> Op {
    Op {
        name,
        summary,
        attributes: TRANSPOSED_ATTRIBUTES,
        ..CONVOLUTION
    }
}

const CONVOLUTION: Op = Op {
    operands: OPERANDS,
    parameters: Some(parameters),
    infer,
    autocast: Autocast::Lower,
    work: |call| Work {
        products: forward_flops(call),
        other: if call.has(2) {
            u128::from(call.output_elements())
        } else {
            0
        },
    },
    backward,
    saved,
    interval: |call, ranges| {
        let Ok(geometry) = Geometry::of(call) else {
            return Interval::ANYTHING;
        };
        let mut product = ranges[0] * ranges[1];
        if geometry.transposed || (geometry.zero_padded && geometry.is_padded()) {
            // At the border some of the products are missing.
            product = product.union(Interval::point(0.0));
        }
        let sum = product * Interval::point(geometry.most_terms() as f64);
        if call.has(2) { sum + ranges[2] } else { sum }
    },
    moments: |call, moments| {
        let terms = Geometry::of(call).ok()?.mean_terms();
        let sum = multilinear::moments([*moments.first()?, *moments.get(1)?], terms)?;
        let bias = moments
            .get(2)
            .copied()
            .flatten()
            .unwrap_or(Moments::constant(0.0));
        Some(Moments::new(
            sum.mean + bias.mean,
            sum.variance + bias.variance,
        ))
    },
    gradient_gain: |call, position, moments| {
        let terms = Geometry::of(call).ok()?.mean_terms();
        match position {
            0 | 1 => multilinear::gain(call, position, [*moments.get(1 - position)?], terms),
            _ => None,
        }
    },
    ..BASE
};

fn parameters(call: &Call) -> Result<SmallVec<[ParameterDefinition; 2]>, OpError> {
    let (_, in_channels, inputs, _) = split_input(call)?;
    let groups = groups(call)?;
    let weight = match call.argument(1) {
        Some(weight) => weight.ty.shape.clone(),
        None => {
            let out_channels = call.size("out_channels")?;
            for (what, channels) in [("input", in_channels), ("output", out_channels)] {
                if channels % groups != 0 {
                    return Err(indivisible(what, channels, groups));
                }
            }
            let leading = match is_transposed(call) {
                false => [out_channels, in_channels / groups],
                true => [in_channels, out_channels / groups],
            };
            let kernel = call.sizes("kernel_size", inputs.len())?;
            leading.into_iter().chain(kernel).collect()
        }
    };
    let out_channels = match is_transposed(call) {
        false => weight.size(0).unwrap_or(0),
        true => weight.size(1).unwrap_or(0).saturating_mul(groups),
    };
    // Fan-in as PyTorch takes it, of transposed weights too: all axes but the first.
    let fan_in = weight
        .sizes()
        .iter()
        .skip(1)
        .fold(1u64, |fan, &size| fan.saturating_mul(size));
    let init = Init::FanIn(fan_in);
    Ok(smallvec![
        ParameterDefinition::new(1, "weight", weight, init),
        ParameterDefinition::new(2, "bias", [out_channels], init),
    ])
}

fn infer(call: &Call) -> Result<Outputs, OpError> {
    let geometry = Geometry::of(call)?;
    if let Some(bias) = call.argument(2)
        && bias.ty.shape.sizes() != [geometry.out_channels]
    {
        let message = format!(
            "the bias is {}, but the weight {} gives {} channels",
            bias.ty,
            call.shape(1)?,
            geometry.out_channels
        );
        return Err(OpError::new(message).operands([2, 1]));
    }
    let batch = (!geometry.unbatched).then_some(geometry.batch);
    let leading = batch.into_iter().chain([geometry.out_channels]);
    Ok(smallvec![TensorType {
        shape: leading.chain(geometry.outputs).collect(),
        dtype: multilinear::dtype(call, [0, 1, 2])?,
    }])
}

/// `conv_flop_count`: two for each place of the kernel, element of the weight and sample.
fn forward_flops(call: &Call) -> u128 {
    let (Ok(geometry), Ok(weight)) = (Geometry::of(call), call.shape(1)) else {
        return 0;
    };
    let places = match geometry.transposed {
        true => &geometry.inputs,
        false => &geometry.outputs,
    };
    multilinear::flops(
        [weight.elements(), geometry.batch]
            .iter()
            .chain(places)
            .copied(),
    )
}

/// `conv_backward_flop`: the gradient of the input is the transposed convolution with the same
/// weight, that of the weight a convolution of the input with the gradient of the output.
fn backward(call: &Call) -> u128 {
    let Ok(geometry) = Geometry::of(call) else {
        return 0;
    };
    let input = if call.requires_grad(0) {
        forward_flops(call)
    } else {
        0
    };
    if !call.requires_grad(1) {
        return input;
    }
    let places = match geometry.transposed {
        true => &geometry.inputs,
        false => &geometry.outputs,
    };
    let kernel = geometry.windows.iter().map(|window| window.kernel);
    let channels = [geometry.batch, geometry.in_channels, geometry.out_channels];
    let weight = channels
        .into_iter()
        .chain(kernel)
        .chain(places.iter().copied());
    input.saturating_add(multilinear::flops(weight))
}

/// The input and the weight, both whichever needs a gradient. Where the padding is not one that the
/// kernel does itself, a padded copy stands in for the input.
fn saved(call: &Call, saved: &mut Saved) {
    let Ok(geometry) = Geometry::of(call) else {
        return;
    };
    saved.argument(call, 1);
    let asymmetric = |window: &Window| window.padding.0 != window.padding.1;
    let explicit = !geometry.zero_padded && geometry.is_padded();
    if !explicit && !geometry.windows.iter().any(asymmetric) {
        saved.argument(call, 0);
        return;
    }
    let sizes = geometry.inputs.iter().zip(&geometry.windows);
    let elements = sizes.fold(
        geometry.batch.saturating_mul(geometry.in_channels),
        |elements, (&size, window)| {
            elements.saturating_mul(match explicit {
                true => window.padded(size),
                // The copy makes up for the difference of both sides, the kernel does the rest.
                false => size + window.padding.1.abs_diff(window.padding.0),
            })
        },
    );
    let dtype = call.dtype(0).unwrap_or(call.promoted_dtype());
    saved.extra("padded input", elements, dtype);
    // `reflection_pad` and `replication_pad` keep what they pad; the others only its size.
    let mode = call.text("padding_mode");
    if explicit && mode.is_some_and(|mode| mode != "circular") && call.requires_grad(0) {
        saved.argument(call, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{
        check, check_intervals, check_parameters, check_products, check_saved, with,
    };
    use super::*;

    #[test]
    fn shapes_and_errors() {
        check(&[
            (
                "conv2d([2, 3, 8, 9], out_channels=4, kernel_size=3)",
                "float32 [2, 4, 6, 7]",
            ),
            (
                "conv2d([3, 8, 9], out_channels=4, kernel_size=3)",
                "float32 [4, 6, 7]",
            ),
            (
                "conv2d([2, 3, 224, 224], out_channels=64, kernel_size=7, stride=2, padding=3)",
                "float32 [2, 64, 112, 112]",
            ),
            (
                "conv2d([2, 3, 8, 9], out_channels=4, kernel_size=[3, 1], padding=[1, 0], stride=[2, 1], dilation=[2, 1])",
                "float32 [2, 4, 3, 9]",
            ),
            (
                "conv1d([2, 3, 8], out_channels=4, kernel_size=4, padding=same)",
                "float32 [2, 4, 8]",
            ),
            (
                "conv1d([2, 3, 8], out_channels=4, kernel_size=4, padding=valid)",
                "float32 [2, 4, 5]",
            ),
            (
                "conv3d([2, 3, 8, 8, 8], out_channels=4, kernel_size=2)",
                "float32 [2, 4, 7, 7, 7]",
            ),
            (
                "conv2d([2, 6, 8, 8], out_channels=4, kernel_size=1, groups=2)",
                "float32 [2, 4, 8, 8]",
            ),
            (
                "conv2d([2, 3, 8, 8], [4, 3, 3, 3], bias=false)",
                "float32 [2, 4, 6, 6]",
            ),
            (
                "conv_transpose2d([2, 3, 8, 8], out_channels=4, kernel_size=4, stride=2, padding=1)",
                "float32 [2, 4, 16, 16]",
            ),
            (
                "conv_transpose1d([2, 6, 5], out_channels=4, kernel_size=3, stride=2, output_padding=1, dilation=2, groups=2)",
                "float32 [2, 4, 14]",
            ),
            (
                "conv_transpose1d([2, 6, 5], out_channels=4, kernel_size=3, output_padding=1)",
                "error: `output_padding` is 1, but must be below the stride 1 or the dilation 1",
            ),
            (
                "conv_transpose1d([2, 6, 1], out_channels=4, kernel_size=3, padding=2)",
                "error: the output would have -1 = 0 − 4 + 3 + 0 elements: (1 − 1)·stride − padding on both sides + span of the kernel + output_padding",
            ),
            (
                "conv2d([2, 8, 8], [4, 3, 3, 3])",
                "error: the input [2, 8, 8] has 2 channels, but the weight [4, 3, 3, 3] takes 3",
            ),
            (
                "conv2d([8, 8], out_channels=4, kernel_size=3)",
                "error: `conv2d` takes [batch, channels, height, width], but its input [8, 8] has 2 axes",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4, kernel_size=7, dilation=2, padding=2)",
                "error: kernel 7 spans 13 with dilation 2, but the padded input has 9 (2 + 5 + 2)",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4, kernel_size=7)",
                "error: kernel 7 does not fit: the input has 5",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4, kernel_size=3, stride=0)",
                "error: `stride` must be at least 1",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4)",
                "error: `conv1d` needs `kernel_size`",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4, kernel_size=3, groups=2)",
                "error: 3 input channels do not divide into 2 groups",
            ),
            (
                "conv1d([2, 4, 5], out_channels=3, kernel_size=3, groups=2)",
                "error: 3 output channels do not divide into 2 groups",
            ),
            (
                "conv1d([2, 3, 5], [4, 2, 3], groups=2)",
                "error: the input [2, 3, 5] has 3 channels, but the weight [4, 2, 3] takes 4 = 2 · 2 groups",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4, kernel_size=3, stride=2, padding=same)",
                "error: `padding = \"same\"` needs a stride of 1",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4, kernel_size=3, padding=5, padding_mode=reflect)",
                "error: `padding_mode = \"reflect\"` pads by less than the size 5 of the axis, not by 5",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4, kernel_size=[3, 3])",
                "error: `kernel_size` has 2 entries, but `conv1d` works on 1 axes here",
            ),
            (
                "conv1d([2, 3, 5], out_channels=4, kernel_size=3, in_channels=4)",
                "error: `in_channels` is 4, but the input [2, 3, 5] has 3 channels",
            ),
            (
                "conv1d([2, 3, 5], [4, 3, 3], [5])",
                "error: the bias is float32 [5], but the weight [4, 3, 3] gives 4 channels",
            ),
        ]);
        check_parameters(&[
            (
                "conv2d([2, 6, 8, 8], out_channels=4, kernel_size=3, groups=2)",
                "weight [4, 3, 3, 3], bias [4]",
            ),
            (
                "conv2d([2, 6, 8, 8], out_channels=4, kernel_size=3, bias=false)",
                "weight [4, 6, 3, 3]",
            ),
            (
                "conv_transpose2d([2, 6, 8, 8], out_channels=4, kernel_size=3, groups=2)",
                "weight [6, 2, 3, 3], bias [4]",
            ),
        ]);
    }

    #[test]
    fn products_are_those_of_the_flop_counter() {
        // Output 6 × 6, kernel 3 × 3, 3 channels to 4, batch 2.
        let plain = 2 * 36 * 9 * 12 * 2;
        // 6 channels to 4 in 2 groups: the weight's gradient is counted as if all mixed.
        let grouped = 2 * 36 * 9 * 12 * 2;
        let transposed = 2 * 64 * 16 * 12 * 2;
        check_products(&[
            (
                "conv2d([2, 3, 8, 8]!, out_channels=4, kernel_size=3)",
                (plain, plain),
            ),
            (
                "conv2d([2, 3, 8, 8], out_channels=4, kernel_size=3)",
                (plain, 2 * plain),
            ),
            (
                "conv2d([2, 6, 8, 8], out_channels=4, kernel_size=3, groups=2)",
                (grouped, 3 * grouped),
            ),
            (
                "conv_transpose2d([2, 3, 8, 8], out_channels=4, kernel_size=4, stride=2)",
                (transposed, 2 * transposed),
            ),
            (
                "conv2d([3, 8, 8], out_channels=4, kernel_size=3)",
                (plain / 2, plain),
            ),
        ]);
    }

    #[test]
    fn a_padded_copy_is_kept_where_the_kernel_does_not_pad() {
        check_saved(&[
            (
                "conv1d([2, 3, 8], out_channels=4, kernel_size=3, padding=1)",
                "weight, input",
            ),
            (
                "conv1d([2, 3, 8]!, out_channels=4, kernel_size=3, padding=same)",
                "weight, input",
            ),
            (
                "conv1d([2, 3, 8], out_channels=4, kernel_size=4, padding=same)",
                "weight, padded input: 54 float32",
            ),
            (
                "conv1d([2, 3, 8], out_channels=4, kernel_size=3, padding=1, padding_mode=circular)",
                "weight, padded input: 60 float32",
            ),
            (
                "conv1d([2, 3, 8], out_channels=4, kernel_size=3, padding=1, padding_mode=reflect)",
                "weight, input, padded input: 60 float32",
            ),
        ]);
    }

    #[test]
    fn ranges_count_terms_and_know_of_the_border() {
        check_intervals(&[
            (
                "conv1d([2, 3, 8], [4, 3, 2], bias=false)",
                &[(1.0, 2.0), (1.0, 3.0)],
                "[6, 36]",
            ),
            (
                "conv1d([2, 3, 8], [4, 3, 2], bias=false, padding=1)",
                &[(1.0, 2.0), (1.0, 3.0)],
                "[0, 36]",
            ),
            (
                "conv1d([2, 3, 8], [4, 3, 2], [4])",
                &[(1.0, 2.0), (1.0, 3.0), (-1.0, 1.0)],
                "[5, 37]",
            ),
            // With stride 2 each output has 2 of the 4 taps.
            (
                "conv_transpose1d([2, 3, 8], [3, 4, 4], bias=false, stride=2)",
                &[(1.0, 2.0), (1.0, 3.0)],
                "[0, 36]",
            ),
        ]);
    }

    /// A kaiming-normal weight keeps the variance of its rectified input, and its gradient's; at a
    /// padded border some of the terms are missing.
    #[test]
    fn variance_follows_the_number_of_terms() {
        let check = |text: &str, variance: f64, gain: f64| {
            let moments = [Some(Moments::STANDARD), Some(Moments::new(0.0, 0.01)), None];
            with(text, |call| {
                let out = (call.op.moments)(call, &moments).unwrap();
                assert!((out.variance - variance).abs() < 1e-12, "{text}: {out:?}");
                let back = (call.op.gradient_gain)(call, 0, &moments).unwrap();
                assert!((back - gain).abs() < 1e-12, "{text}: {back}");
            })
            .unwrap();
        };
        check("conv1d([2, 5, 8], [4, 5, 1], bias=false)", 0.05, 0.04);
        check(
            "conv1d([2, 5, 8], [4, 5, 3], bias=false, padding=1)",
            0.01 * 5.0 * 22.0 / 8.0,
            0.01 * 4.0 * 22.0 / 8.0,
        );
        check(
            "conv_transpose1d([2, 5, 8], [5, 4, 2], bias=false, stride=2)",
            0.05,
            0.08,
        );
    }
}
