//! What each operator does to numbers, with Python's semantics and no silent rounding.

use std::cmp::Ordering;

use super::super::operators::{BinaryOperator, UnaryOperator};
use super::{Fault, Number};

/// Applies a sign, `~` or `not`.
pub(super) fn unary(operator: UnaryOperator, operand: Number) -> Result<Number, Fault> {
    match (operator, operand) {
        (UnaryOperator::Positive, value) => Ok(value),
        (UnaryOperator::Not, value) => Ok(Number::Integer((!value.is_true()).into())),
        (UnaryOperator::Negative, Number::Real(value)) => Ok(Number::Real(-value)),
        (UnaryOperator::Negative, Number::Integer(value)) => value
            .checked_neg()
            .map(Number::Integer)
            .ok_or_else(|| Fault::too_large(&format!("-({value})"))),
        (UnaryOperator::Invert, Number::Integer(value)) => Ok(Number::Integer(!value)),
        (UnaryOperator::Invert, Number::Real(value)) => {
            Err(Fault::new(format!("~{value:?} inverts the bits of a real")))
        }
    }
}

/// Applies an operator that needs both operands, which `and` and `or` do not.
pub(super) fn binary(
    operator: BinaryOperator,
    left: Number,
    right: Number,
) -> Result<Number, Fault> {
    use BinaryOperator as B;
    let order = left.compare(right);
    let truth = match operator {
        B::Less => order == Some(Ordering::Less),
        B::LessEqual => order.is_some_and(Ordering::is_le),
        B::Greater => order == Some(Ordering::Greater),
        B::GreaterEqual => order.is_some_and(Ordering::is_ge),
        B::Equal => order == Some(Ordering::Equal),
        B::NotEqual => order != Some(Ordering::Equal),
        _ => {
            let shown = || match operator {
                // Without parentheses the sign would be that of the result.
                B::Power if left.as_f64() < 0.0 => format!("({left}) ** {right}"),
                _ => format!("{left} {} {right}", operator.symbol()),
            };
            return match (left, right) {
                (Number::Integer(a), Number::Integer(b)) => integers(operator, a, b, shown),
                _ => reals(operator, left.as_f64(), right.as_f64(), shown),
            };
        }
    };
    Ok(Number::Integer(truth.into()))
}

fn integers(
    operator: BinaryOperator,
    a: i64,
    b: i64,
    shown: impl Fn() -> String,
) -> Result<Number, Fault> {
    use BinaryOperator as B;
    let divides = matches!(operator, B::Divide | B::FloorDivide | B::Remainder);
    if b == 0 && divides {
        return Err(division_by_zero(&shown()));
    }
    let result = match operator {
        B::Add => a.checked_add(b),
        B::Subtract => a.checked_sub(b),
        B::Multiply => a.checked_mul(b),
        B::Divide if a.wrapping_rem(b) != 0 => {
            let quotient = decimal(a, b);
            let message = format!("{} = {quotient}, which is not whole", shown());
            return Err(Fault::new(message).help(format!(
                "use `//` to round down, or `/ {b}.0` for a fraction"
            )));
        }
        B::Divide => a.checked_div(b),
        B::FloorDivide => floor_divide(a, b),
        B::Remainder => {
            let remainder = a.wrapping_rem(b);
            let adjust = remainder != 0 && (remainder < 0) != (b < 0);
            Some(if adjust { remainder + b } else { remainder })
        }
        B::Power if b < 0 => {
            if a == 0 {
                return Err(division_by_zero(&shown()));
            }
            return finite((a as f64).powf(b as f64), &shown());
        }
        B::Power => power(a, b),
        B::BitwiseOr => Some(a | b),
        // For sizes, `^` is a power in the mind of whoever wrote it; truth is 0 or 1.
        B::BitwiseXor if (a | b) & !1 != 0 => {
            let message = format!("{} is an exclusive or, not a power", shown());
            return Err(Fault::new(message).help("write `**` for a power"));
        }
        B::BitwiseXor => Some(a ^ b),
        B::BitwiseAnd => Some(a & b),
        _ => return Err(no_number(operator, &shown())),
    };
    let result = result.map(Number::Integer);
    result.ok_or_else(|| match operator {
        // Everybody meets this once.
        B::Power => Fault::too_large(&shown()).help("for a real, write a decimal point"),
        _ => Fault::too_large(&shown()),
    })
}

