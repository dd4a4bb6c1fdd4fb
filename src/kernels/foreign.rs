//! What another program does and the table has no entry for.
//!
//! Of most of these calls it is known of which class the function is, and not which one. What is
//! claimed of the class holds for each of its members, so one of them is run, and whoever shows what
//! was found says so. Of an opaque call nothing is known but types, and none is run.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one, refused};
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    refused(
        "opaque",
        "`opaque` stands for a function that is not known: values are drawn for what it makes",
    ),
    kernel("elementwise", |tape, call, given| {
        let sizes = output_sizes(call);
        let mut sum = tape.constant(Array::zeros(sizes.clone()));
        for x in given.from(0) {
            let angle = tape.map(x, f64::atan, |x, _| 1.0 / (1.0 + x * x));
            let wide = tape.broadcast(angle, &sizes)?;
            sum = tape.add(sum, wide)?;
        }
        one(sum)
    })
    .as_member("the sum of the arc tangents of corresponding elements"),
    kernel("summarised", |tape, call, given| {
        let sizes = output_sizes(call);
        let mut sum = tape.number(0.0);
        for x in given.from(0) {
            let squares = tape.square(x);
            let axes: Vec<usize> = (0..tape.sizes(x).len()).collect();
            let mean = tape.mean(squares, &axes, false)?;
            sum = tape.add(sum, mean)?;
        }
        one(tape.broadcast(sum, &sizes)?)
    })
    .as_member("the sum of the mean squares of the operands"),
    kernel("rearranged", |tape, call, given| {
        let all = end_to_end(tape, &given.from(0))?;
        let count = tape.value(all).len();
        let sizes = output_sizes(call);
        let wanted: usize = sizes.iter().product();
        if count == 0 && wanted > 0 {
            return Err(KernelError::new("there are no elements to rearrange"));
        }
        // From the last element on, and again from the first where more are asked for.
        let places: Vec<f64> = (0..wanted)
            .map(|at| (count - 1 - at % count) as f64)
            .collect();
        let places = tape.constant(Array::from_shape_vec(sizes, places)?);
        one(tape.gather(all, places, 0.0))
    })
    .as_member("the elements in reverse"),
    kernel("overwritten", |tape, _, given| {
        let x = given.need(0)?;
        let Some(value) = given.get(1) else {
            return one(tape.affine(x, 1.0, 0.0));
        };
        let (sizes, count) = (tape.sizes(x), tape.value(value).len());
        if count == 0 {
            return one(tape.affine(x, 1.0, 0.0));
        }
        // Every other element, by those of the value in turn.
        let mut at = 0;
        let places = Array::from_shape_simple_fn(sizes, || {
            at += 1;
            ((at - 1) / 2 % count) as f64
        });
        let mut replaced = false;
        let chosen = places.mapv(|_| {
            replaced = !replaced;
            f64::from(u8::from(replaced))
        });
        let (places, chosen) = (tape.constant(places), tape.constant(chosen));
        let new = tape.gather(value, places, 0.0);
        one(tape.select(chosen, new, x)?)
    })
    .on_complex(Complex::Moved)
    .as_member("every other element replaced"),
    kernel("tensor", |tape, call, _| {
        // Any values within its bounds; whole ones for integers.
        let sizes = call.integers("size").unwrap_or_default();
        let sizes: Vec<usize> = sizes.into_iter().map(|size| size.max(0) as usize).collect();
        let low = call.float("low").unwrap_or(0.0);
        let high = call.float("high").unwrap_or(low.max(1.0));
        let whole = call.output().is_some_and(|ty| !ty.dtype.is_float());
        let array = Array::from_shape_simple_fn(sizes, || {
            let value = low + (high - low) * tape.uniform();
            if whole { value.round() } else { value }
        });
        one(tape.constant(array))
    }),
];

fn output_sizes(call: &Call) -> Vec<usize> {
    call.output().map(super::held_sizes).unwrap_or_default()
}

/// The elements of all operands in one vector.
fn end_to_end(tape: &mut Tape, operands: &[Var]) -> Result<Var, KernelError> {
    let mut flat = Vec::new();
    for &x in operands {
        let count = tape.value(x).len();
        flat.push(tape.reshape(x, &[count])?);
    }
    match flat.as_slice() {
        [] => Ok(tape.constant(Array::zeros(vec![0]))),
        [single] => Ok(*single),
        all => tape.concatenate(all, 0),
    }
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("elementwise([2, 3], size=[2, 3])", &[]),
            ("elementwise([2, 1], [3], int64 [2, 3], size=[2, 3])", &[]),
            ("summarised([2, 3], size=[])", &[]),
            ("summarised([2, 3], [4], size=[5], dtype=float64)", &[]),
            ("rearranged([2, 3], size=[3, 2])", &[]),
            ("rearranged([2, 3], [3], size=[4, 4])", &[]),
            ("overwritten([2, 3], [3])", &[]),
            ("overwritten([2, 3])", &[]),
            ("overwritten(complex64 [2, 3], [3])", &[]),
            ("tensor(size=[4], dtype=int64, low=0, high=3)", &[]),
            ("tensor(size=[4, 2], low=-1, high=1)", &[]),
        ]);
    }
}
