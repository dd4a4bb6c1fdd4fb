//! Views of a part of the elements.

use smallvec::SmallVec;

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::tape::places::places_of;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("slice", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call, "dim", 0)?;
        let size = tape.sizes(x)[at] as i64;
        let bound = |value: i64| if value < 0 { value + size } else { value }.clamp(0, size);
        let start = bound(call.integer("start").unwrap_or(0));
        let end = bound(call.integer("end").unwrap_or(size));
        let step = call.integer("step").unwrap_or(1).max(1);
        let chosen: Vec<usize> = (start..end)
            .step_by(step as usize)
            .map(|index| index as usize)
            .collect();
        one(entries(tape, x, at, &chosen))
    })
    .on_complex(Complex::Itself),
    kernel("select", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call, "dim", 0)?;
        let size = tape.sizes(x)[at] as i64;
        let index = call.integer("index").unwrap_or(0);
        let index = if index < 0 { index + size } else { index };
        let part = tape.narrow(x, at, index as usize, 1);
        one(tape.dropped(part, &[at], false)?)
    })
    .on_complex(Complex::Itself),
    kernel("narrow", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call, "dim", 0)?;
        let size = tape.sizes(x)[at] as i64;
        let start = call.integer("start").unwrap_or(0);
        let start = if start < 0 { start + size } else { start };
        let length = call.size("length")? as usize;
        one(tape.narrow(x, at, start as usize, length))
    })
    .on_complex(Complex::Moved),
    kernel("split", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call, "dim", 0)?;
        let size = tape.sizes(x)[at];
        let asked = call.integers("split_size").unwrap_or_default();
        let lengths = match asked.as_slice() {
            [one] => runs(size, *one as usize),
            many => many.iter().map(|&length| length as usize).collect(),
        };
        Ok(pieces(tape, x, at, &lengths))
    })
    .on_complex(Complex::Moved),
    kernel("chunk", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call, "dim", 0)?;
        let size = tape.sizes(x)[at];
        let chunks = call.size("chunks")?.max(1) as usize;
        Ok(pieces(tape, x, at, &runs(size, size.div_ceil(chunks))))
    })
    .on_complex(Complex::Moved),
    kernel("unbind", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call, "dim", 0)?;
        let size = tape.sizes(x)[at];
        (0..size)
            .map(|index| {
                let part = tape.narrow(x, at, index, 1);
                tape.dropped(part, &[at], false)
            })
            .collect()
    })
    .on_complex(Complex::Moved),
    kernel("diagonal", |tape, call, given| {
        let x = given.need(0)?;
        let (first, second) = (dim(call, "dim1", 0)?, dim(call, "dim2", 1)?);
        one(diagonal(
            tape,
            x,
            first,
            second,
            call.integer("offset").unwrap_or(0),
        ))
    })
    .on_complex(Complex::Moved),
    kernel("tensor_unfold", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call, "dimension", 0)?;
        let (length, step) = (
            call.size("size")? as usize,
            call.size("step")?.max(1) as usize,
        );
        let size = tape.sizes(x)[at];
        let windows = (0..=size.saturating_sub(length)).step_by(step);
        let chosen: Vec<usize> = windows.clone().flat_map(|w| w..w + length).collect();
        let parts = entries(tape, x, at, &chosen);
        // The windows stay where the axis was, their elements go to the end.
        let mut sizes = tape.sizes(x);
        sizes[at] = windows.count();
        sizes.insert(at + 1, length);
        let parts = tape.reshape(parts, &sizes)?;
        let mut order: Vec<usize> = (0..sizes.len()).filter(|&axis| axis != at + 1).collect();
        order.push(at + 1);
        one(tape.permute(parts, &order))
    })
    .on_complex(Complex::Moved),
];

fn dim(call: &Call, name: &str, default: i64) -> Result<usize, KernelError> {
    axis(call.integer(name).unwrap_or(default), call.shape(0)?.rank())
}

/// Runs of that length, the last one shorter where it does not come out.
fn runs(size: usize, length: usize) -> Vec<usize> {
    let length = length.max(1);
    let mut runs = vec![length; size / length];
    if !size.is_multiple_of(length) || size == 0 {
        runs.push(size % length);
    }
    runs
}

fn pieces(tape: &mut Tape, x: Var, at: usize, lengths: &[usize]) -> SmallVec<[Var; 1]> {
    let mut start = 0;
    lengths
        .iter()
        .map(|&length| {
            let piece = tape.narrow(x, at, start, length);
            start += length;
            piece
        })
        .collect()
}

/// Those entries of an axis, in that order.
pub(super) fn entries(tape: &mut Tape, x: Var, at: usize, chosen: &[usize]) -> Var {
    let places = places_of(&tape.sizes(x)).select(ndarray::Axis(at), chosen);
    let places = tape.constant(places);
    tape.gather(x, places, 0.0)
}

/// The diagonal of two axes, which goes to the end.
pub(super) fn diagonal(tape: &mut Tape, x: Var, first: usize, second: usize, offset: i64) -> Var {
    let sizes = tape.sizes(x);
    let places = places_of(&sizes);
    let (down, right) = ((-offset).max(0) as usize, offset.max(0) as usize);
    let length = sizes[first]
        .saturating_sub(down)
        .min(sizes[second].saturating_sub(right));
    let kept: Vec<usize> = (0..sizes.len())
        .filter(|&axis| axis != first && axis != second)
        .collect();
    let mut made: Vec<usize> = kept.iter().map(|&axis| sizes[axis]).collect();
    made.push(length);
    let chosen = Array::from_shape_fn(made, |at| {
        let mut index = vec![0; sizes.len()];
        for (place, &axis) in kept.iter().enumerate() {
            index[axis] = at[place];
        }
        index[first] = at[kept.len()] + down;
        index[second] = at[kept.len()] + right;
        places[index.as_slice()]
    });
    let chosen = tape.constant(chosen);
    tape.gather(x, chosen, 0.0)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("slice([5, 6], dim=1, start=1, end=-1, step=2)", &[]),
            ("slice([5, 6], start=-3)", &[]),
            ("select([5, 6], dim=1, index=-2)", &[]),
            ("narrow([5, 6], dim=0, start=1, length=3)", &[]),
            ("split([5, 6], split_size=4, dim=-1)", &[]),
            ("split([5, 6], split_size=[1, 2, 2])", &[]),
            ("chunk([5, 6], chunks=2)", &[]),
            ("unbind([3, 2], dim=1)", &[]),
            ("diagonal([3, 4])", &[]),
            ("diagonal([2, 3, 4], offset=1, dim1=-2, dim2=-1)", &[]),
            ("diagonal([3, 4], offset=-1)", &[]),
            ("tensor_unfold([2, 7], dimension=1, size=3, step=2)", &[]),
        ]);
    }
}
