//! Copies that repeat, pad and reorder a tensor: `repeat`, `pad`, `roll`, `tril`.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::slicing::{diagonal, entries};
use super::tape::places::places_of;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("repeat", |tape, call, given| {
        one(tiled(
            tape,
            given.need(0)?,
            &call.integers("repeats").unwrap_or_default(),
        )?)
    })
    .on_complex(Complex::Moved),
    kernel("tile", |tape, call, given| {
        let x = given.need(0)?;
        let mut dims = call.integers("dims").unwrap_or_default();
        // Fewer numbers than axes stand for the last ones.
        while dims.len() < tape.sizes(x).len() {
            dims.insert(0, 1);
        }
        one(tiled(tape, x, &dims)?)
    })
    .on_complex(Complex::Moved),
    kernel("repeat_interleave", |tape, call, given| {
        let mut x = given.need(0)?;
        let times = call.size("repeats")? as usize;
        let at = match call.integer("dim") {
            Some(dim) => axis(dim, tape.sizes(x).len())?,
            None => {
                let count = tape.value(x).len();
                x = tape.reshape(x, &[count])?;
                0
            }
        };
        let size = tape.sizes(x)[at];
        let chosen: Vec<usize> = (0..size * times).map(|index| index / times).collect();
        one(entries(tape, x, at, &chosen))
    })
    .on_complex(Complex::Moved),
    kernel("pad", |tape, call, given| {
        let x = given.need(0)?;
        let rank = tape.sizes(x).len();
        let given = call.integers("pad").unwrap_or_default();
        let mut amounts = vec![(0, 0); rank];
        // Pairs from the last axis on.
        for (pair, numbers) in given.chunks_exact(2).enumerate() {
            amounts[rank - 1 - pair] = (numbers[0], numbers[1]);
        }
        let mode = call.text("mode").unwrap_or_default();
        one(padded(
            tape,
            x,
            &amounts,
            &mode,
            call.float("value").unwrap_or(0.0),
        )?)
    })
    .on_complex(Complex::Moved),
    kernel("flip", |tape, call, given| {
        let mut x = given.need(0)?;
        for dim in call.integers("dims").unwrap_or_default() {
            let sizes = tape.sizes(x);
            let at = axis(dim, sizes.len())?;
            let chosen: Vec<usize> = (0..sizes[at]).rev().collect();
            x = entries(tape, x, at, &chosen);
        }
        one(tape.affine(x, 1.0, 0.0))
    })
    .on_complex(Complex::Moved),
    kernel("roll", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let shifts = call.integers("shifts").unwrap_or_default();
        let Some(dims) = call.integers("dims").filter(|dims| !dims.is_empty()) else {
            let count = tape.value(x).len();
            let flat = tape.reshape(x, &[count])?;
            let rolled = rolled(tape, flat, 0, shifts.first().copied().unwrap_or(0));
            return one(tape.reshape(rolled, &sizes)?);
        };
        let mut x = x;
        for (dim, &shift) in dims.iter().zip(&shifts) {
            let at = axis(*dim, sizes.len())?;
            x = rolled(tape, x, at, shift);
        }
        one(x)
    })
    .on_complex(Complex::Moved),
    kernel("rot90", |tape, call, given| {
        let mut x = given.need(0)?;
        let rank = tape.sizes(x).len();
        let dims = call.integers("dims").unwrap_or_else(|| vec![0, 1]);
        let (first, second) = (axis(dims[0], rank)?, axis(dims[1], rank)?);
        for _ in 0..call.integer("k").unwrap_or(1).rem_euclid(4) {
            // A quarter turn: exchange the axes, then turn the first one round.
            x = tape.transpose(x, first, second);
            let chosen: Vec<usize> = (0..tape.sizes(x)[first]).rev().collect();
            x = entries(tape, x, first, &chosen);
        }
        one(tape.affine(x, 1.0, 0.0))
    })
    .on_complex(Complex::Moved),
    kernel("tril", |tape, call, given| {
        one(triangle(
            tape,
            call,
            given.need(0)?,
            |column, row, offset| column <= row + offset,
        )?)
    })
    .on_complex(Complex::Moved),
    kernel("triu", |tape, call, given| {
        one(triangle(
            tape,
            call,
            given.need(0)?,
            |column, row, offset| column >= row + offset,
        )?)
    })
    .on_complex(Complex::Moved),
    kernel("diag", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let offset = call.integer("diagonal").unwrap_or(0);
        if sizes.len() == 2 {
            return one(diagonal(tape, x, 0, 1, offset));
        }
        let side = sizes[0] + offset.unsigned_abs() as usize;
        let (down, right) = ((-offset).max(0) as usize, offset.max(0) as usize);
        let places = Array::from_shape_fn(vec![side, side], |at| {
            let index = at[0]
                .checked_sub(down)
                .filter(|&i| i < sizes[0] && at[1] == i + right);
            index.map_or(-1.0, |index| index as f64)
        });
        let places = tape.constant(places);
        one(tape.gather(x, places, 0.0))
    })
    .on_complex(Complex::Moved),
];

