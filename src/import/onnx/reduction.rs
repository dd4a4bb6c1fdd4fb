//! Reductions over axes, softmax, and what ranks along an axis.

use super::call::{Call, Output, Results, all, axis, one, sizes_of};
use super::elementwise::counts;
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::ops::AttributeValue;
use crate::tensor::{Dtype, Shape};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("ArgMax", Special(argmax)),
    ("ArgMin", Special(argmin)),
    ("CumSum", Special(cumulative_sum)),
    ("Hardmax", Special(hardmax)),
    ("LogSoftmax", Special(log_softmax)),
    ("ReduceL1", Special(l1)),
    ("ReduceL2", Special(l2)),
    ("ReduceLogSum", Special(log_sum)),
    ("ReduceLogSumExp", Special(log_sum_exp)),
    ("ReduceMax", Special(greatest)),
    ("ReduceMean", Special(mean)),
    ("ReduceMin", Special(least)),
    ("ReduceProd", Special(product)),
    ("ReduceSum", Special(sum)),
    ("ReduceSumSquare", Special(sum_of_squares)),
    ("Softmax", Special(softmax)),
    ("TopK", Special(topk)),
];

/// Over which axes a reduction runs, and whether it keeps them with size 1.
struct Axes {
    dims: Vec<i64>,
    keep: bool,
}

/// The axes of a reduction: an attribute before opset 13 or 18, an input since. `None` where they
/// are not known; empty where nothing is reduced.
fn axes(call: &Call<'_, '_>) -> Option<Axes> {
    let rank = call.rank(0)?;
    let keep = call.attributes.integer("keepdims").unwrap_or(1) != 0;
    let given = match call.integers_at("axes", 1) {
        Some(Some(given)) => given,
        // Which axes is not known, but the file may state what is left of them.
        Some(None) => inferred(call)?,
        None => Vec::new(),
    };
    let dims = match (
        given.is_empty(),
        call.attributes.flag("noop_with_empty_axes"),
    ) {
        (true, true) => Vec::new(),
        (true, false) => (0..rank as i64).collect(),
        (false, _) => given,
    };
    Some(Axes { dims, keep })
}

/// The axes that a stated result of as many axes has with size 1.
fn inferred(call: &Call<'_, '_>) -> Option<Vec<i64>> {
    let (from, to) = (call.shape(0)?, call.stated_shape(0)?);
    if from.rank() == to.rank() {
        let pairs = from.sizes().iter().zip(to.sizes());
        let changed = pairs.enumerate().filter(|(_, (from, to))| from != to);
        return Some(changed.map(|(at, _)| at as i64).collect());
    }
    // Axes that were taken away, from the front as far as the sizes allow it.
    let mut left = to.sizes().iter().peekable();
    let mut gone = Vec::new();
    for (at, size) in from.sizes().iter().enumerate() {
        match left.peek() {
            Some(&&next) if next == *size => {
                left.next();
            }
            _ => gone.push(at as i64),
        }
    }
    left.peek().is_none().then_some(gone)
}

