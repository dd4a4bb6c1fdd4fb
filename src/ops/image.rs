//! Rearranging images: channels to pixels and back, patches to columns and back.

use super::definition::{Default, attribute, same_moments};
use super::movement::{copy, with_zero};
use super::pointwise::{LIBRARY_ERROR, range};
use super::shape::like;
use super::window::Window;
use super::{Attribute, AttributeKind, Call, Op, OpError, Outputs, Work};
use crate::tensor::Interval;

const PATCHES: [Attribute; 4] = [
    attribute(
        "kernel_size",
        AttributeKind::Sizes,
        Default::Required,
        "size of a patch",
    ),
    attribute(
        "dilation",
        AttributeKind::Sizes,
        Default::Integer(1),
        "distance within a patch",
    ),
    attribute(
        "padding",
        AttributeKind::Sizes,
        Default::Integer(0),
        "zeros around the image",
    ),
    attribute(
        "stride",
        AttributeKind::Sizes,
        Default::Integer(1),
        "distance of patches",
    ),
];

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        attributes: &[attribute(
            "upscale_factor",
            AttributeKind::Size,
            Default::Required,
            "by how much each image axis grows",
        )],
        ..copy(
            "pixel_shuffle",
            "channels laid out as pixels",
            pixel_shuffle,
        )
    },
    Op {
        attributes: &[attribute(
            "downscale_factor",
            AttributeKind::Size,
            Default::Required,
            "by how much each image axis shrinks",
        )],
        ..copy(
            "pixel_unshuffle",
            "pixels laid out as channels",
            pixel_unshuffle,
        )
    },
    Op {
        attributes: &[attribute(
            "groups",
            AttributeKind::Size,
            Default::Required,
            "groups",
        )],
        ..copy(
            "channel_shuffle",
            "channels of the groups taken by turns",
            channel_shuffle,
        )
    },
    Op {
        aliases: &["im2col"],
        attributes: &PATCHES,
        interval: |call, ranges| {
            let padded = call
                .sizes("padding", 2)
                .is_ok_and(|padding| padding != [0, 0]);
            if padded {
                with_zero(call, ranges)
            } else {
                range(ranges, 0)
            }
        },
        moments: |call, moments| {
            let padded = call
                .sizes("padding", 2)
                .is_ok_and(|padding| padding != [0, 0]);
            (!padded).then(|| same_moments(call, moments)).flatten()
        },
        ..copy("unfold", "the patches of images, as columns", unfold)
    },
    Op {
        aliases: &["col2im"],
        attributes: &[
            attribute(
                "output_size",
                AttributeKind::Sizes,
                Default::Required,
                "size of the image",
            ),
            PATCHES[0],
            PATCHES[1],
            PATCHES[2],
            PATCHES[3],
        ],
        work: |call| Work::other(u128::from(call.elements(0))),
        // A pixel is the sum of at most as many values as a patch has.
        interval: |call, ranges| {
            let patch = call.sizes("kernel_size", 2).unwrap_or_default();
            let most = patch
                .iter()
                .fold(1.0, |product, &size| product * size as f64);
            (range(ranges, 0) * Interval::new(0.0, most)).widened(most * LIBRARY_ERROR)
        },
        moments: |_, _| None,
        gradient_gain: |_, _, _| None,
        ..copy("fold", "overlapping patches added up to images", fold)
    },
];

/// The axes before the last three, and the last three: channels, height, width.
fn image<'a>(call: &Call<'a>) -> Result<(&'a [u64], [u64; 3]), OpError> {
    let shape = call.shape(0)?;
    match shape.sizes() {
        [batch @ .., channels, height, width] => Ok((batch, [*channels, *height, *width])),
        _ => {
            let message = format!(
                "`{}` needs channels, height and width, but its input is {shape}",
                call.op.name
            );
            Err(OpError::new(message).operands([0]))
        }
    }
}

fn pixel_shuffle(call: &Call) -> Result<Outputs, OpError> {
    let (batch, [channels, height, width]) = image(call)?;
    let factor = call.size("upscale_factor")?;
    let square = factor.saturating_mul(factor);
    if square == 0 || channels % square != 0 {
        let message = format!(
            "{channels} channels are not a multiple of upscale_factor² = {factor}² = {square}"
        );
        return Err(OpError::new(message)
            .operands([0])
            .attribute("upscale_factor"));
    }
    let image = [
        channels / square,
        height.saturating_mul(factor),
        width.saturating_mul(factor),
    ];
    like(call.ty(0)?, batch.iter().copied().chain(image).collect())
}

fn pixel_unshuffle(call: &Call) -> Result<Outputs, OpError> {
    let (batch, [channels, height, width]) = image(call)?;
    let factor = call.size("downscale_factor")?;
    if factor == 0 || height % factor != 0 || width % factor != 0 {
        let message =
            format!("{height}×{width} is not a multiple of downscale_factor {factor} both ways");
        return Err(OpError::new(message)
            .operands([0])
            .attribute("downscale_factor"));
    }
    let square = factor.saturating_mul(factor);
    let image = [
        channels.saturating_mul(square),
        height / factor,
        width / factor,
    ];
    like(call.ty(0)?, batch.iter().copied().chain(image).collect())
}

fn channel_shuffle(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let groups = call.size("groups")?;
    let Some(channels) = input.shape.size(1).filter(|_| input.shape.rank() > 2) else {
        let message = format!(
            "`channel_shuffle` needs a batch, channels and an image, but its input is {}",
            input.shape
        );
        return Err(OpError::new(message).operands([0]));
    };
    if groups == 0 || channels % groups != 0 {
        let message = format!("{channels} channels do not make {groups} equal groups");
        return Err(OpError::new(message).operands([0]).attribute("groups"));
    }
    like(input, input.shape.clone())
}

