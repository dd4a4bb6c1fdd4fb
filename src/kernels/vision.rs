//! Ops of torchvision: convolutions with offsets, pools over boxes, suppression of boxes.

use super::conv::finished;
use super::registry::{Kernel, kernel, one};
use super::sample::linear;
use super::tape::contraction::Labels;
use super::window::slides;
use super::{Array, Kept, KernelError, Tape, Var, suppression};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("deform_conv2d", |tape, call, given| {
        let mask = given.get(4);
        let (x, offset) = (given.need(0)?, given.need(1)?);
        let columns = deformed(tape, call, [x, offset, given.need(2)?], mask)?;
        one(finished(tape, columns, given.get(3), false)?)
    }),
    kernel("roi_align", |tape, call, given| {
        if call.text("mode").is_some_and(|mode| mode == "max") {
            return Err(KernelError::new(
                "the greatest of points is ONNX's alone, which takes it before it interpolates",
            ));
        }
        let boxes = (given.need(1)?, given.get(2));
        one(roi_align(tape, call, given.need(0)?, boxes)?)
    }),
    kernel("roi_pool", |tape, call, given| {
        one(roi_pool(tape, call, given.need(0)?, given.need(1)?)?)
    }),
    kernel("nms", |tape, call, given| {
        let (boxes, scores) = (given.need(0)?, given.need(1)?);
        one(suppression::suppressed(tape, call, boxes, scores)?)
    }),
];

/// The products of a weight with windows whose elements are read at offsets of their own.
fn deformed(
    tape: &mut Tape,
    call: &Call,
    [x, offset, weight]: [Var; 3],
    mask: Option<Var>,
) -> Result<Var, KernelError> {
    let (of_x, of_offset, of_weight) = (tape.sizes(x), tape.sizes(offset), tape.sizes(weight));
    let (batch, channels) = (of_x[0], of_x[1]);
    let along = slides(call, 2, Some(&of_weight[2..]))?;
    let (taps, windows) = (of_weight[2] * of_weight[3], &of_offset[2..]);
    let groups = channels / of_weight[1].max(1);
    // So many groups of channels have offsets of their own.
    let own = of_offset[1] / (2 * taps).max(1);
    let places = windows[0] * windows[1];
    let shape = [batch * own, taps, 2, windows[0], windows[1]];
    let offset = tape.reshape(offset, &shape)?;
    let mut positions = Vec::new();
    for (axis, slide) in along.iter().enumerate() {
        let part = tape.narrow(offset, 2, axis, 1);
        let part = tape.dropped(part, &[2], false)?;
        let columns = of_weight[3];
        let base = Array::from_shape_fn(vec![taps, windows[0], windows[1]], |at| {
            let tap = if axis == 0 {
                at[0] / columns
            } else {
                at[0] % columns
            };
            let start = (at[1 + axis] * slide.stride + tap * slide.dilation) as f64;
            start - slide.padding.0 as f64
        });
        let base = tape.constant(base);
        let part = tape.add(part, base)?;
        positions.push(tape.reshape(part, &[batch * own, taps * places])?);
    }
    let grouped = [batch * own, channels / own.max(1), of_x[2], of_x[3]];
    let x = tape.reshape(x, &grouped)?;
    let mut read = linear(tape, x, &positions)?;
    if let Some(mask) = mask {
        let mask = tape.reshape(mask, &[batch * own, 1, taps * places])?;
        read = tape.multiply(read, mask)?;
    }
    let read = tape.reshape(read, &[batch, groups, of_weight[1], taps, places])?;
    let weight = tape.reshape(weight, &[groups, of_weight[0] / groups, of_weight[1], taps])?;
    let product = tape.contract(read, weight, Labels::letters("bgctp", "goct", "bgop"))?;
    tape.reshape(product, &[batch, of_weight[0], windows[0], windows[1]])
}

/// The image of a box, and its corners on the input: x and y of the first, then of the last. The
/// image stands before the corners or among `numbers`.
fn corners(
    tape: &Tape,
    call: &Call,
    (boxes, numbers): (Var, Option<Var>),
    images: usize,
) -> Result<Vec<(usize, [f64; 4])>, KernelError> {
    let width = tape.sizes(boxes)[1];
    let scale = call.float("spatial_scale").unwrap_or(1.0);
    let elements: Vec<f64> = tape.value(boxes).iter().copied().collect();
    let apart: Option<Vec<f64>> = numbers.map(|var| tape.value(var).iter().copied().collect());
    let rows = elements.chunks(width.max(1)).enumerate();
    rows.map(|(at, row)| {
        let (image, corners) = match (row, &apart) {
            (&[image, a, b, c, d], _) => (image, [a, b, c, d]),
            (&[a, b, c, d], Some(numbers)) => {
                (numbers.get(at).copied().unwrap_or(f64::NAN), [a, b, c, d])
            }
            (&[a, b, c, d], None) if images == 1 => (0.0, [a, b, c, d]),
            _ => return Err(KernelError::new("of which image a box is, is not stated")),
        };
        if !(0.0..images as f64).contains(&image) {
            return Err(KernelError::outside("the image of a box", images, "images"));
        }
        Ok((image as usize, corners.map(|place| place * scale)))
    })
    .collect()
}

fn bins(call: &Call) -> Result<[usize; 2], KernelError> {
    let bins = call.sizes("output_size", 2)?;
    Ok([bins[0] as usize, bins[1] as usize])
}

