//! Copies that repeat, pad and reorder a tensor: `repeat`, `pad`, `roll`, `tril`.
//!
//! They move data and compute nothing, apart from masks. What joins tensors stands in `joining`,
//! what rearranges images in `image`.

use super::definition::{BASE, Default, Infer, attribute, no_work, same_interval, same_moments};
use super::pointwise::{broadcast_factor, keep, operations, range};
use super::shape::{like, list};
use super::slicing::diagonal_length;
use super::{Attribute, AttributeKind, Call, Op, OpError, Outputs};
use crate::tensor::{Interval, Moments, Shape};

const DIAGONAL: &[Attribute] = &[attribute(
    "diagonal",
    AttributeKind::Integer,
    Default::Integer(0),
    "0 for the main diagonal, above it beyond, below it under",
)
.or(&["offset", "k"])];

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        attributes: &[attribute(
            "repeats",
            AttributeKind::Integers,
            Default::Required,
            "how often along each axis; further axes go in front",
        )],
        ..copy("repeat", "copies side by side along every axis", |call| {
            repeat(call, "repeats", false)
        })
    },
    Op {
        attributes: &[attribute(
            "dims",
            AttributeKind::Integers,
            Default::Required,
            "how often along each of the last axes",
        )
        .or(&["reps"])],
        ..copy("tile", "copies side by side, as of NumPy", |call| {
            repeat(call, "dims", true)
        })
    },
    Op {
        attributes: &[
            attribute(
                "repeats",
                AttributeKind::Size,
                Default::Required,
                "how often each",
            ),
            attribute(
                "dim",
                AttributeKind::Integer,
                Default::None,
                "the axis; the flattened tensor if left out",
            )
            .or(&["axis"]),
        ],
        ..copy(
            "repeat_interleave",
            "each index repeated in place",
            repeat_interleave,
        )
    },
    Op {
        attributes: &[
            attribute(
                "pad",
                AttributeKind::Integers,
                Default::Required,
                "elements before and behind the last axis, then the one before it, and so on; \
                 below 0 they are cut off",
            )
            .or(&["padding"]),
            attribute(
                "mode",
                AttributeKind::Choice(&["constant", "reflect", "replicate", "circular"]),
                Default::Text("constant"),
                "what is put there",
            ),
            attribute(
                "value",
                AttributeKind::Float,
                Default::Float(0.0),
                "of mode constant",
            ),
        ],
        interval: |call, ranges| {
            if is_constant(call) && call.output_elements() > call.elements(0) {
                range(ranges, 0).union(Interval::point(call.float("value").unwrap_or(0.0)))
            } else {
                range(ranges, 0)
            }
        },
        moments: |call, moments| {
            if !is_constant(call) {
                return same_moments(call, moments);
            }
            let value = Moments::constant(call.float("value").unwrap_or(0.0));
            let all = call.output_elements().max(1) as f64;
            let share = (call.elements(0) as f64 / all).min(1.0);
            Some(mix([
                (share, moments.first().copied().flatten()?),
                (1.0 - share, value),
            ]))
        },
        // The kernels of these modes have the shape of the gradient from what they padded.
        saved: |call, saved| {
            if matches!(call.text("mode").as_deref(), Some("reflect" | "replicate")) {
                keep(call, saved, 0);
            }
        },
        // A circle is written into an empty tensor part by part: of each part the gradient is cut
        // out of a copy, put among zeros, and added to what is left.
        gradient: |call, gradient| {
            if call.requires_grad(0) && call.text("mode").as_deref() == Some("circular") {
                let all = gradient.output_bytes();
                gradient.node(all);
                gradient.moment(&[all, all]);
            }
            gradient.make(0);
        },
        // The constant border takes its gradients with it.
        gradient_gain: |call, position, _| (position == 0 && is_constant(call)).then_some(1.0),
        ..copy("pad", "elements put around the last axes", pad)
    },
    Op {
        attributes: &[attribute(
            "dims",
            AttributeKind::Integers,
            Default::Required,
            "axes to turn round",
        )
        .or(&["axis", "dim"])],
        ..copy("flip", "axes turned round", |call| {
            call.axes("dims", call.shape(0)?)?;
            like(call.ty(0)?, call.shape(0)?.clone())
        })
    },
    Op {
        attributes: &[
            attribute(
                "shifts",
                AttributeKind::Integers,
                Default::Required,
                "by how much",
            ),
            attribute(
                "dims",
                AttributeKind::Integers,
                Default::None,
                "axes; the flattened tensor if left out",
            )
            .or(&["axis", "dim"]),
        ],
        ..copy("roll", "indices moved round along axes", roll)
    },
    Op {
        attributes: &[
            attribute(
                "k",
                AttributeKind::Integer,
                Default::Integer(1),
                "quarter turns",
            ),
            attribute(
                "dims",
                AttributeKind::Integers,
                Default::None,
                "the plane; [0, 1] if left out",
            )
            .or(&["axes"]),
        ],
        ..copy("rot90", "quarter turns in the plane of two axes", rot90)
    },
    Op {
        attributes: DIAGONAL,
        work: |call| operations(call, 1),
        interval: with_zero,
        ..copy("tril", "what stands above a diagonal made 0", triangle)
    },
    Op {
        attributes: DIAGONAL,
        work: |call| operations(call, 1),
        interval: with_zero,
        ..copy("triu", "what stands under a diagonal made 0", triangle)
    },
    Op {
        attributes: DIAGONAL,
        interval: |call, ranges| match call.shape(0) {
            Ok(shape) if shape.rank() == 1 && call.output_elements() > call.elements(0) => {
                with_zero(call, ranges)
            }
            _ => range(ranges, 0),
        },
        moments: |_, _| None,
        ..copy(
            "diag",
            "a matrix with that diagonal, or the diagonal of a matrix",
            diag,
        )
    },
];

