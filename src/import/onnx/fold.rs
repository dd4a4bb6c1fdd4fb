//! Calls whose results are known before the model runs: shapes, and what is computed from them.
//!
//! Only small tensors are computed with element by element; of one value everywhere, any.

use std::rc::Rc;

use super::arithmetic::{nonzero, pointwise, reduce, select};
use super::call::Call;
use super::constant::{Constant, Indices, MAX_ELEMENTS, dtype, place, shape};
use super::lower::domain;
use super::schema::{Elements, TensorProto};
use super::slot::Origin;
use crate::tensor::{Dtype, Shape, TensorType};

/// The results of the call, where they are known.
pub(super) fn fold(call: &Call<'_, '_>) -> Option<Vec<Constant>> {
    if !domain(&call.node.domain).is_empty() {
        return None;
    }
    match call.node.op_type.as_str() {
        "Shape" => return sizes(call).map(|one| vec![one]),
        "Size" => {
            let elements = call.shape(0)?.checked_elements()?;
            let elements = i64::try_from(elements).ok()?;
            return Some(vec![Constant::integers(
                Shape::scalar(),
                Dtype::Int64,
                vec![elements],
            )]);
        }
        "Constant" => return literal(call).map(|one| vec![one]),
        _ => {}
    }
    let inputs = known_inputs(call)?;
    let result = match call.node.op_type.as_str() {
        "Split" => return split(call, &inputs),
        "ConstantOfShape" => filled(call, &inputs),
        "Range" => range(&inputs),
        "Cast" => cast(call, &inputs),
        "CastLike" => Some(inputs.first()?.cast(inputs.get(1)?.ty.dtype)),
        "Concat" => concat(call, &inputs),
        "Slice" => slice(call, &inputs),
        "Gather" => gather(call, &inputs),
        "Unsqueeze" => unsqueeze(call, &inputs),
        "Squeeze" => squeeze(call, &inputs),
        "Reshape" => {
            let target = inputs.get(1)?.all_integers()?;
            let allow_zero = call.attributes.flag("allowzero");
            let first = inputs.first()?;
            first.reshaped(reshaped(&first.ty.shape, &target, allow_zero)?)
        }
        "Transpose" => transpose(call, &inputs),
        "Expand" => {
            let first = inputs.first()?;
            let target = shape(&inputs.get(1)?.all_integers()?)?;
            let target = first.ty.shape.broadcast(&target)?;
            first.picked(target, |index| Some(place(index, &first.ty.shape)))
        }
        "Tile" => {
            let (first, repeats) = (inputs.first()?, inputs.get(1)?.all_integers()?);
            let tiled: Option<Shape> = first
                .ty
                .shape
                .sizes()
                .iter()
                .zip(&repeats)
                .map(|(&size, &times)| size.checked_mul(u64::try_from(times).ok()?))
                .collect();
            let sizes = first.ty.shape.sizes();
            let tiled = tiled.filter(|_| repeats.len() == sizes.len())?;
            first.picked(tiled, |index| {
                let wrapped: Vec<u64> = index.iter().zip(sizes).map(|(&i, &n)| i % n).collect();
                Some(place(&wrapped, &first.ty.shape))
            })
        }
        "Where" => select(&inputs),
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" => reduce(call, &inputs),
        "NonZero" => nonzero(&inputs),
        name => pointwise(name, call, &inputs),
    };
    result.map(|one| vec![one])
}

/// The values of the inputs, where all are known; a weight is more than its values.
fn known_inputs(call: &Call<'_, '_>) -> Option<Vec<Rc<Constant>>> {
    if call.inputs.is_empty() {
        return None;
    }
    (0..call.inputs.len())
        .filter(|&at| call.has(at))
        .map(|at| {
            let slot = call.tensor_slot(at)?;
            let known = slot.known.as_ref()?;
            let weight = slot.origin == Origin::Initializer
                && slot.ty.dtype.is_float()
                && known.len() > 1
                // Scales and regions of interest are read as numbers.
                && call.node.op_type != "Resize";
            (!weight).then(|| known.clone())
        })
        .collect()
}