/// A reduction by an op that takes `dim` and `keepdim`.
fn reduced(
    call: &mut Call<'_, '_>,
    input: TensorId,
    op: &str,
    more: &[(&'static str, AttributeValue)],
    empty: f64,
) -> Option<TensorId> {
    let Axes { dims, keep } = axes(call)?;
    let shape = call.shape_of(input);
    if dims.is_empty() && shape.rank() > 0 {
        return call.first("identity", &[input], &[]);
    }
    let mut target = Shape::scalar();
    let mut over = vec![false; shape.rank()];
    for &dim in &dims {
        over[axis(dim, shape.rank())?] = true;
    }
    for (&size, &over) in shape.sizes().iter().zip(&over) {
        match over {
            true if keep => target.push(1),
            true => {}
            false => target.push(size),
        }
    }
    let dtype = call.type_of(input).dtype;
    if shape.elements() == 0 {
        // Of nothing: what the reduction begins with.
        let given = [
            ("size", sizes_of(&target).into()),
            ("fill_value", empty.into()),
            ("dtype", dtype.into()),
        ];
        return call.first("full", &[], &given);
    }
    let mut given = vec![("dim", dims.into()), ("keepdim", keep.into())];
    given.extend_from_slice(more);
    if shape.rank() == 0 {
        given.remove(0);
    }
    let result = call.first(op, &[input], &given)?;
    call.cast(result, dtype)
}

fn sum(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, dtype) = (call.tensor(0)?, call.dtype(0)?);
    let more: &[_] = match counts(dtype) {
        true => &[("dtype", AttributeValue::Dtype(dtype))],
        false => &[],
    };
    reduced(call, input, "sum", more, 0.0).map(one)
}

fn mean(call: &mut Call<'_, '_>) -> Option<Results> {
    let mut input = call.tensor(0)?;
    let dtype = call.type_of(input).dtype;
    if counts(dtype) {
        input = call.cast(input, Dtype::Float32)?;
    }
    let result = reduced(call, input, "mean", &[], f64::NAN)?;
    call.cast(result, dtype).map(one)
}

fn product(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    // The op takes one axis at a time where several are named.
    reduced(call, input, "prod", &[], 1.0).map(one)
}

fn greatest(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let empty = call
        .dtype(0)?
        .integer_range()
        .map_or(f64::NEG_INFINITY, |(low, _)| low as f64);
    reduced(call, input, "amax", &[], empty).map(one)
}

fn least(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let empty = call
        .dtype(0)?
        .integer_range()
        .map_or(f64::INFINITY, |(_, high)| high as f64);
    reduced(call, input, "amin", &[], empty).map(one)
}

fn norm(call: &mut Call<'_, '_>, p: f64) -> Option<Results> {
    let mut input = call.tensor(0)?;
    let dtype = call.type_of(input).dtype;
    if counts(dtype) {
        input = call.cast(input, Dtype::Float32)?;
    }
    let result = reduced(call, input, "norm", &[("p", p.into())], 0.0)?;
    call.cast(result, dtype).map(one)
}

fn l1(call: &mut Call<'_, '_>) -> Option<Results> {
    norm(call, 1.0)
}

fn l2(call: &mut Call<'_, '_>) -> Option<Results> {
    norm(call, 2.0)
}

fn log_sum(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let total = reduced(call, input, "sum", &[], 0.0)?;
    call.apply("log", &[total], &[]).map(all)
}

fn log_sum_exp(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    reduced(call, input, "logsumexp", &[], f64::NEG_INFINITY).map(one)
}

fn sum_of_squares(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, dtype) = (call.tensor(0)?, call.dtype(0)?);
    let square = call.first("square", &[input], &[])?;
    let more: &[_] = match counts(dtype) {
        true => &[("dtype", AttributeValue::Dtype(dtype))],
        false => &[],
    };
    reduced(call, square, "sum", more, 0.0).map(one)
}

/// An op along one axis. Before opset 13 all axes from the named one on were one.
fn along(
    call: &mut Call<'_, '_>,
    apply: impl Fn(&mut Call<'_, '_>, TensorId, i64) -> Option<TensorId>,
) -> Option<Results> {
    let input = call.tensor(0)?;
    let shape = call.shape_of(input);
    let rank = shape.rank();
    if rank == 0 {
        return apply(call, input, -1).map(one);
    }
    if call.version >= 13 {
        let axis = call.axis("axis", -1, rank)?;
        return apply(call, input, axis as i64).map(one);
    }
    let axis = call.axis("axis", 1.min(rank as i64 - 1), rank)?;
    if axis + 1 == rank {
        return apply(call, input, -1).map(one);
    }
    let part = |sizes: &[u64]| Shape::from(sizes).elements();
    let flat = [part(&shape.sizes()[..axis]), part(&shape.sizes()[axis..])];
    let flat = call.reshape(input, &flat.into())?;
    let result = apply(call, flat, -1)?;
    call.reshape(result, &shape).map(one)
}

