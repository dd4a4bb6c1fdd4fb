//! Losses with a margin: of rankings, distances and cosines.

use super::loss::reduced;
use super::reduce::norm;
use super::registry::{Kernel, kernel, one};
use super::{Kept, KernelError, Tape, Var};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("hinge_embedding_loss", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let margin = call.float("margin").unwrap_or(1.0);
        let lack = tape.affine(x, -1.0, margin);
        let lack = tape.keep(Kept::Extra("margin"), lack);
        let lack = positive(tape, lack);
        // Any target but 1 and -1 counts as both.
        let zero = tape.number(0.0);
        let not_one = tape.derive(&[y], |values| values[0].mapv(|y| truth(y != 1.0)));
        let not_one = tape.keep(Kept::Extra("target is not 1"), not_one);
        let not_minus = tape.derive(&[y], |values| values[0].mapv(|y| truth(y != -1.0)));
        let not_minus = tape.keep(Kept::Extra("target is not -1"), not_minus);
        let first = tape.select(not_one, lack, zero)?;
        let second = tape.select(not_minus, x, zero)?;
        let losses = tape.add(first, second)?;
        one(reduced(tape, call, losses)?)
    }),
    kernel("margin_ranking_loss", |tape, call, given| {
        let (a, b, y) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let margin = call.float("margin").unwrap_or(0.0);
        let difference = tape.subtract(a, b)?;
        let negated = tape.scale(y, -1.0);
        let negated = tape.keep(Kept::Extra("negated target"), negated);
        let product = tape.multiply(negated, difference)?;
        let lack = tape.shift(product, margin);
        let lack = tape.keep(Kept::Extra("margin"), lack);
        let losses = positive(tape, lack);
        one(reduced(tape, call, losses)?)
    }),
    kernel("cosine_embedding_loss", |tape, call, given| {
        let (a, b, y) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let margin = call.float("margin").unwrap_or(0.0);
        let last = tape.sizes(a).len() - 1;
        let product = tape.multiply(a, b)?;
        let product = tape.sum(product, &[last], false)?;
        let mut magnitude = |x: Var| -> Result<Var, KernelError> {
            let squares = tape.square(x);
            let sum = tape.sum(squares, &[last], false)?;
            // PyTorch's own guard.
            Ok(tape.shift(sum, 1e-12))
        };
        let (first, second) = (magnitude(a)?, magnitude(b)?);
        let denominator = tape.multiply(first, second)?;
        let denominator = tape.sqrt(denominator);
        let cosine = tape.divide(product, denominator)?;
        let apart = tape.affine(cosine, -1.0, 1.0);
        let excess = tape.shift(cosine, -margin);
        let excess = positive(tape, excess);
        let zero = tape.number(0.0);
        let is_one = tape.derive(&[y], |values| values[0].mapv(|y| truth(y == 1.0)));
        let is_one = tape.keep(Kept::Extra("target is 1"), is_one);
        let is_minus = tape.derive(&[y], |values| values[0].mapv(|y| truth(y == -1.0)));
        let is_minus = tape.keep(Kept::Extra("target is -1"), is_minus);
        let first = tape.select(is_one, apart, zero)?;
        let second = tape.select(is_minus, excess, zero)?;
        let losses = tape.add(first, second)?;
        one(reduced(tape, call, losses)?)
    }),
    kernel("triplet_margin_loss", |tape, call, given| {
        let (anchor, near, far) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let margin = call.float("margin").unwrap_or(1.0);
        let p = call.float("p").unwrap_or(2.0);
        let eps = call.float("eps").unwrap_or(1e-6);
        let distance = |tape: &mut Tape, (a, b): (Var, Var), number, name| {
            let difference = tape.subtract(a, b)?;
            let difference = tape.shift(difference, eps);
            let difference = tape.keep(Kept::Extra(name), difference);
            let last = tape.sizes(difference).len() - 1;
            let length = norm(tape, difference, p, &[last], true)?;
            let length = tape.keep(Kept::Part("distance", number), length);
            tape.dropped(length, &[last], false)
        };
        let to_near = distance(tape, (anchor, near), 0, "positive")?;
        let mut to_far = distance(tape, (anchor, far), 1, "negative")?;
        if call.boolean("swap") {
            let between = distance(tape, (near, far), 2, "swapped")?;
            to_far = tape.zip(
                super::tape::Kind::Function,
                to_far,
                between,
                f64::min,
                |a, b, _| truth(a < b),
                |a, b, _| truth(b <= a),
            )?;
        }
        let difference = tape.subtract(to_near, to_far)?;
        let lack = tape.shift(difference, margin);
        let lack = tape.keep(Kept::Extra("margin"), lack);
        let losses = positive(tape, lack);
        one(reduced(tape, call, losses)?)
    }),
];

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn positive(tape: &mut Tape, x: Var) -> Var {
    tape.map(
        x,
        |x| x.max(0.0),
        |x, _| if x.is_nan() { x } else { truth(x > 0.0) },
    )
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        let target = &[(-2.0, 2.0), (1.0, 1.0)];
        let third = &[(-2.0, 2.0), (-2.0, 2.0), (-1.0, -1.0)];
        check(&[
            ("hinge_embedding_loss([3, 4], [3, 4]!)", target),
            (
                "hinge_embedding_loss([3, 4], [3, 4]!, margin=0.5, reduction='none')",
                &[(-2.0, 2.0), (-1.0, -1.0)],
            ),
            ("margin_ranking_loss([5], [5], [5]!)", third),
            (
                "margin_ranking_loss([5], [5], [5]!, margin=0.5, reduction='sum')",
                third,
            ),
            (
                "cosine_embedding_loss([3, 4], [3, 4], [3]!)",
                &[(-2.0, 2.0), (-2.0, 2.0), (1.0, 1.0)],
            ),
            (
                "cosine_embedding_loss([3, 4], [3, 4], [3]!, margin=-0.5)",
                third,
            ),
            ("triplet_margin_loss([3, 4], [3, 4], [3, 4])", &[]),
            (
                "triplet_margin_loss([3, 4], [3, 4], [3, 4], p=3.0, swap=true, margin=5.0)",
                &[],
            ),
        ]);
    }
}
