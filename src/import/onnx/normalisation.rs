//! Normalisation: by statistics of the batch, of a layer, of a group, of neighbours.

use super::call::{Call, Output, Results, all, one, sizes_of};
use super::elementwise::number;
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::{Dtype, Shape};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("BatchNormalization", Special(batch)),
    ("GroupNormalization", Special(group)),
    ("InstanceNormalization", Special(instance)),
    ("LayerNormalization", Special(layer)),
    ("LRN", Special(local_response)),
    ("LpNormalization", Special(lp)),
    ("MeanVarianceNormalization", Special(mean_variance)),
    ("RMSNormalization", Special(root_mean_square)),
    ("SimplifiedLayerNormalization", Special(root_mean_square)),
];

fn epsilon(call: &Call<'_, '_>) -> f64 {
    call.attributes.float("epsilon").unwrap_or(1e-5)
}

fn batch(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let (weight, bias) = (call.optional_weight(1)?, call.optional_weight(2)?);
    let (mean, variance) = (call.buffer(3)?, call.buffer(4)?);
    // ONNX keeps that part of the old statistics, PyTorch takes it of the new ones.
    let kept = call.attributes.float("momentum").unwrap_or(0.9);
    let given = [
        ("eps", epsilon(call).into()),
        ("momentum", (1.0 - kept).into()),
    ];
    let operands = [input, weight, bias, mean, variance];
    let mut results = one(call.first("batch_norm", &operands, &given)?);
    if call.wants(1) {
        let rank = call.shape_of(input).rank() as i64;
        let dims: Vec<i64> = (0..rank).filter(|&axis| axis != 1).collect();
        for (op, running) in [("mean", mean), ("var", variance)] {
            let mut given = vec![("dim", dims.clone().into())];
            if op == "var" {
                given.push(("correction", 0.0.into()));
            }
            let current = call.first(op, &[input], &given)?;
            let current = call.cast(current, call.type_of(running).dtype)?;
            let share = number(call, 1.0 - kept)?;
            let moved = call.first("lerp", &[running, current, share], &[])?;
            results.push(Output::Tensor(moved));
        }
    }
    Some(results)
}

fn instance(call: &mut Call<'_, '_>) -> Option<Results> {
    let operands = [
        call.tensor(0)?,
        call.optional_weight(1)?,
        call.optional_weight(2)?,
    ];
    let given = [("eps", epsilon(call).into())];
    call.apply("instance_norm", &operands, &given).map(all)
}

/// The axes that a norm spans, as negative numbers, and their sizes.
fn spanned(call: &Call<'_, '_>, shape: &Shape) -> Option<(Vec<i64>, Vec<i64>)> {
    let rank = shape.rank();
    let axis = call.axis("axis", -1, rank)?;
    let dims = (axis..rank).map(|at| at as i64 - rank as i64).collect();
    Some((dims, sizes_of(shape)[axis..].to_vec()))
}

fn layer(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let (weight, bias) = (call.optional_weight(1)?, call.optional_weight(2)?);
    let shape = call.shape_of(input);
    let (dims, normalized) = spanned(call, &shape)?;
    let eps = epsilon(call);
    let plain = |id: TensorId, call: &Call<'_, '_>| {
        !id.is_present() || sizes_of(&call.shape_of(id)) == normalized
    };
    let given = [
        ("normalized_shape", normalized.clone().into()),
        ("eps", eps.into()),
    ];
    let result = match plain(weight, call) && plain(bias, call) {
        true => call.first("layer_norm", &[input, weight, bias], &given)?,
        // Weights that broadcast over some of the axes.
        false => {
            let mut result = call.first("layer_norm", &[input], &given)?;
            for (op, operand) in [("mul", weight), ("add", bias)] {
                if operand.is_present() {
                    result = call.first(op, &[result, operand], &[])?;
                }
            }
            result
        }
    };
    let mut results = one(result);
    if call.wants(1) {
        let given = [("dim", dims.clone().into()), ("keepdim", true.into())];
        let mean = call.first("mean", &[input], &given)?;
        results.push(Output::Tensor(mean));
    }
    if call.wants(2) {
        if results.len() < 2 {
            return None;
        }
        let given = [
            ("dim", dims.into()),
            ("keepdim", true.into()),
            ("correction", 0.0.into()),
        ];
        let variance = call.first("var", &[input], &given)?;
        let eps = number(call, eps)?;
        let moved = call.first("add", &[variance, eps], &[])?;
        let inverse = call.first("rsqrt", &[moved], &[])?;
        results.push(Output::Tensor(inverse));
    }
    Some(results)
}

