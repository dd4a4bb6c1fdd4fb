//! Look-ups in a table of vectors: `embedding` and `embedding_bag`.
//!
//! Whether the indices lie in the table is a matter for rules, which know the ranges.

use smallvec::{SmallVec, smallvec};

use super::definition::{BASE, Default, attribute, no_work, operand, optional};
use super::pointwise::range;
use super::{Attribute, AttributeKind, Call, Init, Op, OpError, ParameterDefinition, Saved, Work};
use crate::tensor::{Dtype, Interval, Moments, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "embedding",
        summary: "the row of a table for each index",
        operands: &[operand("input"), operand("weight")],
        attributes: &[
            NUM_EMBEDDINGS,
            EMBEDDING_DIM,
            PADDING_IDX,
            WEIGHT,
            MAX_NORM,
            NORM_TYPE,
            SCALE_GRAD,
            SPARSE,
        ],
        parameters: Some(parameters),
        infer: |call| {
            let (dim, dtype) = table(call)?;
            let mut shape = indices(call)?.clone();
            shape.push(dim);
            Ok(smallvec![TensorType { shape, dtype }])
        },
        work: no_work,
        saved: |call, saved| saved.argument(call, 0),
        interval: |_, ranges| range(ranges, 1),
        moments: |_, moments| *moments.get(1)?,
        // The gradients of all places with the same index are summed in its row.
        gradient_gain: |call, position, _| {
            let rows = call.elements(1).max(1) as f64;
            (position == 1).then(|| call.output_elements() as f64 / rows)
        },
        ..BASE
    },
    Op {
        name: "embedding_bag",
        summary: "the sum, mean or maximum of the rows of a table for each bag of indices",
        operands: &[
            operand("input"),
            operand("weight"),
            optional("offsets"),
            optional("per_sample_weights"),
        ],
        attributes: &[
            NUM_EMBEDDINGS,
            EMBEDDING_DIM,
            attribute(
                "mode",
                AttributeKind::Choice(&["sum", "mean", "max"]),
                Default::Text("mean"),
                "what is made of the rows of a bag",
            ),
            PADDING_IDX,
            WEIGHT,
            MAX_NORM,
            NORM_TYPE,
            SCALE_GRAD,
            SPARSE,
            attribute(
                "include_last_offset",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether the last offset is the number of indices",
            ),
        ],
        parameters: Some(parameters),
        infer: |call| {
            let (dim, dtype) = table(call)?;
            Ok(smallvec![TensorType::new([bags(call)?, dim], dtype)])
        },
        // One addition, comparison or product for each element of each row.
        work: |call| {
            let dim = call.output().and_then(|ty| ty.shape.size(-1)).unwrap_or(0);
            Work::other(u128::from(call.elements(0)) * u128::from(dim))
        },
        saved: bag_saved,
        interval: |call, ranges| {
            let (rows, mut row) = (range(ranges, 1), range(ranges, 1));
            if call.has(3) {
                row = rows * range(ranges, 3);
            }
            // A bag may be empty, and then gives 0.
            let row = row.union(Interval::point(0.0));
            match call.text("mode").as_deref() {
                Some("sum") => row * Interval::point(most_in_a_bag(call) as f64),
                _ => row,
            }
        },
        moments: |call, moments| {
            let row = (*moments.get(1)?)?;
            let count = (call.elements(0) as f64 / bags(call).ok()?.max(1) as f64).max(1.0);
            match call.text("mode").as_deref() {
                Some("sum") if !call.has(3) => {
                    Some(Moments::new(row.mean * count, row.variance * count))
                }
                Some("mean") => Some(Moments::new(row.mean, row.variance / count)),
                _ => None,
            }
        },
        ..BASE
    },
];

