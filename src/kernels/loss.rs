//! Losses of pairs of elements.

use super::registry::{Kernel, kernel, one};
use super::tape::Kind;
use super::{Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("mse_loss", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let losses = symmetric(tape, x, y, |d| d * d, |d| 2.0 * d)?;
        one(reduced(tape, call, losses)?)
    }),
    kernel("l1_loss", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let difference = tape.subtract(x, y)?;
        let difference = tape.keep(Kept::Extra("difference"), difference);
        let losses = tape.map(difference, f64::abs, |d, _| super::unary::sign(d));
        one(reduced(tape, call, losses)?)
    }),
    kernel("smooth_l1_loss", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let beta = call.float("beta").unwrap_or(1.0);
        let losses = symmetric(
            tape,
            x,
            y,
            move |d| match d.abs() < beta {
                true => 0.5 * d * d / beta,
                false => d.abs() - 0.5 * beta,
            },
            move |d| {
                if d.abs() < beta {
                    d / beta
                } else {
                    super::unary::sign(d)
                }
            },
        )?;
        one(reduced(tape, call, losses)?)
    }),
    kernel("huber_loss", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let delta = call.float("delta").unwrap_or(1.0);
        let losses = symmetric(
            tape,
            x,
            y,
            move |d| match d.abs() < delta {
                true => 0.5 * d * d,
                false => delta * (d.abs() - 0.5 * delta),
            },
            move |d| {
                if d.abs() < delta {
                    d
                } else {
                    delta * super::unary::sign(d)
                }
            },
        )?;
        one(reduced(tape, call, losses)?)
    }),
    kernel("binary_cross_entropy", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        // Logarithms are cut at -100, as PyTorch does.
        let log = |x: f64| x.ln().max(-100.0);
        let mut losses = tape.zip(
            Kind::Function,
            x,
            y,
            move |x, y| -(y * log(x) + (1.0 - y) * log(1.0 - x)),
            |x, y, _| (x - y) / (x * (1.0 - x)).max(1e-12),
            move |x, _, _| log(1.0 - x) - log(x),
        )?;
        if let Some(weight) = given.get(2) {
            losses = tape.multiply(losses, weight)?;
        }
        one(reduced(tape, call, losses)?)
    }),
    kernel("binary_cross_entropy_with_logits", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut losses = match given.get(3) {
            None => tape.zip(
                Kind::Function,
                x,
                y,
                move |x, y| softplus(x) - x * y,
                move |x, y, _| logistic(x) - y,
                |x, _, _| -x,
            )?,
            Some(positive) => {
                // (1 - y) x + (1 + (p - 1) y) softplus(-x)
                let rest = tape.affine(y, -1.0, 1.0);
                let first = tape.multiply(rest, x)?;
                let more = tape.shift(positive, -1.0);
                let more = tape.multiply(more, y)?;
                let factor = tape.shift(more, 1.0);
                let log = tape.map(x, move |x| softplus(-x), move |x, _| -logistic(-x));
                let second = tape.multiply(factor, log)?;
                tape.add(first, second)?
            }
        };
        if let Some(weight) = given.get(2) {
            losses = tape.multiply(losses, weight)?;
        }
        one(reduced(tape, call, losses)?)
    }),
    kernel("kl_div", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let target = match call.boolean("log_target") {
            true => {
                let target = tape.exp(y);
                tape.keep(Kept::Extra("target"), target)
            }
            false => y,
        };
        let own = match call.boolean("log_target") {
            true => tape.multiply(target, y)?,
            false => tape.map(
                y,
                |y| if y == 0.0 { 0.0 } else { y * y.ln() },
                |y, _| y.ln() + 1.0,
            ),
        };
        let cross = tape.multiply(target, x)?;
        let losses = tape.subtract(own, cross)?;
        one(reduced(tape, call, losses)?)
    }),
    kernel("poisson_nll_loss", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let eps = call.float("eps").unwrap_or(1e-8);
        let mut losses = if call.boolean("log_input") {
            let rate = tape.exp(x);
            let rate = tape.keep(Kept::Extra("rate"), rate);
            let product = tape.multiply(y, x)?;
            tape.subtract(rate, product)?
        } else {
            let guarded = tape.shift(x, eps);
            let guarded = tape.keep(Kept::Extra("guarded rate"), guarded);
            let log = tape.ln(guarded);
            let product = tape.multiply(y, log)?;
            tape.subtract(x, product)?
        };
        if call.boolean("full") {
            // Stirling's term, of targets above 1.
            let stirling = tape.derive(&[y], |values| {
                values[0].mapv(|y| match y > 1.0 {
                    true => y * y.ln() - y + 0.5 * (std::f64::consts::TAU * y).ln(),
                    false => y * 0.0,
                })
            });
            losses = tape.add(losses, stirling)?;
        }
        one(reduced(tape, call, losses)?)
    }),
    kernel("gaussian_nll_loss", |tape, call, given| {
        let (x, y, variance) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let eps = call.float("eps").unwrap_or(1e-6);
        // Clamped without regard for gradients: they pass as if it were not.
        let low = move |v: f64| if v < eps { eps } else { v };
        let mut variance = tape.map(variance, low, |_, _| 1.0);
        let rank = tape.sizes(x).len();
        let mut sizes = tape.sizes(variance);
        if sizes.len() + 1 == rank {
            sizes.push(1);
            variance = tape.reshape(variance, &sizes)?;
        }
        let variance = tape.keep(Kept::Extra("variance"), variance);
        let difference = tape.subtract(x, y)?;
        let difference = tape.keep(Kept::Extra("difference"), difference);
        let squares = tape.square(difference);
        let squares = tape.keep(Kept::Extra("squared difference"), squares);
        let quotient = tape.divide(squares, variance)?;
        let log = tape.ln(variance);
        let sum = tape.add(log, quotient)?;
        let mut losses = tape.scale(sum, 0.5);
        if call.boolean("full") {
            losses = tape.shift(losses, 0.5 * std::f64::consts::TAU.ln());
        }
        one(reduced(tape, call, losses)?)
    }),
];