/// An entry that moves data.
pub const fn copy(name: &'static str, summary: &'static str, infer: Infer) -> Op {
    Op {
        name,
        summary,
        infer,
        work: no_work,
        interval: same_interval,
        moments: same_moments,
        gradient_gain: |call, position, _| {
            let shrinks = call.output_elements() < call.elements(0);
            (position == 0 && !shrinks)
                .then(|| broadcast_factor(call, 0))
                .flatten()
        },
        ..BASE
    }
}

/// The first operand's range and 0.
pub fn with_zero(_: &Call, ranges: &[Interval]) -> Interval {
    range(ranges, 0).union(Interval::point(0.0))
}

/// Moments of elements of which shares have these moments.
pub fn mix(shares: impl IntoIterator<Item = (f64, Moments)>) -> Moments {
    let (mut mean, mut square) = (0.0, 0.0);
    for (share, part) in shares {
        mean += share * part.mean;
        square += share * part.square();
    }
    Moments::new(mean, square - mean * mean)
}

/// `repeats` for at least as many axes as there are; `tile` fills up with ones in front.
fn repeat(call: &Call, name: &'static str, fill: bool) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let mut repeats = list(call, name)?;
    let rank = input.shape.rank();
    while fill && repeats.len() < rank {
        repeats.insert(0, 1);
    }
    let Some(added) = repeats.len().checked_sub(rank) else {
        let message = format!(
            "`{name}` has {} entries, but {} has {rank} axes",
            repeats.len(),
            input.shape
        );
        return Err(OpError::new(message).attribute(name).operands([0]));
    };
    let mut shape = Shape::scalar();
    for (axis, &count) in repeats.iter().enumerate() {
        let Ok(count) = u64::try_from(count) else {
            let message = format!("`{name}` has {count}, below 0");
            return Err(OpError::new(message).attribute(name));
        };
        let own = axis
            .checked_sub(added)
            .map_or(1, |at| input.shape.sizes()[at]);
        shape.push(own.saturating_mul(count));
    }
    like(input, shape)
}

fn repeat_interleave(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let repeats = call.size("repeats")?;
    if !call.is_given("dim") {
        return like(
            input,
            [input.shape.elements().saturating_mul(repeats)].into(),
        );
    }
    let axis = call.axis("dim", &input.shape)?;
    let mut shape = input.shape.clone();
    shape.set(axis, shape.sizes()[axis].saturating_mul(repeats));
    like(input, shape)
}

fn is_constant(call: &Call) -> bool {
    call.text("mode").is_none_or(|mode| mode == "constant")
}

fn pad(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let pad = list(call, "pad")?;
    let rank = input.shape.rank();
    let fail = |message: String| Err(OpError::new(message).attribute("pad").operands([0]));
    if pad.len() % 2 != 0 {
        return fail(format!(
            "`pad` has {} entries, but they come in pairs",
            pad.len()
        ));
    }
    if pad.len() / 2 > rank {
        return fail(format!(
            "`pad` names {} axes, but {} has {rank}",
            pad.len() / 2,
            input.shape
        ));
    }
    let mode = call.text("mode").unwrap_or_default();
    let mut shape = input.shape.clone();
    for (pair, ends) in pad.chunks_exact(2).enumerate() {
        let axis = rank - 1 - pair;
        let size = shape.sizes()[axis];
        let (before, behind) = (ends[0], ends[1]);
        // Reflection does not repeat the border, so it reaches one element less far.
        let reach = match mode.as_str() {
            "reflect" => Some(size as i64 - 1),
            "circular" => Some(size as i64),
            _ => None,
        };
        if let Some(reach) = reach
            && before.max(behind) > reach
        {
            return fail(format!(
                "mode {mode} pads axis {axis} of {} by at most {reach}, not by {}",
                input.shape,
                before.max(behind)
            ));
        }
        let padded = i128::from(size) + i128::from(before) + i128::from(behind);
        match u64::try_from(padded) {
            Ok(padded) => shape.set(axis, padded),
            Err(_) => {
                return fail(format!(
                    "axis {axis} of {} would have size {size} + {before} + {behind} = {padded}",
                    input.shape
                ));
            }
        }
    }
    like(input, shape)
}

