//! Ranges of values.

use std::fmt;

use super::Dtype;

/// A closed range of real values that a tensor's finite elements lie in, and whether an element may
/// be infinite or NaN.
///
/// An infinite end means *unbounded*, not *infinite*. An interval is *sound* when every element that
/// the computation can produce lies in it, or is not finite and `non_finite` is set. The pass that
/// propagates ranges gives up on whatever depends on a tensor that may not be finite, so an op's
/// transfer function never sees one: it only says where the op itself makes an infinity or a NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Least value.
    pub low: f64,
    /// Greatest value.
    pub high: f64,
    /// Whether an element may be infinite or NaN.
    pub non_finite: bool,
}

impl Interval {
    /// Any finite value.
    pub const REAL: Interval = Interval {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
        non_finite: false,
    };
    /// Anything at all.
    pub const ANYTHING: Interval = Interval {
        non_finite: true,
        ..Interval::REAL
    };

    /// The range `low..=high`; the ends are put in order.
    pub fn new(low: f64, high: f64) -> Interval {
        if low.is_nan() || high.is_nan() {
            return Interval::ANYTHING;
        }
        Interval {
            low: low.min(high),
            high: low.max(high),
            non_finite: false,
        }
    }

    /// The range of one value.
    pub fn point(value: f64) -> Interval {
        Interval::new(value, value)
    }

    /// All values of an element type: the whole range of an integer type, any real of a float.
    pub fn of_dtype(dtype: Dtype) -> Interval {
        match dtype.integer_range() {
            Some((low, high)) => Interval::new(low as f64, high as f64),
            None => Interval::REAL,
        }
    }

    /// Whether both ends are finite.
    pub fn is_bounded(&self) -> bool {
        self.low.is_finite() && self.high.is_finite()
    }

    /// Whether `value` lies in the range (infinity or NaN: whether such may occur).
    pub fn contains(&self, value: f64) -> bool {
        if value.is_finite() {
            self.low <= value && value <= self.high
        } else {
            self.non_finite
        }
    }

    /// The largest magnitude.
    pub fn magnitude(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// The smallest magnitude; 0 where the range holds 0.
    pub fn least_magnitude(&self) -> f64 {
        if self.contains(0.0) {
            0.0
        } else {
            self.low.abs().min(self.high.abs())
        }
    }

    /// The smallest range that covers both.
    pub fn union(self, other: Interval) -> Interval {
        Interval {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            non_finite: self.non_finite || other.non_finite,
        }
    }

    /// The range with infinity and NaN allowed where `non_finite` is true.
    pub fn or_non_finite(self, non_finite: bool) -> Interval {
        Interval {
            non_finite: self.non_finite || non_finite,
            ..self
        }
    }

    /// The image under a function that never falls: `[f(low), f(high)]`.
    pub fn map_increasing(self, f: impl Fn(f64) -> f64) -> Interval {
        Interval::new(f(self.low), f(self.high)).or_non_finite(self.non_finite)
    }

    /// The image under a function that never rises: `[f(high), f(low)]`.
    pub fn map_decreasing(self, f: impl Fn(f64) -> f64) -> Interval {
        self.map_increasing(f)
    }

    /// The range with both ends moved outwards by a relative slack, for functions whose floating
    /// point evaluation is off by a few units in the last place. An end at 0 stays: such functions
    /// are exact there, and whether a value can be negative decides much.
    pub fn widened(self, relative: f64) -> Interval {
        // ∞ − ∞ would be NaN.
        let moved = |end: f64, by: f64| {
            if end.is_finite() {
                end + end.abs() * by
            } else {
                end
            }
        };
        Interval {
            low: moved(self.low, -relative),
            high: moved(self.high, relative),
            non_finite: self.non_finite,
        }
    }

    /// The image under clamping to `low..=high`; also cuts a bound that is known to be loose.
    pub fn clamped(self, low: f64, high: f64) -> Interval {
        Interval {
            low: self.low.max(low).min(high),
            high: self.high.max(low).min(high),
            non_finite: self.non_finite,
        }
    }
}

impl std::ops::Neg for Interval {
    type Output = Interval;

    fn neg(self) -> Interval {
        Interval {
            low: -self.high,
            high: -self.low,
            non_finite: self.non_finite,
        }
    }
}

impl std::ops::Add for Interval {
    type Output = Interval;

    fn add(self, other: Interval) -> Interval {
        // Both low ends are below ∞ and both high ends above −∞, so neither sum is NaN but where
        // an end of the wrong sign was built by hand.
        let end = |sum: f64, unbounded: f64| if sum.is_nan() { unbounded } else { sum };
        Interval {
            low: end(self.low + other.low, f64::NEG_INFINITY),
            high: end(self.high + other.high, f64::INFINITY),
            non_finite: self.non_finite || other.non_finite,
        }
    }
}

impl std::ops::Sub for Interval {
    type Output = Interval;

    fn sub(self, other: Interval) -> Interval {
        self + -other
    }
}

impl std::ops::Mul for Interval {
    type Output = Interval;

    fn mul(self, other: Interval) -> Interval {
        // 0 · unbounded is 0: an infinite end stands for arbitrarily large finite values here.
        let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let ends = [
            product(self.low, other.low),
            product(self.low, other.high),
            product(self.high, other.low),
            product(self.high, other.high),
        ];
        Interval {
            low: ends.iter().copied().fold(f64::INFINITY, f64::min),
            high: ends.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            non_finite: self.non_finite || other.non_finite,
        }
    }
}

impl std::ops::Div for Interval {
    type Output = Interval;

    /// Quotients; infinities and NaN may occur where the divisor's range holds 0.
    fn div(self, other: Interval) -> Interval {
        let by_zero = other.low <= 0.0 && other.high >= 0.0;
        let non_finite = self.non_finite || other.non_finite || by_zero;
        let inside = other.low < 0.0 && other.high > 0.0;
        if inside || (other.low == 0.0 && other.high == 0.0) {
            return Interval::ANYTHING;
        }
        // Divisors that tend to 0 from one side make quotients without bound, except of 0.
        let quotient = |a: f64, b: f64, sign: f64| {
            if a == 0.0 || b.is_infinite() {
                0.0
            } else if b == 0.0 {
                (a * sign) * f64::INFINITY
            } else {
                a / b
            }
        };
        let sign = if other.high > 0.0 { 1.0 } else { -1.0 };
        let mut ends = Interval {
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
            non_finite,
        };
        for a in [self.low, self.high] {
            for b in [other.low, other.high] {
                let end = quotient(a, b, sign);
                ends.low = ends.low.min(end);
                ends.high = ends.high.max(end);
            }
        }
        ends
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |value: f64| match value {
            f64::INFINITY => "∞".to_owned(),
            f64::NEG_INFINITY => "-∞".to_owned(),
            value if value != 0.0 && !(1e-4..1e7).contains(&value.abs()) => format!("{value:.3e}"),
            // Adding 0 takes the sign of −0 away.
            value => format!("{:.4}", value + 0.0)
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned(),
        };
        write!(f, "[{}, {}]", end(self.low), end(self.high))
    }
}
