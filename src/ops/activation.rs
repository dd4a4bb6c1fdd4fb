//! Activation functions.
//!
//! Ranges follow from piecewise monotony, moments from a normal input: in closed form for the
//! family of ReLU, by quadrature for the others.

use super::definition::{Default, Element, attribute, like_first, save_input, save_output};
use super::gradient::{self, Kernels};
use super::pointwise::{
    LIBRARY_ERROR, float_like_first, function, increasing, increasing_exactly, operations, range,
    refuse,
};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Outputs, Saved, gaussian};
use crate::tensor::{Dtype, Interval};

/// A real attribute with a default.
pub const fn number(name: &'static str, default: f64, summary: &'static str) -> Attribute {
    attribute(name, AttributeKind::Float, Default::Float(default), summary)
}

/// For the functions whose gradient follows from their output, too.
pub const INPLACE: Attribute = attribute(
    "inplace",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether the input is overwritten, so that the output is kept instead",
);

/// Keeps the input, or the output where that has overwritten it.
pub fn save_result_in_place(call: &Call, saved: &mut Saved) {
    match call.boolean("inplace") {
        true => save_output(call, saved),
        false => save_input(call, saved),
    }
}

/// The entries of this family. `other` work counts the operations of the usual formula: four for
/// the sigmoid (negation, exponential, sum, quotient), five for the exact GELU (quotient, erf,
/// sum, two products).
pub static OPS: &[Op] = &[
    Op {
        interval: increasing_exactly,
        ..activation("relu6", "min(max(input, 0), 6)", 2, |_, x| {
            x[0].clamp(0.0, 6.0)
        })
    },
    Op {
        attributes: &[
            number("alpha", 1.0, "what it tends to, negated, below 0"),
            INPLACE,
        ],
        saved: save_result_in_place,
        interval: |call, ranges| pieces(call, ranges, &[0.0]),
        ..activation(
            "elu",
            "input; below 0: alpha · (exp(input) - 1)",
            3,
            |call, x| {
                if x[0] > 0.0 {
                    x[0]
                } else {
                    alpha(call) * x[0].exp_m1()
                }
            },
        )
    },
    Op {
        attributes: &[
            number("alpha", 1.0, "what it tends to, negated, below 0"),
            INPLACE,
        ],
        saved: save_result_in_place,
        interval: |call, ranges| pieces(call, ranges, &[0.0]),
        ..activation(
            "celu",
            "input; below 0: alpha · (exp(input / alpha) - 1)",
            4,
            |call, x| {
                if x[0] > 0.0 {
                    x[0]
                } else {
                    alpha(call) * (x[0] / alpha(call)).exp_m1()
                }
            },
        )
    },
    Op {
        attributes: &[INPLACE],
        saved: save_result_in_place,
        interval: increasing,
        ..activation(
            "selu",
            "scaled so that mean 0 and variance 1 are a fixed point",
            4,
            |_, x| {
                // Klambauer et al. 2017, with PyTorch's constants.
                let inner = if x[0] > 0.0 {
                    x[0]
                } else {
                    1.673_263_242_354_377_2 * x[0].exp_m1()
                };
                1.050_700_987_355_480_5 * inner
            },
        )
    },
    Op {
        attributes: &[attribute(
            "approximate",
            AttributeKind::Choice(&["none", "tanh"]),
            Default::Text("none"),
            "the exact form by erf, or the approximation by tanh",
        )],
        work: |call| operations(call, if is_tanh(call) { 9 } else { 5 }),
        interval: |call, ranges| {
            // Where the valley of each form is lowest.
            let valley = if is_tanh(call) {
                -0.752_461_422_071
            } else {
                -0.751_791_524_693_6
            };
            pieces(call, ranges, &[valley])
        },
        ..activation(
            "gelu",
            "input · Φ(input), of the normal distribution",
            5,
            |call, x| {
                let x = x[0];
                if is_tanh(call) {
                    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                    0.5 * x * (1.0 + inner.tanh())
                } else {
                    x * gaussian::cumulative(x)
                }
            },
        )
    },
    Op {
        aliases: &["swish"],
        interval: |call, ranges| pieces(call, ranges, &[-1.278_464_542_761]),
        // Taken apart: s · (1 + x · (1 - s)) with s = sigmoid(x).
        gradient: |call, gradient| match gradient.is_traced() {
            true => gradient::after::<5>(call, gradient),
            false => gradient::each(call, gradient),
        },
        ..activation("silu", "input · sigmoid(input)", 5, |_, x| {
            x[0] * sigmoid(x[0])
        })
    },
    Op {
        interval: |call, ranges| pieces(call, ranges, &[-1.192_431_214_5]),
        // Taken apart: t + x · s · (1 - t · t) with t = tanh(softplus(x)) and s = sigmoid(x).
        gradient: |call, gradient| {
            if gradient.is_traced() && call.requires_grad(0) {
                gradient.scratches(2);
                gradient.drop(0, 1);
                gradient.scratches(6);
            }
            gradient::each(call, gradient);
        },
        ..activation("mish", "input · tanh(softplus(input))", 4, |_, x| {
            x[0] * x[0].exp().ln_1p().tanh()
        })
    },
    Op {
        infer: float_like_first,
        saved: save_output,
        interval: |call, ranges| increasing(call, ranges).clamped(0.0, 1.0),
        ..activation("sigmoid", "1 / (1 + exp(-input))", 4, |_, x| sigmoid(x[0]))
    },
    Op {
        aliases: &["hard_sigmoid"],
        interval: |call, ranges| increasing(call, ranges).clamped(0.0, 1.0),
        ..activation("hardsigmoid", "min(max(input + 3, 0), 6) / 6", 4, |_, x| {
            (x[0] + 3.0).clamp(0.0, 6.0) / 6.0
        })
    },
    Op {
        aliases: &["hard_swish"],
        interval: |call, ranges| pieces(call, ranges, &[-3.0, -1.5]),
        ..activation("hardswish", "input · hardsigmoid(input)", 5, |_, x| {
            x[0] * (x[0] + 3.0).clamp(0.0, 6.0) / 6.0
        })
    },
    Op {
        aliases: &["hard_tanh"],
        attributes: &[
            number("min_val", -1.0, "least value"),
            number("max_val", 1.0, "greatest value"),
        ],
        interval: increasing_exactly,
        ..activation(
            "hardtanh",
            "input bounded by min_val and max_val",
            2,
            |call, x| {
                let bound = |name, otherwise| call.float(name).unwrap_or(otherwise);
                x[0].max(bound("min_val", -1.0)).min(bound("max_val", 1.0))
            },
        )
    },
    Op {
        infer: float_like_first,
        saved: save_output,
        interval: |call, ranges| increasing(call, ranges).clamped(-1.0, 1.0),
        ..activation("tanh", "hyperbolic tangent", 1, |_, x| x[0].tanh())
    },
    Op {
        attributes: &[
            number("beta", 1.0, "steepness"),
            number(
                "threshold",
                20.0,
                "beta · input above which input itself is given",
            ),
        ],
        autocast: Autocast::Float32,
        interval: |call, ranges| {
            // At the threshold the function falls by a little.
            let (beta, threshold) = (beta(call), cutoff(call));
            let at = threshold / beta;
            let smooth = threshold.exp().ln_1p() / beta;
            let ends = pieces(call, ranges, &[at]);
            if range(ranges, 0).contains(at) {
                ends.union(Interval::new(at, smooth))
            } else {
                ends
            }
        },
        ..activation(
            "softplus",
            "log(1 + exp(beta · input)) / beta",
            5,
            |call, x| {
                let scaled = beta(call) * x[0];
                if scaled > cutoff(call) {
                    x[0]
                } else {
                    scaled.exp().ln_1p() / beta(call)
                }
            },
        )
    },
    Op {
        // Written as a quotient, it also keeps its divisor.
        saved: |call, saved| {
            saved.argument(call, 0);
            if let Some(output) = call.output() {
                saved.extra("denominator", output.shape.elements(), output.dtype);
            }
        },
        infer: float_like_first,
        interval: |call, ranges| increasing(call, ranges).clamped(-1.0, 1.0),
        ..activation("softsign", "input / (1 + |input|)", 3, |_, x| {
            soft_sign(x[0])
        })
    },
    Op {
        aliases: &["log_sigmoid"],
        // Only a device's kernel does without exp(-|x|).
        saved: |call, saved| {
            save_input(call, saved);
            if saved.kernels == Kernels::Traced {
                saved.extra(
                    "buffer",
                    call.elements(0),
                    call.output().map_or(Dtype::Float32, |ty| ty.dtype),
                );
            }
        },
        interval: |call, ranges| increasing(call, ranges).clamped(f64::NEG_INFINITY, 0.0),
        ..activation(
            "logsigmoid",
            "log(sigmoid(input)), without overflow",
            6,
            |_, x| x[0].min(0.0) - (-x[0].abs()).exp().ln_1p(),
        )
    },
    Op {
        attributes: &[
            attribute(
                "threshold",
                AttributeKind::Float,
                Default::Required,
                "the bound",
            ),
            attribute(
                "value",
                AttributeKind::Float,
                Default::Required,
                "given at or below it",
            ),
        ],
        infer: like_first,
        interval: |call, ranges| {
            let (x, bound) = (range(ranges, 0), cutoff(call));
            let value = Interval::point(call.float("value").unwrap_or(0.0));
            if x.low > bound {
                x
            } else if x.high <= bound {
                value
            } else {
                value.union(Interval::new(bound, x.high))
            }
        },
        ..activation(
            "threshold",
            "input above threshold, else value",
            1,
            |call, x| {
                if x[0] > cutoff(call) {
                    x[0]
                } else {
                    call.float("value").unwrap_or(0.0)
                }
            },
        )
    },
    Op {
        saved: |call, saved| {
            if let Some(output) = call.output() {
                saved.extra("tanh", output.shape.elements(), output.dtype);
            }
        },
        // Near 0 the difference cancels, but it keeps its sign.
        interval: |_, ranges| {
            let x = range(ranges, 0);
            let end = |x: f64, slack: f64| {
                let value = x - x.tanh() + slack * x.abs();
                if x < 0.0 {
                    value.min(0.0)
                } else {
                    value.max(0.0)
                }
            };
            Interval::new(end(x.low, -LIBRARY_ERROR), end(x.high, LIBRARY_ERROR))
        },
        ..activation("tanhshrink", "input - tanh(input)", 2, |_, x| {
            x[0] - x[0].tanh()
        })
    },
    Op {
        attributes: &[number("lambd", 0.5, "by how much it shrinks")],
        interval: increasing_exactly,
        ..activation(
            "softshrink",
            "input moved lambd towards 0, no further",
            2,
            |call, x| (x[0].abs() - lambd(call)).max(0.0).copysign(x[0]),
        )
    },
    Op {
        attributes: &[number("lambd", 0.5, "up to where it gives 0")],
        interval: increasing_exactly,
        ..activation(
            "hardshrink",
            "input; 0 where |input| ≤ lambd",
            2,
            |call, x| {
                if x[0].abs() > lambd(call) { x[0] } else { 0.0 }
            },
        )
    },
];