/// The number of patches of an image.
fn patches(call: &Call, image: [u64; 2]) -> Result<u64, OpError> {
    let of = |name| call.sizes(name, 2);
    let (kernel, stride) = (of("kernel_size")?, of("stride")?);
    let (dilation, padding) = (of("dilation")?, of("padding")?);
    let mut count: u64 = 1;
    for axis in 0..2 {
        let window = Window {
            kernel: kernel[axis],
            stride: stride[axis],
            dilation: dilation[axis],
            padding: (padding[axis], padding[axis]),
        };
        count = count.saturating_mul(window.places(image[axis], false)?);
    }
    Ok(count)
}

fn unfold(call: &Call) -> Result<Outputs, OpError> {
    let (batch, [channels, height, width]) = image(call)?;
    if batch.len() > 1 {
        let message = format!(
            "`unfold` takes 3 or 4 axes, but its input is {}",
            call.shape(0)?
        );
        let help = "windows of one axis of any tensor: `tensor_unfold`";
        return Err(OpError::new(message).operands([0]).help(help));
    }
    let kernel = call.sizes("kernel_size", 2)?;
    let rows = channels.saturating_mul(kernel[0]).saturating_mul(kernel[1]);
    let count = patches(call, [height, width])?;
    like(
        call.ty(0)?,
        batch.iter().copied().chain([rows, count]).collect(),
    )
}

fn fold(call: &Call) -> Result<Outputs, OpError> {
    let shape = call.shape(0)?;
    let (batch, rows, columns) = match *shape.sizes() {
        [rows, columns] => (None, rows, columns),
        [batch, rows, columns] => (Some(batch), rows, columns),
        _ => {
            let message = format!("`fold` takes 2 or 3 axes, but its input is {shape}");
            return Err(OpError::new(message).operands([0]));
        }
    };
    let (kernel, image) = (call.sizes("kernel_size", 2)?, call.sizes("output_size", 2)?);
    let patch = kernel[0].saturating_mul(kernel[1]);
    if patch == 0 || rows % patch != 0 {
        let message = format!(
            "{rows} rows of {shape} do not make whole patches of {} × {} = {patch}",
            kernel[0], kernel[1]
        );
        return Err(OpError::new(message).operands([0]).attribute("kernel_size"));
    }
    let count = patches(call, [image[0], image[1]])?;
    if count != columns {
        let message = format!(
            "an image of {}×{} has {count} patches, but {shape} has {columns} columns",
            image[0], image[1]
        );
        return Err(OpError::new(message).operands([0]).attribute("output_size"));
    }
    let sizes = [rows / patch, image[0], image[1]];
    like(call.ty(0)?, batch.into_iter().chain(sizes).collect())
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, outputs};
    use proptest::prelude::*;

    #[test]
    fn shapes_follow_pytorch() {
        check(&[
            (
                "pixel_shuffle([2, 12, 4, 5], upscale_factor=2)",
                "float32 [2, 3, 8, 10]",
            ),
            (
                "pixel_shuffle([2, 6, 4, 5], upscale_factor=2)",
                "error: 6 channels are not a multiple of upscale_factor² = 2² = 4",
            ),
            (
                "pixel_unshuffle([3, 8, 10], downscale_factor=2)",
                "float32 [12, 4, 5]",
            ),
            (
                "pixel_unshuffle([3, 8, 9], downscale_factor=2)",
                "error: 8×9 is not a multiple of downscale_factor 2 both ways",
            ),
            ("channel_shuffle([2, 6, 4], groups=3)", "float32 [2, 6, 4]"),
            ("unfold([2, 3, 8, 8], kernel_size=3)", "float32 [2, 27, 36]"),
            (
                "fold([2, 27, 36], output_size=8, kernel_size=3)",
                "float32 [2, 3, 8, 8]",
            ),
            (
                "fold([2, 27, 35], output_size=8, kernel_size=3)",
                "error: an image of 8×8 has 36 patches, but [2, 27, 35] has 35 columns",
            ),
            (
                "fold([2, 26, 36], output_size=8, kernel_size=3)",
                "error: 26 rows of [2, 26, 36] do not make whole patches of 3 × 3 = 9",
            ),
            (
                "im2col([3, 8, 8], kernel_size=[2, 3], stride=2, padding=1, dilation=[1, 2])",
                "float32 [18, 15]",
            ),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("unfold([1, 4, 4], kernel_size=2)", &[(1.0, 2.0)], "[1, 2]"),
            (
                "unfold([1, 4, 4], kernel_size=2, padding=1)",
                &[(1.0, 2.0)],
                "[0, 2]",
            ),
            (
                "fold([4, 9], output_size=4, kernel_size=2)",
                &[(1.0, 2.0)],
                "[0, 8]",
            ),
        ]);
    }

    proptest! {
        /// Folding takes what unfolding gives.
        #[test]
        fn fold_takes_what_unfold_gives(
            (height, width) in (1u64..9, 1u64..9), kernel in 1u64..4, stride in 1u64..4,
            padding in 0u64..2, dilation in 1u64..3,
        ) {
            let window = format!(
                "kernel_size={kernel}, stride={stride}, padding={padding}, dilation={dilation}"
            );
            let columns = outputs(&format!("unfold([2, 3, {height}, {width}], {window})"));
            prop_assume!(!columns.starts_with("error"));
            prop_assert_eq!(
                outputs(&format!("fold({columns}, output_size=[{height}, {width}], {window})")),
                format!("float32 [2, 3, {height}, {width}]")
            );
        }
    }
}
