//! Views of a whole tensor in another shape: `reshape`, `squeeze`, `expand` and their kin.
//!
//! They move nothing and compute nothing; ranges and moments pass unchanged. Other
//! orders of the axes stand in `permute`, parts in `slicing`, what copies in `movement`.

use smallvec::smallvec;

use super::definition::{
    BASE, Default, Infer, attribute, no_work, operand, same_interval, same_moments,
};
use super::gradient;
use super::layout::{Layout, Placement, Strides, reshaped};
use super::pointwise::broadcast_factor;
use super::{Attribute, AttributeKind, Call, Op, OpError, Operand, Outputs};
use crate::tensor::{Shape, TensorType};

const SHAPE: Attribute = attribute(
    "shape",
    AttributeKind::Integers,
    Default::Required,
    "the sizes; one may be -1, for whatever is left",
)
.or(&["size"]);

const WITH_OTHER: &[Operand] = &[operand("input"), operand("other")];

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["view"],
        attributes: &[SHAPE],
        ..view(
            "reshape",
            "the same elements in another shape",
            reshape,
            reshaped,
        )
    },
    Op {
        operands: WITH_OTHER,
        aliases: &["view_as"],
        ..view(
            "reshape_as",
            "the same elements in the shape of other",
            reshape_as,
            reshaped,
        )
    },
    Op {
        attributes: &[
            // As of `nn.Flatten`, which keeps the batch; `torch.flatten` begins at 0.
            attribute(
                "start_dim",
                AttributeKind::Integer,
                Default::Integer(1),
                "first axis to join; 1 keeps the batch, as nn.Flatten does",
            ),
            attribute(
                "end_dim",
                AttributeKind::Integer,
                Default::Integer(-1),
                "last axis to join",
            ),
        ],
        ..view(
            "flatten",
            "the axes start_dim to end_dim joined into one",
            flatten,
            reshaped,
        )
    },
    view(
        "ravel",
        "all axes joined into one",
        |call| {
            let input = call.ty(0)?;
            like(input, [input.shape.elements()].into())
        },
        reshaped,
    ),
    Op {
        attributes: &[
            attribute(
                "dim",
                AttributeKind::Integer,
                Default::Required,
                "the axis to split",
            )
            .or(&["axis"]),
            attribute(
                "unflattened_size",
                AttributeKind::Integers,
                Default::Required,
                "sizes of the axes that take its place; one may be -1",
            )
            .or(&["sizes"]),
        ],
        ..view(
            "unflatten",
            "one axis split into several",
            unflatten,
            reshaped,
        )
    },
    Op {
        attributes: &[attribute(
            "dim",
            AttributeKind::Integers,
            Default::None,
            "axes to drop if of size 1; all such if left out",
        )
        .or(&["axis"])],
        ..view("squeeze", "axes of size 1 dropped", squeeze, reshaped)
    },
    Op {
        aliases: &["expand_dims"],
        attributes: &[attribute(
            "dim",
            AttributeKind::Integer,
            Default::Required,
            "where the axis goes",
        )
        .or(&["axis"])],
        ..view("unsqueeze", "an axis of size 1 put in", unsqueeze, reshaped)
    },
    Op {
        aliases: &["broadcast_to"],
        attributes: &[attribute(
            "size",
            AttributeKind::Integers,
            Default::Required,
            "the sizes; -1 keeps an axis",
        )
        .or(&["shape"])],
        ..view(
            "expand",
            "axes of size 1 shown repeatedly",
            expand,
            expanded,
        )
    },
    Op {
        operands: WITH_OTHER,
        ..view(
            "expand_as",
            "shown repeatedly in the shape of other",
            |call| {
                expand_to(
                    call,
                    call.shape(1)?.sizes().iter().map(|&n| n as i64).collect(),
                )
            },
            expanded,
        )
    },
];

/// An entry that shows the elements of its input otherwise.
pub const fn view(name: &'static str, summary: &'static str, infer: Infer, layout: Layout) -> Op {
    Op {
        name,
        summary,
        infer,
        view: true,
        layout,
        work: no_work,
        gradient: gradient::reshaped,
        interval: same_interval,
        moments: same_moments,
        gradient_gain: |call, position, _| {
            (position == 0).then(|| broadcast_factor(call, 0)).flatten()
        },
        ..BASE
    }
}