fn reals(
    operator: BinaryOperator,
    a: f64,
    b: f64,
    shown: impl Fn() -> String,
) -> Result<Number, Fault> {
    use BinaryOperator as B;
    let divides = matches!(operator, B::Divide | B::FloorDivide | B::Remainder);
    if (b == 0.0 && divides) || (operator == B::Power && a == 0.0 && b < 0.0) {
        return Err(division_by_zero(&shown()));
    }
    let result = match operator {
        B::Add => a + b,
        B::Subtract => a - b,
        B::Multiply => a * b,
        B::Divide => a / b,
        B::FloorDivide => floor_and_remainder(a, b).0,
        B::Remainder => floor_and_remainder(a, b).1,
        B::Power if a < 0.0 && b.fract() != 0.0 => {
            return Err(Fault::new(format!("{} is not a real number", shown())));
        }
        B::Power => a.powf(b),
        B::BitwiseOr | B::BitwiseXor | B::BitwiseAnd => {
            let message = format!("{} combines the bits of a real", shown());
            let help = match operator {
                B::BitwiseXor => "write `**` for a power",
                _ => "write `and` and `or` to combine conditions",
            };
            return Err(Fault::new(message).help(help));
        }
        _ => return Err(no_number(operator, &shown())),
    };
    match a.is_finite() && b.is_finite() {
        true => finite(result, &shown()),
        false => Ok(Number::Real(result)),
    }
}

/// The real, if it is one.
pub(super) fn finite(value: f64, shown: &str) -> Result<Number, Fault> {
    match value.is_finite() {
        true => Ok(Number::Real(value)),
        false => Err(Fault::new(format!("{shown} does not fit into a float64"))),
    }
}

pub(super) fn division_by_zero(shown: &str) -> Fault {
    Fault::new(format!("{shown} divides by zero"))
}

fn no_number(operator: BinaryOperator, shown: &str) -> Fault {
    let message = format!("{shown}: `{}` is not for numbers", operator.symbol());
    match operator {
        BinaryOperator::MatrixMultiply => Fault::new(message).help("write `*` to multiply numbers"),
        _ => Fault::new(message),
    }
}

/// `floor(a / b)` for `b != 0`; `None` where it does not fit.
fn floor_divide(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    let remainder = a.wrapping_rem(b);
    match remainder != 0 && (remainder < 0) != (b < 0) {
        true => quotient.checked_sub(1),
        false => Some(quotient),
    }
}

/// `a // b` and `a % b` for `b != 0`, as CPython's `float_divmod` computes them: the remainder is
/// exact and has the sign of the divisor.
fn floor_and_remainder(a: f64, b: f64) -> (f64, f64) {
    let mut remainder = a % b;
    let mut quotient = (a - remainder) / b;
    if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) {
        remainder += b;
        quotient -= 1.0;
    }
    if remainder == 0.0 {
        remainder = 0.0f64.copysign(b);
    }
    (quotient.round(), remainder)
}

/// `a ** b` for `b >= 0`; `None` where it does not fit.
fn power(a: i64, b: i64) -> Option<i64> {
    match (a, u32::try_from(b)) {
        (_, Ok(exponent)) => a.checked_pow(exponent),
        (0 | 1, Err(_)) => Some(a),
        (-1, Err(_)) => Some(if b % 2 == 0 { 1 } else { -1 }),
        (_, Err(_)) => None,
    }
}

/// `a / b` with digits behind the point up to the second that is significant, cut off and marked
/// by `…` where there are more.
fn decimal(a: i64, b: i64) -> String {
    let (dividend, divisor) = (i128::from(a).abs(), i128::from(b).abs());
    let sign = if (a < 0) == (b < 0) { "" } else { "-" };
    let mut text = format!("{sign}{}.", dividend / divisor);
    let mut remainder = dividend % divisor;
    let mut significant = 0;
    while remainder != 0 && significant < 2 {
        let digit = remainder * 10 / divisor;
        remainder = remainder * 10 % divisor;
        // Zeros say nothing yet: 1.001 is not to look whole.
        if digit != 0 || significant > 0 {
            significant += 1;
        }
        text.push(char::from(b'0' + digit as u8));
    }
    if remainder != 0 {
        text.push('…');
    }
    text
}
