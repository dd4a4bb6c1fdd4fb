//! Pools over windows and over all positions.

use super::call::{Call, Results, all, one, sizes_of};
use super::convolution::{Window, padded};
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::{Dtype, Shape, TensorType};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("AveragePool", Special(average)),
    ("GlobalAveragePool", Unary("global_avg_pool")),
    ("GlobalLpPool", Special(global_norm)),
    ("GlobalMaxPool", Unary("global_max_pool")),
    ("LpPool", Special(norm)),
    ("MaxPool", Special(maximum)),
    ("MaxRoiPool", Special(roi_pool)),
    ("MaxUnpool", Special(unpool)),
    ("RoiAlign", Special(roi_align)),
];

/// The sizes that come of a pool: rounded up where asked for, but for a window that would begin
/// in the padding.
fn pooled(window: &Window, positions: &[u64], ceil: bool) -> Option<Vec<i64>> {
    (0..positions.len())
        .map(|axis| {
            let size = i64::try_from(positions[axis]).ok()?;
            let stride = window.stride[axis];
            let free = size + window.before[axis] + window.behind[axis] - window.reach(axis)?;
            if free < 0 {
                return None;
            }
            let mut count = free / stride + 1;
            let hangs_over = ceil && free % stride != 0;
            if hangs_over && count * stride < size + window.before[axis] {
                count += 1;
            }
            Some(count)
        })
        .collect()
}

/// A pool by an op that takes even padding only: other padding is added before.
struct Pool<'o> {
    op: &'o str,
    /// What is added where the op does not add it.
    fill: f64,
    dilates: bool,
    more: Vec<(&'static str, crate::ops::AttributeValue)>,
}

fn pool(call: &mut Call<'_, '_>, pool: Pool<'_>) -> Option<(TensorId, Window)> {
    let mut input = call.tensor(0)?;
    let shape = call.shape_of(input);
    let positions = shape.sizes().get(2..)?;
    let axes = positions.len();
    if !(1..=3).contains(&axes) {
        return None;
    }
    let kernel = call.attributes.integers("kernel_shape")?.to_vec();
    let window = Window::of(call, kernel, positions, false)?;
    let ceil = call.attributes.flag("ceil_mode");
    let target = pooled(&window, positions, ceil)?;
    let name = format!("{}{axes}d", pool.op);
    let mut given = vec![
        ("kernel_size", window.kernel.clone().into()),
        ("stride", window.stride.clone().into()),
    ];
    given.extend(pool.more);
    match pool.dilates {
        true => given.push(("dilation", window.dilation.clone().into())),
        false if window.dilation.iter().any(|&step| step != 1) => return None,
        false => {}
    }
    let fits = (0..axes).all(|axis| window.before[axis] * 2 <= window.kernel[axis]);
    if window.is_even() && fits && pool.op != "lp_pool" {
        let mut even = given.clone();
        even.push(("padding", window.before.clone().into()));
        even.push(("ceil_mode", ceil.into()));
        if let Some(id) = call.first(&name, &[input], &even)
            && sizes_of(&call.shape_of(id))[2..] == target
        {
            return Some((id, window));
        }
    }
    let mut behind = Vec::with_capacity(axes);
    for axis in 0..axes {
        let needed = (target[axis] - 1) * window.stride[axis] + window.reach(axis)?;
        let size = i64::try_from(positions[axis]).ok()?;
        behind.push((needed - size - window.before[axis]).max(0));
    }
    input = padded(call, input, &window.before, &behind, pool.fill)?;
    let id = call.first(&name, &[input], &given)?;
    Some((id, window))
}

fn maximum(call: &mut Call<'_, '_>) -> Option<Results> {
    let dtype = call.dtype(0)?;
    let least = match dtype.integer_range() {
        Some((low, _)) => low as f64,
        None => f64::NEG_INFINITY,
    };
    let (id, window) = pool(
        call,
        Pool {
            op: "max_pool",
            fill: least,
            dilates: true,
            more: Vec::new(),
        },
    )?;
    let mut results = one(id);
    if call.wants(1) {
        // Which element was the greatest.
        let ty = TensorType::new(call.shape_of(id), Dtype::Int64);
        let given = [
            ("size", sizes_of(&ty.shape).into()),
            ("kernel_size", window.kernel.into()),
            ("stride", window.stride.into()),
            ("padding", window.before.into()),
            ("dilation", window.dilation.into()),
        ];
        let input = call.tensor(0)?;
        let made = call.apply_as("pool_indices", &[input], &given, &[ty])?;
        results.extend(all(made));
    }
    Some(results)
}

