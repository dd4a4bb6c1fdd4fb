//! Writing by index: `scatter`, `index_add`, `index_copy`.

use smallvec::smallvec;

use super::definition::{BASE, Default, Infer, any_value, attribute, no_work, operand, variadic};
use super::gradient::Gradient;
use super::index::{DIM, INPUT_INDEX, indices, inside, vector};
use super::pointwise::{keep, range};
use super::{AttributeKind, Autocast, Call, Op, OpError, Outputs, Work};
use crate::tensor::Interval;

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        operands: &[operand("input"), operand("index"), operand("src")],
        attributes: &[DIM],
        interval: |_, ranges| range(ranges, 0).union(range(ranges, 2)),
        ..writing(
            "scatter",
            "input with elements of src put where index says, along an axis",
            scatter,
        )
    },
    Op {
        operands: &[operand("input"), operand("index"), operand("src")],
        attributes: &[DIM],
        autocast: Autocast::Promote,
        work: |call| Work::other(u128::from(call.elements(1))),
        saved: |call, saved| {
            if call.requires_grad(2) {
                keep(call, saved, 1);
            }
        },
        interval: |call, ranges| {
            // At most every element along the axis lands on the same place.
            let axis = call
                .shape(1)
                .ok()
                .and_then(|shape| shape.size(call.integer("dim")?));
            let most = axis.unwrap_or(1) as f64;
            range(ranges, 0) + range(ranges, 2) * Interval::new(0.0, most)
        },
        ..writing(
            "scatter_add",
            "input with elements of src added where index says",
            scatter,
        )
    },
    Op {
        operands: &[operand("input"), operand("index"), operand("source")],
        attributes: &[DIM],
        work: |call| Work::other(u128::from(call.elements(2))),
        saved: |call, saved| {
            if call.requires_grad(2) {
                keep(call, saved, 1);
                keep(call, saved, 2);
            }
        },
        interval: |call, ranges| {
            let most = call.elements(1) as f64;
            range(ranges, 0) + range(ranges, 2) * Interval::new(0.0, most)
        },
        ..writing(
            "index_add",
            "input with slices of source added where index says",
            index_write,
        )
    },
    Op {
        operands: &[operand("input"), operand("index"), operand("source")],
        attributes: &[DIM],
        saved: |call, saved| {
            keep(call, saved, 1);
            if call.requires_grad(2) {
                keep(call, saved, 2);
            }
        },
        interval: |_, ranges| range(ranges, 0).union(range(ranges, 2)),
        ..writing(
            "index_copy",
            "input with slices of source put where index says",
            index_write,
        )
    },
    Op {
        operands: &[operand("input"), operand("index"), operand("src")],
        attributes: &[
            DIM,
            attribute(
                "reduce",
                AttributeKind::Choice(&["sum", "prod", "mean", "amax", "amin"]),
                Default::Required,
                "how elements that meet at one place are joined",
            ),
        ],
        work: |call| Work::other(u128::from(call.elements(1))),
        saved: |call, saved| {
            for position in 0..3 {
                keep(call, saved, position);
            }
            saved.output(0);
        },
        interval: |call, ranges| match call.text("reduce").as_deref() {
            Some("amax" | "amin" | "mean") => range(ranges, 0).union(range(ranges, 2)),
            _ => any_value(call, ranges),
        },
        gradient: reduced_gradient,
        ..writing(
            "scatter_reduce",
            "input joined with the elements of src that index puts at each place",
            scatter,
        )
    },
    Op {
        name: "index_put",
        summary: "input with values put, or added, where integer tensors for the first axes say",
        operands: &[operand("input"), operand("values"), variadic("indices")],
        attributes: &[attribute(
            "accumulate",
            AttributeKind::Boolean,
            Default::Boolean(false),
            "whether values are added to what stands there",
        )],
        work: |call| match call.boolean("accumulate") {
            true => Work::other(u128::from(call.elements(1))),
            false => Work::default(),
        },
        saved: |call, saved| {
            for position in 2..call.arguments.len() {
                keep(call, saved, position);
            }
        },
        // Zeros are put where values were, unless they were added.
        gradient: |call, gradient| {
            if call.boolean("accumulate") {
                gradient.pass(0);
            } else {
                if call.requires_grad(0) {
                    gradient.moment(&[gradient.operand_bytes(1)]);
                }
                gradient.make(0);
            }
            gradient.make(1);
        },
        interval: |call, ranges| match call.boolean("accumulate") {
            true => any_value(call, ranges),
            false => range(ranges, 0).union(range(ranges, 1)),
        },
        ..BASE
    },
    Op {
        operands: INPUT_INDEX,
        attributes: &[
            DIM,
            attribute(
                "value",
                AttributeKind::Float,
                Default::Required,
                "what is put there",
            ),
        ],
        interval: |call, ranges| {
            let value = call.float("value").unwrap_or(0.0);
            range(ranges, 0).union(Interval::point(value))
        },
        ..writing(
            "index_fill",
            "input with a value in the slices that index names",
            |call| {
                vector(call, 1)?;
                call.axis("dim", call.shape(0)?)?;
                Ok(smallvec![call.ty(0)?.clone()])
            },
        )
    },
];

