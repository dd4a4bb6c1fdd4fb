//! Views of parts of a tensor: `slice`, `select`, `split`, `diagonal`, sliding windows.
//!
//! Every output shares the storage of the input. Views of a whole tensor stand in `shape`.

use smallvec::smallvec;

use super::definition::{
    BASE, Default, Infer, attribute, no_work, same_interval, same_moments, unit_gain,
};
use super::layout::{Layout, Placement, Strides, same};
use super::shape::like;
use super::{Attribute, AttributeKind, Call, Op, OpError, Outputs};
use crate::tensor::{Shape, TensorType};

const DIM: Attribute = attribute(
    "dim",
    AttributeKind::Integer,
    Default::Integer(0),
    "the axis to cut",
)
.or(&["axis"]);

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        attributes: &[
            DIM,
            attribute(
                "start",
                AttributeKind::Integer,
                Default::None,
                "first index; below 0 from the end",
            ),
            attribute(
                "end",
                AttributeKind::Integer,
                Default::None,
                "index behind the last; below 0 from the end",
            ),
            attribute(
                "step",
                AttributeKind::Integer,
                Default::Integer(1),
                "distance",
            ),
        ],
        ..part(
            "slice",
            "every step-th index from start to end of an axis",
            slice,
            |call, strides| {
                along(call, strides, |strides, axis| {
                    let step = call.integer("step").unwrap_or(1).max(1) as u64;
                    strides[axis] = strides[axis].saturating_mul(step);
                })
            },
        )
    },
    Op {
        attributes: &[
            DIM,
            attribute(
                "index",
                AttributeKind::Integer,
                Default::Required,
                "the index",
            ),
        ],
        ..part(
            "select",
            "one index of an axis, without the axis",
            select,
            |call, strides| {
                along(call, strides, |strides, axis| {
                    strides.remove(axis);
                })
            },
        )
    },
    Op {
        attributes: &[
            DIM,
            attribute(
                "start",
                AttributeKind::Integer,
                Default::Required,
                "first index",
            ),
            attribute(
                "length",
                AttributeKind::Size,
                Default::Required,
                "number of indices",
            ),
        ],
        ..part(
            "narrow",
            "length indices of an axis from start",
            narrow,
            same,
        )
    },
    Op {
        attributes: &[
            attribute(
                "split_size",
                AttributeKind::Sizes,
                Default::Required,
                "size of each part, or the sizes of all parts",
            )
            .or(&["split_size_or_sections", "sections"]),
            DIM,
        ],
        ..part(
            "split",
            "an axis cut into parts of given sizes",
            split,
            same,
        )
    },
    Op {
        attributes: &[
            attribute(
                "chunks",
                AttributeKind::Size,
                Default::Required,
                "number of parts",
            ),
            DIM,
        ],
        ..part("chunk", "an axis cut into a number of parts", chunk, same)
    },
    Op {
        aliases: &["unstack"],
        attributes: &[DIM],
        ..part(
            "unbind",
            "each index of an axis by itself, without the axis",
            unbind,
            |call, strides| {
                along(call, strides, |strides, axis| {
                    strides.remove(axis);
                })
            },
        )
    },
    Op {
        attributes: &[
            attribute(
                "offset",
                AttributeKind::Integer,
                Default::Integer(0),
                "0 for the main diagonal, above it beyond, below it under",
            ),
            attribute("dim1", AttributeKind::Integer, Default::Integer(0), "rows").or(&["axis1"]),
            attribute(
                "dim2",
                AttributeKind::Integer,
                Default::Integer(1),
                "columns",
            )
            .or(&["axis2"]),
        ],
        ..part(
            "diagonal",
            "the diagonals of two axes, as the last axis",
            diagonal,
            |call, strides| {
                let mut own = strides.first().cloned().unwrap_or_default();
                if let Ok((_, row, column)) = diagonal_axes(call)
                    && row.max(column) < own.len()
                {
                    let step = own[row].saturating_add(own[column]);
                    own.remove(row.max(column));
                    own.remove(row.min(column));
                    own.push(step);
                }
                Placement::Shared(own)
            },
        )
    },
    Op {
        aliases: &["sliding_windows"],
        attributes: &[
            attribute(
                "dimension",
                AttributeKind::Integer,
                Default::Required,
                "the axis",
            )
            .or(&["dim", "axis"]),
            attribute(
                "size",
                AttributeKind::Size,
                Default::Required,
                "size of a window",
            ),
            attribute(
                "step",
                AttributeKind::Size,
                Default::Required,
                "distance of windows",
            ),
        ],
        gradient_gain: |call, position, _| {
            (position == 0).then_some(())?;
            Some(call.output_elements() as f64 / call.elements(0).max(1) as f64)
        },
        ..part(
            "tensor_unfold",
            "windows of an axis, as a new last axis (torch.Tensor.unfold)",
            windows,
            |call, strides| {
                let mut own = strides.first().cloned().unwrap_or_default();
                let shape = call.shape(0).ok();
                if let Some(axis) = shape.and_then(|shape| call.axis("dimension", shape).ok())
                    && let Some(&step) = own.get(axis)
                {
                    own[axis] = step.saturating_mul(call.size("step").unwrap_or(1));
                    own.push(step);
                }
                Placement::Shared(own)
            },
        )
    },
];

