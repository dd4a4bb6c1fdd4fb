//! Arithmetic between tensors, element by element: sums, products, quotients, powers, extremes.

use super::definition::{Default, attribute, operand, unknown_gain, unknown_moments};
use super::pointwise::{
    LIBRARY_ERROR, binary, broadcast_factor, broadcast_float, broadcast_promoted, corners,
    float_of, keep, normal_gain, normal_moments, operand_moments, operations, range, refuse,
    save_factors, save_operands,
};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Saved, Work, gradient};
use crate::tensor::{Dtype, Interval, Moments};

const ALPHA: &[Attribute] = &[attribute(
    "alpha",
    AttributeKind::Float,
    Default::Float(1.0),
    "factor of `other`",
)];

const VALUE: &[Attribute] = &[attribute(
    "value",
    AttributeKind::Float,
    Default::Float(1.0),
    "factor of the second term",
)];

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["plus"],
        attributes: ALPHA,
        work: scaled_work,
        gradient: gradient::sum,
        interval: |call, ranges| range(ranges, 0) + scaled(call, range(ranges, 1)),
        moments: |call, moments| sum_moments(call, moments, 1.0),
        gradient_gain: sum_gain,
        ..binary("add", "input + alpha · other", |call, x| {
            x[0] + alpha(call) * x[1]
        })
    },
    Op {
        aliases: &["subtract"],
        attributes: ALPHA,
        infer: |call| {
            refuse(call, 0..2, "bool tensors", |dtype| dtype == Dtype::Bool)?;
            broadcast_promoted(call)
        },
        work: scaled_work,
        gradient: gradient::difference,
        interval: |call, ranges| range(ranges, 0) - scaled(call, range(ranges, 1)),
        moments: |call, moments| sum_moments(call, moments, -1.0),
        gradient_gain: sum_gain,
        ..binary("sub", "input - alpha · other", |call, x| {
            x[0] - alpha(call) * x[1]
        })
    },
    Op {
        aliases: &["multiply"],
        saved: save_factors,
        interval: |_, ranges| range(ranges, 0) * range(ranges, 1),
        moments: |call, moments| {
            let (x, y) = both(call, moments)?;
            product_moments(x, y)
        },
        gradient_gain: |call, position, moments| {
            let other = operand_moments(call, moments, 1 - position.min(1))?;
            Some(other.square() * broadcast_factor(call, position)?)
        },
        ..binary("mul", "input · other", |_, x| x[0] * x[1])
    },
    Op {
        aliases: &["divide", "true_divide"],
        attributes: &[attribute(
            "rounding_mode",
            AttributeKind::Choice(&["trunc", "floor"]),
            Default::None,
            "how the quotient is rounded; not at all if left out",
        )],
        infer: |call| {
            if call.is_given("rounding_mode") {
                broadcast_promoted(call)
            } else {
                broadcast_float(call)
            }
        },
        work: |call| operations(call, if call.is_given("rounding_mode") { 2 } else { 1 }),
        saved: |call, saved| {
            // A rounded quotient has no gradient.
            if !call.is_given("rounding_mode") {
                save_quotient(call, saved);
            }
        },
        gradient: gradient::quotient,
        interval: |call, ranges| {
            let quotient = range(ranges, 0) / range(ranges, 1);
            match call.text("rounding_mode").as_deref() {
                Some("floor") => quotient.map_increasing(f64::floor),
                Some(_) => quotient.map_increasing(f64::trunc),
                None => quotient,
            }
        },
        moments: away_from_zero_moments,
        gradient_gain: away_from_zero_gain,
        ..binary("div", "input / other", |call, x| {
            let quotient = x[0] / x[1];
            match call.text("rounding_mode").as_deref() {
                Some("floor") => quotient.floor(),
                Some(_) => quotient.trunc(),
                None => quotient,
            }
        })
    },
    Op {
        differentiable: false,
        work: |call| operations(call, 2),
        interval: |_, ranges| (range(ranges, 0) / range(ranges, 1)).map_increasing(f64::floor),
        moments: unknown_moments,
        gradient_gain: unknown_gain,
        ..binary("floor_divide", "input / other, rounded down", |_, x| {
            (x[0] / x[1]).floor()
        })
    },
    Op {
        aliases: &["mod"],
        // Quotient, floor, product, difference.
        work: |call| operations(call, 4),
        saved: save_remainder,
        gradient: gradient::remainder,
        interval: |_, ranges| {
            let (x, y) = (range(ranges, 0), range(ranges, 1));
            let within = y.low > 0.0 && x.low >= 0.0 && x.high < y.low;
            let remainder = if within {
                x
            } else {
                Interval::new(y.low.min(0.0), y.high.max(0.0))
            };
            remainder.or_non_finite(y.contains(0.0))
        },
        moments: unknown_moments,
        gradient_gain: unknown_gain,
        ..binary(
            "remainder",
            "what floor division leaves, with the divisor's sign",
            |_, x| x[0] - x[1] * (x[0] / x[1]).floor(),
        )
    },
    Op {
        work: |call| operations(call, 4),
        saved: save_remainder,
        gradient: gradient::remainder,
        interval: |_, ranges| {
            let (x, y) = (range(ranges, 0), range(ranges, 1));
            let most = x.magnitude().min(y.magnitude());
            let low = if x.low < 0.0 { -most } else { 0.0 };
            let high = if x.high > 0.0 { most } else { 0.0 };
            Interval::new(low, high).or_non_finite(y.contains(0.0))
        },
        moments: unknown_moments,
        gradient_gain: unknown_gain,
        ..binary(
            "fmod",
            "what truncated division leaves, with the dividend's sign",
            |_, x| x[0] % x[1],
        )
    },
    Op {
        aliases: &["power"],
        operands: &[operand("input"), operand("exponent")],
        infer: |call| {
            if let Some(exponent) = call.constant(1)
                && exponent < 0.0
                && !call.promoted_dtype().is_float()
            {
                let message = format!(
                    "integers have no integer power {exponent}: cast the input to a float first"
                );
                return Err(OpError::new(message).operands([0, 1]));
            }
            broadcast_promoted(call)
        },
        autocast: Autocast::Float32,
        saved: |call, saved| {
            save_operands(call, saved);
            if call.constant(1).is_none() {
                saved.output(0);
            }
        },
        gradient: gradient::power,
        interval: |_, ranges| power(range(ranges, 0), range(ranges, 1)),
        moments: |call, moments| {
            let (x, y) = both(call, moments)?;
            (is_away_from_zero(x) || y.mean >= 0.0).then_some(())?;
            normal_moments(call, moments)
        },
        gradient_gain: |call, position, moments| {
            let (x, y) = both(call, moments)?;
            (is_away_from_zero(x) || y.mean >= 1.0).then_some(())?;
            normal_gain(call, position, moments)
        },
        ..binary("pow", "input to the power of exponent", |_, x| {
            x[0].powf(x[1])
        })
    },
    Op {
        aliases: &["max_elementwise", "clamp_min"],
        saved: save_operands,
        interval: |_, ranges| {
            let (x, y) = (range(ranges, 0), range(ranges, 1));
            Interval::new(x.low.max(y.low), x.high.max(y.high))
        },
        gradient: gradient::chosen,
        ..binary("maximum", "the greater of both", |_, x| x[0].max(x[1]))
    },
    Op {
        aliases: &["min_elementwise", "clamp_max"],
        saved: save_operands,
        interval: |_, ranges| {
            let (x, y) = (range(ranges, 0), range(ranges, 1));
            Interval::new(x.low.min(y.low), x.high.min(y.high))
        },
        gradient: gradient::chosen,
        ..binary("minimum", "the lesser of both", |_, x| x[0].min(x[1]))
    },
    Op {
        infer: broadcast_float,
        // Two squares, a sum, a root.
        work: |call| operations(call, 4),
        saved: |call, saved| {
            for position in 0..2 {
                if call.requires_grad(position) {
                    keep(call, saved, position);
                }
            }
            saved.output(0);
        },
        interval: |_, ranges| {
            let (x, y) = (range(ranges, 0), range(ranges, 1));
            Interval::new(
                x.least_magnitude().hypot(y.least_magnitude()),
                x.magnitude().hypot(y.magnitude()),
            )
            .widened(LIBRARY_ERROR)
        },
        gradient: gradient::each_after_own::<1>,
        ..binary("hypot", "√(input² + other²)", |_, x| x[0].hypot(x[1]))
    },
    Op {
        aliases: &["arctan2"],
        infer: broadcast_float,
        autocast: Autocast::Promote,
        saved: save_operands,
        interval: |_, ranges| {
            let (y, x) = (range(ranges, 0), range(ranges, 1));
            let angle = if x.low > 0.0 {
                corners(y, x, f64::atan2)
            } else if y.low > 0.0 {
                Interval::new(0.0, std::f64::consts::PI)
            } else {
                Interval::new(-std::f64::consts::PI, std::f64::consts::PI)
            };
            angle.widened(LIBRARY_ERROR)
        },
        // Around the origin, and across the branch cut, the slope has no second moment.
        moments: |call, moments| {
            (operand_moments(call, moments, 1)?.mean > 0.0).then_some(())?;
            away_from_zero_moments(call, moments)
        },
        gradient_gain: |call, position, moments| {
            (operand_moments(call, moments, 1)?.mean > 0.0).then_some(())?;
            away_from_zero_gain(call, position, moments)
        },
        gradient: gradient::after::<5>,
        ..binary("atan2", "the angle of the point (other, input)", |_, x| {
            x[0].atan2(x[1])
        })
    },
    Op {
        infer: broadcast_float,
        // Maximum, difference, exponential, logarithm, sum.
        work: |call| operations(call, 5),
        saved: save_operands,
        interval: |_, ranges| {
            corners(range(ranges, 0), range(ranges, 1), log_add_exp).widened(LIBRARY_ERROR)
        },
        gradient: gradient::each_after_own::<3>,
        ..binary(
            "logaddexp",
            "log(exp(input) + exp(other)), without overflow",
            |_, x| log_add_exp(x[0], x[1]),
        )
    },
    Op {
        operands: &[operand("input"), operand("end"), operand("weight")],
        // Difference, product, sum.
        work: |call| operations(call, 3),
        saved: |call, saved| {
            keep(call, saved, 2);
            if call.requires_grad(2) {
                keep(call, saved, 0);
                keep(call, saved, 1);
            }
        },
        interval: |_, ranges| {
            let (start, end, weight) = (range(ranges, 0), range(ranges, 1), range(ranges, 2));
            if weight.low >= 0.0 && weight.high <= 1.0 {
                start.union(end).widened(LIBRARY_ERROR)
            } else {
                start + weight * (end - start)
            }
        },
        moments: |call, moments| {
            let weight = call.constant(2)?;
            let (x, y) = both(call, moments)?;
            let mean = (1.0 - weight) * x.mean + weight * y.mean;
            let variance = (1.0 - weight).powi(2) * x.variance + weight.powi(2) * y.variance;
            Some(Moments::new(mean, variance))
        },
        gradient_gain: |call, position, _| {
            let weight = call.constant(2)?;
            let slope = [1.0 - weight, weight].get(position).copied()?;
            Some(slope * slope * broadcast_factor(call, position)?)
        },
        ..binary("lerp", "input + weight · (end - input)", |_, x| {
            x[0] + x[2] * (x[1] - x[0])
        })
    },
    Op {
        operands: &[operand("input"), operand("tensor1"), operand("tensor2")],
        attributes: VALUE,
        autocast: Autocast::Promote,
        work: |call| operations(call, 3),
        saved: |call, saved| {
            if call.requires_grad(1) {
                keep(call, saved, 2);
            }
            if call.requires_grad(2) {
                keep(call, saved, 1);
            }
        },
        interval: |call, ranges| {
            let factor = Interval::point(value(call));
            range(ranges, 0) + factor * range(ranges, 1) * range(ranges, 2)
        },
        moments: |call, moments| {
            let x = operand_moments(call, moments, 0)?;
            let (a, b) = (
                operand_moments(call, moments, 1)?,
                operand_moments(call, moments, 2)?,
            );
            let (product, factor) = (product_moments(a, b)?, value(call));
            Some(Moments::new(
                x.mean + factor * product.mean,
                x.variance + factor * factor * product.variance,
            ))
        },
        gradient_gain: |call, position, moments| {
            let slope = match position {
                0 => 1.0,
                _ => value(call).powi(2) * operand_moments(call, moments, 3 - position)?.square(),
            };
            Some(slope * broadcast_factor(call, position)?)
        },
        gradient: gradient::product_term,
        ..binary(
            "addcmul",
            "input + value · tensor1 · tensor2",
            |call, x| x[0] + value(call) * x[1] * x[2],
        )
    },
    Op {
        operands: &[operand("input"), operand("tensor1"), operand("tensor2")],
        attributes: VALUE,
        infer: |call| {
            let mut outputs = broadcast_promoted(call)?;
            outputs[0].dtype = float_of(outputs[0].dtype);
            Ok(outputs)
        },
        autocast: Autocast::Promote,
        work: |call| operations(call, 3),
        saved: |call, saved| {
            keep(call, saved, 2);
            if call.requires_grad(2) {
                keep(call, saved, 1);
            }
        },
        interval: |call, ranges| {
            let factor = Interval::point(value(call));
            range(ranges, 0) + factor * (range(ranges, 1) / range(ranges, 2))
        },
        moments: unknown_moments,
        gradient_gain: unknown_gain,
        gradient: gradient::quotient_term,
        ..binary(
            "addcdiv",
            "input + value · tensor1 / tensor2",
            |call, x| x[0] + value(call) * x[1] / x[2],
        )
    },
];

