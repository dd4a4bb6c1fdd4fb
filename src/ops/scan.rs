//! Recurrences along one axis that are linear, as state space models have them.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute, operand};
use super::pointwise::{LIBRARY_ERROR, range, refuse};
use super::reduce::save_both;
use super::reduction::same_shape;
use super::{AttributeKind, Call, Op, OpError, Outputs, Work};
use crate::tensor::{Interval, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[Op {
    name: "linear_recurrence",
    summary: "h[t] = decay[t] · h[t - 1] + input[t] along an axis, from h[-1] = 0",
    operands: &[operand("decay"), operand("input")],
    attributes: &[attribute(
        "dim",
        AttributeKind::Integer,
        Default::Integer(-1),
        "the axis",
    )],
    infer,
    // A multiplication and an addition for each element.
    work: |call| Work::other(2 * u128::from(call.elements(0))),
    // The gradient runs back through the same decay; that of the decay itself is taken by what was
    // reached before.
    saved: save_both,
    interval: |call, ranges| reached(range(ranges, 0), range(ranges, 1), length(call)),
    ..BASE
}];

fn infer(call: &Call) -> Result<Outputs, OpError> {
    same_shape(call, 0, 1)?;
    refuse(call, [0, 1], "types other than floats", |dtype| {
        !dtype.is_float()
    })?;
    let shape = call.shape(0)?;
    call.axis("dim", shape)?;
    Ok(smallvec![TensorType {
        shape: shape.clone(),
        dtype: call.dtype(0)?.promote(call.dtype(1)?),
    }])
}

/// The number of steps.
fn length(call: &Call) -> f64 {
    let Ok(shape) = call.shape(0) else { return 0.0 };
    let size = call.axis("dim", shape).ok();
    size.and_then(|axis| shape.sizes().get(axis))
        .map_or(0.0, |&size| size as f64)
}

/// What can be reached in that many steps: inputs times the powers of the decay, which add up to
/// `1 + m + … + m^(n - 1)` at the most.
fn reached(decay: Interval, input: Interval, steps: f64) -> Interval {
    let m = decay.magnitude();
    let powers = match m {
        1.0 => steps,
        m => ((m.powf(steps) - 1.0) / (m - 1.0)).max(1.0),
    };
    let reached = match decay.low >= 0.0 {
        // No step turns a sign: what is below 0 comes of inputs below 0 alone.
        true => Interval::new(
            input.low.min(input.low * powers),
            input.high.max(input.high * powers),
        ),
        false => {
            let most = input.magnitude() * powers;
            Interval::new(-most, most)
        }
    };
    reached.widened(2.0 * (steps + 1.0) * LIBRARY_ERROR)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{Random, check, check_intervals, check_saved, with};
    use crate::tensor::Interval;

    #[test]
    fn types_and_costs() {
        check(&[
            ("linear_recurrence([2, 5], [2, 5])", "float32 [2, 5]"),
            (
                "linear_recurrence(bfloat16 [2, 5], [2, 5], dim=0)",
                "float32 [2, 5]",
            ),
            (
                "linear_recurrence([2, 5], [2, 4])",
                "error: `decay` of `linear_recurrence` is [2, 5], but `input` is [2, 4]",
            ),
            (
                "linear_recurrence(int64 [2], [2])",
                "error: `linear_recurrence` does not take types other than floats, but `decay` is \
                 int64 [2]",
            ),
        ]);
        check_saved(&[("linear_recurrence([2, 5], [2, 5])", "decay, output")]);
        check_intervals(&[
            (
                "linear_recurrence([3], [3])",
                &[(0.0, 1.0), (1.0, 2.0)],
                "[1, 6]",
            ),
            (
                "linear_recurrence([3], [3])",
                &[(0.5, 0.5), (-1.0, 2.0)],
                "[-1.75, 3.5]",
            ),
            (
                "linear_recurrence([3], [3])",
                &[(-2.0, 1.0), (0.0, 1.0)],
                "[-7, 7]",
            ),
        ]);
    }

    /// Holds the range to the recurrence itself.
    #[test]
    fn ranges_contain_every_value() {
        let mut random = Random(41);
        for round in 0..2000 {
            let scale = [0.5, 1.0, 3.0][round % 3];
            let mut given = || {
                let (a, b) = (random.uniform(-scale, scale), random.uniform(-scale, scale));
                match round % 4 {
                    0 => Interval::new(a.abs(), b.abs()),
                    1 => Interval::new(-a.abs(), -b.abs()),
                    _ => Interval::new(a, b),
                }
            };
            let (decay, input) = (given(), given());
            let image = with("linear_recurrence([6], [6])", |call| {
                (call.op.interval)(call, &[decay, input])
            })
            .unwrap();
            let mut state = 0.0;
            for _ in 0..6 {
                let mut one = |of: Interval| match random.bits() % 3 {
                    0 => of.low,
                    1 => of.high,
                    _ => random.uniform(of.low, of.high),
                };
                state = one(decay) * state + one(input);
                assert!(
                    image.contains(state),
                    "{state} {image:?} {decay:?} {input:?}"
                );
            }
        }
    }
}