const NUM_EMBEDDINGS: Attribute = attribute(
    "num_embeddings",
    AttributeKind::Size,
    Default::None,
    "number of rows",
);
const EMBEDDING_DIM: Attribute = attribute(
    "embedding_dim",
    AttributeKind::Size,
    Default::None,
    "size of a row",
);
const PADDING_IDX: Attribute = attribute(
    "padding_idx",
    AttributeKind::Integer,
    Default::None,
    "index whose row stays zero and has no gradient",
);
const WEIGHT: Attribute = attribute(
    "weight",
    AttributeKind::Parameter,
    Default::None,
    "a table to share",
);
const MAX_NORM: Attribute = attribute(
    "max_norm",
    AttributeKind::Float,
    Default::None,
    "rows of a greater norm are scaled down to it",
);
const NORM_TYPE: Attribute = attribute(
    "norm_type",
    AttributeKind::Float,
    Default::Float(2.0),
    "p of that norm",
);
const SCALE_GRAD: Attribute = attribute(
    "scale_grad_by_freq",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether gradients are divided by how often an index occurs",
);
const SPARSE: Attribute = attribute(
    "sparse",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether the gradient holds only the rows in use",
);

fn parameters(call: &Call) -> Result<SmallVec<[ParameterDefinition; 2]>, OpError> {
    let shape = match call.argument(1) {
        Some(weight) => weight.ty.shape.clone(),
        None => Shape::from([call.size("num_embeddings")?, call.size("embedding_dim")?]),
    };
    if let Some(index) = call.integer("padding_idx") {
        let rows = shape.size(0).unwrap_or(0) as i128;
        if !(-rows..rows).contains(&i128::from(index)) {
            let message = format!("`padding_idx` is {index}, but the table has {rows} rows");
            return Err(OpError::new(message).attribute("padding_idx"));
        }
    }
    Ok(smallvec![ParameterDefinition::new(
        1,
        "weight",
        shape,
        Init::Normal(0.0, 1.0)
    )])
}

/// The shape of the indices.
fn indices<'a>(call: &Call<'a>) -> Result<&'a Shape, OpError> {
    let input = call.ty(0)?;
    if !matches!(input.dtype, Dtype::Int64 | Dtype::Int32) {
        let message = format!(
            "`{}` looks up int64 or int32 indices, but its input is {input}",
            call.op.name
        );
        return Err(OpError::new(message)
            .operands([0])
            .help("give the input `dtype = \"int64\"`, or use `linear` for vectors"));
    }
    Ok(&input.shape)
}

/// The size of a row, and its element type.
fn table(call: &Call) -> Result<(u64, Dtype), OpError> {
    let weight = call.ty(1)?;
    let [rows, dim] = *weight.shape.sizes() else {
        let message = format!(
            "the table of `{}` must have 2 axes, but it is {weight}",
            call.op.name
        );
        return Err(OpError::new(message).operands([1]));
    };
    for (name, size) in [("num_embeddings", rows), ("embedding_dim", dim)] {
        if let Some(given) = call.integer(name)
            && given != size as i64
        {
            let message = format!("`{name}` is {given}, but the table is {}", weight.shape);
            return Err(OpError::new(message).operands([1]).attribute(name));
        }
    }
    Ok((dim, weight.dtype))
}

/// The number of bags: of offsets, or of rows of a matrix of indices.
fn bags(call: &Call) -> Result<u64, OpError> {
    let input = indices(call)?;
    let offsets = call.argument(2).map(|argument| &argument.ty.shape);
    if let Some(weights) = call.argument(3)
        && weights.ty.shape != *input
    {
        let message = format!(
            "`per_sample_weights` is {}, but the indices are {input}",
            weights.ty.shape
        );
        return Err(OpError::new(message).operands([3, 0]));
    }
    if call.has(3) && call.text("mode").as_deref() != Some("sum") {
        let message = "`per_sample_weights` go with `mode = \"sum\"`";
        return Err(OpError::new(message).attribute("mode"));
    }
    match (input.sizes(), offsets) {
        (&[bags, _], None) => Ok(bags),
        ([_], Some(offsets)) if offsets.rank() == 1 => {
            let last = u64::from(call.boolean("include_last_offset"));
            Ok(offsets.sizes()[0].saturating_sub(last))
        }
        _ => {
            let offsets = offsets.map_or("none".to_owned(), ToString::to_string);
            let message = format!(
                "`embedding_bag` takes indices [bags, indices] without offsets, or [indices] with \
                 offsets [bags], but its input is {input} and its offsets are {offsets}"
            );
            Err(OpError::new(message).operands([0]))
        }
    }
}

/// The most indices that one bag can have.
fn most_in_a_bag(call: &Call) -> u64 {
    match call.shape(0).map(Shape::sizes) {
        Ok(&[_, indices]) => indices,
        _ => call.elements(0),
    }
}

