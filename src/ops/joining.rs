//! Joining tensors: `cat` and `stack`.

use smallvec::smallvec;

use super::definition::{Default, attribute, variadic};
use super::gradient::Gradient;
use super::movement::{copy, mix};
use super::shape::{like, new_axis};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Operand, Outputs};
use crate::tensor::{Interval, Moments, Shape, TensorType};

const TENSORS: &[Operand] = &[variadic("tensors")];

const DIM: Attribute = attribute(
    "dim",
    AttributeKind::Integer,
    Default::Integer(0),
    "the axis along which they are joined",
)
.or(&["axis"]);

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["concat", "concatenate"],
        operands: TENSORS,
        attributes: &[DIM],
        autocast: Autocast::Promote,
        interval: union,
        moments: mixture,
        gradient: parts,
        gradient_gain: |_, _, _| Some(1.0),
        ..copy("cat", "tensors joined along an axis", cat)
    },
    Op {
        operands: TENSORS,
        attributes: &[DIM],
        autocast: Autocast::Promote,
        interval: union,
        moments: mixture,
        gradient: |call, gradient| {
            let mut strides = gradient.incoming();
            let axis = call.shape(0).and_then(|shape| new_axis(call, "dim", shape));
            if let Ok(axis) = axis
                && axis < strides.len()
            {
                strides.remove(axis);
            }
            for position in 0..call.arguments.len() {
                gradient.share(position, 0, strides.clone());
            }
        },
        gradient_gain: |_, _, _| Some(1.0),
        ..copy("stack", "tensors joined along a new axis", stack)
    },
];

/// Each operand's gradient is a view of its part of the incoming one, in its own type.
fn parts(call: &Call, gradient: &mut Gradient<'_>) {
    let dtype = call.output().map(|ty| ty.dtype);
    for position in 0..call.arguments.len() {
        match call.dtype(position).ok() == dtype {
            true => gradient.share(position, 0, gradient.incoming()),
            false => gradient.make(position),
        }
    }
}

fn union(_: &Call, ranges: &[Interval]) -> Interval {
    ranges
        .iter()
        .copied()
        .reduce(Interval::union)
        .unwrap_or(Interval::ANYTHING)
}

fn mixture(call: &Call, moments: &[Option<Moments>]) -> Option<Moments> {
    let all = call.output_elements().max(1) as f64;
    let shares: Option<Vec<_>> = (0..call.arguments.len())
        .map(|position| {
            let share = call.elements(position) as f64 / all;
            Some((share, moments.get(position).copied().flatten()?))
        })
        .collect();
    shares.map(mix)
}

/// The positions of the operands that are given; at least one.
fn given(call: &Call) -> Result<Vec<usize>, OpError> {
    let given: Vec<usize> = (0..call.arguments.len())
        .filter(|&at| call.has(at))
        .collect();
    if given.is_empty() {
        return Err(OpError::new(format!(
            "`{}` needs at least one tensor",
            call.op.name
        )));
    }
    Ok(given)
}

fn cat(call: &Call) -> Result<Outputs, OpError> {
    let given = given(call)?;
    // PyTorch passes over empty vectors, whatever the shape of the others.
    let is_empty = |position: usize| call.shape(position).is_ok_and(|shape| shape.sizes() == [0]);
    let first = given.iter().copied().find(|&at| !is_empty(at));
    let Some(first) = first else {
        return like(call.ty(given[0])?, [0].into());
    };
    let mut shape = call.shape(first)?.clone();
    if shape.rank() == 0 {
        let message = "scalars cannot be joined along an axis";
        return Err(OpError::new(message).operands([first]).help("use `stack`"));
    }
    let axis = call.axis("dim", &shape)?;
    let mut total: u64 = 0;
    for position in given.into_iter().filter(|&at| !is_empty(at)) {
        let other = call.shape(position)?;
        let fits = other.rank() == shape.rank()
            && (0..shape.rank()).all(|at| at == axis || other.sizes()[at] == shape.sizes()[at]);
        if !fits {
            let message = format!(
                "{} and {other} cannot be joined along axis {axis}: {}",
                call.shape(first)?,
                difference(&shape, other, axis)
            );
            return Err(OpError::new(message).operands([first, position]));
        }
        total = total.saturating_add(other.sizes()[axis]);
    }
    shape.set(axis, total);
    Ok(smallvec![TensorType {
        shape,
        dtype: call.promoted_dtype(),
    }])
}

