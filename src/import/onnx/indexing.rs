//! Reading and writing by index, and choices that depend on values.

use super::call::{Call, MOST, Results, all, axis, one};
use super::registry::{Entry, Mapping::*};
use super::slot::Origin;
use crate::tensor::{Dtype, Shape, TensorType};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("Compress", Special(compress)),
    ("Gather", Special(gather)),
    ("GatherElements", Special(gather_elements)),
    ("GatherND", Special(gather_nd)),
    ("NonMaxSuppression", Special(non_max_suppression)),
    ("NonZero", Special(nonzero)),
    ("OneHot", Special(one_hot)),
    ("ReverseSequence", Special(reverse_sequence)),
    ("Scatter", Special(scatter)),
    ("ScatterElements", Special(scatter)),
    ("ScatterND", Special(scatter_nd)),
    ("Unique", Special(unique)),
];

/// Rows of a table are an embedding, one index takes its axis away, and all else picks slices.
fn gather(call: &mut Call<'_, '_>) -> Option<Results> {
    let from = call.shape(0)?.clone();
    let at = call.axis("axis", 0, from.rank())?;
    let slot = call.tensor_slot(0)?;
    let table = slot.origin == Origin::Initializer
        && slot.ty.dtype.is_float()
        && from.rank() == 2
        && at == 0;
    let index = call.tensor(1)?;
    if table {
        let weight = call.weight(0)?;
        return call.apply("embedding", &[index, weight], &[]).map(all);
    }
    let input = call.tensor(0)?;
    if call.shape_of(index).rank() == 0
        && let Some(number) = call.known_integer(1)
    {
        let given = [("dim", (at as i64).into()), ("index", number.into())];
        return call.apply("select", &[input], &given).map(all);
    }
    let indices = call.shape_of(index);
    let target: Shape = from.sizes()[..at]
        .iter()
        .chain(indices.sizes())
        .chain(&from.sizes()[at + 1..])
        .copied()
        .collect();
    let flat = call.reshape(index, &[indices.checked_elements()?].into())?;
    let given = [("dim", (at as i64).into())];
    let picked = call.first("index_select", &[input, flat], &given)?;
    call.reshape(picked, &target).map(one)
}

fn gather_elements(call: &mut Call<'_, '_>) -> Option<Results> {
    let operands = [call.tensor(0)?, call.tensor(1)?];
    let dim = call.attributes.integer("axis").unwrap_or(0);
    call.apply("gather", &operands, &[("dim", dim.into())])
        .map(all)
}

/// The last axis of the indices names places on the first axes of the data, behind those that
/// both share.
fn gather_nd(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, index) = (call.tensor(0)?, call.tensor(1)?);
    let shared = usize::try_from(call.attributes.integer("batch_dims").unwrap_or(0)).ok()?;
    let places = call.shape_of(index);
    let (&depth, outer) = places.sizes().split_last()?;
    if shared > outer.len() || depth > 16 {
        return None;
    }
    let mut indices = vec![input];
    for at in 0..shared {
        let given = [
            ("end", (outer[at] as f64).into()),
            ("dtype", Dtype::Int64.into()),
        ];
        let all = call.first("arange", &[], &given)?;
        let mut side = vec![1; outer.len()];
        side[at] = outer[at];
        indices.push(call.reshape(all, &Shape::from(&side[..]))?);
    }
    let given = [("dim", (-1).into())];
    indices.extend(call.apply("unbind", &[index], &given)?);
    call.apply("index", &indices, &given[..0]).map(all)
}

/// Writes, or with a reduction gathers.
fn scatter(call: &mut Call<'_, '_>) -> Option<Results> {
    let operands = [call.tensor(0)?, call.tensor(1)?, call.tensor(2)?];
    let dim = call.attributes.integer("axis").unwrap_or(0);
    let mut given = vec![("dim", dim.into())];
    let op = match call.attributes.text("reduction").unwrap_or("none") {
        "none" => "scatter",
        "add" => "scatter_add",
        reduction => {
            let reduce = match reduction {
                "mul" => "prod",
                "max" => "amax",
                "min" => "amin",
                _ => return None,
            };
            given.push(("reduce", reduce.into()));
            "scatter_reduce"
        }
    };
    call.apply(op, &operands, &given).map(all)
}

/// Slices written to places that the last axis of the indices names.
fn scatter_nd(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, index, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let reduction = call.attributes.text("reduction").unwrap_or("none");
    let given = [("dim", (-1).into())];
    let mut operands = vec![input, updates];
    operands.extend(call.apply("unbind", &[index], &given)?);
    let given = [("accumulate", (reduction != "none").into())];
    call.apply("index_put", &operands, &given).map(all)
}

/// How many elements are not 0 is not known: all of them are counted, or as many as stated.
fn nonzero(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let shape = call.shape_of(input);
    let found = match call.stated_shape(0) {
        Some(stated) => stated,
        None => {
            call.note(MOST);
            [shape.rank() as u64, shape.elements()].into()
        }
    };
    let ty = TensorType::new(Shape::from([found.size(1)?, found.size(0)?]), Dtype::Int64);
    let made = call.apply_as("nonzero", &[input], &[], &[ty])?;
    call.permute(*made.first()?, &[1, 0]).map(one)
}

