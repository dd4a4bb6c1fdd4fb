//! What only moves elements: reshapes, slices, joins, pads.

use super::call::{Call, MOST, Results, all, axis, one, sizes_of};
use super::constant::shape;
use super::fold;
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::{Shape, TensorType};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("CenterCropPad", Special(center_crop_pad)),
    ("Col2Im", Special(columns_to_image)),
    ("Concat", Special(concat)),
    ("DepthToSpace", Special(depth_to_space)),
    ("Expand", Special(expand)),
    ("Flatten", Special(flatten)),
    ("Pad", Special(pad)),
    ("Reshape", Special(reshape)),
    ("Slice", Special(slice)),
    ("SpaceToDepth", Special(space_to_depth)),
    ("Split", Special(split)),
    ("Squeeze", Special(squeeze)),
    ("Tile", Special(tile)),
    ("Transpose", Special(transpose)),
    ("Trilu", Special(triangle)),
    ("Unsqueeze", Special(unsqueeze)),
];

fn reshape(call: &mut Call<'_, '_>) -> Option<Results> {
    let target = match call.integers_at("shape", 1)? {
        Some(target) => fold::reshaped(call.shape(0)?, &target, call.attributes.flag("allowzero"))?,
        None => call.stated_shape(0)?,
    };
    let input = call.tensor(0)?;
    call.apply("reshape", &[input], &[("shape", sizes_of(&target).into())])
        .map(all)
}

fn flatten(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let from = call.shape_of(input);
    let rank = from.rank();
    let at = call.attributes.integer("axis").unwrap_or(1);
    let at = usize::try_from(if at < 0 { at + rank as i64 } else { at }).ok()?;
    let (left, right) = from.sizes().split_at_checked(at)?;
    let sides = [Shape::from(left).elements(), Shape::from(right).elements()];
    let target = sizes_of(&sides.into());
    call.apply("reshape", &[input], &[("shape", target.into())])
        .map(all)
}

fn squeeze(call: &mut Call<'_, '_>) -> Option<Results> {
    let target = match call.integers_at("axes", 1) {
        Some(Some(axes)) => fold::squeezed(call.shape(0)?, Some(&axes))?,
        Some(None) => call.stated_shape(0)?,
        None => fold::squeezed(call.shape(0)?, None)?,
    };
    reshaped(call, &target)
}

fn unsqueeze(call: &mut Call<'_, '_>) -> Option<Results> {
    let target = match call.integers_at("axes", 1)? {
        Some(axes) => fold::unsqueezed(call.shape(0)?, &axes)?,
        None => call.stated_shape(0)?,
    };
    reshaped(call, &target)
}

fn reshaped(call: &mut Call<'_, '_>, target: &Shape) -> Option<Results> {
    let input = call.tensor(0)?;
    call.apply("reshape", &[input], &[("shape", sizes_of(target).into())])
        .map(all)
}

fn transpose(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let axes = fold::permutation(call, call.shape_of(input).rank())?;
    let dims: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    call.apply("permute", &[input], &[("dims", dims.into())])
        .map(all)
}

fn concat(call: &mut Call<'_, '_>) -> Option<Results> {
    let parts: Option<Vec<TensorId>> = (0..call.inputs.len()).map(|at| call.tensor(at)).collect();
    let dim = call.attributes.integer("axis").unwrap_or(1);
    call.apply("cat", &parts?, &[("dim", dim.into())]).map(all)
}