fn sizes(call: &Call<'_, '_>) -> Option<Constant> {
    let shape = call.shape(0)?;
    let rank = shape.rank() as i64;
    let bound = |name: &str, default: i64| {
        let value = call.attributes.integer(name).unwrap_or(default);
        let value = if value < 0 {
            value.saturating_add(rank)
        } else {
            value
        };
        value.clamp(0, rank) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", rank));
    let sizes = shape.sizes().get(start..end.max(start))?;
    let sizes: Option<Vec<i64>> = sizes.iter().map(|&size| i64::try_from(size).ok()).collect();
    Some(Constant::list(sizes?))
}

/// What a `Constant` holds.
fn literal(call: &Call<'_, '_>) -> Option<Constant> {
    let attributes = &call.attributes;
    if let Some(tensor) = attributes.tensor("value") {
        return Constant::of(tensor);
    }
    let scalar = Shape::scalar;
    if let Some(value) = attributes.float("value_float") {
        return Some(Constant::floats(scalar(), Dtype::Float32, vec![value]));
    }
    if let Some(value) = attributes.integer("value_int") {
        return Some(Constant::integers(scalar(), Dtype::Int64, vec![value]));
    }
    if let Some(values) = attributes.integers("value_ints") {
        return Some(Constant::list(values.to_vec()));
    }
    let values = attributes.floats("value_floats")?;
    let values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
    Some(Constant::floats(
        [values.len() as u64],
        Dtype::Float32,
        values,
    ))
}

/// The type of what a `Constant` holds, where its values are not kept.
pub(super) fn literal_type(call: &Call<'_, '_>) -> Option<TensorType> {
    let tensor: &TensorProto = match call.attributes.raw("sparse_value") {
        Some(sparse) => {
            let sparse = sparse.sparse_tensor.as_ref()?;
            let dtype = dtype(sparse.values.as_ref()?.data_type)?;
            return Some(TensorType::new(shape(&sparse.dims)?, dtype));
        }
        None => call.attributes.tensor("value")?,
    };
    Some(TensorType::new(
        shape(&tensor.dims)?,
        dtype(tensor.data_type)?,
    ))
}

fn filled(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let target = shape(&inputs.first()?.all_integers()?)?;
    let value = match call.attributes.tensor("value") {
        Some(tensor) if tensor.elements == Elements::Absent => return None,
        Some(tensor) => Constant::of(tensor)?,
        None => Constant::floats(Shape::scalar(), Dtype::Float32, vec![0.0]),
    };
    (value.len() == 1).then(|| value.spread(target))
}

fn range(inputs: &[Rc<Constant>]) -> Option<Constant> {
    let [start, limit, delta] = inputs else {
        return None;
    };
    let dtype = start.ty.dtype;
    let (from, to, step) = (start.real(0), limit.real(0), delta.real(0));
    let count = ((to - from) / step).ceil().max(0.0);
    if !count.is_finite() || count > MAX_ELEMENTS as f64 {
        return None;
    }
    let values = (0..count as u64).map(|at| from + at as f64 * step);
    Some(Constant::floats([count as u64], dtype, values.collect()))
}

fn cast(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let to = i32::try_from(call.attributes.integer("to")?).ok()?;
    Some(inputs.first()?.cast(dtype(to)?))
}

fn concat(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let first = inputs.first()?;
    let rank = first.ty.shape.rank();
    let axis = call.axis("axis", 0, rank)?;
    let mut joined = first.ty.shape.clone();
    let mut total = 0u64;
    for input in inputs {
        let shape = &input.ty.shape;
        let same = shape.rank() == rank
            && (0..rank).all(|at| at == axis || shape.sizes()[at] == joined.sizes()[at]);
        if !same || input.ty.dtype != first.ty.dtype {
            return None;
        }
        total = total.checked_add(shape.sizes()[axis])?;
    }
    joined.set(axis, total);
    if joined.checked_elements()? > MAX_ELEMENTS {
        return None;
    }
    let mut values = Vec::new();
    let mut integers = Vec::new();
    for mut index in Indices::of(&joined) {
        let holder = inputs.iter().find(|input| {
            let size = input.ty.shape.sizes()[axis];
            let inside = index[axis] < size;
            if !inside {
                index[axis] -= size;
            }
            inside
        })?;
        let at = place(&index, &holder.ty.shape);
        match first.ty.dtype.is_float() {
            true => values.push(holder.real(at)),
            false => integers.push(holder.integer(at)),
        }
    }
    Some(match first.ty.dtype.is_float() {
        true => Constant::floats(joined, first.ty.dtype, values),
        false => Constant::integers(joined, first.ty.dtype, integers),
    })
}

/// Where a slice begins and how many elements it takes, from an axis of `size` elements.
pub(super) fn slice_bounds(size: u64, start: i64, end: i64, step: i64) -> Option<(i64, u64)> {
    let size = i64::try_from(size).ok()?;
    let clamp = |at: i64, low: i64, high: i64| {
        let at = if at < 0 { at.saturating_add(size) } else { at };
        at.clamp(low, high)
    };
    let (start, span) = match step {
        0 => return None,
        1.. => {
            let start = clamp(start, 0, size);
            (start, clamp(end, 0, size) - start)
        }
        _ => {
            let start = clamp(start, 0, size - 1);
            (start, start - clamp(end, -1, size - 1))
        }
    };
    let count = span.max(0) as u64;
    Some((start, count.div_ceil(step.unsigned_abs())))
}

/// The slices of a `Slice`: axis, start, end, step.
pub(super) fn slices(call: &Call<'_, '_>) -> Option<Vec<(usize, i64, i64, i64)>> {
    let rank = call.rank(0)?;
    let (starts, ends, axes, steps) = match call.attributes.integers("starts") {
        Some(starts) => (
            starts.to_vec(),
            call.attributes.integers("ends")?.to_vec(),
            call.attributes.integers("axes").map(<[i64]>::to_vec),
            None,
        ),
        None => {
            let given = |at: usize| match call.has(at) {
                true => call.known_integers(at).map(Some),
                false => Some(None),
            };
            (
                call.known_integers(1)?,
                call.known_integers(2)?,
                given(3)?,
                given(4)?,
            )
        }
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    if ends.len() != starts.len() || axes.len() != starts.len() {
        return None;
    }
    (0..starts.len())
        .map(|at| {
            let step = match &steps {
                Some(steps) => *steps.get(at)?,
                None => 1,
            };
            Some((
                super::call::axis(axes[at], rank)?,
                starts[at],
                ends[at],
                step,
            ))
        })
        .collect()
}

fn slice(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let first = inputs.first()?;
    let mut target = first.ty.shape.clone();
    let mut steps: Vec<(i64, i64)> = vec![(0, 1); target.rank()];
    for (axis, start, end, step) in slices(call)? {
        let (start, count) = slice_bounds(target.sizes()[axis], start, end, step)?;
        target.set(axis, count);
        steps[axis] = (start, step);
    }
    first.picked(target, |index| {
        let source: Option<Vec<u64>> = index
            .iter()
            .zip(&steps)
            .map(|(&i, &(start, step))| u64::try_from(start + i as i64 * step).ok())
            .collect();
        Some(place(&source?, &first.ty.shape))
    })
}

fn gather(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let (data, indices) = (inputs.first()?, inputs.get(1)?);
    let from = &data.ty.shape;
    let axis = call.axis("axis", 0, from.rank())?;
    let inner = indices.ty.shape.rank();
    let target: Shape = from.sizes()[..axis]
        .iter()
        .chain(indices.ty.shape.sizes())
        .chain(&from.sizes()[axis + 1..])
        .copied()
        .collect();
    let size = i64::try_from(from.sizes()[axis]).ok()?;
    data.picked(target, |index| {
        let at = indices.integer(place(&index[axis..axis + inner], &indices.ty.shape));
        let at = u64::try_from(if at < 0 { at + size } else { at }).ok()?;
        let mut source = index[..axis].to_vec();
        source.push(at);
        source.extend_from_slice(&index[axis + inner..]);
        Some(place(&source, from))
    })
}

/// The shape of an `Unsqueeze`.
pub(super) fn unsqueezed(from: &Shape, axes: &[i64]) -> Option<Shape> {
    let rank = from.rank() + axes.len();
    let mut new = vec![false; rank];
    for &axis in axes {
        new[super::call::axis(axis, rank)?] = true;
    }
    let mut old = from.sizes().iter();
    new.iter()
        .map(|&new| if new { Some(1) } else { old.next().copied() })
        .collect()
}

/// The shape of a `Squeeze`: of all axes of size 1, or of those named.
pub(super) fn squeezed(from: &Shape, axes: Option<&[i64]>) -> Option<Shape> {
    let rank = from.rank();
    let mut gone = vec![false; rank];
    match axes {
        Some(axes) => {
            for &axis in axes {
                let axis = super::call::axis(axis, rank)?;
                gone[axis] = from.sizes()[axis] == 1;
                if !gone[axis] {
                    return None;
                }
            }
        }
        None => gone = from.sizes().iter().map(|&size| size == 1).collect(),
    }
    let kept = from.sizes().iter().zip(gone).filter(|(_, gone)| !gone);
    Some(kept.map(|(&size, _)| size).collect())
}

/// The shape of a `Reshape`: 0 keeps the axis, -1 takes what is left.
pub(super) fn reshaped(from: &Shape, target: &[i64], allow_zero: bool) -> Option<Shape> {
    let mut sizes: Vec<u64> = Vec::with_capacity(target.len());
    let mut open = None;
    for (at, &size) in target.iter().enumerate() {
        sizes.push(match size {
            -1 => {
                if open.replace(at).is_some() {
                    return None;
                }
                1
            }
            0 if !allow_zero => *from.sizes().get(at)?,
            size => u64::try_from(size).ok()?,
        });
    }
    if let Some(at) = open {
        let rest = Shape::from(&sizes[..]).checked_elements()?;
        sizes[at] = from.checked_elements()?.checked_div(rest)?;
    }
    let shape = Shape::from(&sizes[..]);
    (shape.checked_elements()? == from.checked_elements()?).then_some(shape)
}

fn unsqueeze(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let first = inputs.first()?;
    let axes = call.integers_at("axes", 1)??;
    first.reshaped(unsqueezed(&first.ty.shape, &axes)?)
}

fn squeeze(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let first = inputs.first()?;
    let axes = match call.integers_at("axes", 1) {
        Some(axes) => Some(axes?),
        None => None,
    };
    first.reshaped(squeezed(&first.ty.shape, axes.as_deref())?)
}

/// The order of the axes of a `Transpose`.
pub(super) fn permutation(call: &Call<'_, '_>, rank: usize) -> Option<Vec<usize>> {
    let axes: Vec<usize> = match call.attributes.integers("perm") {
        Some(axes) => axes
            .iter()
            .map(|&axis| super::call::axis(axis, rank))
            .collect::<Option<_>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut seen = vec![false; rank];
    for &axis in &axes {
        if std::mem::replace(&mut seen[axis], true) {
            return None;
        }
    }
    (axes.len() == rank).then_some(axes)
}

fn transpose(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let first = inputs.first()?;
    let from = &first.ty.shape;
    let axes = permutation(call, from.rank())?;
    let target: Shape = axes.iter().map(|&axis| from.sizes()[axis]).collect();
    first.picked(target, |index| {
        let mut source = vec![0; axes.len()];
        for (&axis, &i) in axes.iter().zip(index) {
            source[axis] = i;
        }
        Some(place(&source, from))
    })
}

fn split(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Vec<Constant>> {
    let first = inputs.first()?;
    let from = &first.ty.shape;
    let axis = call.axis("axis", 0, from.rank())?;
    let parts = super::layout::split_sizes(call, from.sizes()[axis])?;
    let mut start = 0;
    let mut results = Vec::with_capacity(parts.len());
    for part in parts {
        let mut target = from.clone();
        target.set(axis, part);
        results.push(first.picked(target, |index| {
            let mut source = index.to_vec();
            source[axis] += start;
            Some(place(&source, from))
        })?);
        start += part;
    }
    Some(results)
}
