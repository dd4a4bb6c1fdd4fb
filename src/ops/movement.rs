//! Copies that join, repeat, pad and reorder tensors: `cat`, `stack`, `repeat`, `pad`, `roll`,
//! `pixel_shuffle`, `im2col`.
//!
//! They move data and compute nothing, apart from masks and the sums of overlapping patches.

use smallvec::smallvec;

use super::definition::{
    BASE, Default, Infer, attribute, no_work, same_interval, same_moments, variadic,
};
use super::pointwise::{LIBRARY_ERROR, broadcast_factor, operations, range};
use super::shape::{like, list, new_axis};
use super::slicing::diagonal_length;
use super::window::Window;
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Operand, Outputs};
use crate::tensor::{Interval, Moments, Shape, TensorType};

const TENSORS: &[Operand] = &[variadic("tensors")];

const DIM: Attribute = attribute(
    "dim",
    AttributeKind::Integer,
    Default::Integer(0),
    "the axis along which they are joined",
)
.or(&["axis"]);

const DIAGONAL: &[Attribute] = &[attribute(
    "diagonal",
    AttributeKind::Integer,
    Default::Integer(0),
    "0 for the main diagonal, above it beyond, below it under",
)
.or(&["offset", "k"])];

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
        aliases: &["concat", "concatenate"],
        operands: TENSORS,
        attributes: &[DIM],
        autocast: Autocast::Promote,
        interval: union,
        moments: mixture,
        gradient_gain: |_, _, _| Some(1.0),
        ..copy("cat", "tensors joined along an axis", cat)
    },
    Op {
        operands: TENSORS,
        attributes: &[DIM],
        autocast: Autocast::Promote,
        interval: union,
        moments: mixture,
        gradient_gain: |_, _, _| Some(1.0),
        ..copy("stack", "tensors joined along a new axis", stack)
    },
    Op {
        attributes: &[attribute(
            "repeats",
            AttributeKind::Integers,
            Default::Required,
            "how often along each axis; further axes go in front",
        )],
        ..copy("repeat", "copies side by side along every axis", |call| {
            repeat(call, "repeats", false)
        })
    },
    Op {
        attributes: &[attribute(
            "dims",
            AttributeKind::Integers,
            Default::Required,
            "how often along each of the last axes",
        )
        .or(&["reps"])],
        ..copy("tile", "copies side by side, as of NumPy", |call| {
            repeat(call, "dims", true)
        })
    },
    Op {
        attributes: &[
            attribute(
                "repeats",
                AttributeKind::Size,
                Default::Required,
                "how often each",
            ),
            attribute(
                "dim",
                AttributeKind::Integer,
                Default::None,
                "the axis; the flattened tensor if left out",
            )
            .or(&["axis"]),
        ],
        ..copy(
            "repeat_interleave",
            "each index repeated in place",
            repeat_interleave,
        )
    },
    Op {
        attributes: &[
            attribute(
                "pad",
                AttributeKind::Integers,
                Default::Required,
                "elements before and behind the last axis, then the one before it, and so on; \
                 below 0 they are cut off",
            )
            .or(&["padding"]),
            attribute(
                "mode",
                AttributeKind::Choice(&["constant", "reflect", "replicate", "circular"]),
                Default::Text("constant"),
                "what is put there",
            ),
            attribute(
                "value",
                AttributeKind::Float,
                Default::Float(0.0),
                "of mode constant",
            ),
        ],
        interval: |call, ranges| {
            if is_constant(call) && call.output_elements() > call.elements(0) {
                range(ranges, 0).union(Interval::point(call.float("value").unwrap_or(0.0)))
            } else {
                range(ranges, 0)
            }
        },
        moments: |call, moments| {
            if !is_constant(call) {
                return same_moments(call, moments);
            }
            let value = Moments::constant(call.float("value").unwrap_or(0.0));
            let all = call.output_elements().max(1) as f64;
            let share = (call.elements(0) as f64 / all).min(1.0);
            Some(mix([
                (share, moments.first().copied().flatten()?),
                (1.0 - share, value),
            ]))
        },
        // The constant border takes its gradients with it.
        gradient_gain: |call, position, _| (position == 0 && is_constant(call)).then_some(1.0),
        ..copy("pad", "elements put around the last axes", pad)
    },
    Op {
        attributes: &[attribute(
            "dims",
            AttributeKind::Integers,
            Default::Required,
            "axes to turn round",
        )
        .or(&["axis", "dim"])],
        ..copy("flip", "axes turned round", |call| {
            call.axes("dims", call.shape(0)?)?;
            like(call.ty(0)?, call.shape(0)?.clone())
        })
    },
    Op {
        attributes: &[
            attribute(
                "shifts",
                AttributeKind::Integers,
                Default::Required,
                "by how much",
            ),
            attribute(
                "dims",
                AttributeKind::Integers,
                Default::None,
                "axes; the flattened tensor if left out",
            )
            .or(&["axis", "dim"]),
        ],
        ..copy("roll", "indices moved round along axes", roll)
    },
    Op {
        attributes: &[
            attribute(
                "k",
                AttributeKind::Integer,
                Default::Integer(1),
                "quarter turns",
            ),
            attribute(
                "dims",
                AttributeKind::Integers,
                Default::None,
                "the plane; [0, 1] if left out",
            )
            .or(&["axes"]),
        ],
        ..copy("rot90", "quarter turns in the plane of two axes", rot90)
    },
    Op {
        attributes: DIAGONAL,
        work: |call| operations(call, 1),
        interval: with_zero,
        ..copy("tril", "what stands above a diagonal made 0", triangle)
    },
    Op {
        attributes: DIAGONAL,
        work: |call| operations(call, 1),
        interval: with_zero,
        ..copy("triu", "what stands under a diagonal made 0", triangle)
    },
    Op {
        attributes: DIAGONAL,
        interval: |call, ranges| match call.shape(0) {
            Ok(shape) if shape.rank() == 1 && call.output_elements() > call.elements(0) => {
                with_zero(call, ranges)
            }
            _ => range(ranges, 0),
        },
        moments: |_, _| None,
        ..copy(
            "diag",
            "a matrix with that diagonal, or the diagonal of a matrix",
            diag,
        )
    },
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
        work: |call| super::Work::other(u128::from(call.elements(0))),
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

