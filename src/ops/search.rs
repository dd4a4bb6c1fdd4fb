//! Where elements go among others: `searchsorted`, `bucketize`, `bincount`.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute, operand, optional};
use super::index::vector;
use super::pointwise::{operations, range, refuse};
use super::{Attribute, AttributeKind, Call, Op, OpError, Work};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "searchsorted",
        summary: "where the elements of input would go into a sorted sequence",
        operands: &[operand("sorted_sequence"), operand("input")],
        attributes: &[
            attribute(
                "right",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "behind equal elements instead of before them",
            ),
            OUT_INT32,
        ],
        infer: |call| {
            let (sequence, values) = (call.shape(0)?, call.shape(1)?);
            let batch = |shape: &Shape| shape.sizes()[..shape.rank().saturating_sub(1)].to_vec();
            if sequence.rank() != 1 && batch(sequence) != batch(values) {
                let message = format!(
                    "{sequence} and {values} must agree in all axes but the last, or the sequence \
                     be a vector"
                );
                return Err(OpError::new(message).operands([0, 1]));
            }
            Ok(smallvec![TensorType {
                shape: values.clone(),
                dtype: index_dtype(call),
            }])
        },
        ..SEARCH
    },
    Op {
        name: "unique",
        summary: "the elements, or slices of an axis, each once; all of them are counted, for the \
                  number is not known before the run",
        attributes: &[attribute(
            "dim",
            AttributeKind::Integer,
            Default::None,
            "the axis; the flattened tensor if left out",
        )],
        infer: |call| {
            let input = call.ty(0)?;
            if call.is_given("dim") {
                call.axis("dim", &input.shape)?;
                return Ok(smallvec![input.clone()]);
            }
            let elements = input.shape.elements();
            Ok(smallvec![TensorType::new([elements], input.dtype)])
        },
        differentiable: false,
        // A sort: as many comparisons as a tree of all elements is deep, for each of them.
        work: |call| {
            let elements = call.elements(0);
            let depth = u64::BITS - elements.leading_zeros();
            Work::other(u128::from(elements) * u128::from(depth))
        },
        interval: |_, ranges| range(ranges, 0),
        ..BASE
    },
    Op {
        name: "bucketize",
        summary: "the bucket of every element, between boundaries that are in order",
        operands: &[operand("input"), operand("boundaries")],
        attributes: &[
            attribute(
                "right",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether a boundary belongs to the bucket before it",
            ),
            OUT_INT32,
        ],
        infer: |call| {
            vector(call, 1)?;
            Ok(smallvec![TensorType {
                shape: call.shape(0)?.clone(),
                dtype: index_dtype(call),
            }])
        },
        ..SEARCH
    },
    Op {
        name: "bincount",
        summary: "how often each number occurs; minlength bins are counted, for the greatest \
                  number is not known before the run",
        operands: &[operand("input"), optional("weights")],
        attributes: &[attribute(
            "minlength",
            AttributeKind::Size,
            Default::Integer(0),
            "least number of bins",
        )],
        infer: |call| {
            refuse(call, [0], "floats", Dtype::is_float)?;
            vector(call, 0)?;
            let dtype = match call.argument(1) {
                None => Dtype::Int64,
                Some(weights) if weights.ty.dtype == Dtype::Float32 => Dtype::Float32,
                Some(_) => Dtype::Float64,
            };
            Ok(smallvec![TensorType::new([call.size("minlength")?], dtype)])
        },
        differentiable: false,
        work: |call| Work::other(u128::from(call.elements(0))),
        interval: |call, ranges| {
            let count = Interval::new(0.0, call.elements(0) as f64);
            if call.has(1) {
                count * range(ranges, 1)
            } else {
                count
            }
        },
        ..BASE
    },
];

const OUT_INT32: Attribute = attribute(
    "out_int32",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether the indices are int32",
);

const SEARCH: Op = Op {
    differentiable: false,
    // One comparison for each halving.
    work: |call| {
        let sorted = if call.op.name == "searchsorted" { 0 } else { 1 };
        let length = call.shape(sorted).ok().and_then(|shape| shape.size(-1));
        operations(
            call,
            (length.unwrap_or(1) as f64 + 1.0).log2().ceil() as u128,
        )
    },
    interval: |call, _| {
        let sorted = if call.op.name == "searchsorted" { 0 } else { 1 };
        let length = call.shape(sorted).ok().and_then(|shape| shape.size(-1));
        Interval::new(0.0, length.unwrap_or(0) as f64)
    },
    ..BASE
};

fn index_dtype(call: &Call) -> Dtype {
    if call.boolean("out_int32") {
        Dtype::Int32
    } else {
        Dtype::Int64
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("searchsorted([9], [4, 3])", "int64 [4, 3]"),
            (
                "searchsorted([2, 9], [4, 3])",
                "error: [2, 9] and [4, 3] must agree in all axes but the last, or the sequence be \
                 a vector",
            ),
            ("bucketize([4, 3], [9], out_int32=true)", "int32 [4, 3]"),
            ("bincount(int64 [9], minlength=5)", "int64 [5]"),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[("bucketize([4], [9])", &[(1.0, 2.0), (1.0, 2.0)], "[0, 9]")]);
    }
}