fn average(call: &mut Call<'_, '_>) -> Option<Results> {
    let include = call.attributes.flag("count_include_pad");
    let dilated = call
        .attributes
        .integers("dilations")
        .is_some_and(|steps| steps.iter().any(|&step| step != 1));
    if dilated {
        return dilated_average(call).map(one);
    }
    let (id, _) = pool(
        call,
        Pool {
            op: "avg_pool",
            fill: 0.0,
            dilates: false,
            more: vec![("count_include_pad", include.into())],
        },
    )?;
    Some(one(id))
}

/// The elements under each window side by side, and their mean.
fn dilated_average(call: &mut Call<'_, '_>) -> Option<TensorId> {
    let mut input = call.tensor(0)?;
    let shape = call.shape_of(input);
    let &[batch, channels, ref positions @ ..] = shape.sizes() else {
        return None;
    };
    // What slides over one axis slides over two, of which one has size 1.
    let flat = match positions.len() {
        1 => true,
        2 => false,
        _ => return volume_average(call, input, positions),
    };
    let kernel = call.attributes.integers("kernel_shape")?.to_vec();
    let mut window = Window::of(call, kernel, positions, false)?;
    let ceil = call.attributes.flag("ceil_mode");
    let mut target = pooled(&window, positions, ceil)?;
    let mut behind = Vec::new();
    for axis in 0..positions.len() {
        let needed = (target[axis] - 1) * window.stride[axis] + window.reach(axis)?;
        let size = i64::try_from(positions[axis]).ok()?;
        behind.push((needed - size - window.before[axis]).max(0));
    }
    input = padded(call, input, &window.before, &behind, 0.0)?;
    if flat {
        let length = *call.shape_of(input).sizes().last()?;
        input = call.reshape(input, &[batch, channels, 1, length].into())?;
        for list in [&mut window.kernel, &mut window.stride, &mut window.dilation] {
            list.insert(0, 1);
        }
    }
    let taps: i64 = window.kernel.iter().product();
    let columns = call.first(
        "unfold",
        &[input],
        &[
            ("kernel_size", window.kernel.clone().into()),
            ("dilation", window.dilation.clone().into()),
            ("stride", window.stride.clone().into()),
        ],
    )?;
    let places: i64 = target.iter().product();
    let taps = u64::try_from(taps).ok()?;
    let places = u64::try_from(places).ok()?;
    let columns = call.reshape(columns, &[batch, channels, taps, places].into())?;
    let mean = call.first("mean", &[columns], &[("dim", 2.into())])?;
    let mut result = vec![i64::try_from(batch).ok()?, i64::try_from(channels).ok()?];
    result.append(&mut target);
    let result = super::constant::shape(&result)?;
    call.reshape(mean, &result)
}

/// The same over three axes: one mean of windows after the other, for a mean over a box is one.
fn volume_average(
    call: &mut Call<'_, '_>,
    mut input: TensorId,
    positions: &[u64],
) -> Option<TensorId> {
    let kernel = call.attributes.integers("kernel_shape")?.to_vec();
    let window = Window::of(call, kernel, positions, false)?;
    let ceil = call.attributes.flag("ceil_mode");
    let target = pooled(&window, positions, ceil)?;
    let mut behind = Vec::new();
    for axis in 0..positions.len() {
        let needed = (target[axis] - 1) * window.stride[axis] + window.reach(axis)?;
        let size = i64::try_from(positions[axis]).ok()?;
        behind.push((needed - size - window.before[axis]).max(0));
    }
    input = padded(call, input, &window.before, &behind, 0.0)?;
    for axis in 0..positions.len() {
        let given = [
            ("dimension", (axis as i64 + 2).into()),
            ("size", window.reach(axis)?.into()),
            ("step", window.stride[axis].into()),
        ];
        // Windows stand on a new last axis, of which a dilation takes every so manieth element.
        let windows = call.first("tensor_unfold", &[input], &given)?;
        let given = [("dim", (-1).into()), ("step", window.dilation[axis].into())];
        let taken = call.first("slice", &[windows], &given)?;
        input = call.first("mean", &[taken], &[("dim", (-1).into())])?;
    }
    Some(input)
}

fn norm(call: &mut Call<'_, '_>) -> Option<Results> {
    let p = call.attributes.integer("p").unwrap_or(2) as f64;
    let dilated = call
        .attributes
        .integers("dilations")
        .is_some_and(|steps| steps.iter().any(|&step| step != 1));
    if dilated {
        return dilated_norm(call, p).map(one);
    }
    let (id, _) = pool(
        call,
        Pool {
            op: "lp_pool",
            fill: 0.0,
            dilates: false,
            more: vec![("norm_type", p.into())],
        },
    )?;
    Some(one(id))
}