const fn copy(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        name,
        summary,
        infer,
        work: no_work,
        interval: same_interval,
        moments: same_moments,
        gradient_gain: |call, position, _| {
            let shrinks = call.output_elements() < call.elements(0);
            (position == 0 && !shrinks)
                .then(|| broadcast_factor(call, 0))
                .flatten()
        },
        ..BASE
    }
}

fn union(_: &Call, ranges: &[Interval]) -> Interval {
    ranges
        .iter()
        .copied()
        .reduce(Interval::union)
        .unwrap_or(Interval::ANYTHING)
}

fn with_zero(_: &Call, ranges: &[Interval]) -> Interval {
    range(ranges, 0).union(Interval::point(0.0))
}

/// Moments of elements of which shares have these moments.
fn mix(shares: impl IntoIterator<Item = (f64, Moments)>) -> Moments {
    let (mut mean, mut square) = (0.0, 0.0);
    for (share, part) in shares {
        mean += share * part.mean;
        square += share * part.square();
    }
    Moments::new(mean, square - mean * mean)
}

fn mixture(call: &Call, moments: &[Option<Moments>]) -> Option<Moments> {
    let all = call.output_elements().max(1) as f64;
    let shares: Option<Vec<_>> = (0..call.arguments.len())
        .map(|position| {
            let share = call.elements(position) as f64 / all;
            Some((share, moments.get(position).copied().flatten()?))
        })
        .collect();
    shares.map(mix)
}

/// The positions of the operands that are given; at least one.
fn given(call: &Call) -> Result<Vec<usize>, OpError> {
    let given: Vec<usize> = (0..call.arguments.len())
        .filter(|&at| call.has(at))
        .collect();
    if given.is_empty() {
        return Err(OpError::new(format!(
            "`{}` needs at least one tensor",
            call.op.name
        )));
    }
    Ok(given)
}