fn alpha(call: &Call) -> f64 {
    call.float("alpha").unwrap_or(1.0)
}

fn value(call: &Call) -> f64 {
    call.float("value").unwrap_or(1.0)
}

fn scaled(call: &Call, range: Interval) -> Interval {
    range * Interval::point(alpha(call))
}

fn scaled_work(call: &Call) -> Work {
    operations(call, if alpha(call) == 1.0 { 1 } else { 2 })
}

fn both(call: &Call, moments: &[Option<Moments>]) -> Option<(Moments, Moments)> {
    let x = operand_moments(call, moments, 0)?;
    Some((x, operand_moments(call, moments, 1)?))
}

/// Moments of `x ± alpha · y` for independent `x` and `y`.
fn sum_moments(call: &Call, moments: &[Option<Moments>], sign: f64) -> Option<Moments> {
    let (x, y) = both(call, moments)?;
    let factor = sign * alpha(call);
    let variance = x.variance + factor * factor * y.variance;
    Some(Moments::new(x.mean + factor * y.mean, variance))
}

fn sum_gain(call: &Call, position: usize, _: &[Option<Moments>]) -> Option<f64> {
    let slope = if position == 0 { 1.0 } else { alpha(call) };
    Some(slope * slope * broadcast_factor(call, position)?)
}

