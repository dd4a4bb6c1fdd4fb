//! Arithmetic of two and three operands, with broadcasting.

use super::complex::{self, Complex};
use super::registry::{Kernel, kernel, one};
use super::tape::Kind;
use super::{KernelError, Tape, Var};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("add", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(sum(tape, x, y, call.float("alpha").unwrap_or(1.0))?)
    })
    .on_complex(Complex::Summed),
    kernel("sub", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(sum(tape, x, y, -call.float("alpha").unwrap_or(1.0))?)
    })
    .on_complex(Complex::Summed),
    kernel("mul", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(tape.multiply(x, y)?)
    })
    .on_complex(Complex::Multiplied),
    kernel("div", |tape, call, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        match call.text("rounding_mode").as_deref() {
            Some("trunc") => one(rounded(tape, x, y, f64::trunc)?),
            Some(_) => one(rounded(tape, x, y, f64::floor)?),
            None if complex::concerns(call) => one(complex::quotient(tape, call, (x, y))?),
            None => one(tape.divide(x, y)?),
        }
    })
    .on_complex(Complex::Itself),
    kernel("floor_divide", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(rounded(tape, x, y, f64::floor)?)
    }),
    kernel("remainder", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        // The sign of the divisor, as Python's `%`.
        one(tape.zip(
            Kind::Multiply,
            x,
            y,
            |x, y| {
                let rest = x % y;
                if rest != 0.0 && (rest < 0.0) != (y < 0.0) {
                    rest + y
                } else {
                    rest
                }
            },
            |_, _, _| 1.0,
            |x, y, _| -(x / y).floor(),
        )?)
    }),
    kernel("fmod", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        // The sign of the dividend, as C's.
        one(tape.zip(
            Kind::Multiply,
            x,
            y,
            |x, y| x % y,
            |_, _, _| 1.0,
            |x, y, _| -(x / y).trunc(),
        )?)
    }),
    kernel("pow", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(tape.zip(
            Kind::Function,
            x,
            y,
            f64::powf,
            |x, y, _| if y == 0.0 { 0.0 } else { y * x.powf(y - 1.0) },
            |x, _, power| if power == 0.0 { 0.0 } else { power * x.ln() },
        )?)
    }),
    kernel("maximum", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(extreme(tape, x, y, |x, y| x > y)?)
    }),
    kernel("minimum", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(extreme(tape, x, y, |x, y| x < y)?)
    }),
    kernel("hypot", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(tape.zip(
            Kind::Function,
            x,
            y,
            f64::hypot,
            |x, _, root| x / root,
            |_, y, root| y / root,
        )?)
    }),
    kernel("atan2", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        one(tape.zip(
            Kind::Function,
            x,
            y,
            f64::atan2,
            |x, y, _| y / (x * x + y * y),
            |x, y, _| -x / (x * x + y * y),
        )?)
    }),
    kernel("logaddexp", |tape, _, given| {
        let (x, y) = (given.need(0)?, given.need(1)?);
        let sum = |x: f64, y: f64| {
            let most = x.max(y);
            match most.is_infinite() {
                true => most,
                false => most + ((x - most).exp() + (y - most).exp()).ln(),
            }
        };
        one(tape.zip(
            Kind::Function,
            x,
            y,
            sum,
            |x, y, _| 1.0 / (1.0 + (y - x).exp()),
            |x, y, _| 1.0 / (1.0 + (x - y).exp()),
        )?)
    }),
    kernel("lerp", |tape, _, given| {
        let (start, end, weight) = (given.need(0)?, given.need(1)?, given.need(2)?);
        // `start + weight · (end - start)`, each derivative from no more than it needs.
        let rest = tape.affine(weight, -1.0, 1.0);
        let first = tape.multiply(start, rest)?;
        let second = tape.multiply(end, weight)?;
        one(tape.add(first, second)?)
    }),
    kernel("addcmul", |tape, call, given| {
        let (x, a, b) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let product = tape.multiply(a, b)?;
        one(sum(tape, x, product, call.float("value").unwrap_or(1.0))?)
    }),
    kernel("addcdiv", |tape, call, given| {
        let (x, a, b) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let quotient = tape.divide(a, b)?;
        one(sum(tape, x, quotient, call.float("value").unwrap_or(1.0))?)
    }),
];

