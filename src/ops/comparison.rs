//! Comparisons, logic and bits, element by element. None of them has a gradient.

use super::definition::{BASE, Element, any_value, like_first, unknown_gain, unknown_moments};
use super::layout::preserved;
use super::pointwise::{INPUT_OTHER, binary, broadcast_boolean, broadcast_promoted, range, refuse};
use super::{Call, Op, OpError, Outputs};
use crate::tensor::{Dtype, Interval};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["equal"],
        interval: |_, ranges| equality(ranges),
        ..comparison("eq", "input = other", |_, x| truth(x[0] == x[1]))
    },
    Op {
        aliases: &["not_equal"],
        interval: |_, ranges| negated(equality(ranges)),
        ..comparison("ne", "input ≠ other", |_, x| truth(x[0] != x[1]))
    },
    Op {
        aliases: &["less"],
        interval: |_, ranges| below(range(ranges, 0), range(ranges, 1)),
        ..comparison("lt", "input < other", |_, x| truth(x[0] < x[1]))
    },
    Op {
        aliases: &["less_equal"],
        interval: |_, ranges| negated(below(range(ranges, 1), range(ranges, 0))),
        ..comparison("le", "input ≤ other", |_, x| truth(x[0] <= x[1]))
    },
    Op {
        aliases: &["greater"],
        interval: |_, ranges| below(range(ranges, 1), range(ranges, 0)),
        ..comparison("gt", "input > other", |_, x| truth(x[0] > x[1]))
    },
    Op {
        aliases: &["greater_equal"],
        interval: |_, ranges| negated(below(range(ranges, 0), range(ranges, 1))),
        ..comparison("ge", "input ≥ other", |_, x| truth(x[0] >= x[1]))
    },
    comparison("logical_and", "both are not 0", |_, x| {
        truth(x[0] != 0.0 && x[1] != 0.0)
    }),
    comparison("logical_or", "one is not 0", |_, x| {
        truth(x[0] != 0.0 || x[1] != 0.0)
    }),
    comparison("logical_xor", "exactly one is not 0", |_, x| {
        truth((x[0] != 0.0) != (x[1] != 0.0))
    }),
    question("logical_not", "input is 0", |_, x| truth(x[0] == 0.0)),
    bitwise("bitwise_and", "bits set in both", |_, x| {
        (x[0] as i64 & x[1] as i64) as f64
    }),
    bitwise("bitwise_or", "bits set in one", |_, x| {
        (x[0] as i64 | x[1] as i64) as f64
    }),
    bitwise("bitwise_xor", "bits set in exactly one", |_, x| {
        (x[0] as i64 ^ x[1] as i64) as f64
    }),
    Op {
        interval: any_value,
        ..bitwise(
            "bitwise_left_shift",
            "input · 2^other, without the bits that fall out",
            |_, x| ((x[0] as i64) << (x[1] as i64).clamp(0, 63)) as f64,
        )
    },
    Op {
        interval: |_, ranges| range(ranges, 0).union(Interval::new(-1.0, 0.0)),
        ..bitwise(
            "bitwise_right_shift",
            "input over 2^other, rounded down",
            |_, x| ((x[0] as i64) >> (x[1] as i64).clamp(0, 63)) as f64,
        )
    },
    // Whether `~1` is -2 or false depends on the element type, which a bare number does not tell,
    // so there is no element function.
    Op {
        name: "bitwise_not",
        aliases: &["invert"],
        summary: "every bit turned over; for bool: not",
        infer: |call| {
            refuse(call, [0], "floats", Dtype::is_float)?;
            like_first(call)
        },
        layout: preserved,
        differentiable: false,
        interval: |call, ranges| match call.dtype(0) {
            Ok(Dtype::Bool) => negated(range(ranges, 0)),
            Ok(dtype) if Interval::of_dtype(dtype).low == 0.0 => {
                Interval::point(Interval::of_dtype(dtype).high) - range(ranges, 0)
            }
            _ => Interval::point(-1.0) - range(ranges, 0),
        },
        ..BASE
    },
    // Ranges are asked only of tensors that are finite throughout.
    Op {
        interval: |_, _| Interval::point(0.0),
        ..question("isnan", "input is NaN", |_, x| truth(x[0].is_nan()))
    },
    Op {
        interval: |_, _| Interval::point(0.0),
        ..question("isinf", "input is infinite", |_, x| {
            truth(x[0].is_infinite())
        })
    },
    Op {
        interval: |_, _| Interval::point(1.0),
        ..question("isfinite", "input is neither infinite nor NaN", |_, x| {
            truth(x[0].is_finite())
        })
    },
];