fn cat(call: &Call) -> Result<Outputs, OpError> {
    let given = given(call)?;
    // PyTorch passes over empty vectors, whatever the shape of the others.
    let is_empty = |position: usize| call.shape(position).is_ok_and(|shape| shape.sizes() == [0]);
    let first = given.iter().copied().find(|&at| !is_empty(at));
    let Some(first) = first else {
        return like(call.ty(given[0])?, [0].into());
    };
    let mut shape = call.shape(first)?.clone();
    if shape.rank() == 0 {
        let message = "scalars cannot be joined along an axis";
        return Err(OpError::new(message).operands([first]).help("use `stack`"));
    }
    let axis = call.axis("dim", &shape)?;
    let mut total: u64 = 0;
    for position in given.into_iter().filter(|&at| !is_empty(at)) {
        let other = call.shape(position)?;
        let fits = other.rank() == shape.rank()
            && (0..shape.rank()).all(|at| at == axis || other.sizes()[at] == shape.sizes()[at]);
        if !fits {
            let message = format!(
                "{} and {other} cannot be joined along axis {axis}: {}",
                call.shape(first)?,
                difference(&shape, other, axis)
            );
            return Err(OpError::new(message).operands([first, position]));
        }
        total = total.saturating_add(other.sizes()[axis]);
    }
    shape.set(axis, total);
    Ok(smallvec![TensorType {
        shape,
        dtype: call.promoted_dtype(),
    }])
}

/// Where two shapes differ, apart from the axis along which they may.
fn difference(a: &Shape, b: &Shape, except: usize) -> String {
    if a.rank() != b.rank() {
        return format!("they have {} and {} axes", a.rank(), b.rank());
    }
    let axis = (0..a.rank()).find(|&at| at != except && a.sizes()[at] != b.sizes()[at]);
    axis.map_or(String::new(), |axis| {
        format!("at axis {axis}, {} ≠ {}", a.sizes()[axis], b.sizes()[axis])
    })
}

fn stack(call: &Call) -> Result<Outputs, OpError> {
    let given = given(call)?;
    let first = call.shape(given[0])?;
    for &position in &given {
        let other = call.shape(position)?;
        if other != first {
            let message = format!("`stack` needs equal shapes, but they are {first} and {other}");
            return Err(OpError::new(message).operands([given[0], position]));
        }
    }
    let axis = new_axis(call, "dim", first)?;
    let mut shape = first.clone();
    shape.insert(axis, given.len() as u64);
    Ok(smallvec![TensorType {
        shape,
        dtype: call.promoted_dtype(),
    }])
}

/// `repeats` for at least as many axes as there are; `tile` fills up with ones in front.
fn repeat(call: &Call, name: &'static str, fill: bool) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let mut repeats = list(call, name)?;
    let rank = input.shape.rank();
    while fill && repeats.len() < rank {
        repeats.insert(0, 1);
    }
    let Some(added) = repeats.len().checked_sub(rank) else {
        let message = format!(
            "`{name}` has {} entries, but {} has {rank} axes",
            repeats.len(),
            input.shape
        );
        return Err(OpError::new(message).attribute(name).operands([0]));
    };
    let mut shape = Shape::scalar();
    for (axis, &count) in repeats.iter().enumerate() {
        let Ok(count) = u64::try_from(count) else {
            let message = format!("`{name}` has {count}, below 0");
            return Err(OpError::new(message).attribute(name));
        };
        let own = axis
            .checked_sub(added)
            .map_or(1, |at| input.shape.sizes()[at]);
        shape.push(own.saturating_mul(count));
    }
    like(input, shape)
}

fn repeat_interleave(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let repeats = call.size("repeats")?;
    if !call.is_given("dim") {
        return like(
            input,
            [input.shape.elements().saturating_mul(repeats)].into(),
        );
    }
    let axis = call.axis("dim", &input.shape)?;
    let mut shape = input.shape.clone();
    shape.set(axis, shape.sizes()[axis].saturating_mul(repeats));
    like(input, shape)
}

fn is_constant(call: &Call) -> bool {
    call.text("mode").is_none_or(|mode| mode == "constant")
}

fn pad(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let pad = list(call, "pad")?;
    let rank = input.shape.rank();
    let fail = |message: String| Err(OpError::new(message).attribute("pad").operands([0]));
    if pad.len() % 2 != 0 {
        return fail(format!(
            "`pad` has {} entries, but they come in pairs",
            pad.len()
        ));
    }
    if pad.len() / 2 > rank {
        return fail(format!(
            "`pad` names {} axes, but {} has {rank}",
            pad.len() / 2,
            input.shape
        ));
    }
    let mode = call.text("mode").unwrap_or_default();
    let mut shape = input.shape.clone();
    for (pair, ends) in pad.chunks_exact(2).enumerate() {
        let axis = rank - 1 - pair;
        let size = shape.sizes()[axis];
        let (before, behind) = (ends[0], ends[1]);
        // Reflection does not repeat the border, so it reaches one element less far.
        let reach = match mode.as_str() {
            "reflect" => Some(size as i64 - 1),
            "circular" => Some(size as i64),
            _ => None,
        };
        if let Some(reach) = reach
            && before.max(behind) > reach
        {
            return fail(format!(
                "mode {mode} pads axis {axis} of {} by at most {reach}, not by {}",
                input.shape,
                before.max(behind)
            ));
        }
        let padded = i128::from(size) + i128::from(before) + i128::from(behind);
        match u64::try_from(padded) {
            Ok(padded) => shape.set(axis, padded),
            Err(_) => {
                return fail(format!(
                    "axis {axis} of {} would have size {size} + {before} + {behind} = {padded}",
                    input.shape
                ));
            }
        }
    }
    like(input, shape)
}

