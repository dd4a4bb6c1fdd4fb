//! Reading by index: `gather`, `index_select`, `index`, masks.
//!
//! Writing stands in `scatter`, searching in `search`, `embedding` by itself. Whether indices lie inside is a matter of their range, which
//! a rule looks at.

use smallvec::smallvec;

use super::definition::{
    BASE, Default, Infer, attribute, no_work, operand, same_interval, same_moments, variadic,
};
use super::gradient;
use super::pointwise::{keep, refuse};
use super::{Attribute, AttributeKind, Call, Op, OpError, Operand, Outputs, Saved, Work};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// `input` and `index`.
pub const INPUT_INDEX: &[Operand] = &[operand("input"), operand("index")];

/// The axis that is indexed.
pub const DIM: Attribute = attribute(
    "dim",
    AttributeKind::Integer,
    Default::Required,
    "the axis that is indexed",
)
.or(&["axis"]);

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        operands: INPUT_INDEX,
        attributes: &[DIM],
        ..reading(
            "index_select",
            "the slices of an axis that a vector of indices names",
            index_select,
        )
    },
    Op {
        operands: INPUT_INDEX,
        attributes: &[DIM],
        saved: save_input_and_index,
        ..reading(
            "gather",
            "along an axis, the elements that index names, place by place",
            gather,
        )
    },
    Op {
        operands: &[operand("input"), operand("indices")],
        attributes: &[attribute(
            "dim",
            AttributeKind::Integer,
            Default::None,
            "the axis; the flattened tensor if left out",
        )
        .or(&["axis"])],
        saved: save_input_and_index,
        ..reading(
            "take_along_dim",
            "gather, with shapes that broadcast",
            take_along_dim,
        )
    },
    Op {
        operands: &[operand("input"), variadic("indices")],
        saved: |call, saved| {
            for position in 1..call.arguments.len() {
                keep(call, saved, position);
            }
        },
        ..reading(
            "index",
            "input[indices]: integer tensors for the first axes, none where one is left out",
            index,
        )
    },
    Op {
        operands: &[operand("input"), operand("mask")],
        saved: save_input_and_index,
        ..reading(
            "masked_select",
            "the elements where mask holds; all of them are counted, for the number is not known \
             before the run",
            |call| {
                refuse(call, [1], "masks that are not bool", |dtype| {
                    dtype != Dtype::Bool
                })?;
                let elements = call.broadcast()?.elements();
                Ok(smallvec![TensorType::new([elements], call.dtype(0)?)])
            },
        )
    },
    Op {
        differentiable: false,
        saved: |_, _| {},
        interval: |call, _| {
            let most = call
                .shape(0)
                .ok()
                .and_then(|shape| shape.sizes().iter().copied().max());
            Interval::new(0.0, most.unwrap_or(1).saturating_sub(1) as f64)
        },
        moments: |_, _| None,
        gradient_gain: |_, _, _| None,
        work: |call| Work::other(u128::from(call.elements(0))),
        ..reading(
            "nonzero",
            "the indices of the elements that are not 0; all of them are counted, for the number \
             is not known before the run",
            |call| {
                let shape = call.shape(0)?;
                let sizes = [shape.elements(), shape.rank() as u64];
                Ok(smallvec![TensorType::new(sizes, Dtype::Int64)])
            },
        )
    },
];

/// Elements of the first operand; autograd keeps the index.
const fn reading(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        name,
        summary,
        infer,
        work: no_work,
        saved: |call, saved| keep(call, saved, 1),
        interval: same_interval,
        moments: same_moments,
        // An element takes the gradients of all places that it went to.
        gradient_gain: |call, position, _| {
            let share = call.output_elements() as f64 / call.elements(0).max(1) as f64;
            (position == 0).then_some(share)
        },
        gradient: gradient::scattered,
        ..BASE
    }
}

/// PyTorch's backward functions of these ask for the input, if only for its sizes.
fn save_input_and_index(call: &Call, saved: &mut Saved) {
    saved.argument(call, 0);
    keep(call, saved, 1);
}

/// Fails unless the operand holds int32 or int64.
pub fn indices(call: &Call, position: usize) -> Result<(), OpError> {
    refuse(
        call,
        [position],
        "indices that are not int32 or int64",
        |dtype| !matches!(dtype, Dtype::Int32 | Dtype::Int64),
    )
}