/// The first operand with other elements in some places.
/// The gradients of what was joined at each place. What is added gets the incoming one; of a mean,
/// parts of it, by counts; of the greatest, those that equal it share it by their counts; of a
/// product it is divided by each factor, with masks for zeros.
fn reduced_gradient(call: &Call, gradient: &mut Gradient<'_>) {
    let [places, values] = [0, 2].map(|position| gradient.operand_bytes(position));
    let [place_mask, value_mask] = [0, 2].map(|position| call.elements(position));
    match call.text("reduce").as_deref() {
        Some("mean") => {
            gradient.moment(&[places, values, places]);
            gradient.scratch(places);
            gradient.moment(&[place_mask]);
            gradient.make_anyway(0);
            gradient.scratch_all(&[values, values]);
        }
        Some("amax" | "amin") => {
            gradient.scratch_all(&[values, places, values, places, places]);
            gradient.moment(&[place_mask]);
            gradient.make_anyway(0);
            gradient.scratch_all(&[values, value_mask]);
        }
        Some("prod") => {
            gradient.make_anyway(0);
            gradient.scratch_all(&[places; 5]);
            gradient.scratch_all(&[values; 6]);
            gradient.scratch_all(&[value_mask; 2]);
        }
        _ => gradient.pass(0),
    }
    gradient.make(2);
}

const fn writing(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        name,
        summary,
        infer,
        work: no_work,
        saved: |call, saved| keep(call, saved, 1),
        ..BASE
    }
}

fn scatter(call: &Call) -> Result<Outputs, OpError> {
    indices(call, 1)?;
    let (input, index) = (call.ty(0)?, call.shape(1)?);
    inside(call, index, (1, &input.shape), 0)?;
    if let Some(source) = call.argument(2)
        && source.constant.is_none()
    {
        let shape = &source.ty.shape;
        let fits = shape.rank().max(1) == index.rank().max(1)
            && index
                .sizes()
                .iter()
                .zip(shape.sizes())
                .all(|(own, size)| own <= size);
        if !fits {
            let message = format!("`index` {index} does not fit into `src` {shape}");
            return Err(OpError::new(message).operands([1, 2]));
        }
        let same = source.ty.dtype == input.dtype || call.op.autocast == Autocast::Promote;
        if !same {
            let message = format!(
                "`src` must have the input's element type: {} is not {}",
                source.ty.dtype, input.dtype
            );
            return Err(OpError::new(message).operands([2, 0]));
        }
    }
    Ok(smallvec![input.clone()])
}

fn index_write(call: &Call) -> Result<Outputs, OpError> {
    indices(call, 1)?;
    let input = call.ty(0)?;
    let (count, source) = (vector(call, 1)?, call.shape(2)?);
    let axis = call.axis("dim", &input.shape)?;
    let mut expected = input.shape.clone();
    expected.set(axis, count);
    if *source != expected {
        let message = format!(
            "`source` is {source}, but {count} indices along axis {axis} of {} take {expected}",
            input.shape
        );
        return Err(OpError::new(message).operands([2, 1, 0]));
    }
    Ok(smallvec![input.clone()])
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_saved};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            (
                "scatter([4, 3], int64 [2, 3], [2, 3], dim=0)",
                "float32 [4, 3]",
            ),
            (
                "scatter([4, 3], int64 [2, 3], 1.5, dim=0)",
                "float32 [4, 3]",
            ),
            (
                "scatter([4, 3], int64 [2, 3], [2, 2], dim=0)",
                "error: `index` [2, 3] does not fit into `src` [2, 2]",
            ),
            (
                "scatter([4, 3], int64 [2, 3], float16 [2, 3], dim=0)",
                "error: `src` must have the input's element type: float16 is not float32",
            ),
            (
                "scatter_add([4, 3], int64 [2, 3], [2, 3], dim=0)",
                "float32 [4, 3]",
            ),
            (
                "scatter_reduce([4, 3], int64 [2, 3], [2, 3], dim=0, reduce=amax)",
                "float32 [4, 3]",
            ),
            ("index_put([4, 3], [2, 3], int64 [2])", "float32 [4, 3]"),
            (
                "index_add([4, 3], int64 [2], [2, 3], dim=0)",
                "float32 [4, 3]",
            ),
            (
                "index_copy([4, 3], int64 [2], [3, 3], dim=0)",
                "error: `source` is [3, 3], but 2 indices along axis 0 of [4, 3] take [2, 3]",
            ),
            (
                "index_fill([4, 3], int64 [2], dim=0, value=1)",
                "float32 [4, 3]",
            ),
        ]);
    }

    /// From the derivatives of PyTorch.
    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("scatter_add([4], int64 [2], [2], dim=0)", "index"),
            ("scatter_add([4], int64 [2], [2]!, dim=0)", ""),
            ("index_add([4], int64 [2], [2], dim=0)", "index, source"),
            ("index_copy([4], int64 [2], [2], dim=0)", "index, source"),
        ]);
    }

    #[test]
    fn ranges() {
        let index = (0.0, 3.0);
        check_intervals(&[
            (
                "scatter([4], int64 [2], [2], dim=0)",
                &[(1.0, 2.0), index, (7.0, 8.0)],
                "[1, 8]",
            ),
            (
                "scatter_add([4], int64 [2], [2], dim=0)",
                &[(1.0, 2.0), index, (7.0, 8.0)],
                "[1, 18]",
            ),
        ]);
    }
}
