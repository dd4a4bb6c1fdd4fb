//! Views with the axes in another order: `transpose`, `permute`, `movedim`.

use smallvec::SmallVec;

use super::definition::{Default, attribute};
use super::gradient::{Gradient, reordered};
use super::layout::{Placement, Strides};
use super::shape::{like, list, view};
use super::{AttributeKind, Call, Op, OpError, Outputs};
use crate::tensor::Shape;

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["swapaxes", "swapdims"],
        attributes: &[
            attribute("dim0", AttributeKind::Integer, Default::Required, "an axis").or(&["axis0"]),
            attribute(
                "dim1",
                AttributeKind::Integer,
                Default::Required,
                "another axis",
            )
            .or(&["axis1"]),
        ],
        gradient: |call, gradient| permuted_back(call, gradient, exchange),
        ..view(
            "transpose",
            "two axes exchanged",
            |call| permuted(call, exchange),
            |call, strides| permute_strides(call, strides, exchange),
        )
    },
    Op {
        gradient: |call, gradient| permuted_back(call, gradient, matrix),
        ..view(
            "t",
            "a matrix transposed",
            |call| permuted(call, matrix),
            |call, strides| permute_strides(call, strides, matrix),
        )
    },
    Op {
        aliases: &["mT"],
        gradient: |call, gradient| permuted_back(call, gradient, last_two),
        ..view(
            "matrix_transpose",
            "the last two axes exchanged",
            |call| permuted(call, last_two),
            |call, strides| permute_strides(call, strides, last_two),
        )
    },
    Op {
        attributes: &[attribute(
            "dims",
            AttributeKind::Integers,
            Default::Required,
            "for each axis of the output, the axis of the input",
        )
        .or(&["axes"])],
        gradient: |call, gradient| permuted_back(call, gradient, permutation),
        ..view(
            "permute",
            "the axes in another order",
            |call| permuted(call, permutation),
            |call, strides| permute_strides(call, strides, permutation),
        )
    },
    Op {
        aliases: &["moveaxis"],
        attributes: &[
            attribute(
                "source",
                AttributeKind::Integers,
                Default::Required,
                "axes to move",
            ),
            attribute(
                "destination",
                AttributeKind::Integers,
                Default::Required,
                "where to",
            ),
        ],
        gradient: |call, gradient| permuted_back(call, gradient, moved),
        ..view(
            "movedim",
            "axes moved to other places",
            |call| permuted(call, moved),
            |call, strides| permute_strides(call, strides, moved),
        )
    },
];

type Order = SmallVec<[usize; 6]>;

fn permuted(call: &Call, order: fn(&Call) -> Result<Order, OpError>) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let shape = order(call)?
        .into_iter()
        .map(|axis| input.shape.sizes()[axis])
        .collect();
    like(input, shape)
}

fn permute_strides(
    call: &Call,
    strides: &[Strides],
    order: fn(&Call) -> Result<Order, OpError>,
) -> Placement {
    let own = strides.first().cloned().unwrap_or_default();
    let moved = order(call).map(|order| {
        order
            .into_iter()
            .map(|axis| own.get(axis).copied().unwrap_or(1))
            .collect()
    });
    Placement::Shared(moved.unwrap_or(own))
}

/// The gradient seen with its axes in the operand's order.
fn permuted_back(
    call: &Call,
    gradient: &mut Gradient<'_>,
    order: fn(&Call) -> Result<Order, OpError>,
) {
    if let Ok(order) = order(call) {
        gradient.share(0, 0, reordered(&order, &gradient.incoming()));
    }
}

fn exchange(call: &Call) -> Result<Order, OpError> {
    let shape = call.shape(0)?;
    let mut order: Order = (0..shape.rank()).collect();
    if shape.rank() > 0 {
        order.swap(call.axis("dim0", shape)?, call.axis("dim1", shape)?);
    }
    Ok(order)
}

fn matrix(call: &Call) -> Result<Order, OpError> {
    let shape = call.shape(0)?;
    if shape.rank() > 2 {
        let message = format!("`t` takes at most 2 axes, but its input is {shape}");
        let help = "exchange the last two axes with `matrix_transpose`, or name them: `transpose`";
        return Err(OpError::new(message).operands([0]).help(help));
    }
    Ok((0..shape.rank()).rev().collect())
}

fn last_two(call: &Call) -> Result<Order, OpError> {
    let shape = call.shape(0)?;
    let rank = shape.rank();
    if rank < 2 {
        let message = format!("`matrix_transpose` needs 2 axes, but its input is {shape}");
        return Err(OpError::new(message).operands([0]));
    }
    let mut order: Order = (0..rank).collect();
    order.swap(rank - 1, rank - 2);
    Ok(order)
}