/// The length of an operand that must be a vector or a scalar.
pub fn vector(call: &Call, position: usize) -> Result<u64, OpError> {
    let shape = call.shape(position)?;
    if shape.rank() > 1 {
        let name = call.op.operand_name(position);
        let message = format!("`{name}` of `{}` is a vector, not {shape}", call.op.name);
        return Err(OpError::new(message).operands([position]));
    }
    Ok(shape.elements())
}

fn index_select(call: &Call) -> Result<Outputs, OpError> {
    let mut ty = call.ty(0)?.clone();
    indices(call, 1)?;
    let length = vector(call, 1)?;
    let axis = call.axis("dim", &ty.shape)?;
    ty.shape.set(axis, length);
    Ok(smallvec![ty])
}

fn gather(call: &Call) -> Result<Outputs, OpError> {
    indices(call, 1)?;
    let (input, index) = (call.shape(0)?, call.shape(1)?);
    inside(call, index, (1, input), 0)?;
    Ok(smallvec![TensorType {
        shape: index.clone(),
        dtype: call.dtype(0)?,
    }])
}

/// Fails unless the index has as many axes as the other shape and is nowhere larger but along
/// `dim`.
pub fn inside(
    call: &Call,
    index: &Shape,
    (position, other): (usize, &Shape),
    blamed: usize,
) -> Result<(), OpError> {
    let rank = |shape: &Shape| shape.rank().max(1);
    if rank(index) != rank(other) {
        let message = format!(
            "`index` {index} must have as many axes as {other}: {} ≠ {}",
            rank(index),
            rank(other)
        );
        return Err(OpError::new(message).operands([position, blamed]));
    }
    if other.rank() == 0 || index.rank() == 0 {
        return Ok(());
    }
    let axis = call.axis("dim", other)?;
    let sizes = index.sizes().iter().zip(other.sizes()).enumerate();
    for (at, (&own, &size)) in sizes {
        if at != axis && own > size {
            let message =
                format!("`index` {index} is larger than {other} at axis {at}: {own} > {size}");
            return Err(OpError::new(message).operands([position, blamed]));
        }
    }
    Ok(())
}

fn take_along_dim(call: &Call) -> Result<Outputs, OpError> {
    indices(call, 1)?;
    let (input, index) = (call.ty(0)?, call.shape(1)?);
    let output = |shape| {
        Ok(smallvec![TensorType {
            shape,
            dtype: input.dtype,
        }])
    };
    if !call.is_given("dim") {
        return output([index.elements()].into());
    }
    let axis = call.axis("dim", &input.shape)?;
    if index.rank() != input.shape.rank() {
        let message = format!(
            "`indices` {index} must have as many axes as {}: {} ≠ {}",
            input.shape,
            index.rank(),
            input.shape.rank()
        );
        return Err(OpError::new(message).operands([1, 0]));
    }
    let mut own = input.shape.clone();
    own.set(axis, index.sizes()[axis]);
    let Some(shape) = own.broadcast(index) else {
        let message = format!(
            "{} and {index} do not broadcast apart from axis {axis}",
            input.shape
        );
        return Err(OpError::new(message).operands([0, 1]));
    };
    output(shape)
}