const fn comparison(name: &'static str, summary: &'static str, element: Element) -> Op {
    Op {
        infer: broadcast_boolean,
        differentiable: false,
        interval: |_, _| Interval::new(0.0, 1.0),
        moments: unknown_moments,
        gradient_gain: unknown_gain,
        ..binary(name, summary, element)
    }
}

const fn question(name: &'static str, summary: &'static str, element: Element) -> Op {
    Op {
        name,
        summary,
        infer: broadcast_boolean,
        differentiable: false,
        layout: preserved,
        element: Some(element),
        interval: |_, _| Interval::new(0.0, 1.0),
        ..BASE
    }
}

const fn bitwise(name: &'static str, summary: &'static str, element: Element) -> Op {
    Op {
        name,
        summary,
        operands: INPUT_OTHER,
        infer: bitwise_type,
        differentiable: false,
        layout: preserved,
        element: Some(element),
        interval: bits,
        ..BASE
    }
}

fn bitwise_type(call: &Call) -> Result<Outputs, OpError> {
    refuse(call, 0..2, "floats", Dtype::is_float)?;
    broadcast_promoted(call)
}

/// No bitwise operation on numbers of `n` bits, or on their complements, needs more than `n`.
fn bits(_: &Call, ranges: &[Interval]) -> Interval {
    let (x, y) = (range(ranges, 0), range(ranges, 1));
    let most = x.magnitude().max(y.magnitude());
    let power = (most + 1.0).log2().ceil().exp2();
    let low = if x.low < 0.0 || y.low < 0.0 {
        -power
    } else {
        0.0
    };
    Interval::new(low, power)
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn equality(ranges: &[Interval]) -> Interval {
    let (x, y) = (range(ranges, 0), range(ranges, 1));
    if x.high < y.low || y.high < x.low {
        Interval::point(0.0)
    } else if x.low == x.high && x == y {
        Interval::point(1.0)
    } else {
        Interval::new(0.0, 1.0)
    }
}

fn below(x: Interval, y: Interval) -> Interval {
    if x.high < y.low {
        Interval::point(1.0)
    } else if x.low >= y.high {
        Interval::point(0.0)
    } else {
        Interval::new(0.0, 1.0)
    }
}

fn negated(truth: Interval) -> Interval {
    Interval::point(1.0) - truth
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("eq([2, 1], int64 [3])", "bool [2, 3]"),
            ("lt([2], 0.5)", "bool [2]"),
            ("logical_not(int64 [2])", "bool [2]"),
            ("bitwise_and(int32 [2], bool [2])", "int32 [2]"),
            ("bitwise_not(bool [2])", "bool [2]"),
            (
                "bitwise_or([2], int64 [2])",
                "error: `bitwise_or` does not take floats, but `input` is float32 [2]",
            ),
            ("isnan(bfloat16 [2, 2])", "bool [2, 2]"),
        ]);
    }

    #[test]
    fn what_ranges_decide_is_decided() {
        check_intervals(&[
            ("lt([2], [2])", &[(0.0, 1.0), (2.0, 3.0)], "[1, 1]"),
            ("lt([2], [2])", &[(2.0, 3.0), (1.0, 2.0)], "[0, 0]"),
            ("le([2], [2])", &[(1.0, 2.0), (2.0, 3.0)], "[1, 1]"),
            ("gt([2], [2])", &[(1.0, 2.0), (2.0, 3.0)], "[0, 0]"),
            ("ge([2], [2])", &[(1.0, 2.0), (2.0, 3.0)], "[0, 1]"),
            ("eq([2], [2])", &[(1.0, 1.0), (1.0, 1.0)], "[1, 1]"),
            ("ne([2], [2])", &[(1.0, 1.0), (2.0, 3.0)], "[1, 1]"),
            ("bitwise_not(int64 [2])", &[(0.0, 5.0)], "[-6, -1]"),
            ("bitwise_not(bool [2])", &[(0.0, 0.0)], "[1, 1]"),
        ]);
    }
}