fn roll(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let shifts = list(call, "shifts")?;
    let dims = call.integers("dims").unwrap_or_default();
    if call.is_given("dims") {
        if dims.len() != shifts.len() {
            let message = format!(
                "`shifts` has {} entries, but `dims` {}",
                shifts.len(),
                dims.len()
            );
            return Err(OpError::new(message).attribute("shifts"));
        }
        for dim in dims {
            if input.shape.axis(dim).is_none() {
                let rank = input.shape.rank();
                let message = format!(
                    "`dims` names axis {dim}, but {} has {rank} axes",
                    input.shape
                );
                return Err(OpError::new(message).attribute("dims"));
            }
        }
    } else if shifts.len() != 1 {
        let message = format!("`shifts` has {} entries, so `dims` must too", shifts.len());
        return Err(OpError::new(message).attribute("shifts"));
    }
    like(input, input.shape.clone())
}

fn rot90(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let dims = call.integers("dims").unwrap_or_else(|| vec![0, 1]);
    let axes: Vec<usize> = dims
        .iter()
        .filter_map(|&dim| input.shape.axis(dim))
        .collect();
    let (&[a, b], 2) = (axes.as_slice(), dims.len()) else {
        let message = format!(
            "`dims` must name two axes of {}, but it is {dims:?}",
            input.shape
        );
        return Err(OpError::new(message).attribute("dims"));
    };
    if a == b {
        let message = format!("`dims` names axis {a} twice");
        return Err(OpError::new(message).attribute("dims"));
    }
    let mut shape = input.shape.clone();
    if call.integer("k").unwrap_or(1).rem_euclid(2) == 1 {
        let (rows, columns) = (shape.sizes()[a], shape.sizes()[b]);
        shape.set(a, columns);
        shape.set(b, rows);
    }
    like(input, shape)
}

fn triangle(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    if input.shape.rank() < 2 {
        let message = format!(
            "`{}` needs 2 axes, but its input is {}",
            call.op.name, input.shape
        );
        return Err(OpError::new(message).operands([0]));
    }
    like(input, input.shape.clone())
}

