//! Losses of classes: cross-entropy and negative log-likelihood.

use super::alignment::ctc_loss;
use super::registry::{Kernel, kernel, one};
use super::tape::places::places_of;
use super::{Array, Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("cross_entropy", |tape, call, given| {
        let (x, target, weight) = (given.need(0)?, given.need(1)?, given.get(2));
        let axis = class_axis(&tape.sizes(x), &tape.sizes(target));
        let logs = tape.log_softmax(x, axis);
        let logs = tape.keep(Kept::Extra("log probabilities"), logs);
        let smoothing = call.float("label_smoothing").unwrap_or(0.0);
        if call.dtype(1)?.is_float() {
            return one(of_probabilities(
                tape, call, logs, target, weight, smoothing,
            )?);
        }
        one(of_classes(tape, call, logs, target, weight, smoothing)?)
    }),
    kernel("nll_loss", |tape, call, given| {
        let (logs, target, weight) = (given.need(0)?, given.need(1)?, given.get(2));
        one(of_classes(tape, call, logs, target, weight, 0.0)?)
    }),
    kernel("ctc_loss", |tape, call, given| {
        let logs = given.need(0)?;
        let others = [given.need(1)?, given.need(2)?, given.need(3)?];
        let [targets, steps, lengths] = others;
        one(ctc_loss(tape, call, [logs, targets, steps, lengths])?)
    }),
];

fn reduction(call: &Call) -> String {
    call.text("reduction")
        .map_or("mean".into(), |text| text.to_string())
}

/// Classes lie on the second axis, or on the last one where targets only fit that.
fn class_axis(sizes: &[usize], target: &[usize]) -> usize {
    let mut without = sizes.to_vec();
    if sizes.len() < 2 {
        return 0;
    }
    without.remove(1);
    match without == target || sizes == target {
        true => 1,
        false => sizes.len() - 1,
    }
}

/// The loss of a class for each position: `-weight[c] · log p[c]`, and with smoothing a share of the
/// mean over all classes. The mean is by the weights of the targets.
fn of_classes(
    tape: &mut Tape,
    call: &Call,
    logs: Var,
    target: Var,
    weight: Option<Var>,
    smoothing: f64,
) -> Result<Var, KernelError> {
    let sizes = tape.sizes(logs);
    let axis = class_axis(&sizes, &tape.sizes(target));
    let classes = sizes[axis];
    let ignore = call.integer("ignore_index").unwrap_or(-100) as f64;
    let inside = |class: f64| class >= 0.0 && class < classes as f64;
    if tape
        .value(target)
        .iter()
        .any(|&class| class != ignore && !class.is_nan() && !inside(class))
    {
        return Err(KernelError::outside("a target", classes, "classes"));
    }
    let mut of_target = sizes.clone();
    of_target.remove(axis);
    let all = places_of(&sizes);
    let stride: usize = sizes[axis + 1..].iter().product();
    let places = tape.derive(&[target], |values| {
        let target = values[0];
        Array::from_shape_fn(of_target.clone(), |at| {
            let class = target[at.clone()];
            if class == ignore {
                return -1.0;
            }
            let mut index: Vec<usize> = (0..of_target.len()).map(|axis| at[axis]).collect();
            index.insert(axis, 0);
            all[index.as_slice()] + class * stride as f64
        })
    });
    let classes_of = tape.derive(&[target], |values| {
        values[0].mapv(|class| if class == ignore { -1.0 } else { class })
    });
    let weights = match weight {
        Some(weight) => tape.gather(weight, classes_of, 0.0),
        None => tape.derive(&[classes_of], |values| {
            values[0].mapv(|class| if class < 0.0 { 0.0 } else { class * 0.0 + 1.0 })
        }),
    };
    let chosen = tape.gather(logs, places, 0.0);
    let weighted = tape.multiply(chosen, weights)?;
    let mut losses = tape.scale(weighted, -1.0);
    if smoothing > 0.0 {
        let spread = match weight {
            Some(weight) => {
                let mut shape = vec![1; sizes.len()];
                shape[axis] = classes;
                let weight = tape.reshape(weight, &shape)?;
                tape.multiply(logs, weight)?
            }
            None => logs,
        };
        let sums = tape.sum(spread, &[axis], false)?;
        let counted = tape.derive(&[classes_of], |values| {
            values[0].mapv(|class| f64::from(u8::from(class >= 0.0)))
        });
        let sums = tape.multiply(sums, counted)?;
        let smooth = tape.scale(sums, -smoothing / classes as f64);
        let sharp = tape.scale(losses, 1.0 - smoothing);
        losses = tape.add(sharp, smooth)?;
    }
    let axes: Vec<usize> = (0..of_target.len()).collect();
    match reduction(call).as_str() {
        "none" => Ok(losses),
        "sum" => tape.sum(losses, &axes, false),
        _ => {
            let total = tape.sum(losses, &axes, false)?;
            let divisor = tape.sum(weights, &axes, false)?;
            let divisor = tape.detach(divisor);
            tape.divide(total, divisor)
        }
    }
}