fn compress(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, condition) = (call.tensor(0)?, call.tensor(1)?);
    let from = call.shape_of(input);
    let at = match call.attributes.integer("axis") {
        Some(at) => Some(axis(at, from.rank())?),
        None => None,
    };
    let length = call.shape_of(condition).elements();
    let known = call.known_integers(1);
    let count = match (&known, call.stated_shape(0)) {
        (Some(flags), _) => flags.iter().filter(|&&flag| flag != 0).count() as u64,
        (None, Some(stated)) => stated.size(at.unwrap_or(0) as i64)?,
        (None, None) => {
            call.note(MOST);
            length
        }
    };
    let (input, at) = match at {
        Some(at) => (input, at),
        None => (call.reshape(input, &[from.elements()].into())?, 0),
    };
    let places = call.apply_as(
        "nonzero",
        &[condition],
        &[],
        &[TensorType::new([count, 1], Dtype::Int64)],
    )?;
    let places = call.reshape(*places.first()?, &[count].into())?;
    let given = [("dim", (at as i64).into())];
    call.apply("index_select", &[input, places], &given)
        .map(all)
}

fn unique(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let from = call.shape_of(input);
    let dtype = call.type_of(input).dtype;
    let at = match call.attributes.integer("axis") {
        Some(at) => Some(axis(at, from.rank())?),
        None => None,
    };
    let length = match at {
        Some(at) => from.sizes()[at],
        None => from.elements(),
    };
    let count = match call.stated_shape(0) {
        Some(stated) => stated.size(at.unwrap_or(0) as i64)?,
        None => {
            call.note(MOST);
            length
        }
    };
    let mut kept = match at {
        Some(_) => from.clone(),
        None => [length].into(),
    };
    kept.set(at.unwrap_or(0), count);
    let index = |size: u64| TensorType::new([size], Dtype::Int64);
    let types = [
        TensorType::new(kept, dtype),
        index(count),
        index(length),
        index(count),
    ];
    let mut given = Vec::new();
    if let Some(at) = at {
        given.push(("dim", (at as i64).into()));
    }
    call.apply_as("unique", &[input], &given, &types).map(all)
}

/// Boxes that overlap no better one: as many as stated, or as may be kept.
fn non_max_suppression(call: &mut Call<'_, '_>) -> Option<Results> {
    let (boxes, scores) = (call.tensor(0)?, call.tensor(1)?);
    let &[batch, classes, count] = call.shape_of(scores).sizes() else {
        return None;
    };
    let kept = match call.stated_shape(0) {
        Some(stated) => stated.size(0)?,
        None => {
            call.note(MOST);
            let most = call.known_integer(2).unwrap_or(0);
            let most = u64::try_from(most).ok()?.min(count);
            batch.checked_mul(classes)?.checked_mul(most)?
        }
    };
    let ty = TensorType::new([kept, 3], Dtype::Int64);
    let mut given = vec![(
        "center_point_box",
        call.attributes.flag("center_point_box").into(),
    )];
    if let Some(most) = call.known_integer(2) {
        given.push(("max_output_boxes_per_class", most.into()));
    }
    // What is left out is 0; what only running the model would tell is not stated.
    match (call.has(3), call.known_number(3)) {
        (false, _) => given.push(("iou_threshold", 0.0.into())),
        (true, Some(share)) => given.push(("iou_threshold", share.into())),
        (true, None) => {}
    }
    if let Some(least) = call.known_number(4) {
        given.push(("score_threshold", least.into()));
    }
    call.apply_as("nms", &[boxes, scores], &given, &[ty])
        .map(all)
}

/// One value at the place that an index names, and another elsewhere.
fn one_hot(call: &mut Call<'_, '_>) -> Option<Results> {
    let mut input = call.tensor(0)?;
    let rank = call.shape_of(input).rank();
    let at = axis(call.attributes.integer("axis").unwrap_or(-1), rank + 1)?;
    let depth = match call.known_integer(1) {
        Some(depth) => depth,
        None => {
            let stated = call.stated_shape(0)?;
            i64::try_from(stated.size(at as i64)?).ok()?
        }
    };
    let dtype = call.dtype(2)?;
    input = call.cast(input, Dtype::Int64)?;
    let hot = call.first("one_hot", &[input], &[("num_classes", depth.into())])?;
    let mut order: Vec<usize> = (0..rank).collect();
    order.insert(at, rank);
    let hot = call.permute(hot, &order)?;
    let chosen = call.cast(hot, Dtype::Bool)?;
    let values = call.known(2).and_then(|known| known.all_reals());
    let (off, on) = match values.as_deref() {
        Some(&[off, on]) => {
            let builder = &mut call.lowering.builder;
            (
                builder.typed_constant(off, dtype),
                builder.typed_constant(on, dtype),
            )
        }
        _ => {
            let values = call.tensor(2)?;
            let mut pick = |index: i64| {
                call.first(
                    "select",
                    &[values],
                    &[("dim", 0.into()), ("index", index.into())],
                )
            };
            (pick(0)?, pick(1)?)
        }
    };
    let result = call.first("where", &[chosen, on, off], &[])?;
    call.cast(result, dtype).map(one)
}

/// The first elements along an axis in the other order: how many is a matter of values, which
/// elements there are is not.
fn reverse_sequence(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let at = call.attributes.integer("time_axis").unwrap_or(0);
    call.note("`ReverseSequence` is taken to reverse whole sequences: their lengths are data");
    call.apply("flip", &[input], &[("dims", vec![at].into())])
        .map(all)
}