fn roll(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let shifts = list(call, "shifts")?;
    let dims = call.integers("dims").unwrap_or_default();
    if call.is_given("dims") {
        if dims.len() != shifts.len() {
            let message = format!(
                "`shifts` has {} entries, but `dims` {}",
                shifts.len(),
                dims.len()
            );
            return Err(OpError::new(message).attribute("shifts"));
        }
        for dim in dims {
            if input.shape.axis(dim).is_none() {
                let rank = input.shape.rank();
                let message = format!(
                    "`dims` names axis {dim}, but {} has {rank} axes",
                    input.shape
                );
                return Err(OpError::new(message).attribute("dims"));
            }
        }
    } else if shifts.len() != 1 {
        let message = format!("`shifts` has {} entries, so `dims` must too", shifts.len());
        return Err(OpError::new(message).attribute("shifts"));
    }
    like(input, input.shape.clone())
}

fn rot90(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let dims = call.integers("dims").unwrap_or_else(|| vec![0, 1]);
    let axes: Vec<usize> = dims
        .iter()
        .filter_map(|&dim| input.shape.axis(dim))
        .collect();
    let (&[a, b], 2) = (axes.as_slice(), dims.len()) else {
        let message = format!(
            "`dims` must name two axes of {}, but it is {dims:?}",
            input.shape
        );
        return Err(OpError::new(message).attribute("dims"));
    };
    if a == b {
        let message = format!("`dims` names axis {a} twice");
        return Err(OpError::new(message).attribute("dims"));
    }
    let mut shape = input.shape.clone();
    if call.integer("k").unwrap_or(1).rem_euclid(2) == 1 {
        let (rows, columns) = (shape.sizes()[a], shape.sizes()[b]);
        shape.set(a, columns);
        shape.set(b, rows);
    }
    like(input, shape)
}

fn triangle(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    if input.shape.rank() < 2 {
        let message = format!(
            "`{}` needs 2 axes, but its input is {}",
            call.op.name, input.shape
        );
        return Err(OpError::new(message).operands([0]));
    }
    like(input, input.shape.clone())
}

fn diag(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let offset = call.integer("diagonal").unwrap_or(0);
    match *input.shape.sizes() {
        [length] => {
            let size = length.saturating_add(offset.unsigned_abs());
            like(input, [size, size].into())
        }
        [rows, columns] => like(input, [diagonal_length(rows, columns, offset)].into()),
        _ => {
            let message = format!("`diag` takes 1 or 2 axes, but its input is {}", input.shape);
            Err(OpError::new(message).operands([0]))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals};

    #[test]
    fn shapes_follow_pytorch() {
        check(&[
            ("repeat([3], repeats=[4, 2])", "float32 [4, 6]"),
            (
                "repeat([2, 3], repeats=[4])",
                "error: `repeats` has 1 entries, but [2, 3] has 2 axes",
            ),
            ("tile([2, 3], reps=[4])", "float32 [2, 12]"),
            ("repeat_interleave([2, 3], repeats=2)", "float32 [12]"),
            (
                "repeat_interleave([2, 3], repeats=2, dim=1)",
                "float32 [2, 6]",
            ),
            ("pad([2, 3], pad=[1, 2])", "float32 [2, 6]"),
            ("pad([2, 3], pad=[1, -1, 2, 0], value=5)", "float32 [4, 3]"),
            (
                "pad([2, 3], pad=[1])",
                "error: `pad` has 1 entries, but they come in pairs",
            ),
            (
                "pad([2, 3], pad=[3, 0], mode=reflect)",
                "error: mode reflect pads axis 1 of [2, 3] by at most 2, not by 3",
            ),
            (
                "pad([2, 3], pad=[-2, -2])",
                "error: axis 1 of [2, 3] would have size 3 + -2 + -2 = -1",
            ),
            ("flip([2, 3], dims=[0])", "float32 [2, 3]"),
            ("roll([2, 3], shifts=1, dims=0)", "float32 [2, 3]"),
            (
                "roll([2, 3], shifts=[1, 2])",
                "error: `shifts` has 2 entries, so `dims` must too",
            ),
            ("rot90([2, 3])", "float32 [3, 2]"),
            ("rot90([2, 3, 4], k=-1, dims=[0, 2])", "float32 [4, 3, 2]"),
            ("rot90([2, 3], k=2)", "float32 [2, 3]"),
            (
                "tril([3])",
                "error: `tril` needs 2 axes, but its input is [3]",
            ),
            ("diag([3], diagonal=-1)", "float32 [4, 4]"),
            ("diag([3, 4])", "float32 [3]"),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("pad([2], pad=[1, 0], value=-3)", &[(1.0, 2.0)], "[-3, 2]"),
            ("pad([2], pad=[-1, 0], value=-3)", &[(1.0, 2.0)], "[1, 2]"),
            (
                "pad([2], pad=[1, 0], mode=reflect)",
                &[(1.0, 2.0)],
                "[1, 2]",
            ),
            ("tril([2, 2])", &[(1.0, 2.0)], "[0, 2]"),
            ("diag([2])", &[(1.0, 2.0)], "[0, 2]"),
            ("diag([2, 2])", &[(1.0, 2.0)], "[1, 2]"),
        ]);
    }
}