/// Indices and offsets, and the bag of each index and the size of each bag; for maxima also which
/// index won.
fn bag_saved(call: &Call, saved: &mut Saved) {
    saved.argument(call, 0);
    let (dtype, bags) = (
        call.dtype(0).unwrap_or(Dtype::Int64),
        bags(call).unwrap_or(0),
    );
    match call.has(2) {
        true => saved.argument(call, 2),
        false => saved.extra("offsets", bags, dtype),
    }
    saved.extra("bag of index", call.elements(0), dtype);
    saved.extra("bag size", bags, dtype);
    if call.text("mode").as_deref() == Some("max") {
        saved.extra("indices", call.output_elements(), dtype);
    }
    if call.has(3) {
        saved.argument(call, 3);
        if call.requires_grad(3) {
            saved.argument(call, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{check, check_intervals, check_parameters, check_saved};

    #[test]
    fn shapes_and_errors() {
        check(&[
            (
                "embedding(int64 [2, 5], num_embeddings=10, embedding_dim=4)",
                "float32 [2, 5, 4]",
            ),
            (
                "embedding(int32 [], num_embeddings=10, embedding_dim=4)",
                "float32 [4]",
            ),
            ("embedding(int64 [2], bfloat16 [10, 4])", "bfloat16 [2, 4]"),
            (
                "embedding([2, 5], num_embeddings=10, embedding_dim=4)",
                "error: `embedding` looks up int64 or int32 indices, but its input is float32 [2, 5]",
            ),
            (
                "embedding(int64 [2], [10])",
                "error: the table of `embedding` must have 2 axes, but it is float32 [10]",
            ),
            (
                "embedding(int64 [2], [10, 4], num_embeddings=11)",
                "error: `num_embeddings` is 11, but the table is [10, 4]",
            ),
            (
                "embedding(int64 [2], num_embeddings=10, embedding_dim=4, padding_idx=10)",
                "error: `padding_idx` is 10, but the table has 10 rows",
            ),
            (
                "embedding(int64 [2], num_embeddings=10)",
                "error: `embedding` needs `embedding_dim`",
            ),
            (
                "embedding_bag(int64 [2, 5], num_embeddings=10, embedding_dim=4)",
                "float32 [2, 4]",
            ),
            (
                "embedding_bag(int64 [7], [10, 4], int64 [3])",
                "float32 [3, 4]",
            ),
            (
                "embedding_bag(int64 [7], [10, 4], int64 [3], include_last_offset=true)",
                "float32 [2, 4]",
            ),
            (
                "embedding_bag(int64 [7], [10, 4])",
                "error: `embedding_bag` takes indices [bags, indices] without offsets, or [indices] with offsets [bags], but its input is [7] and its offsets are none",
            ),
            (
                "embedding_bag(int64 [2, 5], [10, 4], -, [2, 5])",
                "error: `per_sample_weights` go with `mode = \"sum\"`",
            ),
        ]);
        check_parameters(&[(
            "embedding(int64 [2, 5], num_embeddings=10, embedding_dim=4)",
            "weight [10, 4]",
        )]);
    }

    #[test]
    fn indices_are_kept_and_ranges_are_those_of_the_table() {
        check_saved(&[
            ("embedding(int64 [2, 5], [10, 4])", "input"),
            (
                "embedding_bag(int64 [2, 5], [10, 4], mode=max)",
                "input, offsets: 2 int64, bag of index: 10 int64, bag size: 2 int64, indices: 8 int64",
            ),
            (
                "embedding_bag(int64 [2, 5], [10, 4], -, [2, 5], mode=sum)",
                "input, per_sample_weights, weight, offsets: 2 int64, bag of index: 10 int64, bag size: 2 int64",
            ),
        ]);
        check_intervals(&[
            (
                "embedding(int64 [2, 5], [10, 4])",
                &[(0.0, 9.0), (-3.0, 3.0)],
                "[-3, 3]",
            ),
            (
                "embedding_bag(int64 [2, 5], [10, 4])",
                &[(0.0, 9.0), (1.0, 3.0)],
                "[0, 3]",
            ),
            (
                "embedding_bag(int64 [2, 5], [10, 4], mode=sum)",
                &[(0.0, 9.0), (1.0, 3.0)],
                "[0, 15]",
            ),
        ]);
    }
}
