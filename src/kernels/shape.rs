//! Views of the same elements in another shape.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::{KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("reshape", |tape, call, given| {
        let x = given.need(0)?;
        let asked = call.integers("shape").unwrap_or_default();
        one(into_shape(tape, call, x, &asked)?)
    })
    .on_complex(Complex::Itself),
    kernel("reshape_as", |tape, _, given| {
        let (x, other) = (given.need(0)?, given.need(1)?);
        let sizes = tape.sizes(other);
        one(tape.reshape(x, &sizes)?)
    })
    .on_complex(Complex::Moved),
    kernel("flatten", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let rank = call.shape(0)?.rank();
        if rank == 0 {
            return one(tape.reshape(x, &[1])?);
        }
        let start = axis(call.integer("start_dim").unwrap_or(1), rank)?;
        let end = axis(call.integer("end_dim").unwrap_or(-1), rank)?;
        let mut made = sizes[..start].to_vec();
        made.push(sizes[start..=end].iter().product());
        made.extend(&sizes[end + 1..]);
        one(tape.reshape(x, &made)?)
    })
    .on_complex(Complex::Itself),
    kernel("ravel", |tape, _, given| {
        let x = given.need(0)?;
        let count = tape.value(x).len();
        one(tape.reshape(x, &[count])?)
    })
    .on_complex(Complex::Moved),
    kernel("unflatten", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let at = axis(call.integer("dim").unwrap_or(0), sizes.len())?;
        let parts = call.integers("unflattened_size").unwrap_or_default();
        let known: i64 = parts.iter().filter(|&&part| part >= 0).product();
        let open = sizes[at] as i64 / known.max(1);
        let parts = parts.iter().map(|&part| if part < 0 { open } else { part });
        let mut made = sizes[..at].to_vec();
        made.extend(parts.map(|part| part as usize));
        made.extend(&sizes[at + 1..]);
        one(tape.reshape(x, &made)?)
    })
    .on_complex(Complex::Moved),
    kernel("squeeze", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let rank = call.shape(0)?.rank();
        let named = call.integers("dim").map(|dims| {
            let axes = dims.iter().map(|&dim| axis(dim, rank));
            axes.collect::<Result<Vec<_>, _>>()
        });
        let named = named.transpose()?;
        let goes = |at: usize| {
            at < rank && sizes[at] == 1 && named.as_ref().is_none_or(|axes| axes.contains(&at))
        };
        let kept = (0..sizes.len()).filter(|&at| !goes(at));
        let made: Vec<usize> = kept.map(|at| sizes[at]).collect();
        one(tape.reshape(x, &made)?)
    })
    .on_complex(Complex::Itself),
    kernel("unsqueeze", |tape, call, given| {
        let x = given.need(0)?;
        let mut sizes = tape.sizes(x);
        let at = axis(call.integer("dim").unwrap_or(0), call.shape(0)?.rank() + 1)?;
        sizes.insert(at, 1);
        one(tape.reshape(x, &sizes)?)
    })
    .on_complex(Complex::Itself),
    kernel("expand", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let asked = call.integers("size").unwrap_or_default();
        let rank = call.shape(0)?.rank();
        let offset = asked.len().saturating_sub(rank);
        // -1 leaves an axis as it is.
        let mut made: Vec<usize> = asked
            .iter()
            .enumerate()
            .map(|(at, &size)| match size {
                -1 => sizes[at - offset.min(at)],
                size => size as usize,
            })
            .collect();
        made.extend(&sizes[rank..]);
        one(tape.broadcast(x, &made)?)
    })
    .on_complex(Complex::Itself),
    kernel("expand_as", |tape, _, given| {
        let (x, other) = (given.need(0)?, given.need(1)?);
        let sizes = tape.sizes(other);
        one(tape.broadcast(x, &sizes)?)
    })
    .on_complex(Complex::Moved),
];

/// An axis counted from the front.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(from_front) {
        Ok(at) if at < rank.max(1) => Ok(at),
        _ => Err(KernelError::new(format!("axis {axis} of {rank}"))),
    }
}

/// In the shape that is asked for, of which one size may be -1. A complex tensor keeps its parts.
fn into_shape(tape: &mut Tape, call: &Call, x: Var, asked: &[i64]) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let rank = call.shape(0)?.rank();
    // A kernel before may have made another shape than its op states.
    let Some(parts) = sizes.get(rank..) else {
        let message = format!("{rank} axes are stated, and there are {}", sizes.len());
        return Err(KernelError::new(message));
    };
    let total: usize = sizes.iter().product::<usize>() / parts.iter().product::<usize>().max(1);
    let known: i64 = asked.iter().filter(|&&size| size >= 0).product();
    let open = if known > 0 { total as i64 / known } else { 0 };
    let made = asked.iter().map(|&size| if size < 0 { open } else { size });
    let mut made: Vec<usize> = made.map(|size| size as usize).collect();
    made.extend(parts);
    tape.reshape(x, &made)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("reshape([2, 6], shape=[3, -1])", &[]),
            ("reshape([2, 6], shape=[12])", &[]),
            ("reshape_as([2, 6], [3, 4]!)", &[]),
            ("flatten([2, 3, 4])", &[]),
            ("flatten([2, 3, 4], start_dim=0, end_dim=1)", &[]),
            ("ravel([2, 3])", &[]),
            ("unflatten([2, 6], dim=1, unflattened_size=[2, -1])", &[]),
            ("squeeze([1, 3, 1])", &[]),
            ("squeeze([1, 3, 1], dim=[0])", &[]),
            ("unsqueeze([3, 4], dim=-1)", &[]),
            ("unsqueeze([3, 4], dim=1)", &[]),
            ("expand([1, 3, 1], size=[2, -1, 4])", &[]),
            ("expand([3, 1], size=[2, 3, 4])", &[]),
            ("expand_as([3, 1], [3, 4]!)", &[]),
        ]);
    }
}