/// How an axis is split: by sizes that are given, or into as many equal parts as there are
/// outputs, of which the last may be smaller.
pub(super) fn split_sizes(call: &Call<'_, '_>, size: u64) -> Option<Vec<u64>> {
    let parts = match call.integers_at("split", 1) {
        Some(Some(sizes)) => sizes
            .iter()
            .map(|&part| u64::try_from(part).ok())
            .collect::<Option<Vec<u64>>>()?,
        Some(None) => {
            let at = call.axis("axis", 0, call.rank(0)?)? as i64;
            (0..call.node.output.len())
                .map(|output| call.stated_shape(output)?.size(at))
                .collect::<Option<Vec<u64>>>()?
        }
        None => {
            let count = match call.attributes.integer("num_outputs") {
                Some(count) => u64::try_from(count).ok()?,
                None => call.node.output.len() as u64,
            };
            let count = count.clamp(1, call.node.output.len().max(1) as u64);
            let part = size.div_ceil(count);
            let before = |at: u64| (part * at).min(size);
            (0..count).map(|at| before(at + 1) - before(at)).collect()
        }
    };
    let total = parts
        .iter()
        .try_fold(0u64, |sum, &part| sum.checked_add(part))?;
    (total == size).then_some(parts)
}

fn split(call: &mut Call<'_, '_>) -> Option<Results> {
    let from = call.shape(0)?.clone();
    let at = call.axis("axis", 0, from.rank())?;
    let parts = split_sizes(call, from.sizes()[at])?;
    let parts: Vec<i64> = parts.iter().map(|&part| part as i64).collect();
    let input = call.tensor(0)?;
    let given = [("split_size", parts.into()), ("dim", (at as i64).into())];
    call.apply("split", &[input], &given).map(all)
}

fn slice(call: &mut Call<'_, '_>) -> Option<Results> {
    let Some(slices) = fold::slices(call) else {
        return stated_slice(call);
    };
    let mut result = call.tensor(0)?;
    let mut sliced = false;
    for (axis, start, end, step) in slices {
        let size = call.shape_of(result).sizes()[axis];
        let (start, count) = fold::slice_bounds(size, start, end, step)?;
        let dim = axis as i64;
        if step < 0 {
            // Backwards: turned around, and then forwards.
            result = call.first("flip", &[result], &[("dims", vec![dim].into())])?;
        }
        let size = i64::try_from(size).ok()?;
        let start = if step < 0 { size - 1 - start } else { start };
        let stride = i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX);
        let end = start.saturating_add(stride.saturating_mul(i64::try_from(count).ok()?));
        let given = [
            ("dim", dim.into()),
            ("start", start.into()),
            ("end", end.min(size).into()),
            ("step", stride.min(size.max(1)).into()),
        ];
        result = call.first("slice", &[result], &given)?;
        sliced = true;
    }
    match sliced {
        true => Some(one(result)),
        false => call.apply("identity", &[result], &[]).map(all),
    }
}

/// A slice whose bounds only running the model would tell: of the stated shape, or all there is.
fn stated_slice(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let from = call.shape_of(input);
    let Some(target) = call.stated_shape(0) else {
        call.note(MOST);
        return call.apply("identity", &[input], &[]).map(all);
    };
    if target.rank() != from.rank() {
        return None;
    }
    let mut result = input;
    for (axis, (&from, &to)) in from.sizes().iter().zip(target.sizes()).enumerate() {
        if to > from {
            return None;
        }
        if to < from {
            let given = [
                ("dim", (axis as i64).into()),
                ("start", 0.into()),
                ("length", i64::try_from(to).ok()?.into()),
            ];
            result = call.first("narrow", &[result], &given)?;
        }
    }
    match result == input {
        true => call.apply("identity", &[input], &[]).map(all),
        false => Some(one(result)),
    }
}

fn expand(call: &mut Call<'_, '_>) -> Option<Results> {
    let target = match call.known_integers(1) {
        Some(sizes) => call.shape(0)?.broadcast(&shape(&sizes)?)?,
        None => call.stated_shape(0)?,
    };
    let input = call.tensor(0)?;
    call.apply("expand", &[input], &[("size", sizes_of(&target).into())])
        .map(all)
}

fn tile(call: &mut Call<'_, '_>) -> Option<Results> {
    let from = call.shape(0)?.clone();
    let repeats = match call.known_integers(1) {
        Some(repeats) => repeats,
        None => {
            let stated = call.stated_shape(0)?;
            let pairs = stated.sizes().iter().zip(from.sizes());
            pairs
                .map(|(&to, &from)| i64::try_from(to.checked_div(from)?).ok())
                .collect::<Option<_>>()?
        }
    };
    let input = call.tensor(0)?;
    call.apply("repeat", &[input], &[("repeats", repeats.into())])
        .map(all)
}