/// Moments of the product of independent `x` and `y`.
fn product_moments(x: Moments, y: Moments) -> Option<Moments> {
    let mean = x.mean * y.mean;
    Some(Moments::new(mean, x.square() * y.square() - mean * mean))
}

/// Whether a normal variable of these moments stays so far from 0 that its inverse has moments
/// worth the name: eight deviations.
fn is_away_from_zero(x: Moments) -> bool {
    x.mean.abs() > 8.0 * x.variance.sqrt()
}

fn away_from_zero_moments(call: &Call, moments: &[Option<Moments>]) -> Option<Moments> {
    is_away_from_zero(operand_moments(call, moments, 1)?).then_some(())?;
    normal_moments(call, moments)
}

fn away_from_zero_gain(call: &Call, position: usize, moments: &[Option<Moments>]) -> Option<f64> {
    is_away_from_zero(operand_moments(call, moments, 1)?).then_some(())?;
    normal_gain(call, position, moments)
}

/// The divisor is needed for both gradients, the dividend only for the divisor's.
fn save_quotient(call: &Call, saved: &mut Saved) {
    keep(call, saved, 1);
    if call.requires_grad(1) {
        keep(call, saved, 0);
    }
}

/// The dividend's gradient passes unchanged; the divisor's needs the rounded quotient.
fn save_remainder(call: &Call, saved: &mut Saved) {
    if call.requires_grad(1) {
        save_operands(call, saved);
    }
}