/// A function of the difference; its derivative needs both elements.
fn symmetric(
    tape: &mut Tape,
    x: Var,
    y: Var,
    f: impl Fn(f64) -> f64,
    derivative: impl Fn(f64) -> f64 + Copy + 'static,
) -> Result<Var, KernelError> {
    tape.zip(
        Kind::Add,
        x,
        y,
        |x, y| f(x - y),
        move |x, y, _| derivative(x - y),
        move |x, y, _| -derivative(x - y),
    )
}

/// The mean, the sum or all of the losses, as `reduction` says; `batchmean` divides the sum by the
/// size of the batch alone.
pub(super) fn reduced(tape: &mut Tape, call: &Call, losses: Var) -> Result<Var, KernelError> {
    let axes: Vec<usize> = (0..tape.sizes(losses).len()).collect();
    match call.text("reduction").as_deref() {
        Some("none") => Ok(losses),
        Some("sum") => tape.sum(losses, &axes, false),
        Some("batchmean") => {
            let batch = call.shape(0)?.sizes().first().copied().unwrap_or(1);
            let sum = tape.sum(losses, &axes, false)?;
            Ok(tape.scale(sum, 1.0 / batch.max(1) as f64))
        }
        _ => {
            let count = tape.value(losses).len();
            let sum = tape.sum(losses, &axes, false)?;
            Ok(tape.scale(sum, 1.0 / count as f64))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"] {
            for reduction in ["mean", "sum", "none"] {
                check(&[
                    (
                        &format!("{name}([3, 4], [3, 4], reduction='{reduction}')"),
                        &[],
                    ),
                    (
                        &format!("{name}([3, 4], [3, 4]!, reduction='{reduction}')"),
                        &[],
                    ),
                ]);
            }
        }
        let shares = &[(0.1, 0.9), (0.0, 1.0), (0.5, 2.0), (0.5, 2.0)];
        let logits = &[(-3.0, 3.0), (0.0, 1.0), (0.5, 2.0), (0.5, 2.0)];
        check(&[
            ("smooth_l1_loss([3, 4], [3, 4]!, beta=0.5)", &[]),
            ("huber_loss([3, 4], [3, 4]!, delta=0.5)", &[]),
            ("binary_cross_entropy([3, 4], [3, 4]!)", shares),
            ("binary_cross_entropy([3, 4], [3, 4]!, [4]!)", shares),
            ("binary_cross_entropy_with_logits([3, 4], [3, 4]!)", logits),
            (
                "binary_cross_entropy_with_logits([3, 4], [3, 4]!, [4]!, [4]!)",
                logits,
            ),
            (
                "binary_cross_entropy_with_logits([3, 4], [3, 4]!, -, [4]!, reduction='sum')",
                logits,
            ),
            ("kl_div([3, 4], [3, 4]!)", &[(-3.0, 0.0), (0.1, 0.9)]),
            (
                "kl_div([3, 4], [3, 4]!, reduction='batchmean')",
                &[(-3.0, 0.0), (0.1, 0.9)],
            ),
            (
                "kl_div([3, 4], [3, 4]!, log_target=true)",
                &[(-3.0, 0.0), (-3.0, 0.0)],
            ),
            (
                "poisson_nll_loss([3, 4], [3, 4]!)",
                &[(-1.0, 1.0), (0.0, 4.0)],
            ),
            (
                "poisson_nll_loss([3, 4], [3, 4]!, log_input=false, full=true)",
                &[(0.5, 2.0), (0.0, 4.0)],
            ),
            (
                "gaussian_nll_loss([3, 4], [3, 4]!, [3, 4])",
                &[(-1.0, 1.0), (-1.0, 1.0), (0.5, 2.0)],
            ),
            (
                "gaussian_nll_loss([3, 4], [3, 4]!, [3, 1]!, full=true)",
                &[(-1.0, 1.0), (-1.0, 1.0), (0.5, 2.0)],
            ),
        ]);
    }
}
