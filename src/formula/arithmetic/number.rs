//! A number that is exact as long as it is whole.

use std::cmp::Ordering;
use std::fmt;

/// An integer or a real.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// An exact integer.
    Integer(i64),
    /// A real, as a float64.
    Real(f64),
}

impl Number {
    /// The nearest float64.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Integer(value) => value as f64,
            Number::Real(value) => value,
        }
    }

    /// The integer, if the number is one: `3` and `3.0` are, `3.5` and `1e30` are not.
    pub fn whole(self) -> Option<i64> {
        match self {
            Number::Integer(value) => Some(value),
            // Both bounds are exact: -2^63 is an i64, and 2^63 is the first that is none.
            Number::Real(value) => (value.fract() == 0.0
                && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value))
            .then_some(value as i64),
        }
    }

    /// Whether the number counts as true: whether it is not zero.
    pub fn is_true(self) -> bool {
        self.as_f64() != 0.0
    }

    /// Which is larger, exactly, also between an integer and a real; `None` for NaN.
    pub fn compare(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => Some(a.cmp(&b)),
            (Number::Real(a), Number::Real(b)) => a.partial_cmp(&b),
            (Number::Integer(a), Number::Real(b)) => compare_exactly(a, b),
            (Number::Real(a), Number::Integer(b)) => compare_exactly(b, a).map(Ordering::reverse),
        }
    }
}

/// Compares without rounding the integer to a float64.
fn compare_exactly(integer: i64, real: f64) -> Option<Ordering> {
    match Number::Real(real.floor()).whole() {
        Some(floor) => {
            // A fraction lies above its floor.
            let fraction = 0.0.partial_cmp(&real.fract().abs())?;
            Some(integer.cmp(&floor).then(fraction))
        }
        None => 0.0.partial_cmp(&real),
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Integer(value) => write!(f, "{value}"),
            // Debug keeps the decimal point, so that 3.0 is not taken for an integer.
            Number::Real(value) => write!(f, "{value:?}"),
        }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number::Integer(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number::Real(value)
    }
}