/// Pads are an attribute before opset 11, and an input since; axes may be named since opset 18.
fn pad(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let from = call.shape_of(input);
    let rank = from.rank();
    let mode = match call.attributes.text("mode") {
        None | Some("constant") => "constant",
        Some("reflect") => "reflect",
        Some("edge") => "replicate",
        Some("wrap") => "circular",
        Some(_) => return None,
    };
    let value = call
        .attributes
        .float("value")
        .or_else(|| call.known_number(2))
        .unwrap_or(0.0);
    let Some(pads) = call
        .integers_at("pads", 1)
        .or_else(|| call.integers_at("paddings", 1))?
    else {
        return stated_pad(call, input);
    };
    let axes: Vec<usize> = match call.has(3) {
        true => call
            .known_integers(3)?
            .iter()
            .map(|&at| axis(at, rank))
            .collect::<Option<_>>()?,
        false => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return None;
    }
    let (mut before, mut behind) = (vec![0; rank], vec![0; rank]);
    for (at, &axis) in axes.iter().enumerate() {
        before[axis] = pads[at];
        behind[axis] = pads[at + axes.len()];
    }
    let padded: Option<Vec<i64>> = sizes_of(&from)
        .iter()
        .zip(before.iter().zip(&behind))
        .map(|(&size, (&before, &behind))| size.checked_add(before)?.checked_add(behind))
        .collect();
    let target = shape(&padded?)?;
    // The last axis comes first; axes in front that are not padded are left out, for other modes
    // than the constant one take no more than three.
    let mut list: Vec<i64> = Vec::with_capacity(2 * rank);
    for (&before, &behind) in before.iter().zip(&behind).rev() {
        list.extend([before, behind]);
    }
    while list.len() > 2 && list.ends_with(&[0, 0]) {
        list.truncate(list.len() - 2);
    }
    let given = [
        ("pad", list.into()),
        ("mode", mode.into()),
        ("value", value.into()),
    ];
    if let Some(made) = call.apply("pad", &[input], &given) {
        return Some(all(made));
    }
    // PyTorch refuses modes on axes and by widths that ONNX does not.
    let ty = TensorType::new(target, call.type_of(input).dtype);
    call.apply_as("pad", &[input], &given, &[ty]).map(all)
}

/// A pad by widths that only running the model would tell, to the stated shape.
fn stated_pad(call: &mut Call<'_, '_>, input: TensorId) -> Option<Results> {
    let (from, to) = (call.shape_of(input), call.stated_shape(0)?);
    if from.rank() != to.rank() {
        return None;
    }
    let pairs = sizes_of(&from).into_iter().zip(sizes_of(&to)).rev();
    let list: Vec<i64> = pairs.flat_map(|(from, to)| [0, to - from]).collect();
    call.apply("pad", &[input], &[("pad", list.into())])
        .map(all)
}

/// Cut or padded in the middle of the named axes.
fn center_crop_pad(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let from = call.shape_of(input);
    let rank = from.rank();
    let axes: Vec<usize> = match call.attributes.integers("axes") {
        Some(axes) => axes
            .iter()
            .map(|&at| axis(at, rank))
            .collect::<Option<_>>()?,
        None => (0..rank).collect(),
    };
    let target: Vec<i64> = match call.known_integers(1) {
        Some(target) => target,
        None => {
            let stated = sizes_of(&call.stated_shape(0)?);
            axes.iter()
                .map(|&axis| stated.get(axis).copied())
                .collect::<Option<_>>()?
        }
    };
    let mut list = vec![0; 2 * rank];
    for (&axis, &size) in axes.iter().zip(&target) {
        let missing = size - i64::try_from(from.sizes()[axis]).ok()?;
        let at = 2 * (rank - 1 - axis);
        list[at] = missing.div_euclid(2);
        list[at + 1] = missing - missing.div_euclid(2);
    }
    call.apply("pad", &[input], &[("pad", list.into())])
        .map(all)
}