/// The input's element type in that shape.
pub fn like(input: &TensorType, shape: Shape) -> Result<Outputs, OpError> {
    Ok(smallvec![TensorType {
        shape,
        dtype: input.dtype,
    }])
}

/// The sizes with -1 replaced by what makes `elements` of them.
fn resolve(name: &'static str, sizes: &[i64], elements: u64, of: &str) -> Result<Shape, OpError> {
    let fail = |message: String| Err(OpError::new(message).attribute(name).operands([0]));
    let written = || format!("{sizes:?}");
    let mut known: u64 = 1;
    let mut hole = None;
    for (axis, &size) in sizes.iter().enumerate() {
        if size == -1 && hole.is_none() {
            hole = Some(axis);
        } else if size == -1 {
            return fail(format!("only one entry of {} may be -1", written()));
        } else if let Ok(size) = u64::try_from(size) {
            known = known.saturating_mul(size);
        } else {
            return fail(format!("{} has a size below 0", written()));
        }
    }
    let mut shape: Shape = sizes.iter().map(|&size| size.max(0) as u64).collect();
    match hole {
        Some(_) if known == 0 => {
            return fail(format!(
                "what stands for -1 in {} is undetermined",
                written()
            ));
        }
        Some(axis) if elements.is_multiple_of(known) => shape.set(axis, elements / known),
        Some(_) => {
            return fail(format!(
                "{of} has {elements} elements, which {} does not divide: {elements} / {known} is \
                 not whole",
                written()
            ));
        }
        None if known != elements => {
            let help = "write -1 for the size that follows from the others";
            let message = format!(
                "{of} has {elements} elements, but {} has {known}",
                written()
            );
            return fail(message).map_err(|error: OpError| error.help(help));
        }
        None => {}
    }
    Ok(shape)
}

fn reshape(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let sizes = list(call, "shape")?;
    let elements = input.shape.elements();
    let shape = resolve("shape", &sizes, elements, &input.shape.to_string())?;
    like(input, shape)
}

fn reshape_as(call: &Call) -> Result<Outputs, OpError> {
    let (input, other) = (call.ty(0)?, call.shape(1)?);
    if input.shape.elements() != other.elements() {
        let message = format!(
            "{} has {} elements, but {other} has {}",
            input.shape,
            input.shape.elements(),
            other.elements()
        );
        return Err(OpError::new(message).operands([0, 1]));
    }
    like(input, other.clone())
}

/// A list attribute that must be there.
pub fn list(call: &Call, name: &'static str) -> Result<Vec<i64>, OpError> {
    call.integers(name)
        .ok_or_else(|| OpError::new(format!("`{}` needs `{name}`", call.op.name)).attribute(name))
}

fn flatten(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let sizes = input.shape.sizes();
    if sizes.is_empty() {
        return like(input, [1].into());
    }
    let start = call.axis("start_dim", &input.shape)?;
    let end = call.axis("end_dim", &input.shape)?;
    if start > end {
        let message = format!("`start_dim` is axis {start}, behind `end_dim`, axis {end}");
        return Err(OpError::new(message).attribute("start_dim"));
    }
    let joined = sizes[start..=end]
        .iter()
        .fold(1u64, |product, &size| product.saturating_mul(size));
    let shape = sizes[..start]
        .iter()
        .copied()
        .chain([joined])
        .chain(sizes[end + 1..].iter().copied())
        .collect();
    like(input, shape)
}

fn unflatten(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = call.axis("dim", &input.shape)?;
    let sizes = list(call, "unflattened_size")?;
    let all = input.shape.sizes();
    let of = format!("axis {axis} of {}", input.shape);
    let parts = resolve("unflattened_size", &sizes, all[axis], &of)?;
    let shape = all[..axis]
        .iter()
        .chain(parts.sizes())
        .chain(&all[axis + 1..])
        .copied()
        .collect();
    like(input, shape)
}

