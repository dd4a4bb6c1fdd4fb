//! Attention, rotary embeddings, and what ONNX Runtime fuses around them.

use super::call::{Call, Output, Results, all, one, sizes_of};
use super::quantization::packed_matmul;
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::{Dtype, Shape};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("Attention", Special(attention)),
    ("RotaryEmbedding", Special(rotary)),
];

/// What ONNX Runtime adds to this family.
pub(super) const MICROSOFT_OPS: &[Entry] = &[
    ("BiasGelu", Special(bias_gelu)),
    ("FastGelu", Special(fast_gelu)),
    ("Gelu", Unary("gelu")),
    ("GroupQueryAttention", Special(group_query)),
    ("MatMulNBits", Special(packed_matmul)),
    ("MultiHeadAttention", Special(multi_head)),
    ("QuickGelu", Special(quick_gelu)),
    ("RotaryEmbedding", Special(rotary)),
    ("SkipLayerNormalization", Special(skip_layer_norm)),
    ("SkipSimplifiedLayerNormalization", Special(skip_rms_norm)),
];

/// [batch, steps, heads · size] as [batch, heads, steps, size]; what has four axes already as it is.
fn heads(call: &mut Call<'_, '_>, id: TensorId, heads: Option<i64>) -> Option<TensorId> {
    let shape = call.shape_of(id);
    let &[batch, steps, features] = shape.sizes() else {
        return (shape.rank() == 4).then_some(id);
    };
    let heads = u64::try_from(heads?).ok().filter(|&heads| heads > 0)?;
    let apart = Shape::from([batch, steps, heads, features / heads]);
    let apart = call.reshape(id, &apart)?;
    call.permute(apart, &[0, 2, 1, 3])
}

/// The other way round, in the shape of what came in.
fn joined(call: &mut Call<'_, '_>, id: TensorId, rank: usize) -> Option<TensorId> {
    if rank == 4 {
        return Some(id);
    }
    let turned = call.permute(id, &[0, 2, 1, 3])?;
    let &[batch, steps, heads, size] = call.shape_of(turned).sizes() else {
        return None;
    };
    call.reshape(turned, &[batch, steps, heads.checked_mul(size)?].into())
}

/// Keys or values with those of earlier steps before them.
fn with_past(call: &mut Call<'_, '_>, new: TensorId, past: usize) -> Option<TensorId> {
    match call.has(past) {
        true => {
            let past = call.tensor(past)?;
            call.first("cat", &[past, new], &[("dim", 2.into())])
        }
        false => Some(new),
    }
}

/// What of attention differs from one op to another.
struct Parts {
    query: TensorId,
    key: TensorId,
    value: TensorId,
    mask: TensorId,
    causal: bool,
    scale: Option<f64>,
    /// What scores are squeezed below; none of 0.
    softcap: f64,
    /// The number of axes of what came in.
    rank: usize,
}

fn attended(call: &mut Call<'_, '_>, parts: Parts) -> Option<TensorId> {
    if parts.softcap > 0.0 {
        return capped(call, parts);
    }
    let (queries, keys) = (call.shape_of(parts.query), call.shape_of(parts.key));
    let grouped = queries.sizes().get(1) != keys.sizes().get(1);
    let mut given = vec![
        (
            "is_causal",
            (parts.causal && !parts.mask.is_present()).into(),
        ),
        ("enable_gqa", grouped.into()),
    ];
    if let Some(scale) = parts.scale {
        given.push(("scale", scale.into()));
    }
    let operands = [parts.query, parts.key, parts.value, parts.mask];
    let result = call.first("scaled_dot_product_attention", &operands, &given)?;
    joined(call, result, parts.rank)
}