const fn part(name: &'static str, summary: &'static str, infer: Infer, layout: Layout) -> Op {
    Op {
        name,
        summary,
        infer,
        view: true,
        layout,
        work: no_work,
        interval: same_interval,
        moments: same_moments,
        gradient_gain: unit_gain,
        ..BASE
    }
}

/// The operand's strides, changed at the axis that `dim` names.
fn along(call: &Call, strides: &[Strides], change: impl Fn(&mut Strides, usize)) -> Placement {
    let mut own = strides.first().cloned().unwrap_or_default();
    if let Some(axis) = call
        .shape(0)
        .ok()
        .and_then(|shape| call.axis("dim", shape).ok())
        && axis < own.len()
    {
        change(&mut own, axis);
    }
    Placement::Shared(own)
}

fn resized(input: &TensorType, axis: usize, size: u64) -> TensorType {
    let mut ty = input.clone();
    ty.shape.set(axis, size);
    ty
}

fn slice(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = call.axis("dim", &input.shape)?;
    let size = input.shape.sizes()[axis] as i64;
    let step = call.integer("step").unwrap_or(1);
    if step < 1 {
        let message = format!("`step` is {step}, but it must be at least 1");
        let help = "turn the axis round with `flip` first";
        return Err(OpError::new(message).attribute("step").help(help));
    }
    // As in Python, bounds outside the axis are moved to its ends.
    let bound = |name, otherwise: i64| {
        let at = call.integer(name).unwrap_or(otherwise);
        let at = if at < 0 { at.saturating_add(size) } else { at };
        at.clamp(0, size)
    };
    let (start, end) = (bound("start", 0), bound("end", size));
    let length = (end - start).max(0) as u64;
    Ok(smallvec![resized(
        input,
        axis,
        length.div_ceil(step as u64)
    )])
}

fn select(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = call.axis("dim", &input.shape)?;
    let size = input.shape.sizes()[axis];
    let index = call
        .integer("index")
        .ok_or_else(|| OpError::new("`select` needs `index`").attribute("index"))?;
    if index >= size as i64 || index < -(size as i64) {
        let message = format!(
            "index {index} lies outside axis {axis} of {}, which has size {size}",
            input.shape
        );
        return Err(OpError::new(message).attribute("index").operands([0]));
    }
    let mut shape = input.shape.clone();
    shape.remove(axis);
    like(input, shape)
}

fn narrow(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = call.axis("dim", &input.shape)?;
    let size = input.shape.sizes()[axis];
    let given = call
        .integer("start")
        .ok_or_else(|| OpError::new("`narrow` needs `start`").attribute("start"))?;
    let start = if given < 0 {
        given.saturating_add(size as i64)
    } else {
        given
    };
    let length = call.size("length")?;
    let end = u64::try_from(start)
        .ok()
        .and_then(|start| start.checked_add(length));
    match end {
        Some(end) if end <= size => Ok(smallvec![resized(input, axis, length)]),
        _ => {
            let message = format!(
                "{length} indices from {given} do not fit axis {axis} of {}, which has size {size}",
                input.shape
            );
            Err(OpError::new(message).attribute("length").operands([0]))
        }
    }
}

/// More parts than this are taken for a slip, and would make as many tensors.
const MOST_PARTS: u64 = 65_536;

fn parts(
    call: &Call,
    name: &'static str,
    axis: usize,
    sizes: impl ExactSizeIterator<Item = u64>,
) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    if sizes.len() == 0 {
        let message = format!(
            "there is nothing to cut axis {axis} of {} into: no parts are asked for",
            input.shape
        );
        return Err(OpError::new(message).attribute(name));
    }
    if sizes.len() as u64 > MOST_PARTS {
        let message = format!(
            "axis {axis} of {} would be cut into {} parts, more than {MOST_PARTS}",
            input.shape,
            sizes.len()
        );
        return Err(OpError::new(message).attribute(name));
    }
    Ok(sizes.map(|size| resized(input, axis, size)).collect())
}

/// The sizes of parts of at most `most` that make up `size`; one part of 0 where there is nothing.
fn even_parts(size: u64, most: u64) -> impl ExactSizeIterator<Item = u64> {
    let count = if size == 0 {
        1
    } else {
        size.div_ceil(most.max(1))
    };
    // A range of `usize` knows its length.
    (0..count as usize).map(move |part| most.min(size - (part as u64) * most))
}