/// An entry that takes floats only, does `count` operations an element, and keeps its input.
pub const fn activation(
    name: &'static str,
    summary: &'static str,
    count: u8,
    element: Element,
) -> Op {
    Op {
        infer: float_input,
        work: match count {
            1 => |call| operations(call, 1),
            2 => |call| operations(call, 2),
            3 => |call| operations(call, 3),
            4 => |call| operations(call, 4),
            5 => |call| operations(call, 5),
            _ => |call| operations(call, 6),
        },
        saved: save_input,
        ..function(name, summary, element)
    }
}

/// The input's type, which must be a float.
pub fn float_input(call: &Call) -> Result<Outputs, OpError> {
    refuse(call, [0], "integers", |dtype| !dtype.is_float())?;
    like_first(call)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn soft_sign(x: f64) -> f64 {
    if x.is_infinite() {
        x.signum()
    } else {
        x / (1.0 + x.abs())
    }
}

fn alpha(call: &Call) -> f64 {
    call.float("alpha").unwrap_or(1.0)
}

fn beta(call: &Call) -> f64 {
    call.float("beta").unwrap_or(1.0)
}

fn cutoff(call: &Call) -> f64 {
    call.float("threshold").unwrap_or(20.0)
}

fn lambd(call: &Call) -> f64 {
    call.float("lambd").unwrap_or(0.5)
}

fn is_tanh(call: &Call) -> bool {
    call.text("approximate").as_deref() == Some("tanh")
}

/// The image under a continuous function that is monotone between the given points.
pub fn pieces(call: &Call, ranges: &[Interval], points: &[f64]) -> Interval {
    let (Some(element), x) = (call.op.element, range(ranges, 0)) else {
        return Interval::ANYTHING;
    };
    // At -∞ a product with a vanishing factor is 0; so is -0.
    let value = |x: f64| {
        let value = element(call, &[x]);
        if value.is_nan() { 0.0 } else { value + 0.0 }
    };
    let inside = points.iter().copied().filter(|&at| x.contains(at));
    inside
        .map(|at| Interval::point(value(at)))
        .fold(Interval::new(value(x.low), value(x.high)), Interval::union)
        .widened(4.0 * LIBRARY_ERROR)
        .or_non_finite(x.non_finite)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_saved, with};
    use crate::tensor::Interval;

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("sigmoid(int64 [2])", "float32 [2]"),
            ("gelu(bfloat16 [2, 3])", "bfloat16 [2, 3]"),
            (
                "gelu(int64 [2])",
                "error: `gelu` does not take integers, but `input` is int64 [2]",
            ),
            ("threshold(int64 [2], threshold=1, value=0)", "int64 [2]"),
        ]);
    }

    /// From PyTorch's saved tensors on CUDA.
    #[test]
    fn what_autograd_keeps() {
        for name in ["sigmoid", "tanh"] {
            check_saved(&[(&format!("{name}([2])"), "output")]);
        }
        for name in [
            "gelu",
            "silu",
            "mish",
            "elu",
            "celu",
            "selu",
            "hardswish",
            "hardsigmoid",
            "relu6",
            "hardtanh",
            "softplus",
            "logsigmoid",
            "softshrink",
            "hardshrink",
        ] {
            check_saved(&[(&format!("{name}([2])"), "input")]);
        }
        check_saved(&[
            ("elu([2, 3], inplace=true)", "output"),
            (
                "softsign(bfloat16 [2, 3])",
                "input, denominator: 6 bfloat16",
            ),
            ("tanhshrink([2, 3])", "tanh: 6 float32"),
        ]);
    }

    #[test]
    fn ranges() {
        let all = (f64::NEG_INFINITY, f64::INFINITY);
        check_intervals(&[
            ("gelu([2])", &[all], "[-0.17, ∞]"),
            ("gelu([2])", &[(-4.0, -3.0)], "[-0.004, -0.0001]"),
            ("silu([2])", &[all], "[-0.2785, ∞]"),
            ("mish([2])", &[all], "[-0.3088, ∞]"),
            ("hardswish([2])", &[all], "[-0.375, ∞]"),
            ("elu([2])", &[all], "[-1, ∞]"),
            ("softsign([2])", &[all], "[-1, 1]"),
            ("sigmoid([2])", &[all], "[0, 1]"),
            ("softplus([2])", &[all], "[0, ∞]"),
            ("logsigmoid([2])", &[(-5.0, 2.0)], "[-5.0067, -0.1269]"),
            (
                "threshold([2], threshold=1, value=20)",
                &[(0.0, 5.0)],
                "[1, 20]",
            ),
            ("hardtanh([2], min_val=-2)", &[(-9.0, 9.0)], "[-2, 1]"),
        ]);
        let range = with("gelu([2])", |call| {
            (call.op.interval)(call, &[Interval::new(-9.0, 0.0)])
        });
        assert!(range.is_ok_and(|range| range.high <= 0.0));
    }
}