/// Where two shapes differ, apart from the axis along which they may.
fn difference(a: &Shape, b: &Shape, except: usize) -> String {
    if a.rank() != b.rank() {
        return format!("they have {} and {} axes", a.rank(), b.rank());
    }
    let axis = (0..a.rank()).find(|&at| at != except && a.sizes()[at] != b.sizes()[at]);
    axis.map_or(String::new(), |axis| {
        format!("at axis {axis}, {} ≠ {}", a.sizes()[axis], b.sizes()[axis])
    })
}

fn stack(call: &Call) -> Result<Outputs, OpError> {
    let given = given(call)?;
    let first = call.shape(given[0])?;
    for &position in &given {
        let other = call.shape(position)?;
        if other != first {
            let message = format!("`stack` needs equal shapes, but they are {first} and {other}");
            return Err(OpError::new(message).operands([given[0], position]));
        }
    }
    let axis = new_axis(call, "dim", first)?;
    let mut shape = first.clone();
    shape.insert(axis, given.len() as u64);
    Ok(smallvec![TensorType {
        shape,
        dtype: call.promoted_dtype(),
    }])
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, outputs, with};
    use crate::tensor::Moments;
    use proptest::prelude::*;

    #[test]
    fn shapes_follow_pytorch() {
        check(&[
            ("cat([2, 3], [2, 4], dim=1)", "float32 [2, 7]"),
            ("cat([0], [2, 3])", "float32 [2, 3]"),
            ("cat()", "error: `cat` needs at least one tensor"),
            (
                "cat([2, 3], [3, 4], dim=1)",
                "error: [2, 3] and [3, 4] cannot be joined along axis 1: at axis 0, 2 ≠ 3",
            ),
            (
                "cat([2, 3], [3])",
                "error: [2, 3] and [3] cannot be joined along axis 0: they have 2 and 1 axes",
            ),
            ("concat(float16 [2], int64 [3])", "float16 [5]"),
            ("stack([2, 3], [2, 3], dim=-1)", "float32 [2, 3, 2]"),
            (
                "stack([2], [3])",
                "error: `stack` needs equal shapes, but they are [2] and [3]",
            ),
        ]);
        check_intervals(&[("cat([2], [3])", &[(0.0, 1.0), (5.0, 6.0)], "[0, 6]")]);
    }

    #[test]
    fn joined_tensors_have_mixed_moments() {
        let given = [Some(Moments::constant(1.0)), Some(Moments::constant(4.0))];
        let mixed = with("cat([2], [1])", |call| (call.op.moments)(call, &given)).unwrap();
        assert_eq!(mixed, Some(Moments::new(2.0, 2.0)));
    }

    proptest! {
        /// Joining, stacking and turning are held to ndarray.
        #[test]
        fn joining_agrees_with_ndarray(
            sizes in prop::collection::vec(0usize..4, 1..4), more in 0usize..4, axis in 0usize..3,
        ) {
            let axis = axis % sizes.len();
            let mut other = sizes.clone();
            other[axis] = more;
            let zeros = |sizes: &[usize]| ndarray::ArrayD::<f32>::zeros(sizes);
            let (a, b) = (zeros(&sizes), zeros(&other));
            let joined =
                ndarray::concatenate(ndarray::Axis(axis), &[a.view(), b.view()]).unwrap();
            // An empty vector is passed over, which gives the same.
            prop_assert_eq!(
                outputs(&format!("cat({sizes:?}, {other:?}, dim={axis})")),
                format!("float32 {:?}", joined.shape())
            );
            let stacked = ndarray::stack(ndarray::Axis(axis), &[a.view(), a.view()]).unwrap();
            prop_assert_eq!(
                outputs(&format!("stack({sizes:?}, {sizes:?}, dim={axis})")),
                format!("float32 {:?}", stacked.shape())
            );
        }
    }
}