/// Attention whose scores are squeezed, `softcap * tanh(scores / softcap)`, taken apart: the fused
/// kernel has no such thing.
fn capped(call: &mut Call<'_, '_>, parts: Parts) -> Option<TensorId> {
    let (queries, keys) = (call.shape_of(parts.query), call.shape_of(parts.key));
    let (&[_, heads, steps, size], &[_, shared, length, _]) = (queries.sizes(), keys.sizes())
    else {
        return None;
    };
    let (mut key, mut value) = (parts.key, parts.value);
    if shared > 0 && shared < heads {
        let repeats = i64::try_from(heads / shared).ok()?;
        let given = [("repeats", repeats.into()), ("dim", 1.into())];
        key = call.first("repeat_interleave", &[key], &given)?;
        value = call.first("repeat_interleave", &[value], &given)?;
    }
    let turned = call.first("matrix_transpose", &[key], &[])?;
    let mut scores = call.first("matmul", &[parts.query, turned], &[])?;
    let scale = parts.scale.unwrap_or(1.0 / (size as f64).sqrt());
    let cap = call.lowering.builder.constant(parts.softcap);
    let inner = call.lowering.builder.constant(scale / parts.softcap);
    scores = call.first("mul", &[scores, inner], &[])?;
    scores = call.first("tanh", &[scores], &[])?;
    scores = call.first("mul", &[scores, cap], &[])?;
    if parts.mask.is_present() {
        let masked = match call.type_of(parts.mask).dtype {
            Dtype::Bool => {
                let hidden = call.first("logical_not", &[parts.mask], &[])?;
                let given = [("value", f64::NEG_INFINITY.into())];
                call.first("masked_fill", &[scores, hidden], &given)?
            }
            _ => call.first("add", &[scores, parts.mask], &[])?,
        };
        scores = masked;
    }
    if parts.causal {
        let given = [
            ("size", sizes_of(&Shape::from([steps, length])).into()),
            ("fill_value", 1.0.into()),
            ("dtype", Dtype::Bool.into()),
        ];
        let all = call.first("full", &[], &given)?;
        // Queries are the last of the steps.
        let diagonal = i64::try_from(length).ok()? - i64::try_from(steps).ok()? + 1;
        let hidden = call.first("triu", &[all], &[("diagonal", diagonal.into())])?;
        let given = [("value", f64::NEG_INFINITY.into())];
        scores = call.first("masked_fill", &[scores, hidden], &given)?;
    }
    let weights = call.first("softmax", &[scores], &[("dim", (-1).into())])?;
    let result = call.first("matmul", &[weights, value], &[])?;
    joined(call, result, parts.rank)
}

fn attention(call: &mut Call<'_, '_>) -> Option<Results> {
    let rank = call.rank(0)?;
    let query_heads = call.attributes.integer("q_num_heads");
    let key_heads = call.attributes.integer("kv_num_heads");
    let (query, key, value) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let query = heads(call, query, query_heads)?;
    let key = heads(call, key, key_heads)?;
    let value = heads(call, value, key_heads)?;
    let key = with_past(call, key, 4)?;
    let value = with_past(call, value, 5)?;
    let mask = call.optional(3)?;
    let causal = call.attributes.flag("is_causal");
    let scale = call.attributes.float("scale");
    let softcap = call.attributes.float("softcap").unwrap_or(0.0);
    let parts = Parts {
        query,
        key,
        value,
        mask,
        causal,
        scale,
        softcap,
        rank,
    };
    let mut results = one(attended(call, parts)?);
    if call.wants(1) || call.wants(2) || call.wants(3) {
        results.extend([Output::Tensor(key), Output::Tensor(value)]);
    }
    if call.wants(3) {
        // The scores, which a fused kernel does not write otherwise.
        let turned = call.first("matrix_transpose", &[key], &[])?;
        let scores = call.first("matmul", &[query, turned], &[])?;
        results.push(Output::Tensor(scores));
    }
    Some(results)
}

fn multi_head(call: &mut Call<'_, '_>) -> Option<Results> {
    let count = call.attributes.integer("num_heads");
    // Keys and values packed with the queries are another matter.
    if !call.has(1) || !call.has(2) {
        return None;
    }
    let (query, key, value) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let query = heads(call, query, count)?;
    let key = heads(call, key, count)?;
    let value = heads(call, value, count)?;
    let key = with_past(call, key, 6)?;
    let value = with_past(call, value, 7)?;
    let parts = Parts {
        query,
        key,
        value,
        mask: call.optional(5)?,
        causal: call.attributes.flag("unidirectional"),
        scale: call.attributes.float("scale"),
        softcap: 0.0,
        rank: 3,
    };
    let mut results = one(attended(call, parts)?);
    results.extend([Output::Tensor(key), Output::Tensor(value)]);
    Some(results)
}