fn root_mean_square(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, weight) = (call.tensor(0)?, call.optional_weight(1)?);
    let shape = call.shape_of(input);
    let (_, normalized) = spanned(call, &shape)?;
    let given = [
        ("normalized_shape", normalized.clone().into()),
        ("eps", epsilon(call).into()),
    ];
    if !weight.is_present() || sizes_of(&call.shape_of(weight)) == normalized {
        return call.apply("rms_norm", &[input, weight], &given).map(all);
    }
    let normal = call.first("rms_norm", &[input], &given)?;
    call.apply("mul", &[normal, weight], &[]).map(all)
}

/// Scales and biases are one for each group before opset 21, and one for each channel since.
fn group(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let (weight, bias) = (call.optional_weight(1)?, call.optional_weight(2)?);
    let groups = call.attributes.integer("num_groups")?;
    let shape = call.shape_of(input);
    let channels = *shape.sizes().get(1)?;
    let given = [("num_groups", groups.into()), ("eps", epsilon(call).into())];
    let by_channel = call.shape_of(weight).elements() == channels;
    if by_channel {
        let operands = [input, weight, bias];
        return call.apply("group_norm", &operands, &given).map(all);
    }
    let groups = u64::try_from(groups).ok().filter(|&groups| groups > 0)?;
    let result = call.first("group_norm", &[input], &given)?;
    let mut grouped = vec![shape.sizes()[0], groups, channels / groups];
    grouped.extend_from_slice(&shape.sizes()[2..]);
    let mut result = call.reshape(result, &Shape::from(&grouped[..]))?;
    let mut side = vec![1; grouped.len()];
    side[1] = groups;
    for (op, operand) in [("mul", weight), ("add", bias)] {
        let operand = call.reshape(operand, &Shape::from(&side[..]))?;
        result = call.first(op, &[result, operand], &[])?;
    }
    call.reshape(result, &shape).map(one)
}

fn local_response(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let given = [
        ("size", call.attributes.integer("size")?.into()),
        (
            "alpha",
            call.attributes.float("alpha").unwrap_or(1e-4).into(),
        ),
        ("beta", call.attributes.float("beta").unwrap_or(0.75).into()),
        ("k", call.attributes.float("bias").unwrap_or(1.0).into()),
    ];
    call.apply("local_response_norm", &[input], &given).map(all)
}

/// The input over its norm along an axis: nothing keeps the norm from being 0.
fn lp(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let axis = call.attributes.integer("axis").unwrap_or(-1);
    let p = call.attributes.integer("p").unwrap_or(2) as f64;
    let given = [
        ("p", p.into()),
        ("dim", axis.into()),
        ("keepdim", true.into()),
    ];
    let norm = call.first("norm", &[input], &given)?;
    call.apply("div", &[input, norm], &[]).map(all)
}

/// As the standard's own body of the function: the variance as the mean of squares less the
/// square of the mean.
fn mean_variance(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let axes = call.attributes.integers("axes");
    let axes = axes.map_or_else(|| vec![0, 2, 3], <[i64]>::to_vec);
    let given = [("dim", axes.into()), ("keepdim", true.into())];
    let mean = call.first("mean", &[input], &given)?;
    let of_mean = call.first("square", &[mean], &[])?;
    let square = call.first("square", &[input], &[])?;
    let of_square = call.first("mean", &[square], &given)?;
    let variance = call.first("sub", &[of_square, of_mean], &[])?;
    let deviation = call.first("sqrt", &[variance], &[])?;
    let eps = call.lowering.builder.typed_constant(1e-9, Dtype::Float32);
    let divisor = call.first("add", &[deviation, eps], &[])?;
    let centred = call.first("sub", &[input, mean], &[])?;
    call.apply("div", &[centred, divisor], &[]).map(all)
}
