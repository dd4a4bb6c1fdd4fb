//! Ops that stand for what another program does and the table has no entry for.
//!
//! `opaque` keeps the shapes around such a call known. Its own cost is not, and whoever adds up
//! costs says so.

use smallvec::smallvec;

use super::definition::{
    Attribute, BASE, Default, any_value, attribute, no_work, operand, optional, variadic,
};
use super::gradient;
use super::{AttributeKind, Call, Op, OpError, Operand, Outputs, Saved, Work};
use crate::tensor::{Interval, Shape, TensorType};

/// The name of the op of which nothing is known but the types of its outputs.
pub const OPAQUE: &str = "opaque";

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: OPAQUE,
        summary: "an op that is not known: only the type of its output is",
        operands: &[variadic("inputs")],
        attributes: &[OPTIONAL_SIZE, DTYPE, TARGET],
        infer: stated,
        work: no_work,
        ..BASE
    },
    Op {
        name: "elementwise",
        summary: "a function of corresponding elements that has no entry of its own",
        // One operation for each element that is made.
        work: |call| Work::other(call.output().map_or(0, |ty| ty.shape.elements().into())),
        saved: save_floats,
        // The derivative, and its product with what arrives; but for those with a kernel of their own.
        gradient: |call, gradient| match call.text("target") {
            Some(target) if target.starts_with("aten.logit.") => gradient::each(call, gradient),
            _ => gradient::after::<1>(call, gradient),
        },
        ..FOREIGN
    },
    Op {
        name: "summarised",
        summary: "values of all elements of the operands together, by a function that has no entry of its own",
        // One operation for each element that is read.
        work: |call| {
            let read = (0..call.arguments.len()).filter_map(|at| call.argument(at));
            Work::other(
                read.map(|operand| u128::from(operand.ty.shape.elements()))
                    .sum(),
            )
        },
        saved: save_floats,
        ..FOREIGN
    },
    Op {
        name: "rearranged",
        summary: "elements of the operands in another order or shape, by a function that has no entry of its own",
        work: no_work,
        ..FOREIGN
    },
    Op {
        name: "tensor",
        summary: "a constant of which no more is known than its type and its bounds",
        operands: &[],
        attributes: &[
            SIZE,
            DTYPE,
            attribute(
                "low",
                AttributeKind::Float,
                Default::None,
                "no value is less",
            ),
            attribute(
                "high",
                AttributeKind::Float,
                Default::None,
                "no value is greater",
            ),
        ],
        infer: stated,
        differentiable: false,
        work: no_work,
        interval: |call, _| match (call.float("low"), call.float("high")) {
            (Some(low), Some(high)) => {
                let finite = low.is_finite() && high.is_finite();
                Interval::new(low, high).or_non_finite(!finite)
            }
            _ => any_value(call, &[]),
        },
        ..BASE
    },
    Op {
        name: "overwritten",
        summary: "the input, with some of its elements replaced by elements of value",
        operands: OVERWRITTEN,
        work: no_work,
        interval: either,
        ..BASE
    },
];

/// An op of which another program states the type.
const FOREIGN: Op = Op {
    operands: &[variadic("inputs")],
    attributes: &[SIZE, DTYPE, TARGET],
    infer: stated,
    ..BASE
};

/// The operands that a gradient may need: those with fractions.
fn save_floats(call: &Call, saved: &mut Saved) {
    for at in 0..call.arguments.len() {
        if call
            .argument(at)
            .is_some_and(|operand| operand.ty.dtype.is_float())
        {
            saved.argument(call, at);
        }
    }
}

const SIZE: Attribute = attribute(
    "size",
    AttributeKind::Integers,
    Default::Required,
    "the shape of the output",
)
.or(&["shape"]);

const OPTIONAL_SIZE: Attribute = attribute(
    "size",
    AttributeKind::Integers,
    Default::None,
    "the shape of the output, unless its type is stated",
)
.or(&["shape"]);

const DTYPE: Attribute = attribute(
    "dtype",
    AttributeKind::Dtype,
    Default::None,
    "the element type of the output",
);

/// The name that another program gives the op.
const TARGET: Attribute = attribute(
    "target",
    AttributeKind::Text,
    Default::None,
    "what the op is called elsewhere",
);

const OVERWRITTEN: &[Operand] = &[operand("input"), optional("value")];

fn stated(call: &Call) -> Result<Outputs, OpError> {
    let given = call.integers("size").ok_or_else(|| {
        OpError::new(format!("`{}` needs `size`", call.op.name)).attribute("size")
    })?;
    let sizes: Option<Shape> = given.iter().map(|&n| u64::try_from(n).ok()).collect();
    let shape = sizes.ok_or_else(|| {
        OpError::new(format!("`size` is {given:?}, and a size is below 0")).attribute("size")
    })?;
    let dtype = call
        .dtype_attribute("dtype")
        .or_else(|| call.argument(0).map(|argument| argument.ty.dtype));
    Ok(smallvec![TensorType::new(shape, dtype.unwrap_or_default())])
}

fn either(_: &Call, ranges: &[Interval]) -> Interval {
    ranges
        .iter()
        .copied()
        .reduce(Interval::union)
        .unwrap_or(Interval::ANYTHING)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals};

    #[test]
    fn an_unknown_op_has_the_type_that_is_stated() {
        check(&[
            ("opaque([2, 3], size=[4, 5])", "float32 [4, 5]"),
            ("opaque(size=[4], dtype=int64)", "int64 [4]"),
            ("elementwise([2, 3], size=[2, 3])", "float32 [2, 3]"),
            ("summarised([2, 3], size=[], dtype=int64)", "int64 []"),
            ("rearranged([2, 3], size=[3, 2])", "float32 [3, 2]"),
            ("tensor(size=[4], dtype=int64, low=0, high=3)", "int64 [4]"),
            ("overwritten([2, 3], [3])", "float32 [2, 3]"),
        ]);
    }

    /// Guards against a range that has the old values only, or the new ones only.
    #[test]
    fn an_element_is_an_old_or_a_new_one() {
        check_intervals(&[
            (
                "overwritten([2, 3], [3])",
                &[(0.0, 1.0), (5.0, 6.0)],
                "[0, 6]",
            ),
            ("tensor(size=[4], low=-1, high=3)", &[], "[-1, 3]"),
        ]);
    }
}