fn split(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = call.axis("dim", &input.shape)?;
    let size = input.shape.sizes()[axis];
    let name = "split_size";
    let is_list = matches!(
        call.attribute(name),
        Some(super::AttributeValue::Integers(_))
    );
    let sizes = super::shape::list(call, name)?;
    let fail = |message: String| Err(OpError::new(message).attribute(name).operands([0]));
    if let Some(negative) = sizes.iter().find(|&&size| size < 0) {
        return fail(format!("`{name}` is {negative}, below 0"));
    }
    if is_list {
        let total = sizes
            .iter()
            .fold(0i64, |sum, &size| sum.saturating_add(size));
        if total as u64 != size {
            let sum: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            return fail(format!(
                "the parts {} = {total} do not make up axis {axis} of {}, which has size {size}",
                sum.join(" + "),
                input.shape
            ));
        }
        return parts(call, name, axis, sizes.into_iter().map(|size| size as u64));
    }
    let most = sizes.first().copied().unwrap_or(0) as u64;
    if most == 0 && size > 0 {
        return fail(format!(
            "axis {axis} of {} cannot be cut into parts of 0",
            input.shape
        ));
    }
    parts(call, name, axis, even_parts(size, most))
}

fn chunk(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = call.axis("dim", &input.shape)?;
    let size = input.shape.sizes()[axis];
    let chunks = call.size("chunks")?;
    if chunks == 0 {
        return Err(OpError::new("`chunks` must be at least 1").attribute("chunks"));
    }
    if size == 0 {
        // PyTorch gives as many empty parts as asked for.
        return parts(call, "chunks", axis, (0..chunks as usize).map(|_| 0));
    }
    parts(
        call,
        "chunks",
        axis,
        even_parts(size, size.div_ceil(chunks)),
    )
}

fn unbind(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = call.axis("dim", &input.shape)?;
    let count = input.shape.sizes()[axis] as usize;
    let mut outputs = parts(call, "dim", axis, (0..count).map(|_| 1))?;
    for output in &mut outputs {
        output.shape.remove(axis);
    }
    Ok(outputs)
}

/// The offset, the axis of the rows and that of the columns.
fn diagonal_axes(call: &Call) -> Result<(i64, usize, usize), OpError> {
    let shape = call.shape(0)?;
    let (row, column) = (call.axis("dim1", shape)?, call.axis("dim2", shape)?);
    if row == column {
        let message = format!("`dim1` and `dim2` are the same axis {row}");
        return Err(OpError::new(message).attribute("dim2"));
    }
    Ok((call.integer("offset").unwrap_or(0), row, column))
}

/// How long the diagonal at `offset` of a matrix is.
pub fn diagonal_length(rows: u64, columns: u64, offset: i64) -> u64 {
    let skipped = offset.unsigned_abs();
    if offset >= 0 {
        rows.min(columns.saturating_sub(skipped))
    } else {
        columns.min(rows.saturating_sub(skipped))
    }
}

fn diagonal(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let (offset, row, column) = diagonal_axes(call)?;
    let sizes = input.shape.sizes();
    let length = diagonal_length(sizes[row], sizes[column], offset);
    let rest = sizes.iter().enumerate();
    let mut shape: Shape = rest
        .filter(|&(axis, _)| axis != row && axis != column)
        .map(|(_, &size)| size)
        .collect();
    shape.push(length);
    like(input, shape)
}