fn triangle(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let op = match call.attributes.integer("upper").unwrap_or(1) {
        0 => "tril",
        _ => "triu",
    };
    // Where the diagonal stands changes neither shape nor range.
    let diagonal = call.known_integer(1).unwrap_or(0);
    call.apply(op, &[input], &[("diagonal", diagonal.into())])
        .map(all)
}

/// Columns of patches summed into an image. The op takes two axes; of others, the type is known.
fn columns_to_image(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let from = call.shape_of(input);
    let &[batch, columns, _] = from.sizes() else {
        return None;
    };
    let block_elements = |block: &[i64]| block.iter().product::<i64>();
    let (image, block) = match (call.known_integers(1), call.known_integers(2)) {
        (Some(image), Some(block)) => (image, block),
        // What the file states tells the image, and the channels tell how large a block is.
        _ => {
            let stated = call.stated_shape(0)?;
            let ty = TensorType::new(stated, call.type_of(input).dtype);
            let given = [
                ("output_size", sizes_of(&ty.shape)[2..].to_vec().into()),
                ("kernel_size", 1.into()),
            ];
            return call.apply_as("fold", &[input], &given, &[ty]).map(all);
        }
    };
    let channels = i64::try_from(columns)
        .ok()?
        .checked_div(block_elements(&block))?;
    let axes = image.len();
    let list = |name: &str, default: i64| match call.attributes.integers(name) {
        Some(values) => values.to_vec(),
        None => vec![default; axes],
    };
    let (dilation, stride) = (list("dilations", 1), list("strides", 1));
    let pads = match call.attributes.integers("pads") {
        Some(pads) if pads.len() == 2 * axes => pads.to_vec(),
        _ => vec![0; 2 * axes],
    };
    let given = [
        ("output_size", image.clone().into()),
        ("kernel_size", block.into()),
        ("dilation", dilation.into()),
        ("stride", stride.into()),
        ("padding", pads[..axes].to_vec().into()),
    ];
    if pads[..axes] == pads[axes..]
        && let Some(made) = call.apply("fold", &[input], &given)
    {
        return Some(all(made));
    }
    let mut target = vec![i64::try_from(batch).ok()?, channels];
    target.extend(image);
    let ty = TensorType::new(shape(&target)?, call.type_of(input).dtype);
    call.apply_as("fold", &[input], &given, &[ty]).map(all)
}

/// Channels to positions: blocks first (DCR), or channels first (CRD, PyTorch's pixel shuffle).
fn depth_to_space(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let block = call.attributes.integer("blocksize")?;
    if call.attributes.text("mode") == Some("CRD") {
        let given = [("upscale_factor", block.into())];
        return call.apply("pixel_shuffle", &[input], &given).map(all);
    }
    let &[batch, channels, height, width] = call.shape_of(input).sizes() else {
        return None;
    };
    let b = u64::try_from(block)
        .ok()
        .filter(|&b| b > 0 && b < 1 << 20)?;
    let depth = channels / (b * b);
    let split = call.reshape(input, &[batch, b, b, depth, height, width].into())?;
    let turned = call.permute(split, &[0, 3, 4, 1, 5, 2])?;
    let target = Shape::from([batch, depth, height.checked_mul(b)?, width.checked_mul(b)?]);
    call.reshape(turned, &target).map(one)
}

fn space_to_depth(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let block = call.attributes.integer("blocksize")?;
    let &[batch, channels, height, width] = call.shape_of(input).sizes() else {
        return None;
    };
    let b = u64::try_from(block)
        .ok()
        .filter(|&b| b > 0 && b < 1 << 20)?;
    let split = [batch, channels, height / b, b, width / b, b];
    let split = call.reshape(input, &split.into())?;
    let turned = call.permute(split, &[0, 3, 5, 1, 2, 4])?;
    let target = Shape::from([batch, channels.checked_mul(b * b)?, height / b, width / b]);
    call.reshape(turned, &target).map(one)
}
