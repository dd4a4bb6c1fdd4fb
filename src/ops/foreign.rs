//! Ops that stand for what another program does and the table has no entry for.
//!
//! `opaque` keeps the shapes around such a call known. Its own cost is not, and whoever adds up
//! costs says so.

use smallvec::smallvec;

use super::definition::{
    Attribute, BASE, Default, any_value, attribute, no_work, operand, optional, variadic,
};
use super::{AttributeKind, Call, Op, OpError, Operand, Outputs};
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
