//! Dropout: random zeros in training, nothing in evaluation.

use super::registry::{Kernel, kernel, one};
use super::{Array, Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("dropout", |tape, call, given| {
        let x = given.need(0)?;
        let Some(p) = probability(call) else {
            return one(tape.affine(x, 1.0, 0.0));
        };
        let sizes = tape.sizes(x);
        let mask = drawn(tape, &sizes, p);
        if p == 1.0 {
            let zero = tape.number(0.0);
            let zero = tape.keep(Kept::Extra("zero"), zero);
            return one(tape.multiply(x, zero)?);
        }
        if call.boolean("inplace") {
            let noise = tape.constant(mask.mapv(|kept| kept / (1.0 - p)));
            let noise = tape.keep(Kept::Extra("noise"), noise);
            return one(tape.multiply(x, noise)?);
        }
        let mask = tape.constant(mask);
        let mask = tape.keep(Kept::Extra("mask"), mask);
        let kept = tape.multiply(x, mask)?;
        one(tape.scale(kept, 1.0 / (1.0 - p)))
    }),
    kernel("dropout1d", |tape, call, given| {
        one(channels(tape, call, given.need(0)?, 2)?)
    }),
    kernel("dropout2d", |tape, call, given| {
        one(channels(tape, call, given.need(0)?, 0)?)
    }),
    kernel("dropout3d", |tape, call, given| {
        one(channels(tape, call, given.need(0)?, 4)?)
    }),
    kernel("alpha_dropout", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        one(alpha(tape, call, x, &sizes)?)
    }),
    kernel("feature_alpha_dropout", |tape, call, given| {
        let x = given.need(0)?;
        let mut sizes = tape.sizes(x);
        sizes.iter_mut().skip(2).for_each(|size| *size = 1);
        one(alpha(tape, call, x, &sizes)?)
    }),
];

/// The probability of dropping; `None` where nothing is dropped.
fn probability(call: &Call) -> Option<f64> {
    let p = call.float("p").unwrap_or(0.5);
    (call.training && p > 0.0).then_some(p)
}

/// 1 for what stays and 0 for what goes.
pub(super) fn drawn(tape: &mut Tape, sizes: &[usize], p: f64) -> Array {
    Array::from_shape_simple_fn(sizes, || f64::from(u8::from(tape.uniform() >= p)))
}

/// One factor for each channel of each sample; without a batch where the rank says so.
fn channels(tape: &mut Tape, call: &Call, x: Var, unbatched: usize) -> Result<Var, KernelError> {
    let Some(p) = probability(call) else {
        return Ok(tape.affine(x, 1.0, 0.0));
    };
    let mut sizes = tape.sizes(x);
    let kept = if sizes.len() == unbatched { 1 } else { 2 };
    sizes.iter_mut().skip(kept).for_each(|size| *size = 1);
    let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
    let noise = drawn(tape, &sizes, p).mapv(|kept| kept * scale);
    let noise = tape.constant(noise);
    let noise = tape.keep(Kept::Extra("noise"), noise);
    tape.multiply(x, noise)
}

/// Sets what goes to `-λα`, and scales so that mean 0 and variance 1 are kept (Klambauer et al.,
/// 2017): `a · (x · m - α' · (1 - m)) + b`.
fn alpha(tape: &mut Tape, call: &Call, x: Var, sizes: &[usize]) -> Result<Var, KernelError> {
    const ALPHA_PRIME: f64 = 1.758_099_340_847_376_6;
    let Some(p) = probability(call) else {
        return Ok(tape.affine(x, 1.0, 0.0));
    };
    let a = match p < 1.0 {
        true => 1.0 / ((ALPHA_PRIME * ALPHA_PRIME * p + 1.0) * (1.0 - p)).sqrt(),
        false => 0.0,
    };
    let mask = drawn(tape, sizes, p);
    let offset = mask.mapv(|kept| a * ALPHA_PRIME * (p - (1.0 - kept)));
    let noise = tape.constant(mask.mapv(|kept| kept * a));
    let noise = tape.keep(Kept::Extra("noise"), noise);
    let offset = tape.constant(offset);
    let kept = tape.multiply(x, noise)?;
    tape.add(kept, offset)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in [
            "dropout",
            "dropout1d",
            "dropout2d",
            "dropout3d",
            "alpha_dropout",
        ] {
            check(&[
                (&format!("{name}([2, 3, 4, 5], p=0.3)"), &[]),
                (&format!("{name}([2, 3, 4, 5], p=0.3) eval"), &[]),
                (&format!("{name}([2, 3, 4, 5], p=0.0)"), &[]),
            ]);
        }
        check(&[
            ("dropout([2, 3], p=1.0)", &[]),
            ("dropout([2, 3], p=0.2, inplace=true)", &[]),
            ("dropout1d([2, 3], p=0.3)", &[]),
            ("feature_alpha_dropout([2, 3, 4], p=0.3)", &[]),
            ("alpha_dropout([2, 3], p=1.0)", &[]),
        ]);
    }
}
