//! Comparisons, logic and bits: nothing of this has a gradient.

use ndarray::IxDyn;

use super::registry::{Kernel, kernel, one};
use super::tape::pointwise::broadcast_sizes;
use super::{Array, KernelError, Tape, Var};

macro_rules! pair {
    ($name:literal, $f:expr) => {
        kernel($name, |tape, _, given| {
            let (x, y) = (given.need(0)?, given.need(1)?);
            one(pairs(tape, x, y, $f)?)
        })
    };
}

macro_rules! single {
    ($name:literal, $f:expr) => {
        kernel($name, |tape, _, given| {
            let x = given.need(0)?;
            one(tape.derive(&[x], |values| values[0].mapv($f)))
        })
    };
}

/// The kernels of this family. What depends on an element that is not known is not known.
pub static KERNELS: &[Kernel] = &[
    pair!("eq", |x, y| truth(x == y)),
    pair!("ne", |x, y| truth(x != y)),
    pair!("lt", |x, y| truth(x < y)),
    pair!("le", |x, y| truth(x <= y)),
    pair!("gt", |x, y| truth(x > y)),
    pair!("ge", |x, y| truth(x >= y)),
    pair!("logical_and", |x, y| truth(x != 0.0 && y != 0.0)),
    pair!("logical_or", |x, y| truth(x != 0.0 || y != 0.0)),
    pair!("logical_xor", |x, y| truth((x != 0.0) != (y != 0.0))),
    single!("logical_not", |x: f64| truth(x == 0.0)),
    pair!("bitwise_and", |x, y| ((x as i64) & (y as i64)) as f64),
    pair!("bitwise_or", |x, y| ((x as i64) | (y as i64)) as f64),
    pair!("bitwise_xor", |x, y| ((x as i64) ^ (y as i64)) as f64),
    pair!("bitwise_left_shift", |x, y| {
        (x as i64).checked_shl(y as u32).unwrap_or(0) as f64
    }),
    pair!(
        "bitwise_right_shift",
        |x, y| ((x as i64) >> (y as i64).clamp(0, 63)) as f64
    ),
    kernel("bitwise_not", |tape, call, given| {
        let x = given.need(0)?;
        let logical = call.dtype(0)? == crate::tensor::Dtype::Bool;
        one(tape.derive(&[x], |values| {
            values[0].mapv(|x| match logical {
                true => truth(x == 0.0),
                false => !(x as i64) as f64,
            })
        }))
    }),
    single!("isnan", |x: f64| truth(x.is_nan())),
    single!("isinf", |x: f64| truth(x.is_infinite())),
    single!("isfinite", |x: f64| truth(x.is_finite())),
];

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn pairs(tape: &mut Tape, x: Var, y: Var, f: impl Fn(f64, f64) -> f64) -> Result<Var, KernelError> {
    let sizes = broadcast_sizes(tape.value(x).shape(), tape.value(y).shape())?;
    Ok(tape.derive(&[x, y], |values| {
        let mut result = super::tape::pointwise::spread(values[0], &sizes);
        if let Some(second) = values[1].broadcast(IxDyn(&sizes)) {
            result.zip_mut_with(&second, |x, &y| *x = f(*x, y));
        }
        Array::from(result)
    }))
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in ["eq", "ne", "lt", "le", "gt", "ge"] {
            check(&[
                (&format!("{name}([3, 4], [4])"), &[]),
                (
                    &format!("{name}(int64 [3, 4], int64 [3, 1])"),
                    &[(0.0, 2.0), (0.0, 2.0)],
                ),
                (&format!("{name}([3, 4], 0.5)"), &[]),
            ]);
        }
        for name in ["logical_and", "logical_or", "logical_xor"] {
            check(&[(&format!("{name}(bool [3, 4], bool [4])"), &[])]);
        }
        for name in ["bitwise_and", "bitwise_or", "bitwise_xor"] {
            check(&[(
                &format!("{name}(int64 [3, 4], int64 [4])"),
                &[(0.0, 9.0), (0.0, 9.0)],
            )]);
        }
        check(&[
            (
                "bitwise_left_shift(int64 [3, 4], int64 [4])",
                &[(0.0, 9.0), (0.0, 3.0)],
            ),
            (
                "bitwise_right_shift(int64 [3, 4], int64 [4])",
                &[(0.0, 99.0), (0.0, 3.0)],
            ),
            ("logical_not(bool [3, 4])", &[]),
            ("bitwise_not(bool [3, 4])", &[]),
            ("bitwise_not(int64 [3, 4])", &[(0.0, 9.0)]),
            ("isnan([3])", &[]),
            ("isinf([3])", &[]),
            ("isfinite([3])", &[]),
        ]);
    }
}
