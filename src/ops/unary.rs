//! Mathematical functions of one element: exponentials, logarithms, roots, trigonometry, rounding.
//!
//! Activations, which have names and parameters of their own, stand in `activation`.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use super::definition::{Default, Element, attribute, like_first, save_input, save_output};
use super::gradient;
use super::pointwise::{
    LIBRARY_ERROR, function, increasing, increasing_exactly, normal_gain, normal_moments, range,
    real_of, refuse,
};
use super::{AttributeKind, Autocast, Call, Op, OpError, Outputs, gaussian};
use crate::tensor::{Dtype, Interval, Moments};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["negative"],
        infer: |call| {
            refuse(call, [0], "bool tensors", |dtype| dtype == Dtype::Bool)?;
            like_first(call)
        },
        interval: |_, ranges| -range(ranges, 0),
        ..function("neg", "-input", |_, x| -x[0])
    },
    Op {
        aliases: &["absolute"],
        infer: |call| {
            let mut outputs = like_first(call)?;
            outputs[0].dtype = real_of(outputs[0].dtype);
            Ok(outputs)
        },
        saved: save_input,
        interval: |_, ranges| even(range(ranges, 0), |x| x),
        // Folded normal: the second moment stays.
        moments: |_, moments| {
            let x = moments[0]?;
            let deviation = x.variance.sqrt();
            if deviation == 0.0 {
                return Some(Moments::constant(x.mean.abs()));
            }
            let z = x.mean / deviation;
            let mean = 2.0 * deviation * gaussian::density(z)
                + x.mean * (1.0 - 2.0 * gaussian::cumulative(-z));
            gaussian::moments_from(mean, x.square())
        },
        gradient: gradient::after::<1>,
        ..function("abs", "|input|", |_, x| x[0].abs())
    },
    Op {
        infer: like_first,
        interval: increasing_exactly,
        gradient_gain: |_, _, _| Some(0.0),
        ..function("sign", "-1, 0 or 1", |_, x| sign(x[0]))
    },
    Op {
        infer: like_first,
        saved: save_input,
        interval: |_, ranges| even(range(ranges, 0), |x| x * x),
        // For normal x: Var[x²] = 2σ⁴ + 4μ²σ².
        moments: |_, moments| {
            let x = moments[0]?;
            let variance = 2.0 * x.variance.powi(2) + 4.0 * x.mean.powi(2) * x.variance;
            Some(Moments::new(x.square(), variance))
        },
        gradient_gain: |_, _, moments| Some(4.0 * moments[0]?.square()),
        autocast: Autocast::Float32,
        gradient: gradient::after::<2>,
        ..function("square", "input²", |_, x| x[0] * x[0])
    },
    Op {
        saved: save_output,
        interval: positive,
        ..kept32("exp", "e to the power of input", |_, x| x[0].exp())
    },
    Op {
        saved: save_output,
        interval: positive,
        gradient: gradient::after::<1>,
        ..function("exp2", "2 to the power of input", |_, x| x[0].exp2())
    },
    Op {
        saved: save_output,
        interval: |call, ranges| increasing(call, ranges).clamped(-1.0, f64::INFINITY),
        gradient: gradient::after::<1>,
        ..kept32("expm1", "exp(input) - 1, exact near 0", |_, x| {
            x[0].exp_m1()
        })
    },
    Op {
        aliases: &["ln"],
        interval: |call, ranges| logarithm(call, ranges, 0.0),
        ..kept32("log", "natural logarithm", |_, x| x[0].ln())
    },
    Op {
        interval: |call, ranges| logarithm(call, ranges, -1.0),
        gradient: gradient::after::<1>,
        ..kept32("log1p", "log(1 + input), exact near 0", |_, x| x[0].ln_1p())
    },
    Op {
        interval: |call, ranges| logarithm(call, ranges, 0.0),
        gradient: gradient::after::<1>,
        ..kept32("log2", "logarithm to base 2", |_, x| x[0].log2())
    },
    Op {
        interval: |call, ranges| logarithm(call, ranges, 0.0),
        gradient: gradient::after::<1>,
        ..kept32("log10", "logarithm to base 10", |_, x| x[0].log10())
    },
    Op {
        saved: save_output,
        interval: |call, ranges| {
            let x = range(ranges, 0);
            increasing_exactly(call, &[x.clamped(0.0, f64::INFINITY)]).or_non_finite(x.low < 0.0)
        },
        gradient: gradient::after::<1>,
        ..function("sqrt", "square root", |_, x| x[0].sqrt())
    },
    Op {
        saved: save_output,
        // A root and a quotient.
        work: |call| super::pointwise::operations(call, 2),
        interval: |_, ranges| {
            let x = range(ranges, 0);
            let root = x.clamped(0.0, f64::INFINITY).map_increasing(f64::sqrt);
            (Interval::point(1.0) / root)
                .widened(LIBRARY_ERROR)
                .clamped(0.0, f64::INFINITY)
                .or_non_finite(x.low < 0.0)
        },
        gradient: gradient::after::<2>,
        ..kept32("rsqrt", "1 / √input", |_, x| 1.0 / x[0].sqrt())
    },
    Op {
        saved: save_output,
        interval: |_, ranges| Interval::point(1.0) / range(ranges, 0),
        moments: |call, moments| {
            (stays(moments, |x| x > 0.0) || stays(moments, |x| x < 0.0)).then_some(())?;
            normal_moments(call, moments)
        },
        gradient_gain: |call, position, moments| {
            (stays(moments, |x| x > 0.0) || stays(moments, |x| x < 0.0)).then_some(())?;
            normal_gain(call, position, moments)
        },
        gradient: gradient::after::<2>,
        ..kept32("reciprocal", "1 / input", |_, x| 1.0 / x[0])
    },
    Op {
        interval: |_, ranges| wave(range(ranges, 0), f64::sin, FRAC_PI_2),
        gradient: gradient::after::<1>,
        ..kept("sin", "sine", |_, x| x[0].sin())
    },
    Op {
        interval: |_, ranges| wave(range(ranges, 0), f64::cos, 0.0),
        gradient: gradient::after::<2>,
        ..kept("cos", "cosine", |_, x| x[0].cos())
    },
    Op {
        saved: save_output,
        interval: |call, ranges| {
            let x = range(ranges, 0);
            // Between two poles the tangent rises; across one it takes every value.
            let branch = |x: f64| ((x + FRAC_PI_2) / PI).floor();
            if x.magnitude() < 1e6 && branch(x.low - 1e-9) == branch(x.high + 1e-9) {
                increasing(call, ranges).widened(1e-9)
            } else {
                Interval::REAL
            }
        },
        // Near a pole there are none.
        moments: |call, moments| {
            stays(moments, |x| x.abs() < FRAC_PI_2).then_some(())?;
            normal_moments(call, moments)
        },
        gradient_gain: |call, position, moments| {
            stays(moments, |x| x.abs() < FRAC_PI_2).then_some(())?;
            normal_gain(call, position, moments)
        },
        gradient: gradient::after::<2>,
        ..kept32("tan", "tangent", |_, x| x[0].tan())
    },
    Op {
        aliases: &["arcsin"],
        interval: |call, ranges| unit_domain(range(ranges, 0), |x| increasing(call, &[x])),
        gradient: gradient::after::<4>,
        ..kept32("asin", "inverse sine", |_, x| x[0].asin())
    },
    Op {
        aliases: &["arccos"],
        interval: |call, ranges| {
            unit_domain(range(ranges, 0), |x| increasing(call, &[x])).clamped(0.0, 3.2)
        },
        gradient: gradient::after::<5>,
        ..kept32("acos", "inverse cosine", |_, x| x[0].acos())
    },
    Op {
        aliases: &["arctan"],
        gradient: gradient::after::<2>,
        ..kept("atan", "inverse tangent", |_, x| x[0].atan())
    },
    Op {
        gradient: gradient::after::<1>,
        ..kept32("sinh", "hyperbolic sine", |_, x| x[0].sinh())
    },
    Op {
        interval: |_, ranges| {
            even(range(ranges, 0), f64::cosh)
                .widened(LIBRARY_ERROR)
                .clamped(1.0, f64::INFINITY)
        },
        gradient: gradient::after::<1>,
        ..kept32("cosh", "hyperbolic cosine", |_, x| x[0].cosh())
    },
    Op {
        aliases: &["arcsinh"],
        gradient: gradient::after::<3>,
        ..kept("asinh", "inverse hyperbolic sine", |_, x| x[0].asinh())
    },
    Op {
        aliases: &["arccosh"],
        interval: |call, ranges| {
            let x = range(ranges, 0);
            increasing(call, &[x.clamped(1.0, f64::INFINITY)])
                .clamped(0.0, f64::INFINITY)
                .or_non_finite(x.low < 1.0)
        },
        gradient: gradient::after::<3>,
        ..kept("acosh", "inverse hyperbolic cosine", |_, x| x[0].acosh())
    },
    Op {
        aliases: &["arctanh"],
        interval: |call, ranges| {
            let x = range(ranges, 0);
            let touches = x.low <= -1.0 || x.high >= 1.0;
            increasing(call, &[x.clamped(-1.0, 1.0)]).or_non_finite(touches)
        },
        gradient: gradient::after::<3>,
        ..kept("atanh", "inverse hyperbolic tangent", |_, x| x[0].atanh())
    },
    Op {
        interval: |call, ranges| increasing(call, ranges).widened(1e-14).clamped(-1.0, 1.0),
        gradient: gradient::after::<4>,
        ..kept("erf", "error function", |_, x| gaussian::erf(x[0]))
    },
    Op {
        interval: |call, ranges| increasing(call, ranges).widened(1e-12).clamped(0.0, 2.0),
        gradient: gradient::after::<4>,
        ..kept("erfc", "1 - erf(input), exact where it is small", |_, x| {
            gaussian::erfc(x[0])
        })
    },
    Op {
        interval: |call, ranges| {
            let x = range(ranges, 0);
            let touches = x.low <= -1.0 || x.high >= 1.0;
            increasing(call, &[x.clamped(-1.0, 1.0)])
                .widened(1e-12)
                .or_non_finite(touches)
        },
        gradient: gradient::after::<4>,
        ..kept32("erfinv", "inverse of the error function", |_, x| {
            gaussian::erfinv(x[0])
        })
    },
    Op {
        interval: |_, ranges| log_gamma(range(ranges, 0)),
        // The poles at 0 and below leave no moments.
        moments: |_, _| None,
        gradient_gain: |_, _, _| None,
        gradient: gradient::after::<1>,
        ..kept(
            "lgamma",
            "natural logarithm of the magnitude of the gamma function",
            |_, x| libm::lgamma(x[0]),
        )
    },
    rounding(
        "floor",
        "the greatest whole number not above input",
        |_, x| x[0].floor(),
    ),
    rounding("ceil", "the least whole number not below input", |_, x| {
        x[0].ceil()
    }),
    Op {
        attributes: &[attribute(
            "decimals",
            AttributeKind::Integer,
            Default::Integer(0),
            "places behind the point",
        )],
        ..rounding(
            "round",
            "the nearest whole number, halves to even",
            |call, x| {
                let scale =
                    10f64.powi(call.integer("decimals").unwrap_or(0).clamp(-300, 300) as i32);
                (x[0] * scale).round_ties_even() / scale
            },
        )
    },
    Op {
        aliases: &["fix"],
        ..rounding("trunc", "input without its fraction", |_, x| x[0].trunc())
    },
    Op {
        infer: |call| {
            refuse(call, [0], "integers", |dtype| !dtype.is_float())?;
            like_first(call)
        },
        interval: |_, ranges| {
            let x = range(ranges, 0);
            if x.low.trunc() == x.high.trunc() && x.low.signum() == x.high.signum() {
                return x.map_increasing(f64::fract);
            }
            let low = if x.low < 0.0 { -1.0 } else { 0.0 };
            Interval::new(low, if x.high > 0.0 { 1.0 } else { 0.0 })
        },
        gradient_gain: |_, _, _| Some(1.0),
        ..function("frac", "input minus its whole part", |_, x| x[0].fract())
    },
];

