//! Reductions that choose an element or count elements: `amax`, `argmax`, `any`, `count_nonzero`.

use super::definition::{Default, Infer, attribute};
use super::gradient;
use super::pointwise::range;
use super::reduce::{DIM, KEEPDIM, PLAIN, axes, count, reduction, save_both, with_dtype};
use super::reduction_gradient;
use super::{Attribute, AttributeKind, Call, Op, OpError, Outputs, Saved};
use crate::tensor::{Dtype, Interval, Moments, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["max"],
        attributes: PLAIN,
        saved: save_both,
        gradient_gain: one_of_many,
        gradient: reduction_gradient::shared,
        ..extreme("amax", "the greatest element", reduced)
    },
    Op {
        aliases: &["min"],
        attributes: PLAIN,
        saved: save_both,
        gradient_gain: one_of_many,
        gradient: reduction_gradient::shared,
        ..extreme("amin", "the least element", reduced)
    },
    Op {
        attributes: &[ONE_DIM, KEEPDIM],
        saved: save_indices,
        gradient: gradient::scattered,
        gradient_gain: one_of_many,
        ..extreme(
            "max_dim",
            "the greatest along an axis, and where it is (torch.max with dim)",
            value_and_index,
        )
    },
    Op {
        attributes: &[ONE_DIM, KEEPDIM],
        saved: save_indices,
        gradient: gradient::scattered,
        gradient_gain: one_of_many,
        ..extreme(
            "min_dim",
            "the least along an axis, and where it is (torch.min with dim)",
            value_and_index,
        )
    },
    Op {
        attributes: &[OPTIONAL_DIM, KEEPDIM],
        ..position(
            "argmax",
            "where the greatest element is; in the flattened tensor without dim",
        )
    },
    Op {
        attributes: &[OPTIONAL_DIM, KEEPDIM],
        ..position(
            "argmin",
            "where the least element is; in the flattened tensor without dim",
        )
    },
    Op {
        attributes: PLAIN,
        ..logical("any", "whether an element is not 0")
    },
    Op {
        attributes: PLAIN,
        ..logical("all", "whether no element is 0")
    },
    Op {
        attributes: &[DIM],
        differentiable: false,
        interval: |call, ranges| {
            let x = range(ranges, 0);
            let least = if x.contains(0.0) { 0.0 } else { count(call) };
            let all_zero = x.low == 0.0 && x.high == 0.0;
            Interval::new(least, if all_zero { 0.0 } else { count(call) })
        },
        ..reduction(
            "count_nonzero",
            "the number of elements that are not 0",
            |call| with_dtype(call, Dtype::Int64),
        )
    },
];

/// The one axis of an op.
pub const ONE_DIM: Attribute =
    attribute("dim", AttributeKind::Integer, Default::Required, "the axis").or(&["axis"]);

const OPTIONAL_DIM: Attribute = attribute(
    "dim",
    AttributeKind::Integer,
    Default::None,
    "the axis; the flattened tensor if left out",
)
.or(&["axis"]);

const fn extreme(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        interval: |_, ranges| range(ranges, 0),
        ..reduction(name, summary, infer)
    }
}

const fn position(name: &'static str, summary: &'static str) -> Op {
    Op {
        differentiable: false,
        interval: |call, _| Interval::new(0.0, (count(call) - 1.0).max(0.0)),
        ..reduction(name, summary, |call| {
            refuse_empty(call)?;
            with_dtype(call, Dtype::Int64)
        })
    }
}

const fn logical(name: &'static str, summary: &'static str) -> Op {
    Op {
        differentiable: false,
        interval: |_, _| Interval::new(0.0, 1.0),
        ..reduction(name, summary, |call| with_dtype(call, Dtype::Bool))
    }
}

/// Fails where an axis to reduce is empty.
pub fn refuse_empty(call: &Call) -> Result<(), OpError> {
    let shape = call.shape(0)?;
    match axes(call)?
        .into_iter()
        .find(|&axis| shape.sizes()[axis] == 0)
    {
        Some(axis) => {
            let message = format!(
                "`{}` of nothing is undefined: axis {axis} of {shape} is empty",
                call.op.name
            );
            Err(OpError::new(message).operands([0]))
        }
        None => Ok(()),
    }
}

/// The input reduced, in its own element type.
pub fn reduced(call: &Call) -> Result<Outputs, OpError> {
    refuse_empty(call)?;
    with_dtype(call, call.dtype(0)?)
}

/// The input reduced, and the indices along the axis.
pub fn value_and_index(call: &Call) -> Result<Outputs, OpError> {
    let mut outputs = reduced(call)?;
    let shape = outputs[0].shape.clone();
    outputs.push(TensorType {
        shape,
        dtype: Dtype::Int64,
    });
    Ok(outputs)
}

/// Keeps the indices, the second output.
pub fn save_indices(_: &Call, saved: &mut Saved) {
    saved.output(1);
}

/// One of the elements takes the whole gradient.
fn one_of_many(call: &Call, position: usize, _: &[Option<Moments>]) -> Option<f64> {
    (position == 0).then(|| 1.0 / count(call).max(1.0))
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_saved};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("amax(int64 [2, 3], dim=1)", "int64 [2]"),
            ("max([2, 3])", "float32 []"),
            (
                "amin([2, 0], dim=1)",
                "error: `amin` of nothing is undefined: axis 1 of [2, 0] is empty",
            ),
            (
                "max_dim([2, 3], dim=1, keepdim=true)",
                "float32 [2, 1]; int64 [2, 1]",
            ),
            ("argmax([2, 3], dim=0)", "int64 [3]"),
            ("argmin([2, 3])", "int64 []"),
            ("any([2, 3], dim=1)", "bool [2]"),
            ("count_nonzero([2, 3])", "int64 []"),
        ]);
    }

    /// From PyTorch's saved tensors on CUDA.
    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("amax([2, 3])", "input, output"),
            ("max_dim([2, 3], dim=0)", "output1"),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("amax([4])", &[(-1.0, 2.0)], "[-1, 2]"),
            ("argmax([3])", &[(-2.0, -1.0)], "[0, 2]"),
            ("count_nonzero([3])", &[(1.0, 2.0)], "[3, 3]"),
        ]);
    }
}
