//! Reading and writing by index: `gather`, `scatter`, `index_select`, masks, searching.
//!
//! `embedding` has a file of its own. Whether indices lie inside is a matter of their range, which
//! a rule looks at.

use smallvec::smallvec;

use super::definition::{
    BASE, Default, Infer, attribute, no_work, operand, optional, same_interval, same_moments,
    variadic,
};
use super::pointwise::{keep, operations, range, refuse};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Operand, Outputs, Saved, Work};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

const INPUT_INDEX: &[Operand] = &[operand("input"), operand("index")];

const DIM: Attribute = attribute(
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
        ..BASE
    }
}

/// The first operand with other elements in some places.
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

/// PyTorch's backward functions of these ask for the input, if only for its sizes.
fn save_input_and_index(call: &Call, saved: &mut Saved) {
    saved.argument(call, 0);
    keep(call, saved, 1);
}

fn index_dtype(call: &Call) -> Dtype {
    if call.boolean("out_int32") {
        Dtype::Int32
    } else {
        Dtype::Int64
    }
}

/// Fails unless the operand holds int32 or int64.
fn indices(call: &Call, position: usize) -> Result<(), OpError> {
    refuse(
        call,
        [position],
        "indices that are not int32 or int64",
        |dtype| !matches!(dtype, Dtype::Int32 | Dtype::Int64),
    )
}

/// The length of an operand that must be a vector or a scalar.
fn vector(call: &Call, position: usize) -> Result<u64, OpError> {
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
fn inside(
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

    /// From the derivatives of PyTorch.
    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("gather([4, 3], int64 [2, 7], dim=1)", "input, index"),
            ("index([4, 3], -, int64 [5])", "indices2"),
            ("scatter_add([4], int64 [2], [2], dim=0)", "index"),
            ("index_add([4], int64 [2], [2], dim=0)", "index, source"),
            ("masked_select([4], bool [4])", "input, mask"),
            ("index_select([4], int64 [2], dim=0)", "index"),
            ("scatter_add([4], int64 [2], [2]!, dim=0)", ""),
            ("index_copy([4], int64 [2], [2], dim=0)", "index, source"),
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
            ("nonzero([4, 7])", &[(1.0, 2.0)], "[0, 6]"),
            ("bucketize([4], [9])", &[(1.0, 2.0), (1.0, 2.0)], "[0, 9]"),
        ]);
    }
}