/// The axes that a list attribute names, counted from the front, each once.
fn distinct(call: &Call, name: &'static str, shape: &Shape) -> Result<Vec<usize>, OpError> {
    let mut axes = Vec::new();
    for axis in list(call, name)? {
        let Some(index) = shape.axis(axis) else {
            let message = format!(
                "`{name}` names axis {axis}, but {shape} has {} axes",
                shape.rank()
            );
            return Err(OpError::new(message).attribute(name));
        };
        if axes.contains(&index) {
            let message = format!("`{name}` names axis {axis} twice");
            return Err(OpError::new(message).attribute(name));
        }
        axes.push(index);
    }
    Ok(axes)
}

fn permutation(call: &Call) -> Result<Order, OpError> {
    let shape = call.shape(0)?;
    let axes = distinct(call, "dims", shape)?;
    if axes.len() != shape.rank() {
        let message = format!(
            "`dims` names {} axes, but {shape} has {}",
            axes.len(),
            shape.rank()
        );
        return Err(OpError::new(message).attribute("dims").operands([0]));
    }
    Ok(axes.into_iter().collect())
}

fn moved(call: &Call) -> Result<Order, OpError> {
    let shape = call.shape(0)?;
    let source = distinct(call, "source", shape)?;
    let destination = distinct(call, "destination", shape)?;
    if source.len() != destination.len() {
        let message = format!(
            "`source` names {} axes, but `destination` {}",
            source.len(),
            destination.len()
        );
        return Err(OpError::new(message).attribute("destination"));
    }
    let mut rest = (0..shape.rank()).filter(|axis| !source.contains(axis));
    Ok((0..shape.rank())
        .filter_map(
            |place| match destination.iter().position(|&at| at == place) {
                Some(index) => Some(source[index]),
                None => rest.next(),
            },
        )
        .collect())
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, outputs, shown};
    use crate::ops::layout::contiguous_strides;
    use proptest::prelude::*;

    #[test]
    fn shapes_follow_pytorch() {
        check(&[
            ("transpose([2, 3, 4], dim0=-1, dim1=0)", "float32 [4, 3, 2]"),
            ("t([2, 3])", "float32 [3, 2]"),
            ("t([2])", "float32 [2]"),
            (
                "t([2, 3, 4])",
                "error: `t` takes at most 2 axes, but its input is [2, 3, 4]",
            ),
            ("permute([2, 3, 4], dims=[2, 0, 1])", "float32 [4, 2, 3]"),
            (
                "permute([2, 3], dims=[0, 0])",
                "error: `dims` names axis 0 twice",
            ),
            (
                "permute([2, 3], dims=[0])",
                "error: `dims` names 1 axes, but [2, 3] has 2",
            ),
            (
                "movedim([2, 3, 4], source=0, destination=-1)",
                "float32 [3, 4, 2]",
            ),
            ("swapaxes([2, 3, 4], axis0=0, axis1=1)", "float32 [3, 2, 4]"),
            ("mT([2, 3, 4])", "float32 [2, 4, 3]"),
            (
                "moveaxis([2, 3, 4], source=[0, 1], destination=[1, 2])",
                "float32 [4, 2, 3]",
            ),
        ]);
    }

    proptest! {
        /// Shapes and strides of views are held to ndarray's on an array of its own offsets.
        #[test]
        fn views_agree_with_ndarray(
            sizes in prop::collection::vec(1u64..4, 3),
            order in Just(vec![0usize, 1, 2]).prop_shuffle(),
            (a, b) in (0usize..3, 0usize..3),
        ) {
            let strides = contiguous_strides(&sizes);
            let extent: Vec<usize> = sizes.iter().map(|&n| n as usize).collect();
            let count = sizes.iter().product::<u64>();
            let array =
                ndarray::ArrayD::from_shape_vec(extent, (0..count).collect()).unwrap();
            let elements = |array: ndarray::ArrayD<u64>| array.iter().copied().collect::<Vec<_>>();

            let text = format!("permute({sizes:?}, dims={order:?})");
            let expected = array.clone().permuted_axes(order);
            prop_assert_eq!(outputs(&text), format!("float32 {:?}", expected.shape()));
            prop_assert_eq!(shown(&text, &strides), elements(expected));

            let mut expected = array.clone();
            expected.swap_axes(a, b);
            let text = format!("transpose({sizes:?}, dim0={a}, dim1={b})");
            prop_assert_eq!(shown(&text, &strides), elements(expected));
        }
    }
}
