//! Views of parts of a tensor: `slice`, `select`, `split`, `diagonal`, sliding windows.
//!
//! Every output shares the storage of the input. Views of a whole tensor stand in `shape`.

use smallvec::smallvec;

use super::definition::{
    BASE, Default, Infer, attribute, no_work, same_interval, same_moments, unit_gain,
};
use super::gradient;
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
        gradient: gradient::padded,
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
mod tests;