fn log_add_exp(x: f64, y: f64) -> f64 {
    let (low, high) = (x.min(y), x.max(y));
    if low == high || high == f64::INFINITY {
        // Also keeps `∞ - ∞` out.
        high + std::f64::consts::LN_2
    } else {
        high + (low - high).exp().ln_1p()
    }
}

/// The range of powers. `xʸ` is monotone in each of `x > 0` and `y`; below 0 it is defined for
/// whole `y` only.
fn power(x: Interval, y: Interval) -> Interval {
    if y.low == y.high && y.low.fract() == 0.0 {
        return whole_power(x, y.low);
    }
    if x.low < 0.0 {
        return Interval::ANYTHING;
    }
    corners(x, y, f64::powf)
        .widened(LIBRARY_ERROR)
        .clamped(0.0, f64::INFINITY)
        .or_non_finite(x.low == 0.0 && y.low < 0.0)
}

fn whole_power(x: Interval, exponent: f64) -> Interval {
    if exponent < 0.0 {
        return Interval::point(1.0) / whole_power(x, -exponent);
    }
    let image = if exponent % 2.0 == 0.0 {
        Interval::new(x.least_magnitude(), x.magnitude())
    } else {
        x
    };
    image
        .map_increasing(|x| x.powf(exponent))
        .widened(LIBRARY_ERROR)
}

#[cfg(test)]
mod tests;