fn softmax(call: &mut Call<'_, '_>) -> Option<Results> {
    along(call, |call, input, dim| {
        call.first("softmax", &[input], &[("dim", dim.into())])
    })
}

fn log_softmax(call: &mut Call<'_, '_>) -> Option<Results> {
    along(call, |call, input, dim| {
        call.first("log_softmax", &[input], &[("dim", dim.into())])
    })
}

/// 1 at the first of the greatest elements along an axis, and 0 elsewhere.
fn hardmax(call: &mut Call<'_, '_>) -> Option<Results> {
    along(call, |call, input, dim| {
        let ty = call.type_of(input);
        let rank = ty.shape.rank();
        let at = axis(dim, rank)?;
        let classes = i64::try_from(ty.shape.sizes()[at]).ok()?;
        let best = call.first("argmax", &[input], &[("dim", dim.into())])?;
        let hot = call.first("one_hot", &[best], &[("num_classes", classes.into())])?;
        let mut order: Vec<usize> = (0..rank - 1).collect();
        order.insert(at, rank - 1);
        let hot = call.permute(hot, &order)?;
        call.cast(hot, ty.dtype)
    })
}

fn extreme(call: &mut Call<'_, '_>, op: &str) -> Option<Results> {
    let input = call.tensor(0)?;
    let keep = call.attributes.integer("keepdims").unwrap_or(1) != 0;
    let dim = call.attributes.integer("axis").unwrap_or(0);
    let given = [("dim", dim.into()), ("keepdim", keep.into())];
    call.apply(op, &[input], &given).map(all)
}

fn argmax(call: &mut Call<'_, '_>) -> Option<Results> {
    extreme(call, "argmax")
}

fn argmin(call: &mut Call<'_, '_>) -> Option<Results> {
    extreme(call, "argmin")
}

/// From the end: the axis turned, summed and turned back. Without the element itself: less it.
fn cumulative_sum(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let ty = call.type_of(input);
    // Along which axis is a matter of values only where there is more than one.
    let dim = match call.known_integer(1) {
        Some(dim) => dim,
        None => ty.shape.rank() as i64 - 1,
    };
    axis(dim, ty.shape.rank())?;
    let reverse = call.attributes.flag("reverse");
    let mut result = input;
    if reverse {
        result = call.first("flip", &[result], &[("dims", vec![dim].into())])?;
    }
    let given = [("dim", dim.into()), ("dtype", ty.dtype.into())];
    result = call.first("cumsum", &[result], &given)?;
    if reverse {
        result = call.first("flip", &[result], &[("dims", vec![dim].into())])?;
    }
    if call.attributes.flag("exclusive") {
        result = call.first("sub", &[result, input], &[])?;
    }
    Some(one(result))
}

fn topk(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let dim = call.attributes.integer("axis").unwrap_or(-1);
    let rank = call.shape_of(input).rank();
    let k = match call
        .attributes
        .integer("k")
        .or_else(|| call.known_integer(1))
    {
        Some(k) => k,
        // How many is what the file states.
        None => {
            let stated = call.stated_shape(0)?;
            i64::try_from(stated.size(axis(dim, rank)? as i64)?).ok()?
        }
    };
    let largest = call.attributes.integer("largest").unwrap_or(1) != 0;
    let sorted = call.attributes.integer("sorted").unwrap_or(1) != 0;
    let given = [
        ("k", k.into()),
        ("dim", dim.into()),
        ("largest", largest.into()),
        ("sorted", sorted.into()),
    ];
    let made = call.apply("topk", &[input], &given)?;
    Some(made.into_iter().map(Output::Tensor).collect())
}
