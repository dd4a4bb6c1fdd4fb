//! Activations: smooth and piecewise functions of one element.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use super::Kept;
use super::registry::{Kernel, kernel, one};

/// A function of one element and its derivative, from the element and the result.
macro_rules! function {
    ($name:literal, $f:expr, $derivative:expr) => {
        kernel($name, |tape, _, given| {
            let x = given.need(0)?;
            one(tape.map(x, $f, $derivative))
        })
    };
}

/// The scale and the slope of SELU (Klambauer et al., 2017).
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    function!("relu6", |x| x.clamp(0.0, 6.0), |x, _| inside(x, 0.0, 6.0)),
    kernel("elu", |tape, call, given| {
        let x = given.need(0)?;
        let alpha = call.float("alpha").unwrap_or(1.0);
        one(exponential(tape, x, alpha, 1.0, 1.0))
    }),
    kernel("celu", |tape, call, given| {
        let x = given.need(0)?;
        let alpha = call.float("alpha").unwrap_or(1.0);
        one(exponential(tape, x, alpha, 1.0, 1.0 / alpha))
    }),
    kernel("selu", |tape, _, given| {
        let x = given.need(0)?;
        one(exponential(tape, x, SELU_ALPHA, SELU_SCALE, 1.0))
    }),
    kernel("gelu", |tape, call, given| {
        let x = given.need(0)?;
        if call.text("approximate").as_deref() == Some("tanh") {
            let inner = |x: f64| (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x);
            let slope = |x: f64| (2.0 / PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
            return one(tape.map(
                x,
                |x| 0.5 * x * (1.0 + inner(x).tanh()),
                move |x, _| {
                    let t = inner(x).tanh();
                    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope(x)
                },
            ));
        }
        let cumulative = |x: f64| 0.5 * (1.0 + libm::erf(x * FRAC_1_SQRT_2));
        let density = |x: f64| (-0.5 * x * x).exp() * FRAC_2_SQRT_PI * 0.5 * FRAC_1_SQRT_2;
        one(tape.map(
            x,
            |x| x * cumulative(x),
            move |x, _| cumulative(x) + x * density(x),
        ))
    }),
    function!("silu", |x| x * logistic(x), |x, _| {
        logistic(x) * (1.0 + x * (1.0 - logistic(x)))
    }),
    function!("mish", |x| x * softplus(x).tanh(), |x, _| {
        let t = softplus(x).tanh();
        t + x * (1.0 - t * t) * logistic(x)
    }),
    function!("sigmoid", logistic, |_, y| y * (1.0 - y)),
    function!(
        "hardsigmoid",
        |x| (x / 6.0 + 0.5).clamp(0.0, 1.0),
        |x, _| { inside(x, -3.0, 3.0) / 6.0 }
    ),
    function!(
        "hardswish",
        |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        |x, _| {
            if x < -3.0 {
                0.0
            } else if x <= 3.0 {
                x / 3.0 + 0.5
            } else {
                1.0
            }
        }
    ),
    kernel("hardtanh", |tape, call, given| {
        let x = given.need(0)?;
        let low = call.float("min_val").unwrap_or(-1.0);
        let high = call.float("max_val").unwrap_or(1.0);
        one(tape.map(
            x,
            |x| x.max(low).min(high),
            move |x, _| inside(x, low, high),
        ))
    }),
    function!("tanh", f64::tanh, |_, y| 1.0 - y * y),
    kernel("softplus", |tape, call, given| {
        let x = given.need(0)?;
        let beta = call.float("beta").unwrap_or(1.0);
        let threshold = call.float("threshold").unwrap_or(20.0);
        let above = move |x: f64| x * beta > threshold;
        one(tape.map(
            x,
            |x| {
                if above(x) {
                    x
                } else {
                    softplus(x * beta) / beta
                }
            },
            move |x, _| if above(x) { 1.0 } else { logistic(x * beta) },
        ))
    }),
    function!("softsign", |x| x / (1.0 + x.abs()), |x, _| {
        (1.0 + x.abs()).powi(-2)
    }),
    function!("logsigmoid", |x| -softplus(-x), |x, _| logistic(-x)),
    kernel("threshold", |tape, call, given| {
        let x = given.need(0)?;
        let threshold = call.float("threshold").unwrap_or(0.0);
        let value = call.float("value").unwrap_or(0.0);
        one(tape.map(
            x,
            |x| if x > threshold { x } else { value },
            move |x, _| step(x > threshold),
        ))
    }),
    kernel("tanhshrink", |tape, _, given| {
        let x = given.need(0)?;
        let tanh = tape.tanh(x);
        let tanh = tape.keep(Kept::Extra("tanh"), tanh);
        one(tape.subtract(x, tanh)?)
    }),
    kernel("softshrink", |tape, call, given| {
        let x = given.need(0)?;
        let lambda = call.float("lambd").unwrap_or(0.5);
        one(tape.map(
            x,
            |x| (x - lambda).max(0.0) + (x + lambda).min(0.0),
            move |x, _| step(x.abs() > lambda),
        ))
    }),
    kernel("hardshrink", |tape, call, given| {
        let x = given.need(0)?;
        let lambda = call.float("lambd").unwrap_or(0.5);
        one(tape.map(
            x,
            |x| if x.abs() > lambda { x } else { 0.0 },
            move |x, _| step(x.abs() > lambda),
        ))
    }),
];

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `log(1 + exp(x))` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn step(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn inside(x: f64, low: f64, high: f64) -> f64 {
    step(x > low && x < high)
}

/// `scale · x` above 0 and `scale · alpha · (exp(rate · x) - 1)` below.
fn exponential(
    tape: &mut super::Tape,
    x: super::Var,
    alpha: f64,
    scale: f64,
    rate: f64,
) -> super::Var {
    tape.map(
        x,
        |x| match x > 0.0 {
            true => scale * x,
            false => scale * alpha * (rate * x).exp_m1(),
        },
        move |x, _| match x > 0.0 {
            true => scale,
            false => scale * alpha * rate * (rate * x).exp(),
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in [
            "relu6",
            "elu",
            "celu",
            "selu",
            "gelu",
            "silu",
            "mish",
            "sigmoid",
            "hardsigmoid",
            "hardswish",
            "hardtanh",
            "tanh",
            "softplus",
            "softsign",
            "logsigmoid",
            "tanhshrink",
            "softshrink",
            "hardshrink",
        ] {
            check(&[(&format!("{name}([5, 6])"), &[(-7.0, 7.0)])]);
        }
        check(&[
            ("gelu([5, 6], approximate='tanh')", &[(-4.0, 4.0)]),
            ("elu([5, 6], alpha=0.5)", &[]),
            ("celu([5, 6], alpha=2.0)", &[]),
            ("hardtanh([5, 6], min_val=-0.5, max_val=1.5)", &[]),
            ("softplus([5, 6], beta=2.0, threshold=3.0)", &[]),
            ("threshold([5, 6], threshold=0.5, value=-1.0)", &[]),
        ]);
    }
}