fn squeeze(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axes = if input.shape.rank() == 0 {
        Vec::new()
    } else {
        call.axes("dim", &input.shape)?
    };
    let sizes = input.shape.sizes().iter().enumerate();
    let kept = sizes.filter(|(axis, size)| **size != 1 || !axes.contains(axis));
    like(input, kept.map(|(_, &size)| size).collect())
}

fn unsqueeze(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let axis = new_axis(call, "dim", &input.shape)?;
    let mut shape = input.shape.clone();
    shape.insert(axis, 1);
    like(input, shape)
}

/// The place of an axis to be put in, counted from the front.
///
/// # Errors
/// Where it lies outside.
pub fn new_axis(call: &Call, name: &'static str, shape: &Shape) -> Result<usize, OpError> {
    let given = call.integer(name).unwrap_or(0);
    let places = shape.rank() as i64 + 1;
    let index = if given < 0 { given + places } else { given };
    if !(0..places).contains(&index) {
        let message = format!(
            "`{name} = {given}` lies outside {shape}, to which an axis can be added at {} to {}",
            -places,
            places - 1
        );
        return Err(OpError::new(message).attribute(name));
    }
    Ok(index as usize)
}

fn expand(call: &Call) -> Result<Outputs, OpError> {
    expand_to(call, list(call, "size")?)
}

fn expand_to(call: &Call, target: Vec<i64>) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    let sizes = input.shape.sizes();
    let fail = |why: String| {
        let message = format!("{} cannot be expanded to {target:?}: {why}", input.shape);
        Err(OpError::new(message).operands([0]).attribute("size"))
    };
    let Some(added) = target.len().checked_sub(sizes.len()) else {
        return fail(format!("that has fewer than {} axes", sizes.len()));
    };
    let mut shape = Shape::scalar();
    for (axis, &size) in target.iter().enumerate() {
        let own = axis.checked_sub(added).map(|at| sizes[at]);
        shape.push(match (own, u64::try_from(size)) {
            (Some(own), _) if size == -1 => own,
            (Some(1) | None, Ok(size)) => size,
            (Some(own), Ok(size)) if own == size => own,
            (Some(own), Ok(size)) => {
                return fail(format!(
                    "axis {axis} has size {own}, which is neither 1 nor {size}"
                ));
            }
            (_, Err(_)) => return fail(format!("axis {axis} would have size {size}")),
        });
    }
    like(input, shape)
}

