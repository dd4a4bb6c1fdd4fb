//! `linear`: a matrix product with a weight laid out as PyTorch does, and a bias.

use super::Kept;
use super::registry::{Kernel, kernel, one};
use super::tape::contraction::Labels;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[kernel("linear", |tape, _, given| {
    let (x, weight) = (given.need(0)?, given.need(1)?);
    let x = tape.keep(Kept::Extra("folded input"), x);
    let sizes = tape.sizes(x);
    let features = sizes.last().copied().unwrap_or(1);
    let rows = sizes.iter().product::<usize>() / features.max(1);
    let x = tape.reshape(x, &[rows, features])?;
    let mut result = tape.contract(x, weight, Labels::letters("rf", "of", "ro"))?;
    if let Some(bias) = given.get(2) {
        result = tape.add(result, bias)?;
    }
    let mut made = sizes;
    if let Some(last) = made.last_mut() {
        *last = tape.value(weight).shape()[0];
    }
    one(tape.reshape(result, &made)?)
})];

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("linear([3, 4], out_features=5)", &[]),
            ("linear([2, 3, 4], out_features=5)", &[]),
            ("linear([2, 3, 4], out_features=5, bias=false)", &[]),
            ("linear([4], out_features=5)", &[]),
            ("linear([2, 3, 4]!, out_features=5)", &[]),
        ]);
    }
}