/// Whether a normal operand stays, for eight deviations to both sides, in the interval where
/// `good` holds.
fn stays(moments: &[Option<Moments>], good: impl Fn(f64) -> bool) -> bool {
    moments.first().copied().flatten().is_some_and(|x| {
        let reach = 8.0 * x.variance.sqrt();
        [-reach, reach].iter().all(|d| good(x.mean + d))
    })
}

/// A function that keeps its input for the backward pass.
const fn kept(name: &'static str, summary: &'static str, element: Element) -> Op {
    Op {
        saved: save_input,
        ..function(name, summary, element)
    }
}

/// One that `autocast` also runs in float32.
const fn kept32(name: &'static str, summary: &'static str, element: Element) -> Op {
    Op {
        autocast: Autocast::Float32,
        ..kept(name, summary, element)
    }
}

/// A function that rounds: integers stay as they are, and the gradient is 0.
const fn rounding(name: &'static str, summary: &'static str, element: Element) -> Op {
    Op {
        infer: rounded_type,
        interval: increasing_exactly,
        gradient_gain: |_, _, _| Some(0.0),
        ..function(name, summary, element)
    }
}

fn rounded_type(call: &Call) -> Result<Outputs, OpError> {
    refuse(call, [0], "bool or complex tensors", |dtype| {
        dtype == Dtype::Bool || dtype.is_complex()
    })?;
    like_first(call)
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// The image under an even function that rises with the magnitude.
fn even(x: Interval, f: impl Fn(f64) -> f64) -> Interval {
    Interval::new(x.least_magnitude(), x.magnitude()).map_increasing(f)
}

/// The image under `lgamma`, which is convex right of 0 and has a pole at 0 and at each negative
/// whole number.
fn log_gamma(x: Interval) -> Interval {
    /// Where it is least, and what it is there, rounded down.
    const LEAST: (f64, f64) = (1.461_632_144_968_362_3, -0.121_486_290_535_849_7);
    if x.low <= 0.0 || x.low.is_nan() {
        return Interval::REAL.or_non_finite(true);
    }
    let ends = [libm::lgamma(x.low), libm::lgamma(x.high)];
    let low = match x.low <= LEAST.0 && LEAST.0 <= x.high {
        true => LEAST.1,
        false => ends[0].min(ends[1]),
    };
    Interval::new(low, ends[0].max(ends[1]))
        .widened(1e-12)
        .or_non_finite(x.non_finite)
}

fn positive(call: &Call, ranges: &[Interval]) -> Interval {
    increasing(call, ranges).clamped(0.0, f64::INFINITY)
}

/// The image under a logarithm that is -∞ at `pole` and undefined below.
fn logarithm(call: &Call, ranges: &[Interval], pole: f64) -> Interval {
    let x = range(ranges, 0);
    if x.high <= pole {
        return Interval::ANYTHING;
    }
    increasing(call, &[x.clamped(pole, f64::INFINITY)]).or_non_finite(x.low <= pole)
}

fn unit_domain(x: Interval, f: impl Fn(Interval) -> Interval) -> Interval {
    f(x.clamped(-1.0, 1.0)).or_non_finite(x.low < -1.0 || x.high > 1.0)
}

/// The image under a wave of period 2π that has a crest at `crest`.
fn wave(x: Interval, f: fn(f64) -> f64, crest: f64) -> Interval {
    if !x.is_bounded() || x.magnitude() > 1e6 || x.high - x.low >= TAU {
        return Interval::new(-1.0, 1.0);
    }
    // Whether a point `at + 2πk` lies within; the slack makes near misses count.
    let holds = |at: f64| {
        let k = ((x.low - at) / TAU - 1e-9).ceil();
        at + TAU * k <= x.high + 1e-6
    };
    let ends = Interval::new(f(x.low), f(x.high)).widened(LIBRARY_ERROR);
    Interval {
        low: if holds(crest + PI) { -1.0 } else { ends.low },
        high: if holds(crest) { 1.0 } else { ends.high },
        non_finite: x.non_finite,
    }
    .clamped(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_saved};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("exp(int64 [2])", "float32 [2]"),
            ("exp(float16 [2])", "float16 [2]"),
            ("abs(int64 [2])", "int64 [2]"),
            ("abs(complex128 [2])", "float64 [2]"),
            ("floor(int32 [2])", "int32 [2]"),
            ("square(int64 [])", "int64 []"),
            (
                "neg(bool [2])",
                "error: `neg` does not take bool tensors, but `input` is bool [2]",
            ),
            (
                "frac(int64 [2])",
                "error: `frac` does not take integers, but `input` is int64 [2]",
            ),
        ]);
    }

    /// From the derivatives of PyTorch.
    #[test]
    fn input_or_output_is_kept() {
        for output in ["exp", "expm1", "exp2", "sqrt", "rsqrt", "reciprocal", "tan"] {
            check_saved(&[(&format!("{output}([2])"), "output")]);
        }
        for input in [
            "abs", "square", "log", "log1p", "log2", "log10", "sin", "cos", "asin", "acos", "atan",
            "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "lgamma",
        ] {
            check_saved(&[(&format!("{input}([2])"), "input")]);
        }
        for nothing in ["neg", "sign", "floor", "ceil", "round", "trunc", "frac"] {
            check_saved(&[(&format!("{nothing}([2])"), "")]);
        }
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("log([2])", &[(0.0, 1.0)], "[-∞, 0]?"),
            ("log([2])", &[(1.0, 1.0)], "[0, 0]"),
            ("log([2])", &[(-2.0, -1.0)], "[-∞, ∞]?"),
            ("sqrt([2])", &[(0.0, 4.0)], "[0, 2]"),
            ("sqrt([2])", &[(-1e-9, 4.0)], "[0, 2]?"),
            ("rsqrt([2])", &[(0.0, 4.0)], "[0.5, ∞]?"),
            ("rsqrt([2])", &[(0.25, 4.0)], "[0.5, 2]"),
            ("reciprocal([2])", &[(-1.0, 4.0)], "[-∞, ∞]?"),
            ("exp([2])", &[(f64::NEG_INFINITY, 0.0)], "[0, 1]"),
            ("sin([2])", &[(0.0, 1.0)], "[0, 0.8415]"),
            ("sin([2])", &[(0.0, 2.0)], "[0, 1]"),
            ("cos([2])", &[(3.0, 4.0)], "[-1, -0.6536]"),
            ("cos([2])", &[(0.0, 1e9)], "[-1, 1]"),
            ("tan([2])", &[(-1.0, 1.0)], "[-1.5574, 1.5574]"),
            ("tan([2])", &[(1.0, 2.0)], "[-∞, ∞]"),
            ("asin([2])", &[(0.0, 1.5)], "[0, 1.5708]?"),
            ("acosh([2])", &[(1.0, 1.0)], "[0, 0]"),
            ("atanh([2])", &[(0.0, 1.0)], "[0, ∞]?"),
            ("abs([2])", &[(-3.0, 2.0)], "[0, 3]"),
            ("erfinv([2])", &[(-0.5, 0.5)], "[-0.4769, 0.4769]"),
            ("erfinv([2])", &[(0.0, 1.0)], "[0, ∞]?"),
            ("lgamma([2])", &[(1.0, 5.0)], "[-0.1215, 3.1781]"),
            ("lgamma([2])", &[(2.0, 3.0)], "[0, 0.6931]"),
            ("lgamma([2])", &[(-1.0, 3.0)], "[-∞, ∞]?"),
            ("square([2])", &[(-3.0, -2.0)], "[4, 9]"),
            ("frac([2])", &[(1.25, 1.75)], "[0.25, 0.75]"),
            ("frac([2])", &[(-0.5, 1.75)], "[-1, 1]"),
            ("round([2], decimals=1)", &[(0.26, 0.34)], "[0.3, 0.3]"),
        ]);
    }
}
