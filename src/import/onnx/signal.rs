//! Fourier transforms and windows. A complex number is an axis of two at the end.

use super::call::{Call, Results, all, axis, one};
use super::constant::dtype as numbered;
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::{Dtype, Shape, TensorType};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("BlackmanWindow", Special(blackman)),
    ("DFT", Special(transform)),
    ("HammingWindow", Special(hamming)),
    ("HannWindow", Special(hann)),
    ("MelWeightMatrix", Special(mel_weights)),
    ("STFT", Special(short_time)),
];

/// Over an axis that is an attribute before opset 20, and an input since.
fn transform(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let ty = call.type_of(input);
    let rank = ty.shape.rank();
    let default = if call.version < 20 { 1 } else { -2 };
    let known = match call.has(2) {
        true => call.known_integer(2),
        false => Some(call.attributes.integer("axis").unwrap_or(default)),
    };
    let stated = call.stated_shape(0);
    // Where the axis is not known, it is the one whose size changes, or any.
    let at = match (known, &stated) {
        (Some(at), _) => axis(at, rank)?,
        (None, Some(stated)) => (0..rank.checked_sub(1)?)
            .find(|&at| stated.sizes().get(at) != ty.shape.sizes().get(at))
            .unwrap_or(rank.checked_sub(2)?),
        (None, None) => return None,
    };
    let length = match (call.has(1), call.known_integer(1), &stated) {
        (false, ..) => ty.shape.sizes()[at],
        (true, Some(length), _) => u64::try_from(length).ok()?,
        (true, None, Some(stated)) => *stated.sizes().get(at)?,
        (true, None, None) => return None,
    };
    let half = call.attributes.flag("onesided");
    let inverse = call.attributes.flag("inverse");
    let mut shape = ty.shape.clone();
    shape.set(at, if half { length / 2 + 1 } else { length });
    shape.set(rank - 1, 2);
    let op = match (inverse, half) {
        (true, _) => "ifft",
        (false, true) => "rfft",
        (false, false) => "fft",
    };
    let given = [
        ("n", i64::try_from(length).ok()?.into()),
        ("dim", (at as i64).into()),
    ];
    let ty = TensorType::new(shape, ty.dtype);
    call.apply_as(op, &[input], &given, &[ty]).map(all)
}

/// Frames of a signal, each under a window, and their transforms.
fn short_time(call: &mut Call<'_, '_>) -> Option<Results> {
    let mut signal = call.tensor(0)?;
    let ty = call.type_of(signal);
    let &[batch, length, ..] = ty.shape.sizes() else {
        return None;
    };
    let stated = call.stated_shape(0);
    let half = call.attributes.integer("onesided").unwrap_or(1) != 0;
    let frame = match (call.known_integer(3), call.shape(2), &stated) {
        (Some(frame), ..) => frame,
        (None, Some(window), _) => i64::try_from(window.elements()).ok()?,
        // A frame of n elements has n / 2 + 1 bins on one side.
        (None, None, Some(stated)) => {
            let bins = i64::try_from(stated.size(2)?).ok()?;
            if half { 2 * (bins - 1).max(1) } else { bins }
        }
        (None, None, None) => return None,
    };
    let step = match (call.known_integer(1), &stated) {
        (Some(step), _) => step,
        // So that as many frames fit as are stated.
        (None, Some(stated)) => {
            let steps = i64::try_from(stated.size(1)?).ok()?.checked_sub(1)?.max(1);
            (i64::try_from(length).ok()? - frame)
                .checked_div(steps)?
                .max(1)
        }
        (None, None) => return None,
    };
    if ty.shape.rank() == 3 && ty.shape.sizes()[2] == 1 {
        signal = call.reshape(signal, &[batch, length].into())?;
    }
    let given = [
        ("dimension", 1.into()),
        ("size", frame.into()),
        ("step", step.into()),
    ];
    let mut frames = call.first("tensor_unfold", &[signal], &given)?;
    if call.has(2) {
        let window = call.buffer(2)?;
        frames = call.first("mul", &[frames, window], &[])?;
    }
    let count = *call.shape_of(frames).sizes().get(1)?;
    let bins = u64::try_from(if half { frame / 2 + 1 } else { frame }).ok()?;
    let ty = TensorType::new([batch, count, bins, 2], ty.dtype);
    let op = if half { "rfft" } else { "fft" };
    call.apply_as(op, &[frames], &[("dim", (-1).into())], &[ty])
        .map(all)
}

/// A sum of cosines over so many points.
fn window(call: &mut Call<'_, '_>, terms: &[f64]) -> Option<Results> {
    let number = call.attributes.integer("output_datatype").unwrap_or(1);
    let dtype = numbered(i32::try_from(number).ok()?)?;
    let size = match call.known_integer(0) {
        Some(size) => u64::try_from(size).ok()?,
        None => call.stated_shape(0)?.size(0)?,
    };
    let periodic = call.attributes.integer("periodic").unwrap_or(1) != 0;
    let period = if periodic {
        size
    } else {
        size.saturating_sub(1)
    };
    let given = [
        ("end", (size as f64).into()),
        ("dtype", Dtype::Float32.into()),
    ];
    let points = call.first("arange", &[], &given)?;
    let mut sum: Option<TensorId> = None;
    for (at, &weight) in terms.iter().enumerate() {
        let angle = std::f64::consts::TAU * at as f64 / period.max(1) as f64;
        let (angle, weight) = {
            let builder = &mut call.lowering.builder;
            (builder.constant(angle), builder.constant(weight))
        };
        let angles = call.first("mul", &[points, angle], &[])?;
        let cosines = call.first("cos", &[angles], &[])?;
        let term = call.first("mul", &[cosines, weight], &[])?;
        sum = Some(match sum {
            Some(sum) => call.first("add", &[sum, term], &[])?,
            None => term,
        });
    }
    call.cast(sum?, dtype).map(one)
}

fn hann(call: &mut Call<'_, '_>) -> Option<Results> {
    window(call, &[0.5, -0.5])
}

fn hamming(call: &mut Call<'_, '_>) -> Option<Results> {
    window(call, &[25.0 / 46.0, -21.0 / 46.0])
}

fn blackman(call: &mut Call<'_, '_>) -> Option<Results> {
    window(call, &[0.42, -0.5, 0.08])
}

/// The weights of triangles over frequencies: a constant, each between 0 and 1.
fn mel_weights(call: &mut Call<'_, '_>) -> Option<Results> {
    let number = call.attributes.integer("output_datatype").unwrap_or(1);
    let dtype = numbered(i32::try_from(number).ok()?)?;
    let shape = match (call.known_integer(0), call.known_integer(1)) {
        (Some(bands), Some(length)) => {
            let bins = u64::try_from(length / 2 + 1).ok()?;
            Shape::from([bins, u64::try_from(bands).ok()?])
        }
        _ => call.stated_shape(0)?,
    };
    let given = [
        ("size", super::call::sizes_of(&shape).into()),
        ("dtype", dtype.into()),
        ("low", 0.0.into()),
        ("high", 1.0.into()),
    ];
    call.apply("tensor", &[], &given).map(all)
}