/// `x + alpha · y`.
fn sum(tape: &mut Tape, x: Var, y: Var, alpha: f64) -> Result<Var, KernelError> {
    tape.zip(
        Kind::Add,
        x,
        y,
        move |x, y| x + alpha * y,
        |_, _, _| 1.0,
        move |_, _, _| alpha,
    )
}

/// A quotient rounded to a whole number, through which no gradient flows.
fn rounded(tape: &mut Tape, x: Var, y: Var, round: fn(f64) -> f64) -> Result<Var, KernelError> {
    tape.zip(
        Kind::Multiply,
        x,
        y,
        |x, y| round(x / y),
        |_, _, _| 0.0,
        |_, _, _| 0.0,
    )
}

/// The one of two that wins; of equal ones each has half of the gradient.
fn extreme(
    tape: &mut Tape,
    x: Var,
    y: Var,
    wins: fn(f64, f64) -> bool,
) -> Result<Var, KernelError> {
    let share = move |x: f64, y: f64| {
        if x == y {
            0.5
        } else {
            f64::from(u8::from(wins(x, y)))
        }
    };
    tape.zip(
        Kind::Function,
        x,
        y,
        |x, y| {
            if x.is_nan() || y.is_nan() {
                f64::NAN
            } else if wins(x, y) {
                x
            } else {
                y
            }
        },
        move |x, y, _| share(x, y),
        move |x, y, _| share(y, x),
    )
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in [
            "add",
            "sub",
            "mul",
            "maximum",
            "minimum",
            "hypot",
            "atan2",
            "logaddexp",
        ] {
            check(&[
                (&format!("{name}([3, 4], [3, 4])"), &[]),
                (&format!("{name}([3, 4], [2, 1, 4])"), &[]),
                (&format!("{name}([3, 1], [4]!)"), &[]),
                (&format!("{name}([3, 4], 1.5)"), &[]),
            ]);
        }
        for name in ["div", "floor_divide", "remainder", "fmod", "pow"] {
            check(&[
                (
                    &format!("{name}([3, 4], [3, 4])"),
                    &[(0.5, 3.0), (0.7, 2.0)],
                ),
                (&format!("{name}([3, 4], [4])"), &[(0.5, 3.0), (0.7, 2.0)]),
                (&format!("{name}([3, 4]!, [4])"), &[(0.5, 3.0), (0.7, 2.0)]),
                (&format!("{name}([3, 4], [4]!)"), &[(0.5, 3.0), (0.7, 2.0)]),
                (&format!("{name}([3, 4], 2.0)"), &[(0.5, 3.0)]),
            ]);
        }
        check(&[
            ("add([3, 4], [3, 4], alpha=0.5)", &[]),
            ("sub([3, 4], [4], alpha=2.0)", &[]),
            (
                "div([3, 4], [3, 4], rounding_mode='floor')",
                &[(-5.0, 5.0), (0.5, 2.0)],
            ),
            (
                "div([3, 4], [3, 4], rounding_mode='trunc')",
                &[(-5.0, 5.0), (0.5, 2.0)],
            ),
            ("remainder([3, 4], [3, 4])", &[(-5.0, 5.0), (-2.0, -0.5)]),
            ("lerp([3, 4], [3, 4], [3, 4])", &[]),
            ("lerp([3, 4], [4], 0.3)", &[]),
            ("addcmul([3, 4], [3, 4], [4], value=0.5)", &[]),
            (
                "addcdiv([3, 4], [3, 4], [4], value=0.5)",
                &[(-1.0, 1.0), (-1.0, 1.0), (0.5, 2.0)],
            ),
        ]);
    }
}
