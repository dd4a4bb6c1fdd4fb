//! Mathematical functions of one element: exponentials, logarithms, roots, trigonometry, rounding.

use std::f64::consts::{LN_2, LN_10, PI};

use super::complex::{self, Complex};
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

/// The kernels of this family. Where autograd keeps the result, the derivative follows from it.
pub static KERNELS: &[Kernel] = &[
    kernel("neg", |tape, _, given| {
        let x = given.need(0)?;
        one(tape.scale(x, -1.0))
    })
    .on_complex(Complex::Itself),
    kernel("abs", |tape, call, given| {
        let x = given.need(0)?;
        match call.dtype(0)?.is_complex() {
            true => one(complex::magnitude(tape, x)),
            false => one(tape.map(x, f64::abs, |x, _| sign(x))),
        }
    })
    .on_complex(Complex::Itself),
    function!("sign", sign, |_, _| 0.0),
    function!("square", |x| x * x, |x, _| 2.0 * x),
    kernel("exp", |tape, call, given| {
        let x = given.need(0)?;
        match call.dtype(0)?.is_complex() {
            true => one(complex::exponential(tape, x)),
            false => one(tape.exp(x)),
        }
    })
    .on_complex(Complex::Itself),
    function!("exp2", f64::exp2, |_, y| y * LN_2),
    function!("expm1", f64::exp_m1, |_, y| y + 1.0),
    function!("log", f64::ln, |x, _| 1.0 / x),
    function!("log1p", f64::ln_1p, |x, _| 1.0 / (1.0 + x)),
    function!("log2", f64::log2, |x, _| 1.0 / (x * LN_2)),
    function!("log10", f64::log10, |x, _| 1.0 / (x * LN_10)),
    function!("sqrt", f64::sqrt, |_, y| 0.5 / y),
    function!("rsqrt", |x| 1.0 / x.sqrt(), |_, y| -0.5 * y * y * y),
    function!("reciprocal", |x| 1.0 / x, |_, y| -y * y),
    function!("sin", f64::sin, |x, _| x.cos()),
    function!("cos", f64::cos, |x, _| -x.sin()),
    function!("tan", f64::tan, |_, y| 1.0 + y * y),
    function!("asin", f64::asin, |x, _| 1.0 / (1.0 - x * x).sqrt()),
    function!("acos", f64::acos, |x, _| -1.0 / (1.0 - x * x).sqrt()),
    function!("atan", f64::atan, |x, _| 1.0 / (1.0 + x * x)),
    function!("sinh", f64::sinh, |x, _| x.cosh()),
    function!("cosh", f64::cosh, |x, _| x.sinh()),
    function!("asinh", f64::asinh, |x, _| 1.0 / (x * x + 1.0).sqrt()),
    function!("acosh", f64::acosh, |x, _| 1.0 / (x * x - 1.0).sqrt()),
    function!("atanh", f64::atanh, |x, _| 1.0 / (1.0 - x * x)),
    function!("erf", libm::erf, |x, _| 2.0 / PI.sqrt() * (-x * x).exp()),
    function!("erfc", libm::erfc, |x, _| -2.0 / PI.sqrt() * (-x * x).exp()),
    function!("erfinv", inverse_error_function, |_, y| PI.sqrt() / 2.0
        * (y * y).exp()),
    function!("lgamma", libm::lgamma, |x, _| digamma(x)),
    function!("floor", f64::floor, |_, _| 0.0),
    function!("ceil", f64::ceil, |_, _| 0.0),
    kernel("round", |tape, call, given| {
        let x = given.need(0)?;
        let scale = 10f64.powi(call.integer("decimals").unwrap_or(0) as i32);
        one(tape.map(x, |x| (x * scale).round_ties_even() / scale, |_, _| 0.0))
    }),
    function!("trunc", f64::trunc, |_, _| 0.0),
    function!("frac", f64::fract, |_, _| 1.0),
];

/// -1, 0 or 1; NaN of NaN.
pub(super) fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// The inverse of the error function, by Newton's method from Giles's approximation (2010).
fn inverse_error_function(x: f64) -> f64 {
    if x.abs() >= 1.0 {
        return if x.abs() == 1.0 {
            x * f64::INFINITY
        } else {
            f64::NAN
        };
    }
    let w = -((1.0 - x) * (1.0 + x)).ln();
    let mut y = x * if w < 5.0 {
        0.886 + 0.2 * w
    } else {
        w.sqrt() / x.abs()
    };
    for _ in 0..60 {
        let step = (libm::erf(y) - x) * PI.sqrt() / 2.0 * (y * y).exp();
        y -= step.clamp(-0.5, 0.5);
        if step.abs() <= f64::EPSILON * y.abs() {
            break;
        }
    }
    y
}

/// The derivative of the logarithm of the gamma function: recurrence up to 10, then its asymptotic
/// series; reflection below 0.
fn digamma(x: f64) -> f64 {
    if x <= 0.0 {
        return digamma(1.0 - x) - PI / (PI * x).tan();
    }
    let (mut x, mut sum) = (x, 0.0);
    while x < 10.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = inverse * (1.0 / 12.0 - inverse * (1.0 / 120.0 - inverse / 252.0));
    sum + x.ln() - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in [
            "neg", "abs", "sign", "square", "exp", "exp2", "expm1", "sin", "cos", "tan", "atan",
            "sinh", "cosh", "asinh", "erf", "erfc", "floor", "ceil", "trunc", "frac",
        ] {
            check(&[(&format!("{name}([3, 4])"), &[(-1.4, 1.4)])]);
        }
        for name in [
            "log",
            "log2",
            "log10",
            "sqrt",
            "rsqrt",
            "reciprocal",
            "lgamma",
            "log1p",
        ] {
            check(&[(&format!("{name}([3, 4])"), &[(0.3, 3.0)])]);
        }
        check(&[
            ("asin([3, 4])", &[(-0.9, 0.9)]),
            ("acos([3, 4])", &[(-0.9, 0.9)]),
            ("atanh([3, 4])", &[(-0.9, 0.9)]),
            ("erfinv([3, 4])", &[(-0.99, 0.99)]),
            ("acosh([3, 4])", &[(1.1, 3.0)]),
            ("round([3, 4])", &[]),
            ("round([3, 4], decimals=1)", &[]),
            ("lgamma([3, 4])", &[(-2.9, -2.1)]),
        ]);
    }
}