/// The windows on new axes, of which the norm is taken.
fn dilated_norm(call: &mut Call<'_, '_>, p: f64) -> Option<TensorId> {
    let mut input = call.tensor(0)?;
    let shape = call.shape_of(input);
    let positions = shape.sizes().get(2..)?.to_vec();
    let kernel = call.attributes.integers("kernel_shape")?.to_vec();
    let window = Window::of(call, kernel, &positions, false)?;
    input = padded(call, input, &window.before, &window.behind, 0.0)?;
    for axis in 0..positions.len() {
        let given = [
            ("dimension", (axis as i64 + 2).into()),
            ("size", window.reach(axis)?.into()),
            ("step", window.stride[axis].into()),
        ];
        let windows = call.first("tensor_unfold", &[input], &given)?;
        let given = [("dim", (-1).into()), ("step", window.dilation[axis].into())];
        input = call.first("slice", &[windows], &given)?;
    }
    let dims: Vec<i64> = (0..positions.len() as i64).map(|at| -1 - at).collect();
    call.first("norm", &[input], &[("p", p.into()), ("dim", dims.into())])
}

fn global_norm(call: &mut Call<'_, '_>) -> Option<Results> {
    let p = call.attributes.integer("p").unwrap_or(2) as f64;
    let input = call.tensor(0)?;
    let dims: Vec<i64> = (2..call.shape_of(input).rank() as i64).collect();
    let given = [
        ("p", p.into()),
        ("dim", dims.into()),
        ("keepdim", true.into()),
    ];
    call.apply("norm", &[input], &given).map(all)
}

/// Values at the places that a pool took them from, and zeros elsewhere.
fn unpool(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, indices) = (call.tensor(0)?, call.tensor(1)?);
    let shape = call.shape_of(input);
    let positions = shape.sizes().get(2..)?;
    let target: Shape = match call.known_integers(2) {
        Some(sizes) => super::constant::shape(&sizes)?,
        None if call.has(2) => call.stated_shape(0)?,
        None => {
            let kernel = call.attributes.integers("kernel_shape")?.to_vec();
            let window = Window::of(call, kernel, positions, false)?;
            let mut target = sizes_of(&shape)[..2].to_vec();
            for (at, &size) in positions.iter().enumerate() {
                let size = i64::try_from(size).ok()?;
                let whole = (size - 1).checked_mul(window.stride[at])? + window.reach(at)?;
                target.push(whole - window.before[at] - window.behind[at]);
            }
            super::constant::shape(&target)?
        }
    };
    let dtype = call.type_of(input).dtype;
    let elements = |shape: &Shape| Shape::from([shape.elements()]);
    let given = [
        ("size", sizes_of(&elements(&target)).into()),
        ("dtype", dtype.into()),
    ];
    let zeros = call.first("zeros", &[], &given)?;
    let values = call.reshape(input, &elements(&shape))?;
    let places = call.reshape(indices, &elements(&shape))?;
    let filled = call.first("scatter", &[zeros, places, values], &[("dim", 0.into())])?;
    call.reshape(filled, &target).map(one)
}

fn roi_align(call: &mut Call<'_, '_>) -> Option<Results> {
    let joins = call.attributes.text("mode").unwrap_or("avg");
    let (input, boxes, images) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    // Version 16 brought the mode, with another default than what was before.
    let before = if call.version < 16 {
        "output_half_pixel"
    } else {
        "half_pixel"
    };
    let mode = call.attributes.text("coordinate_transformation_mode");
    let aligned = mode.unwrap_or(before) == "half_pixel";
    let scale = call.attributes.float("spatial_scale").unwrap_or(1.0);
    let size = |name: &str| call.attributes.integer(name).unwrap_or(1);
    let output = vec![size("output_height"), size("output_width")];
    let given = [
        ("output_size", output.into()),
        ("sampling_ratio", size_or_zero(call).into()),
        ("spatial_scale", scale.into()),
        ("aligned", aligned.into()),
        ("mode", joins.into()),
    ];
    call.apply("roi_align", &[input, boxes, images], &given)
        .map(all)
}

fn size_or_zero(call: &Call<'_, '_>) -> i64 {
    call.attributes
        .integer("sampling_ratio")
        .unwrap_or(0)
        .max(0)
}

fn roi_pool(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, boxes) = (call.tensor(0)?, call.tensor(1)?);
    let output = call.attributes.integers("pooled_shape")?.to_vec();
    let scale = call.attributes.float("spatial_scale").unwrap_or(1.0);
    let given = [
        ("output_size", output.into()),
        ("spatial_scale", scale.into()),
    ];
    call.apply("roi_pool", &[input, boxes], &given).map(all)
}