fn expanded(call: &Call, strides: &[Strides]) -> Placement {
    let own = strides.first().cloned().unwrap_or_default();
    let (Some(output), Ok(input)) = (call.output(), call.shape(0)) else {
        return Placement::Shared(own);
    };
    let added = output.shape.rank().saturating_sub(input.rank());
    let sizes = output.shape.sizes().iter().enumerate();
    let stride = |(axis, &size): (usize, &u64)| match axis.checked_sub(added) {
        Some(at) if input.sizes()[at] == size => own.get(at).copied().unwrap_or(0),
        _ => 0,
    };
    Placement::Shared(sizes.map(stride).collect())
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, outputs, shown, with};
    use crate::ops::layout::{Placement, Strides, contiguous_strides};
    use proptest::prelude::*;

    #[test]
    fn shapes_follow_pytorch() {
        check(&[
            ("reshape([2, 6], shape=[3, -1])", "float32 [3, 4]"),
            ("reshape([2, 6], shape=[-1])", "float32 [12]"),
            ("reshape([], shape=[1, 1])", "float32 [1, 1]"),
            ("view(int64 [0, 3], size=[3, 0])", "int64 [3, 0]"),
            (
                "reshape([2, 6], shape=[5, -1])",
                "error: [2, 6] has 12 elements, which [5, -1] does not divide: 12 / 5 is not whole",
            ),
            (
                "reshape([2, 6], shape=[5, 2])",
                "error: [2, 6] has 12 elements, but [5, 2] has 10",
            ),
            (
                "reshape([2, 6], shape=[-1, -1])",
                "error: only one entry of [-1, -1] may be -1",
            ),
            (
                "reshape([2], shape=[2, -3])",
                "error: [2, -3] has a size below 0",
            ),
            (
                "reshape([0], shape=[0, -1])",
                "error: what stands for -1 in [0, -1] is undetermined",
            ),
            ("reshape_as([2, 3], [6])", "float32 [6]"),
            (
                "reshape_as([2, 3], [5])",
                "error: [2, 3] has 6 elements, but [5] has 5",
            ),
            ("flatten([2, 3, 4])", "float32 [2, 12]"),
            ("flatten([2, 3, 4], start_dim=0)", "float32 [24]"),
            (
                "flatten([2, 3, 4, 5], start_dim=1, end_dim=2)",
                "float32 [2, 12, 5]",
            ),
            ("flatten([], start_dim=0)", "float32 [1]"),
            (
                "flatten([2, 3, 4], start_dim=2, end_dim=1)",
                "error: `start_dim` is axis 2, behind `end_dim`, axis 1",
            ),
            ("ravel([2, 3])", "float32 [6]"),
            (
                "unflatten([2, 12], dim=1, unflattened_size=[3, -1])",
                "float32 [2, 3, 4]",
            ),
            (
                "unflatten([2, 12], dim=1, sizes=[5, 2])",
                "error: axis 1 of [2, 12] has 12 elements, but [5, 2] has 10",
            ),
            ("squeeze([1, 2, 1])", "float32 [2]"),
            ("squeeze([1, 2, 1], dim=[0, 1])", "float32 [2, 1]"),
            ("squeeze([])", "float32 []"),
            ("unsqueeze([2], dim=-1)", "float32 [2, 1]"),
            (
                "unsqueeze([2], axis=3)",
                "error: `dim = 3` lies outside [2], to which an axis can be added at -2 to 1",
            ),
            ("expand([1, 3], size=[4, -1])", "float32 [4, 3]"),
            ("broadcast_to([3], shape=[2, 3])", "float32 [2, 3]"),
            (
                "expand([2, 3], size=[4, 3])",
                "error: [2, 3] cannot be expanded to [4, 3]: axis 0 has size 2, which is neither 1 \
                 nor 4",
            ),
            (
                "expand([3], size=[-1, 3])",
                "error: [3] cannot be expanded to [-1, 3]: axis 0 would have size -1",
            ),
            ("expand_as([3], [2, 3])", "float32 [2, 3]"),
        ]);
    }

    proptest! {
        /// Shapes and strides of views are held to ndarray's on an array of its own offsets.
        #[test]
        fn views_agree_with_ndarray(
            sizes in prop::collection::vec(1u64..4, 3),
            a in 0usize..3,
        ) {
            let strides = contiguous_strides(&sizes);
            let extent: Vec<usize> = sizes.iter().map(|&n| n as usize).collect();
            let count = sizes.iter().product::<u64>();
            let array =
                ndarray::ArrayD::from_shape_vec(extent.clone(), (0..count).collect()).unwrap();
            let elements = |array: ndarray::ArrayD<u64>| array.iter().copied().collect::<Vec<_>>();

            let target = [2, extent[0], extent[1], extent[2]];
            let expected = array.broadcast(&target[..]).unwrap().to_owned();
            let text = format!("expand({sizes:?}, size={target:?})");
            prop_assert_eq!(shown(&text, &strides), elements(expected));

            let expected = array.clone().insert_axis(ndarray::Axis(a));
            let text = format!("unsqueeze({sizes:?}, dim={a})");
            prop_assert_eq!(outputs(&text), format!("float32 {:?}", expected.shape()));
            prop_assert_eq!(shown(&text, &strides), elements(expected));
        }
    }

    #[test]
    fn reshape_copies_what_has_no_strides() {
        let placed = |strides: &[u64]| {
            with("reshape([2, 3, 4], shape=[2, 12])", |call| {
                (call.op.layout)(call, &[Strides::from_slice(strides)])
            })
            .unwrap()
        };
        let own = |strides: &[u64]| Placement::Own(Strides::from_slice(strides));
        assert_eq!(
            placed(&[12, 4, 1]),
            Placement::Shared([12, 1].as_slice().into())
        );
        assert_eq!(placed(&[12, 1, 3]), own(&[12, 1]));
    }
}
