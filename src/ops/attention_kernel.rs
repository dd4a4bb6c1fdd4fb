//! The sizes of an attention, checked; which kernel runs it on CUDA, and what that keeps.

use super::contraction::merges;
use super::{Call, OpError, Saved, multilinear};
use crate::tensor::{Dtype, Shape};

/// The sizes of an attention.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// Batch axes and heads of the query.
    pub(super) leading: Shape,
    pub(super) queries: u64,
    pub(super) keys: u64,
    pub(super) width: u64,
    pub(super) value_width: u64,
    pub(super) key_heads: u64,
}

pub(super) fn dropout(call: &Call) -> f64 {
    let p = call.float("dropout_p").unwrap_or(0.0);
    if call.training {
        p.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

impl Sizes {
    pub(super) fn of(call: &Call) -> Result<Sizes, OpError> {
        let shapes = [call.shape(0)?, call.shape(1)?, call.shape(2)?];
        let [query, key, value] = shapes;
        for (position, shape) in shapes.into_iter().enumerate() {
            if shape.rank() < 2 {
                let message = format!(
                    "`{}` of attention needs at least [positions, width], but is {shape}",
                    call.op.operand_name(position)
                );
                return Err(OpError::new(message).operands([position]));
            }
        }
        let last = |shape: &Shape, axis| shape.size(axis).unwrap_or(1);
        let (width, keys) = (last(query, -1), last(key, -2));
        if last(key, -1) != width {
            let message = format!(
                "query {query} and key {key} differ in width: {width} ≠ {}",
                last(key, -1)
            );
            return Err(OpError::new(message).operands([0, 1]));
        }
        if last(value, -2) != keys {
            let message = format!(
                "key {key} and value {value} differ in positions: {keys} ≠ {}",
                last(value, -2)
            );
            return Err(OpError::new(message).operands([1, 2]));
        }
        let sizes = Sizes {
            leading: leading(call, shapes)?,
            queries: last(query, -2),
            keys,
            width,
            value_width: last(value, -1),
            key_heads: if key.rank() > 2 { last(key, -3) } else { 1 },
        };
        sizes.check_mask(call)?;
        let p = call.float("dropout_p").unwrap_or(0.0);
        if !(0.0..=1.0).contains(&p) {
            let message = format!("`dropout_p` is {p}, but a probability lies between 0 and 1");
            return Err(OpError::new(message).attribute("dropout_p"));
        }
        Ok(sizes)
    }

    pub(super) fn check_mask(&self, call: &Call) -> Result<(), OpError> {
        let Some(mask) = call.argument(3) else {
            return Ok(());
        };
        if call.boolean("is_causal") {
            let message = "`is_causal` and a mask exclude each other";
            return Err(OpError::new(message)
                .operands([3])
                .attribute("is_causal")
                .help("put the causal part into the mask"));
        }
        if mask.ty.dtype != Dtype::Bool && !mask.ty.dtype.is_float() {
            let message = format!(
                "the mask must be bool or floating point, but is {}",
                mask.ty
            );
            return Err(OpError::new(message).operands([3]));
        }
        let mut scores = self.leading.clone();
        scores.push(self.queries);
        scores.push(self.keys);
        if mask.ty.shape.broadcast(&scores).as_ref() != Some(&scores) {
            let message = format!(
                "the mask {} does not broadcast to the scores {scores}",
                mask.ty.shape
            );
            return Err(OpError::new(message).operands([3]));
        }
        Ok(())
    }

    /// All batch axes and heads.
    pub(super) fn batches(&self) -> u64 {
        self.leading.elements()
    }

    pub(super) fn heads(&self) -> u64 {
        self.leading.size(-1).unwrap_or(1)
    }

    /// The number of scores.
    pub(super) fn scores(&self) -> u64 {
        self.batches()
            .saturating_mul(self.queries)
            .saturating_mul(self.keys)
    }

    /// FLOPs of `query @ key.T`.
    pub(super) fn scores_flops(&self) -> u128 {
        multilinear::flops([self.scores(), self.width])
    }

    /// FLOPs of `weights @ value`.
    pub(super) fn values_flops(&self) -> u128 {
        multilinear::flops([self.scores(), self.value_width])
    }
}

/// The batch axes and heads of the result.
pub(super) fn leading(call: &Call, shapes: [&Shape; 3]) -> Result<Shape, OpError> {
    let leading = shapes.map(|shape| Shape::from(&shape.sizes()[..shape.rank() - 2]));
    let [query, key, value] = &leading;
    if call.boolean("enable_gqa") {
        let heads = |shape: &Shape| shape.size(-1).unwrap_or(1);
        let (q, k, v) = (heads(query), heads(key), heads(value));
        if k == 0 || v == 0 || q % k != 0 || q % v != 0 {
            let message =
                format!("{q} heads of the query do not share {k} of the key and {v} of the value");
            return Err(OpError::new(message)
                .operands([0, 1, 2])
                .attribute("enable_gqa"));
        }
        return Ok(query.clone());
    }
    query
        .broadcast(key)
        .and_then(|shape| shape.broadcast(value))
        .ok_or_else(|| {
            let [q, k, v] = shapes;
            let message = format!(
                "query {q}, key {k} and value {v} do not broadcast before the last two axes"
            );
            let error = OpError::new(message).operands([0, 1, 2]);
            match (query.size(-1), key.size(-1)) {
                (Some(q), Some(k)) if k > 0 && q % k == 0 => {
                    error.help("`enable_gqa = true` lets heads of the query share those of the key")
                }
                _ => error,
            }
        })
}

/// Which kernel runs an attention on CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    /// FlashAttention: halves without a mask.
    Flash,
    /// xFormers' memory-efficient attention. It knows no groups of heads: key and value are
    /// repeated for it.
    Efficient,
    /// Separate products and softmax.
    Math,
}

/// The kernel, by the conditions in PyTorch's `sdp_utils.cpp`.
pub(super) fn kernel(call: &Call, sizes: &Sizes) -> Kernel {
    let Ok(dtype) = call.dtype(0) else {
        return Kernel::Math;
    };
    let rank4 = (0..3).all(|position| call.shape(position).is_ok_and(|shape| shape.rank() == 4));
    let leading = |position| call.shape(position).map(|shape| &shape.sizes()[..2]).ok();
    let grouped = call.boolean("enable_gqa") && sizes.heads() != sizes.key_heads;
    if !call.fused_attention || !rank4 {
        return Kernel::Math;
    }
    let same = leading(0) == leading(1) && leading(0) == leading(2);
    if dtype.is_half()
        && !call.has(3)
        && sizes.width == sizes.value_width
        && sizes.width <= 256
        && (same || grouped)
    {
        return Kernel::Flash;
    }
    let alignment = if dtype.is_half() { 8 } else { 4 };
    let aligned =
        sizes.width.is_multiple_of(alignment) && sizes.value_width.is_multiple_of(alignment);
    match dtype {
        Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16 if (same || grouped) && aligned => {
            Kernel::Efficient
        }
        _ => Kernel::Math,
    }
}

/// What the kernel keeps.
pub(super) fn saved(call: &Call, saved: &mut Saved) {
    let Ok(sizes) = Sizes::of(call) else { return };
    let Ok(dtype) = call.dtype(0) else { return };
    let kernel = kernel(call, &sizes);
    if kernel == Kernel::Math {
        return math_saved(call, &sizes, saved);
    }
    let rows = sizes.batches();
    let padded = sizes.width.next_multiple_of(8);
    if kernel == Kernel::Flash && padded != sizes.width {
        // The kernel works on copies whose width is a multiple of 8.
        for (position, name) in [(0, "query"), (1, "key"), (2, "value")] {
            let elements = call.elements(position) / sizes.width.max(1) * padded;
            saved.extra(name, elements, dtype);
        }
        saved.extra(
            "output",
            rows.saturating_mul(sizes.queries).saturating_mul(padded),
            dtype,
        );
    } else {
        saved.argument(call, 0);
        for (position, name, width) in [(1, "key", sizes.width), (2, "value", sizes.value_width)] {
            let elements = rows.saturating_mul(sizes.keys).saturating_mul(width);
            match kernel == Kernel::Efficient && elements != call.elements(position) {
                true => saved.extra(name, elements, dtype),
                false => saved.argument(call, position),
            }
        }
        saved.output(0);
    }
    if kernel == Kernel::Flash {
        saved.extra(
            "logsumexp",
            rows.saturating_mul(sizes.queries),
            Dtype::Float32,
        );
        saved.extra("rng state", 2, Dtype::Uint64);
        saved.extra("rng offset", 1, Dtype::Uint64);
        return;
    }
    let queries = sizes.queries.next_multiple_of(32);
    saved.extra("logsumexp", rows.saturating_mul(queries), Dtype::Float32);
    saved.extra("rng seed", 1, Dtype::Int64);
    saved.extra("rng offset", 1, Dtype::Int64);
    if let Some(mask) = call.argument(3) {
        // Booleans become a bias; its rows are padded to a multiple of 8.
        let keys = mask.ty.shape.size(-1).unwrap_or(1);
        let padded = keys.next_multiple_of(8);
        if mask.ty.dtype == Dtype::Bool || padded != keys {
            saved.extra(
                "bias",
                mask.ty.shape.elements() / keys.max(1) * padded,
                dtype,
            );
        } else {
            saved.argument(call, 3);
        }
    }
}

/// What `_scaled_dot_product_attention_math` keeps: query and key times the root of the scale, the
/// weights, and the value, or a copy of it where batch and heads do not lie one after the other.
/// Halves are computed in float32.
pub(super) fn math_saved(call: &Call, sizes: &Sizes, saved: &mut Saved) {
    let Ok(given) = call.dtype(0) else { return };
    let dtype = if given.is_half() {
        Dtype::Float32
    } else {
        given
    };
    let batches = sizes.batches();
    let weights = call.requires_grad(0) || call.requires_grad(1) || call.requires_grad(3);
    let dropped = dropout(call) > 0.0;
    if call.requires_grad(1) {
        let elements = sizes.queries.saturating_mul(sizes.width);
        saved.extra("scaled query", batches.saturating_mul(elements), dtype);
    }
    if call.requires_grad(0) {
        let elements = sizes.keys.saturating_mul(sizes.width);
        saved.extra("scaled key", batches.saturating_mul(elements), dtype);
    }
    if weights || (call.requires_grad(2) && !dropped) {
        saved.extra("weights", sizes.scores(), dtype);
    }
    if dropped {
        if weights {
            saved.extra("mask", sizes.scores(), Dtype::Bool);
        }
        if call.requires_grad(2) {
            saved.extra("dropped weights", sizes.scores(), dtype);
        }
    }
    if weights {
        let elements = batches
            .saturating_mul(sizes.keys)
            .saturating_mul(sizes.value_width);
        let own = call.shape(2).map_or(&[][..], Shape::sizes);
        let leading = own
            .iter()
            .copied()
            .zip(call.strides(2))
            .take(own.len().saturating_sub(2));
        let copied = elements != call.elements(2) || !merges(leading);
        match copied || given.is_half() {
            true => saved.extra("value", elements, dtype),
            false => saved.argument(call, 2),
        }
    }
}

pub(super) fn scale(call: &Call, sizes: &Sizes) -> f64 {
    call.float("scale")
        .unwrap_or_else(|| 1.0 / (sizes.width.max(1) as f64).sqrt())
}
