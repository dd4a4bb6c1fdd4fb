//! Rectifiers: functions of one element with a kink at 0.

use super::registry::{Kernel, kernel, one};
use super::tape::Kind;
use super::{Kept, KernelError, Tape, Var};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("relu", |tape, _, given| {
        let x = given.need(0)?;
        // Autograd keeps the result, which is above 0 where the element is.
        one(tape.map(
            x,
            |x| x.max(0.0),
            |_, y| match y.is_nan() {
                true => y,
                false => f64::from(u8::from(y > 0.0)),
            },
        ))
    }),
    kernel("leaky_relu", |tape, call, given| {
        let x = given.need(0)?;
        let slope = call.float("negative_slope").unwrap_or(0.01);
        let inplace = call.boolean("inplace");
        one(tape.map(
            x,
            |x| if x > 0.0 { x } else { slope * x },
            // In place, only the result is left, whose sign is the element's.
            move |x, y| {
                if (if inplace { y } else { x }) > 0.0 {
                    1.0
                } else {
                    slope
                }
            },
        ))
    }),
    kernel("prelu", |tape, call, given| {
        let (x, weight) = (given.need(0)?, given.need(1)?);
        let rank = call.shape(0)?.rank();
        let count = tape.value(weight).len();
        // One slope for each channel, which is the second axis.
        let mut sizes = vec![1; rank];
        if rank > 1 {
            sizes[1] = count;
        }
        let weight = tape.reshape(weight, &sizes)?;
        one(leaky(tape, x, weight)?)
    }),
    kernel("rrelu", |tape, call, given| {
        let x = given.need(0)?;
        let low = call.float("lower").unwrap_or(1.0 / 8.0);
        let high = call.float("upper").unwrap_or(1.0 / 3.0);
        if !call.training {
            let slope = tape.number((low + high) / 2.0);
            return one(leaky(tape, x, slope)?);
        }
        let elements = tape.shared(x);
        let slopes = elements.mapv(|x| {
            let drawn = low + (high - low) * tape.uniform();
            if x > 0.0 { 1.0 } else { drawn }
        });
        let slopes = tape.constant(slopes);
        let slopes = tape.keep(Kept::Extra("slopes"), slopes);
        one(tape.multiply(x, slopes)?)
    }),
];

/// `x` above 0, `slope · x` below.
fn leaky(tape: &mut Tape, x: Var, slope: Var) -> Result<Var, KernelError> {
    tape.zip(
        Kind::Multiply,
        x,
        slope,
        |x, slope| if x > 0.0 { x } else { slope * x },
        |x, slope, _| if x > 0.0 { 1.0 } else { slope },
        |x, _, _| if x > 0.0 { 0.0 } else { x },
    )
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("relu([5, 6])", &[]),
            ("leaky_relu([5, 6])", &[]),
            ("leaky_relu([5, 6], negative_slope=0.3, inplace=true)", &[]),
            ("prelu([5, 6])", &[]),
            ("prelu([5, 6, 2], num_parameters=6)", &[]),
            ("rrelu([5, 6])", &[]),
            ("rrelu([5, 6]) eval", &[]),
        ]);
    }
}