/// Means of values at points that are evenly spread over each bin; points a little outside count as
/// on the edge, others as 0. Boxes get no gradient.
fn roi_align(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    boxes: (Var, Option<Var>),
) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let bins = bins(call)?;
    let (half, least) = match call.boolean("aligned") {
        true => (0.5, 0.0),
        false => (0.0, 1.0),
    };
    let asked = call.size("sampling_ratio")? as usize;
    let mut parts = Vec::new();
    for (image, [left, top, right, bottom]) in corners(tape, call, boxes, sizes[0])? {
        let along = [(top - half, bottom - half), (left - half, right - half)];
        let lengths = along.map(|(start, end)| (end - start).max(least));
        let samples: Vec<usize> = (0..2)
            .map(|axis| match asked {
                0 => (lengths[axis] / bins[axis] as f64).ceil().max(1.0) as usize,
                asked => asked,
            })
            .collect();
        let each = samples[0] * samples[1];
        let points = bins[0] * bins[1] * each;
        let mut inside = vec![1.0; points];
        let mut positions = Vec::new();
        for axis in 0..2 {
            let size = sizes[2 + axis] as f64;
            let step = lengths[axis] / (bins[axis] * samples[axis]) as f64;
            let places = (0..points).map(|point| {
                let (bin, sample) = (point / each, point % each);
                let number = match axis {
                    0 => bin / bins[1] * samples[0] + sample / samples[1],
                    _ => bin % bins[1] * samples[1] + sample % samples[1],
                };
                let place = along[axis].0 + (number as f64 + 0.5) * step;
                if place < -1.0 || place > size {
                    inside[point] = 0.0;
                }
                place.clamp(0.0, size - 1.0)
            });
            let places = Array::from_shape_vec(vec![1, points], places.collect())?;
            positions.push(tape.constant(places));
        }
        let own = tape.narrow(x, 0, image, 1);
        let read = linear(tape, own, &positions)?;
        let inside = tape.constant(Array::from_shape_vec(vec![1, 1, points], inside)?);
        let read = tape.multiply(read, inside)?;
        let read = tape.reshape(read, &[1, sizes[1], bins[0], bins[1], each])?;
        parts.push(tape.mean(read, &[4], false)?);
    }
    match parts.is_empty() {
        true => Ok(tape.constant(Array::zeros(vec![0, sizes[1], bins[0], bins[1]]))),
        false => tape.concatenate(&parts, 0),
    }
}

/// The greatest element of each bin of a box on whole positions; 0 of an empty one. Boxes get no
/// gradient.
fn roi_pool(tape: &mut Tape, call: &Call, x: Var, boxes: Var) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let bins = bins(call)?;
    let boxes = corners(tape, call, (boxes, None), sizes[0])?;
    let best = tape.derive(&[x], |values| {
        let image = values[0];
        Array::from_shape_fn(vec![boxes.len(), sizes[1], bins[0], bins[1]], |at| {
            let (number, [left, top, right, bottom]) = boxes[at[0]];
            let along = [(top, bottom), (left, right)];
            let range = |axis: usize| {
                let (start, end) = (along[axis].0.round(), along[axis].1.round());
                let step = (end - start + 1.0).max(1.0) / bins[axis] as f64;
                let bin = at[2 + axis] as f64;
                let size = sizes[2 + axis] as f64;
                let first = ((bin * step).floor() + start).clamp(0.0, size);
                let last = (((bin + 1.0) * step).ceil() + start).clamp(0.0, size);
                first as usize..last as usize
            };
            let mut best: Option<([usize; 4], f64)> = None;
            for y in range(0) {
                for x in range(1) {
                    let place = [number, at[1], y, x];
                    let value = image[place.as_slice()];
                    if best.is_none_or(|(_, most)| value > most) {
                        best = Some((place, value));
                    }
                }
            }
            best.map_or(-1.0, |([n, c, y, x], _)| {
                (((n * sizes[1] + c) * sizes[2] + y) * sizes[3] + x) as f64
            })
        })
    });
    let best = tape.keep(Kept::Extra("argmax"), best);
    Ok(tape.gather(x, best, 0.0))
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        let offsets = &[(-2.0, 2.0), (-1.3, 1.3)];
        // The image is a whole number where the boxes begin and end in one.
        let boxes = &[(-2.0, 2.0), (0.1, 0.9)];
        check(&[
            (
                "deform_conv2d([2, 4, 5, 6], [2, 18, 5, 6], [6, 4, 3, 3], [6], padding=1)",
                offsets,
            ),
            (
                "deform_conv2d([1, 4, 6, 6], [1, 16, 3, 3], [6, 2, 2, 2], -, [1, 8, 3, 3], stride=2)",
                offsets,
            ),
            ("roi_align([1, 3, 6, 5], [4, 5]!, output_size=2)", boxes),
            (
                "roi_align([1, 3, 6, 5], [2, 4]!, output_size=[2, 3], sampling_ratio=2)",
                &[(-2.0, 2.0), (0.0, 6.0)],
            ),
            (
                "roi_align([2, 3, 6, 5], [2, 4]!, int64 [2], output_size=2, spatial_scale=0.5, aligned=true)",
                &[(-2.0, 2.0), (0.0, 12.0), (0.0, 1.0)],
            ),
            (
                "roi_pool([1, 3, 6, 5], [2, 4]!, output_size=2, spatial_scale=0.25)",
                &[(-2.0, 2.0), (0.0, 24.0)],
            ),
            ("nms([5, 4], [5], iou_threshold=0.3)", &[(0.0, 9.0)]),
            (
                "nms([2, 5, 4], [2, 3, 5], iou_threshold=0.3)",
                &[(0.0, 9.0)],
            ),
            (
                "roi_pool([1, 3, 6, 5], [2, 4]!, output_size=[2, 3])",
                &[(-2.0, 2.0), (0.0, 6.0)],
            ),
        ]);
    }
}