fn diag(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let offset = call.integer("diagonal").unwrap_or(0);
    match *input.shape.sizes() {
        [length] => {
            let size = length.saturating_add(offset.unsigned_abs());
            like(input, [size, size].into())
        }
        [rows, columns] => like(input, [diagonal_length(rows, columns, offset)].into()),
        _ => {
            let message = format!("`diag` takes 1 or 2 axes, but its input is {}", input.shape);
            Err(OpError::new(message).operands([0]))
        }
    }
}

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
    use crate::ops::cases::{check, check_intervals, outputs, with};
    use crate::tensor::Moments;
    use proptest::prelude::*;

    #[test]
    fn shapes_follow_pytorch() {
        check(&[
            ("cat([2, 3], [2, 4], dim=1)", "float32 [2, 7]"),
            ("concat(float16 [2], int64 [3])", "float16 [5]"),
            ("cat([0], [2, 3])", "float32 [2, 3]"),
            (
                "cat([2, 3], [3, 4], dim=1)",
                "error: [2, 3] and [3, 4] cannot be joined along axis 1: at axis 0, 2 ≠ 3",
            ),
            (
                "cat([2, 3], [3])",
                "error: [2, 3] and [3] cannot be joined along axis 0: they have 2 and 1 axes",
            ),
            ("cat()", "error: `cat` needs at least one tensor"),
            ("stack([2, 3], [2, 3], dim=-1)", "float32 [2, 3, 2]"),
            (
                "stack([2], [3])",
                "error: `stack` needs equal shapes, but they are [2] and [3]",
            ),
            ("repeat([3], repeats=[4, 2])", "float32 [4, 6]"),
            (
                "repeat([2, 3], repeats=[4])",
                "error: `repeats` has 1 entries, but [2, 3] has 2 axes",
            ),
            ("tile([2, 3], reps=[4])", "float32 [2, 12]"),
            ("repeat_interleave([2, 3], repeats=2)", "float32 [12]"),
            (
                "repeat_interleave([2, 3], repeats=2, dim=1)",
                "float32 [2, 6]",
            ),
            ("pad([2, 3], pad=[1, 2])", "float32 [2, 6]"),
            ("pad([2, 3], pad=[1, -1, 2, 0], value=5)", "float32 [4, 3]"),
            (
                "pad([2, 3], pad=[1])",
                "error: `pad` has 1 entries, but they come in pairs",
            ),
            (
                "pad([2, 3], pad=[3, 0], mode=reflect)",
                "error: mode reflect pads axis 1 of [2, 3] by at most 2, not by 3",
            ),
            (
                "pad([2, 3], pad=[-2, -2])",
                "error: axis 1 of [2, 3] would have size 3 + -2 + -2 = -1",
            ),
            ("flip([2, 3], dims=[0])", "float32 [2, 3]"),
            ("roll([2, 3], shifts=1, dims=0)", "float32 [2, 3]"),
            (
                "roll([2, 3], shifts=[1, 2])",
                "error: `shifts` has 2 entries, so `dims` must too",
            ),
            ("rot90([2, 3])", "float32 [3, 2]"),
            ("rot90([2, 3, 4], k=-1, dims=[0, 2])", "float32 [4, 3, 2]"),
            ("rot90([2, 3], k=2)", "float32 [2, 3]"),
            (
                "tril([3])",
                "error: `tril` needs 2 axes, but its input is [3]",
            ),
            ("diag([3], diagonal=-1)", "float32 [4, 4]"),
            ("diag([3, 4])", "float32 [3]"),
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
                "im2col([3, 8, 8], kernel_size=[2, 3], stride=2, padding=1, dilation=[1, 2])",
                "float32 [18, 15]",
            ),
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
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("cat([2], [3])", &[(0.0, 1.0), (5.0, 6.0)], "[0, 6]"),
            ("pad([2], pad=[1, 0], value=-3)", &[(1.0, 2.0)], "[-3, 2]"),
            ("pad([2], pad=[-1, 0], value=-3)", &[(1.0, 2.0)], "[1, 2]"),
            (
                "pad([2], pad=[1, 0], mode=reflect)",
                &[(1.0, 2.0)],
                "[1, 2]",
            ),
            ("tril([2, 2])", &[(1.0, 2.0)], "[0, 2]"),
            ("diag([2])", &[(1.0, 2.0)], "[0, 2]"),
            ("diag([2, 2])", &[(1.0, 2.0)], "[1, 2]"),
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

    #[test]
    fn joined_tensors_have_mixed_moments() {
        let given = [Some(Moments::constant(1.0)), Some(Moments::constant(4.0))];
        let mixed = with("cat([2], [1])", |call| (call.op.moments)(call, &given)).unwrap();
        assert_eq!(mixed, Some(Moments::new(2.0, 2.0)));
    }

    proptest! {
        /// Joining, stacking and turning are held to ndarray.
        #[test]
        fn joining_agrees_with_ndarray(
            sizes in prop::collection::vec(0usize..4, 1..4), more in 0usize..4, axis in 0usize..3,
        ) {
            let axis = axis % sizes.len();
            let mut other = sizes.clone();
            other[axis] = more;
            let zeros = |sizes: &[usize]| ndarray::ArrayD::<f32>::zeros(sizes);
            let (a, b) = (zeros(&sizes), zeros(&other));
            let joined =
                ndarray::concatenate(ndarray::Axis(axis), &[a.view(), b.view()]).unwrap();
            // An empty vector is passed over, which gives the same.
            prop_assert_eq!(
                outputs(&format!("cat({sizes:?}, {other:?}, dim={axis})")),
                format!("float32 {:?}", joined.shape())
            );
            let stacked = ndarray::stack(ndarray::Axis(axis), &[a.view(), a.view()]).unwrap();
            prop_assert_eq!(
                outputs(&format!("stack({sizes:?}, {sizes:?}, dim={axis})")),
                format!("float32 {:?}", stacked.shape())
            );
        }

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