fn index(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let rank = input.shape.rank();
    let mut broadcast: Option<Shape> = None;
    let mut places = Vec::new();
    let mut axis = 0;
    for position in 1..call.arguments.len() {
        let Some(argument) = call.argument(position) else {
            axis += 1;
            continue;
        };
        let ty = argument.ty;
        // A mask stands for as many index vectors as it has axes; all elements are counted.
        let (spread, shape) = match ty.dtype {
            Dtype::Bool if ty.shape.rank() == 0 => {
                let message = "a mask without axes names no elements";
                return Err(OpError::new(message).operands([position]));
            }
            Dtype::Bool => (ty.shape.rank(), Shape::from([ty.shape.elements()])),
            _ => {
                indices(call, position)?;
                (1, ty.shape.clone())
            }
        };
        if axis + spread > rank {
            let message = format!("more axes are indexed than {} has, {rank}", input.shape);
            return Err(OpError::new(message).operands([0, position]));
        }
        let own = &input.shape.sizes()[axis..axis + spread];
        if ty.dtype == Dtype::Bool && own != ty.shape.sizes() {
            let message = format!(
                "the mask is {}, but the axes that it stands for have sizes {own:?}",
                ty.shape
            );
            return Err(OpError::new(message).operands([0, position]));
        }
        broadcast = Some(match broadcast {
            None => shape,
            Some(so_far) => so_far.broadcast(&shape).ok_or_else(|| {
                let message = format!("the indices {so_far} and {shape} do not broadcast");
                OpError::new(message).operands([position])
            })?,
        });
        places.extend(axis..axis + spread);
        axis += spread;
    }
    let Some(broadcast) = broadcast else {
        return Ok(smallvec![input.clone()]);
    };
    // NumPy's rule: indices side by side give their axes in place, others in front.
    let adjacent = places.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let start = if adjacent { places[0] } else { 0 };
    let mut shape: Shape = (0..rank)
        .filter(|axis| !places.contains(axis))
        .map(|axis| input.shape.sizes()[axis])
        .collect();
    for (offset, &size) in broadcast.sizes().iter().enumerate() {
        shape.insert(start + offset, size);
    }
    Ok(smallvec![TensorType {
        shape,
        dtype: input.dtype,
    }])
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_saved};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("index_select([4, 3], int64 [5], dim=0)", "float32 [5, 3]"),
            (
                "index_select([4, 3], int64 [5, 1], dim=0)",
                "error: `index` of `index_select` is a vector, not [5, 1]",
            ),
            (
                "index_select([4, 3], [5], dim=0)",
                "error: `index_select` does not take indices that are not int32 or int64, but \
                 `index` is float32 [5]",
            ),
            ("gather([4, 3], int64 [2, 7], dim=1)", "float32 [2, 7]"),
            (
                "gather([4, 3], int64 [5, 7], dim=1)",
                "error: `index` [5, 7] is larger than [4, 3] at axis 0: 5 > 4",
            ),
            (
                "gather([4, 3], int64 [5], dim=1)",
                "error: `index` [5] must have as many axes as [4, 3]: 1 ≠ 2",
            ),
            (
                "take_along_dim([4, 3], int64 [1, 2], dim=1)",
                "float32 [4, 2]",
            ),
            ("take_along_dim([4, 3], int64 [7])", "float32 [7]"),
            ("index([4, 3], int64 [5, 6])", "float32 [5, 6, 3]"),
            ("index([4, 3, 2], -, int64 [5])", "float32 [4, 5, 2]"),
            (
                "index([4, 3, 2], int64 [5, 1], -, int64 [7])",
                "float32 [5, 7, 3]",
            ),
            ("index([4, 3, 2], int64 [], int64 [6])", "float32 [6, 2]"),
            ("index([4, 3, 2], bool [4, 3])", "float32 [12, 2]"),
            (
                "index([4, 3, 2], bool [4, 2])",
                "error: the mask is [4, 2], but the axes that it stands for have sizes [4, 3]",
            ),
            (
                "index([4], int64 [2], int64 [2])",
                "error: more axes are indexed than [4] has, 1",
            ),
            (
                "index([4, 3], int64 [2], int64 [3])",
                "error: the indices [2] and [3] do not broadcast",
            ),
            ("masked_select([4, 3], bool [3])", "float32 [12]"),
            ("nonzero([4, 3])", "int64 [12, 2]"),
        ]);
    }

    /// From the derivatives of PyTorch.
    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("gather([4, 3], int64 [2, 7], dim=1)", "input, index"),
            ("index([4, 3], -, int64 [5])", "indices2"),
            ("masked_select([4], bool [4])", "input, mask"),
            ("index_select([4], int64 [2], dim=0)", "index"),
        ]);
    }

    #[test]
    fn ranges() {
        let index = (0.0, 3.0);
        check_intervals(&[
            (
                "gather([4], int64 [2], dim=0)",
                &[(1.0, 2.0), index],
                "[1, 2]",
            ),
            ("nonzero([4, 7])", &[(1.0, 2.0)], "[0, 6]"),
        ]);
    }
}