fn group_query(call: &mut Call<'_, '_>) -> Option<Results> {
    let count = call.attributes.integer("num_heads");
    let shared = call.attributes.integer("kv_num_heads");
    if !call.has(1) || !call.has(2) {
        return None;
    }
    let (query, key, value) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let query = heads(call, query, count)?;
    let key = heads(call, key, shared)?;
    let value = heads(call, value, shared)?;
    let key = with_past(call, key, 3)?;
    let value = with_past(call, value, 4)?;
    let scale = call.attributes.float("scale").filter(|&scale| scale != 0.0);
    let softcap = call.attributes.float("softcap").unwrap_or(0.0);
    let parts = Parts {
        query,
        key,
        value,
        mask: TensorId::ABSENT,
        causal: true,
        scale,
        softcap,
        rank: 3,
    };
    let mut results = one(attended(call, parts)?);
    results.extend([Output::Tensor(key), Output::Tensor(value)]);
    Some(results)
}

/// Pairs of features turned by angles of their step.
fn rotary(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let shape = call.shape_of(input);
    let count = call.attributes.integer("num_heads").filter(|&n| n > 0);
    let apart = match count {
        Some(_) => heads(call, input, count)?,
        None => input,
    };
    let turned = call.first("rotary_embedding", &[apart], &[])?;
    match shape.rank() == 3 && count.is_some() {
        true => joined(call, turned, 3).map(one),
        false => Some(one(turned)),
    }
}

fn bias_gelu(call: &mut Call<'_, '_>) -> Option<Results> {
    let operands = [call.tensor(0)?, call.optional_weight(1)?];
    let sum = call.first("add", &operands, &[])?;
    call.apply("gelu", &[sum], &[]).map(all)
}

fn fast_gelu(call: &mut Call<'_, '_>) -> Option<Results> {
    let (mut input, bias) = (call.tensor(0)?, call.optional_weight(1)?);
    if bias.is_present() {
        input = call.first("add", &[input, bias], &[])?;
    }
    let given = [("approximate", "tanh".into())];
    call.apply("gelu", &[input], &given).map(all)
}

/// `x · sigmoid(alpha · x)`.
fn quick_gelu(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let alpha = call.attributes.float("alpha").unwrap_or(1.702);
    let alpha = call.lowering.builder.constant(alpha);
    let scaled = call.first("mul", &[input, alpha], &[])?;
    let gate = call.first("sigmoid", &[scaled], &[])?;
    call.apply("mul", &[input, gate], &[]).map(all)
}

/// A sum with what was before, with a bias, and its norm; the sum is the last result.
fn skip(call: &mut Call<'_, '_>, op: &str, weights: usize) -> Option<Results> {
    let operands = [call.tensor(0)?, call.tensor(1)?];
    let mut sum = call.first("add", &operands, &[])?;
    let bias = call.optional_weight(2 + weights)?;
    if bias.is_present() {
        sum = call.first("add", &[sum, bias], &[])?;
    }
    let last = *sizes_of(&call.shape_of(sum)).last()?;
    let eps = call.attributes.float("epsilon").unwrap_or(1e-12);
    let mut operands = vec![sum];
    for at in 0..weights {
        operands.push(call.optional_weight(2 + at)?);
    }
    let given = [("normalized_shape", vec![last].into()), ("eps", eps.into())];
    let normal = call.first(op, &operands, &given)?;
    let mut results = one(normal);
    if call.wants(3) {
        // Mean and inverse deviation are only there for training.
        results.extend([Output::Tensor(normal), Output::Tensor(normal)]);
        results.push(Output::Tensor(sum));
    }
    Some(results)
}

fn skip_layer_norm(call: &mut Call<'_, '_>) -> Option<Results> {
    skip(call, "layer_norm", 2)
}

fn skip_rms_norm(call: &mut Call<'_, '_>) -> Option<Results> {
    skip(call, "rms_norm", 1)
}