fn windows(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = call.axis("dimension", &input.shape)?;
    let (size, step) = (call.size("size")?, call.size("step")?);
    let length = input.shape.sizes()[axis];
    if step == 0 {
        return Err(OpError::new("`step` must be at least 1").attribute("step"));
    }
    let Some(free) = length.checked_sub(size) else {
        let message = format!(
            "a window of {size} does not fit axis {axis} of {}, which has size {length}",
            input.shape
        );
        return Err(OpError::new(message).attribute("size").operands([0]));
    };
    let mut shape = input.shape.clone();
    shape.set(axis, free / step + 1);
    shape.push(size);
    like(input, shape)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, outputs, with};
    use crate::ops::layout::{Placement, Strides};
    use proptest::prelude::*;

    #[test]
    fn shapes_follow_pytorch() {
        check(&[
            ("slice([10, 3], start=2, end=-1)", "float32 [7, 3]"),
            ("slice([10, 3], dim=1, step=2)", "float32 [10, 2]"),
            ("slice([10], start=-3)", "float32 [3]"),
            ("slice([10], start=8, end=3)", "float32 [0]"),
            ("slice([10], end=9223372036854775807)", "float32 [10]"),
            (
                "slice([10], step=-1)",
                "error: `step` is -1, but it must be at least 1",
            ),
            (
                "slice([])",
                "error: `dim = 0` lies outside [], which has 0 axes",
            ),
            ("select([2, 3], dim=1, index=-1)", "float32 [2]"),
            (
                "select([2, 3], dim=1, index=3)",
                "error: index 3 lies outside axis 1 of [2, 3], which has size 3",
            ),
            ("narrow([10], start=-4, length=3)", "float32 [3]"),
            (
                "narrow([10], start=8, length=3)",
                "error: 3 indices from 8 do not fit axis 0 of [10], which has size 10",
            ),
            (
                "split([7, 2], split_size=3)",
                "float32 [3, 2]; float32 [3, 2]; float32 [1, 2]",
            ),
            (
                "split([2, 7], split_size=[3, 4], dim=-1)",
                "float32 [2, 3]; float32 [2, 4]",
            ),
            (
                "split([7], split_size=[3, 3])",
                "error: the parts 3 + 3 = 6 do not make up axis 0 of [7], which has size 7",
            ),
            (
                "split([7], split_size=0)",
                "error: axis 0 of [7] cannot be cut into parts of 0",
            ),
            (
                "split([1000000], split_size=1)",
                "error: axis 0 of [1000000] would be cut into 1000000 parts, more than 65536",
            ),
            // Fewer parts than asked for, as in PyTorch.
            (
                "chunk([6], chunks=4)",
                "float32 [2]; float32 [2]; float32 [2]",
            ),
            (
                "chunk([2, 7], chunks=3, dim=1)",
                "float32 [2, 3]; float32 [2, 3]; float32 [2, 1]",
            ),
            ("chunk([0], chunks=2)", "float32 [0]; float32 [0]"),
            ("chunk([6], chunks=0)", "error: `chunks` must be at least 1"),
            ("unbind([2, 3])", "float32 [3]; float32 [3]"),
            (
                "unbind([0, 3])",
                "error: there is nothing to cut axis 0 of [0, 3] into: no parts are asked for",
            ),
            ("diagonal([3, 4])", "float32 [3]"),
            (
                "diagonal([2, 3, 4], offset=2, dim1=-2, dim2=-1)",
                "float32 [2, 2]",
            ),
            ("diagonal([3, 4], offset=-5)", "float32 [0]"),
            (
                "diagonal([3, 4], dim1=1)",
                "error: `dim1` and `dim2` are the same axis 1",
            ),
            (
                "tensor_unfold([10], dimension=0, size=4, step=2)",
                "float32 [4, 4]",
            ),
            (
                "tensor_unfold([3], dimension=0, size=4, step=2)",
                "error: a window of 4 does not fit axis 0 of [3], which has size 3",
            ),
        ]);
    }

    #[test]
    fn strides_of_parts() {
        for (text, strides, expected) in [
            ("slice([10, 4], step=3)", &[4, 1][..], &[12, 1][..]),
            ("select([10, 4], dim=1, index=2)", &[4, 1], &[4]),
            ("narrow([10, 4], start=1, length=2)", &[4, 1], &[4, 1]),
            ("diagonal([3, 4])", &[4, 1], &[5]),
            ("unbind([10, 4], dim=1)", &[4, 1], &[4]),
            (
                "tensor_unfold([10], dimension=0, size=4, step=2)",
                &[1],
                &[2, 1],
            ),
        ] {
            let placed = with(text, |call| {
                (call.op.layout)(call, &[Strides::from_slice(strides)])
            });
            assert_eq!(placed, Ok(Placement::Shared(expected.into())), "{text}");
        }
    }

    proptest! {
        /// The length of a slice is held to walking over Python's indices.
        #[test]
        fn slices_agree_with_walking(
            size in 0i64..8, start in -10i64..10, end in -10i64..10, step in 1i64..5,
        ) {
            let clip = |at: i64| if at < 0 { (at + size).max(0) } else { at.min(size) };
            let mut length = 0;
            let mut at = clip(start);
            while at < clip(end) {
                length += 1;
                at += step;
            }
            prop_assert_eq!(
                outputs(&format!("slice([{size}], start={start}, end={end}, step={step})")),
                format!("float32 [{length}]")
            );
        }

        /// Parts make up the axis, are equal but for the last, and are as many as PyTorch's.
        #[test]
        fn parts_make_up_the_axis(size in 1u64..40, chunks in 1u64..12) {
            let parts = with(&format!("chunk([{size}], chunks={chunks})"), |call| {
                call.outputs.iter().map(|ty| ty.shape.elements()).collect::<Vec<_>>()
            })
            .unwrap();
            prop_assert_eq!(parts.iter().sum::<u64>(), size);
            prop_assert!(parts.len() as u64 <= chunks);
            prop_assert!(parts.windows(2).all(|pair| pair[0] >= pair[1]));
            prop_assert!(parts[..parts.len() - 1].iter().all(|&part| part == parts[0]));
        }
    }
}