fn tiled(tape: &mut Tape, mut x: Var, times: &[i64]) -> Result<Var, KernelError> {
    let mut sizes = tape.sizes(x);
    while sizes.len() < times.len() {
        sizes.insert(0, 1);
    }
    x = tape.reshape(x, &sizes)?;
    for (at, &times) in times.iter().enumerate() {
        let size = sizes[at];
        let chosen: Vec<usize> = (0..size * times as usize)
            .map(|index| index % size)
            .collect();
        x = entries(tape, x, at, &chosen);
    }
    Ok(x)
}

fn rolled(tape: &mut Tape, x: Var, at: usize, shift: i64) -> Var {
    let size = tape.sizes(x)[at] as i64;
    let chosen: Vec<usize> = (0..size)
        .map(|index| (index - shift).rem_euclid(size) as usize)
        .collect();
    entries(tape, x, at, &chosen)
}

/// With so many entries more before and behind each axis; fewer, where a number is negative.
pub(super) fn padded(
    tape: &mut Tape,
    x: Var,
    amounts: &[(i64, i64)],
    mode: &str,
    value: f64,
) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let made: Vec<usize> = sizes
        .iter()
        .zip(amounts)
        .map(|(&size, (before, behind))| (size as i64 + before + behind).max(0) as usize)
        .collect();
    let source = |at: i64, size: i64| match mode {
        "reflect" => {
            let at = if at < 0 { -at } else { at };
            if at >= size { 2 * size - 2 - at } else { at }
        }
        "replicate" => at.clamp(0, size - 1),
        "circular" => at.rem_euclid(size),
        _ => at,
    };
    let all = places_of(&sizes);
    let places = Array::from_shape_fn(made, |at| {
        let index: Option<Vec<usize>> = (0..sizes.len())
            .map(|axis| {
                let element = source(at[axis] as i64 - amounts[axis].0, sizes[axis] as i64);
                usize::try_from(element).ok().filter(|&at| at < sizes[axis])
            })
            .collect();
        index.map_or(-1.0, |index| all[index.as_slice()])
    });
    let places = tape.constant(places);
    Ok(tape.gather(x, places, value))
}

/// What lies in a triangle of the last two axes; zeros elsewhere.
fn triangle(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    inside: fn(i64, i64, i64) -> bool,
) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let offset = call.integer("diagonal").unwrap_or(0);
    let last = &sizes[sizes.len() - 2..];
    let mask = Array::from_shape_fn(last.to_vec(), |at| {
        f64::from(u8::from(inside(at[1] as i64, at[0] as i64, offset)))
    });
    let (mask, zero) = (tape.constant(mask), tape.number(0.0));
    tape.select(mask, x, zero)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("repeat([2, 3], repeats=[2, 1, 2])", &[]),
            ("tile([2, 3], dims=[2])", &[]),
            ("repeat_interleave([2, 3], repeats=2, dim=1)", &[]),
            ("repeat_interleave([2, 3], repeats=3)", &[]),
            ("pad([2, 3], pad=[1, 2])", &[]),
            ("pad([2, 3], pad=[1, 2, 0, 1], value=0.5)", &[]),
            ("pad([2, 3], pad=[-1, 1])", &[]),
            ("pad([2, 3, 4], pad=[2, 1], mode='reflect')", &[]),
            ("pad([2, 3, 4], pad=[2, 1], mode='replicate')", &[]),
            ("pad([2, 3, 4], pad=[2, 1], mode='circular')", &[]),
            ("flip([2, 3], dims=[0, 1])", &[]),
            ("roll([2, 3], shifts=[1], dims=[1])", &[]),
            ("roll([2, 3], shifts=[-2])", &[]),
            ("rot90([2, 3])", &[]),
            ("rot90([2, 3], k=3)", &[]),
            ("tril([3, 4])", &[]),
            ("triu([2, 3, 4], diagonal=1)", &[]),
            ("diag([3])", &[]),
            ("diag([3], diagonal=-1)", &[]),
            ("diag([3, 4], diagonal=1)", &[]),
        ]);
    }
}