/// `-Σ p · log q` over classes; the mean is over positions.
fn of_probabilities(
    tape: &mut Tape,
    call: &Call,
    logs: Var,
    target: Var,
    weight: Option<Var>,
    smoothing: f64,
) -> Result<Var, KernelError> {
    let sizes = tape.sizes(logs);
    let axis = usize::from(sizes.len() > 1);
    let classes = sizes[axis];
    let mut target = tape.affine(target, 1.0 - smoothing, smoothing / classes as f64);
    if let Some(weight) = weight {
        let mut shape = vec![1; sizes.len()];
        shape[axis] = classes;
        let weight = tape.reshape(weight, &shape)?;
        target = tape.multiply(target, weight)?;
        target = tape.keep(Kept::Extra("weighted target"), target);
    }
    let products = tape.multiply(logs, target)?;
    let negative = tape.scale(products, -1.0);
    let losses = tape.sum(negative, &[axis], false)?;
    let positions = tape.value(losses).len();
    let axes: Vec<usize> = (0..sizes.len() - 1).collect();
    match reduction(call).as_str() {
        "none" => Ok(losses),
        "sum" => tape.sum(losses, &axes, false),
        _ => {
            let total = tape.sum(losses, &axes, false)?;
            Ok(tape.scale(total, 1.0 / positions.max(1) as f64))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        let classes = &[(-3.0, 3.0), (0.0, 4.0), (0.5, 2.0)];
        let labels = &[(-4.0, -2.0), (1.0, 3.0), (4.0, 6.0), (1.0, 2.0)];
        check(&[
            (
                "ctc_loss([6, 2, 4], int64 [2, 3], int64 [2], int64 [2])",
                labels,
            ),
            (
                "ctc_loss([6, 2, 4], int64 [4], int64 [2], int64 [2], reduction=none)",
                labels,
            ),
            (
                "ctc_loss([6, 4], int64 [2], int64 [], int64 [], reduction=sum)",
                labels,
            ),
            (
                "ctc_loss([2, 2, 4], int64 [2, 3], int64 [2], int64 [2], zero_infinity=true)",
                &[(-4.0, -2.0), (1.0, 3.0), (2.0, 2.0), (3.0, 3.0)],
            ),
            ("cross_entropy([6, 5], int64 [6])", classes),
            (
                "cross_entropy([2, 3, 5], int64 [2, 3], label_smoothing=0.1)",
                classes,
            ),
            ("cross_entropy([6, 5], int64 [6], [5]!)", classes),
            (
                "cross_entropy([2, 5, 3], int64 [2, 3], reduction='sum')",
                classes,
            ),
            (
                "cross_entropy([2, 5, 3], int64 [2, 3], reduction='none')",
                classes,
            ),
            (
                "cross_entropy([6, 5], int64 [6], label_smoothing=0.1)",
                classes,
            ),
            ("cross_entropy([6, 5], int64 [6], ignore_index=2)", classes),
            (
                "cross_entropy([6, 5], int64 [6], [5]!, label_smoothing=0.1, ignore_index=2)",
                classes,
            ),
            ("cross_entropy([6, 5], [6, 5]!)", &[(-3.0, 3.0), (0.0, 1.0)]),
            (
                "cross_entropy([6, 5], [6, 5]!, [5]!)",
                &[(-3.0, 3.0), (0.0, 1.0), (0.5, 2.0)],
            ),
            ("cross_entropy([5], int64 [])", classes),
            ("nll_loss([6, 5], int64 [6])", &[(-3.0, 0.0), (0.0, 4.0)]),
            (
                "nll_loss([6, 5], int64 [6], [5]!, ignore_index=1)",
                &[(-3.0, 0.0), (0.0, 4.0), (0.5, 2.0)],
            ),
            (
                "nll_loss([2, 5, 3], int64 [2, 3], reduction='none')",
                &[(-3.0, 0.0), (0.0, 4.0)],
            ),
        ]);
    }
}
