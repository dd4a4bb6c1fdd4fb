//! Choosing, bounding and converting elements: `where`, `masked_fill`, `clamp`, `to`, `detach`.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::{KernelError, Tape, Var};
use crate::ops::Call;
use crate::tensor::Dtype;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("where", |tape, _, given| {
        let (condition, x, y) = (given.need(0)?, given.need(1)?, given.need(2)?);
        one(tape.select(condition, x, y)?)
    })
    .on_complex(Complex::Moved),
    kernel("masked_fill", |tape, call, given| {
        let (x, mask) = (given.need(0)?, given.need(1)?);
        let value = tape.number(call.float("value").unwrap_or(0.0));
        one(tape.select(mask, value, x)?)
    }),
    kernel("clamp", |tape, call, given| {
        let x = given.need(0)?;
        let low = call.float("min").unwrap_or(f64::NEG_INFINITY);
        let high = call.float("max").unwrap_or(f64::INFINITY);
        one(tape.map(
            x,
            |x| if x.is_nan() { x } else { x.max(low).min(high) },
            move |x, _| f64::from(u8::from(x >= low && x <= high)),
        ))
    }),
    kernel("nan_to_num", |tape, call, given| {
        let x = given.need(0)?;
        let range = crate::tensor::Interval::of_dtype(call.dtype(0)?);
        let nan = call.float("nan").unwrap_or(0.0);
        let high = call.float("posinf").unwrap_or(range.high);
        let low = call.float("neginf").unwrap_or(range.low);
        one(tape.map(
            x,
            |x| {
                if x.is_nan() {
                    nan
                } else if x == f64::INFINITY {
                    high
                } else if x == f64::NEG_INFINITY {
                    low
                } else {
                    x
                }
            },
            |x, _| f64::from(u8::from(x.is_finite())),
        ))
    }),
    // Who runs the kernel stores the result in the type that is asked for.
    kernel("to", |tape, _, given| {
        let x = given.need(0)?;
        one(tape.affine(x, 1.0, 0.0))
    })
    .on_complex(Complex::Summed),
    kernel("clone", |tape, _, given| {
        let x = given.need(0)?;
        one(tape.affine(x, 1.0, 0.0))
    })
    .on_complex(Complex::Itself),
    kernel("contiguous", |tape, _, given| {
        let x = given.need(0)?;
        one(tape.affine(x, 1.0, 0.0))
    })
    .on_complex(Complex::Itself),
    kernel("detach", |tape, _, given| {
        let x = given.need(0)?;
        one(tape.detach(x))
    })
    .on_complex(Complex::Itself),
    kernel("identity", |tape, _, given| {
        let x = given.need(0)?;
        one(tape.affine(x, 1.0, 0.0))
    })
    .on_complex(Complex::Itself),
];

/// What a sum or product of so much adds up: whole numbers, where its result is in a type of them.
pub fn converted(tape: &mut Tape, call: &Call, x: Var) -> Result<Var, KernelError> {
    let whole = |dtype: Dtype| !dtype.is_float() && !dtype.is_complex();
    let cuts = call.outputs.iter().any(|ty| whole(ty.dtype)) && !whole(call.dtype(0)?);
    Ok(match cuts {
        true => tape.derive(&[x], |values| values[0].mapv(f64::trunc)),
        false => x,
    })
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("where(bool [3, 4], [3, 4], [4])", &[]),
            ("where(bool [3, 1], [4], 0.5)", &[]),
            ("masked_fill([3, 4], bool [4], value=-7.0)", &[]),
            ("clamp([3, 4], min=-0.5, max=1.0)", &[]),
            ("clamp([3, 4], max=1.0)", &[]),
            ("nan_to_num([3, 4])", &[]),
            ("to([3, 4], dtype=float64)", &[]),
            ("clone([3, 4])", &[]),
            ("contiguous([3, 4])", &[]),
            ("detach([3, 4])", &[]),
            ("identity([3, 4])", &[]),
        ]);
    }
}
