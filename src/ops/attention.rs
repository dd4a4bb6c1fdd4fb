//! Scaled dot-product attention as one op, and rotary position embedding.
//!
//! The layers that split heads and project, `attention` and `multi_head_attention`, stand in
//! `heads` and are made of this.

use smallvec::smallvec;

use super::attention_gradient::gradient;
use super::attention_kernel::{Kernel, Sizes, dropout, kernel, saved, scale};
use super::definition::{BASE, Default, attribute, operand, optional};
use super::layout::{Placement, Strides, contiguous, contiguous_strides, dense_like, preserved};
use super::pointwise::{operations, range};
use super::{Attribute, AttributeKind, Autocast, Call, Op, OpError, Work, multilinear};
use crate::tensor::{Dtype, Interval, Moments, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "scaled_dot_product_attention",
        aliases: &["sdpa"],
        summary: "softmax(query @ key.T · scale + mask) @ value for each head",
        operands: &[
            operand("query"),
            operand("key"),
            operand("value"),
            optional("attn_mask"),
        ],
        attributes: &[
            DROPOUT_P,
            IS_CAUSAL,
            SCALE,
            attribute(
                "enable_gqa",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether groups of query heads may share a head of key and value",
            ),
        ],
        infer: |call| {
            let sizes = Sizes::of(call)?;
            let mut shape = sizes.leading.clone();
            shape.push(sizes.queries);
            shape.push(sizes.value_width);
            Ok(smallvec![TensorType {
                shape,
                dtype: multilinear::dtype(call, [0, 1, 2])?,
            }])
        },
        autocast: Autocast::Lower,
        work: |call| match Sizes::of(call) {
            Ok(sizes) => Work {
                products: sizes.scores_flops().saturating_add(sizes.values_flops()),
                other: other_work(call, &sizes),
            },
            Err(_) => Work::default(),
        },
        backward,
        saved,
        gradient,
        layout,
        interval,
        moments: |call, moments| {
            let (value, weight) = ((*moments.get(2)?)?, weight_square(call, moments)?);
            if dropout(call) == 1.0 {
                return Some(Moments::constant(0.0));
            }
            let drop = 1.0 / (1.0 - dropout(call));
            let terms = Sizes::of(call).ok()?.keys as f64 * weight * drop;
            // A weighted mean: the weights sum to 1, and of the variance their squares count. The
            // zeros of dropout add the variance of the mean that they take away.
            let lost = (drop - 1.0) * value.mean * value.mean * terms / drop;
            Some(Moments::new(value.mean, value.variance * terms + lost))
        },
        gradient_gain: |call, position, moments| {
            // Towards query and key the gradient passes the softmax, about which moments say
            // little.
            (position == 2 && dropout(call) < 1.0).then_some(())?;
            let sizes = Sizes::of(call).ok()?;
            let repeats = sizes.heads() as f64 / sizes.key_heads.max(1) as f64;
            let weight = weight_square(call, moments)? / (1.0 - dropout(call));
            Some(sizes.queries as f64 * repeats * weight)
        },
        ..BASE
    },
    Op {
        name: "rotary_embedding",
        aliases: &["rope", "apply_rotary_pos_emb"],
        summary: "rotates pairs of elements of the last axis by angles that grow with the position",
        operands: &[operand("input"), optional("cos"), optional("sin")],
        attributes: &[attribute(
            "base",
            AttributeKind::Float,
            Default::Float(10000.0),
            "the greatest wavelength over 2π",
        )
        .or(&["theta", "rope_theta"])],
        infer: |call| {
            let input = call.ty(0)?;
            let sizes = input.shape.sizes();
            if sizes.len() < 2 || sizes[sizes.len() - 1] % 2 != 0 {
                let message = format!(
                    "`rotary_embedding` takes [.., positions, width] of an even width, but its \
                     input is {}",
                    input.shape
                );
                return Err(OpError::new(message).operands([0]));
            }
            for position in [1, 2] {
                if let Some(table) = call.argument(position)
                    && table.ty.shape.broadcast(&input.shape).as_ref() != Some(&input.shape)
                {
                    let message = format!(
                        "`{}` is {}, which does not broadcast to the input {}",
                        call.op.operand_name(position),
                        table.ty.shape,
                        input.shape
                    );
                    return Err(OpError::new(message).operands([position, 0]));
                }
            }
            Ok(smallvec![TensorType {
                shape: input.shape.clone(),
                dtype: call.promoted_dtype(),
            }])
        },
        layout: preserved,
        // x · cos + rotated x · sin, and the sign of the rotated.
        work: |call| operations(call, 4),
        saved: |call, saved| {
            let Ok(input) = call.ty(0) else { return };
            let sizes = input.shape.sizes();
            let table = sizes[sizes.len() - 2..].iter().product();
            for (position, name) in [(1, "cos"), (2, "sin")] {
                match call.has(position) {
                    true => saved.argument(call, position),
                    false => saved.extra(name, table, input.dtype),
                }
            }
        },
        interval: |call, ranges| {
            let input = range(ranges, 0);
            let tables = [1, 2].map(|position| match call.has(position) {
                true => range(ranges, position),
                false => Interval::new(-1.0, 1.0),
            });
            if call.has(1) || call.has(2) {
                let turned = input.union(-input);
                return input * tables[0] + turned * tables[1];
            }
            // A rotation keeps the length of a pair, which is at most √2 times its longer side.
            let bound = input.magnitude() * std::f64::consts::SQRT_2;
            Interval::new(0.0 - bound, bound).widened(1e-15)
        },
        // Over all angles the mean goes, and the mean square stays.
        moments: |call, moments| {
            let input = (*moments.first()?)?;
            (!call.has(1) && !call.has(2)).then(|| Moments::new(0.0, input.square()))
        },
        gradient_gain: |call, position, _| {
            (position == 0 && !call.has(1) && !call.has(2)).then_some(1.0)
        },
        ..BASE
    },
];

/// The fused kernels write [batch, positions, heads, width], and show it transposed.
/// FlashAttention writes these axes in the order in which the query has them (`empty_like`), unless
/// it works on padded copies.
fn layout(call: &Call, strides: &[Strides]) -> Placement {
    let (Ok(sizes), Some(output)) = (Sizes::of(call), call.output()) else {
        return contiguous(call, strides);
    };
    let kernel = kernel(call, &sizes);
    if kernel == Kernel::Math {
        return contiguous(call, strides);
    }
    let own = output.shape.sizes();
    let shown = [own[0], own[2], own[1], own[3]];
    let order = match strides.first().map(|query| &query[..]) {
        Some(&[batch, head, position, element])
            if kernel == Kernel::Flash && sizes.width.is_multiple_of(8) =>
        {
            dense_like(&shown, &[batch, position, head, element])
        }
        _ => contiguous_strides(&shown),
    };
    Placement::Own(smallvec![order[0], order[2], order[1], order[3]])
}

/// Probability of dropping a weight.
pub const DROPOUT_P: Attribute = attribute(
    "dropout_p",
    AttributeKind::Float,
    Default::Float(0.0),
    "probability of dropping a weight, in training",
);

/// Whether to mask the future.
pub const IS_CAUSAL: Attribute = attribute(
    "is_causal",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether a query sees only keys up to its own position",
);

/// The factor of the scores.
pub const SCALE: Attribute = attribute(
    "scale",
    AttributeKind::Float,
    Default::None,
    "factor of the scores; 1/√width where not given",
);

/// Softmax as maximum, difference, exponential, sum and quotient; scaling, mask and dropout.
fn other_work(call: &Call, sizes: &Sizes) -> u128 {
    let masked = call.has(3) || call.boolean("is_causal");
    let per_score = 5 + u128::from(masked) + if dropout(call) > 0.0 { 2 } else { 0 };
    let scaling = u128::from(call.elements(0)) + u128::from(call.elements(1));
    (u128::from(sizes.scores()) * per_score).saturating_add(scaling)
}

/// As `torch.utils.flop_counter` counts: two products for the gradients of each of the two
/// products; the fused kernels compute the scores once more.
fn backward(call: &Call) -> u128 {
    let Ok(sizes) = Sizes::of(call) else {
        return 0;
    };
    let (scores, values) = (sizes.scores_flops(), sizes.values_flops());
    let needs = |position| u128::from(call.requires_grad(position));
    if kernel(call, &sizes) != Kernel::Math {
        return scores
            .saturating_mul(3)
            .saturating_add(values.saturating_mul(2));
    }
    let weights = needs(0).max(needs(1)).max(needs(3));
    scores
        .saturating_mul(needs(0) + needs(1))
        .saturating_add(values.saturating_mul(weights + needs(2)))
}

/// A weighted mean of rows of the value. Kernels sum in float32, where the scores may overflow.
fn interval(call: &Call, ranges: &[Interval]) -> Interval {
    let Ok(sizes) = Sizes::of(call) else {
        return Interval::ANYTHING;
    };
    let mut result = range(ranges, 2);
    if call.has(3) {
        // A row whose keys are all masked gives 0.
        result = result.union(Interval::point(0.0));
    }
    match dropout(call) {
        0.0 => {}
        1.0 => result = Interval::point(0.0),
        p => result = (result * Interval::point(1.0 / (1.0 - p))).union(Interval::point(0.0)),
    }
    let score = scale(call, &sizes)
        * sizes.width as f64
        * range(ranges, 0).magnitude()
        * range(ranges, 1).magnitude();
    let limit = Dtype::Float32
        .float_format()
        .map_or(f64::MAX, |format| format.overflow);
    result.or_non_finite(score.is_finite() && score >= limit)
}

/// The mean square of a weight: `e^σ²/n²` for scores of variance `σ²` over `n` keys, at most `1/n`,
/// for then one key has all the weight.
fn weight_square(call: &Call, moments: &[Option<Moments>]) -> Option<f64> {
    let sizes = Sizes::of(call).ok()?;
    let (query, key) = ((*moments.first()?)?, (*moments.get(1)?)?);
    let scores = multilinear::moments([Some(query), Some(key)], sizes.width as f64)?;
    let variance = scores.variance * scale(call, &sizes).powi(2);
    let keys = sizes.keys.max(1) as f64;
    let even = match call.boolean("is_causal") {
        // The mean of 1/n over the positions: H(n)/n.
        true => (keys.ln() + 0.577_215_664_901_532_9).max(1.0) / (keys * keys),
        false => 1.0 / (keys * keys),
    };
    Some((even * variance.exp()).min(1.0 / keys))
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Random, check, check_intervals, check_products, check_saved, with};
    use super::*;

    #[test]
    fn shapes_and_errors() {
        check(&[
            (
                "scaled_dot_product_attention([2, 4, 5, 8], [2, 4, 6, 8], [2, 4, 6, 3])",
                "float32 [2, 4, 5, 3]",
            ),
            ("sdpa([5, 8], [6, 8], [6, 8])", "float32 [5, 8]"),
            (
                "sdpa([2, 4, 5, 8], [2, 4, 6, 7], [2, 4, 6, 8])",
                "error: query [2, 4, 5, 8] and key [2, 4, 6, 7] differ in width: 8 ≠ 7",
            ),
            (
                "sdpa([2, 4, 5, 8], [2, 4, 6, 8], [2, 4, 7, 8])",
                "error: key [2, 4, 6, 8] and value [2, 4, 7, 8] differ in positions: 6 ≠ 7",
            ),
            (
                "sdpa([2, 4, 5, 8], [2, 2, 6, 8], [2, 2, 6, 8])",
                "error: query [2, 4, 5, 8], key [2, 2, 6, 8] and value [2, 2, 6, 8] do not broadcast before the last two axes",
            ),
            (
                "sdpa([2, 4, 5, 8], [2, 2, 6, 8], [2, 2, 6, 8], enable_gqa=true)",
                "float32 [2, 4, 5, 8]",
            ),
            (
                "sdpa([2, 4, 5, 8], [2, 3, 6, 8], [2, 3, 6, 8], enable_gqa=true)",
                "error: 4 heads of the query do not share 3 of the key and 3 of the value",
            ),
            (
                "sdpa([2, 4, 5, 8], [2, 4, 6, 8], [2, 4, 6, 8], bool [2, 1, 1, 6])",
                "float32 [2, 4, 5, 8]",
            ),
            (
                "sdpa([2, 4, 5, 8], [2, 4, 6, 8], [2, 4, 6, 8], bool [2, 6])",
                "error: the mask [2, 6] does not broadcast to the scores [2, 4, 5, 6]",
            ),
            (
                "sdpa([2, 4, 5, 8], [2, 4, 6, 8], [2, 4, 6, 8], bool [5, 6], is_causal=true)",
                "error: `is_causal` and a mask exclude each other",
            ),
            (
                "sdpa([8], [6, 8], [6, 8])",
                "error: `query` of attention needs at least [positions, width], but is [8]",
            ),
            ("rope([2, 4, 5, 8])", "float32 [2, 4, 5, 8]"),
            (
                "rope([2, 4, 5, 7])",
                "error: `rotary_embedding` takes [.., positions, width] of an even width, but its input is [2, 4, 5, 7]",
            ),
        ]);
    }

    #[test]
    fn products_are_those_of_the_flop_counter() {
        let (scores, values) = (2 * 2 * 4 * 5 * 6 * 8, 2 * 2 * 4 * 5 * 6 * 4);
        let call = "sdpa([2, 4, 5, 8], [2, 4, 6, 8], [2, 4, 6, 4])";
        check_products(&[
            (call, (scores + values, 2 * (scores + values))),
            (
                &format!("{call} fused"),
                (scores + values, 3 * scores + 2 * values),
            ),
            (
                "sdpa([2, 4, 5, 8]!, [2, 4, 6, 8]!, [2, 4, 6, 4])",
                (scores + values, values),
            ),
        ]);
    }

    /// What PyTorch 2.15's `saved_tensors_hooks` showed on (fake) CUDA tensors.
    #[test]
    fn each_kernel_keeps_its_own() {
        let qkv = "float16 [2, 4, 16, 64], float16 [2, 4, 16, 64], float16 [2, 4, 16, 64]";
        check_saved(&[
            (
                &format!("sdpa({qkv}) fused"),
                "query, key, value, output, logsumexp: 128 float32, rng state: 2 uint64, rng offset: 1 uint64",
            ),
            (
                &format!("sdpa({qkv}, bool [16, 16]) fused"),
                "query, key, value, output, logsumexp: 256 float32, rng seed: 1 int64, rng offset: 1 int64, bias: 256 float16",
            ),
            (
                "sdpa([1, 4, 16, 16], [1, 4, 16, 16], [1, 4, 16, 16])",
                "value, scaled query: 1024 float32, scaled key: 1024 float32, weights: 1024 float32",
            ),
            (
                "sdpa([2, 4, 16, 16], [2, 4, 16, 16], [2, 4, 16, 16] / [1024, 16, 64, 1], dropout_p=0.1)",
                "scaled query: 2048 float32, scaled key: 2048 float32, weights: 2048 float32, mask: 2048 bool, dropped weights: 2048 float32, value: 2048 float32",
            ),
            (
                "sdpa([2, 4, 16, 16], [2, 2, 16, 16], [2, 2, 16, 16], enable_gqa=true) fused",
                "query, output, key: 2048 float32, value: 2048 float32, logsumexp: 256 float32, rng seed: 1 int64, rng offset: 1 int64",
            ),
            (
                &format!("sdpa({qkv})"),
                "scaled query: 8192 float32, scaled key: 8192 float32, weights: 2048 float32, value: 8192 float32",
            ),
            ("rope([2, 4, 5, 8])", "cos: 40 float32, sin: 40 float32"),
        ]);
    }

    #[test]
    fn ranges_are_those_of_the_value() {
        let wide = (-1e3, 1e3);
        check_intervals(&[
            (
                "sdpa([5, 8], [6, 8], [6, 8])",
                &[wide, wide, (1.0, 2.0)],
                "[1, 2]",
            ),
            (
                "sdpa([5, 8], [6, 8], [6, 8])",
                &[(0.0, 1e20), (0.0, 1e20), (1.0, 2.0)],
                "[1, 2]?",
            ),
            (
                "sdpa([5, 8], [6, 8], [6, 8], dropout_p=0.5)",
                &[wide, wide, (1.0, 2.0)],
                "[0, 4]",
            ),
            (
                "sdpa([5, 8], [6, 8], [6, 8], dropout_p=0.5) eval",
                &[wide, wide, (1.0, 2.0)],
                "[1, 2]",
            ),
            (
                "sdpa([5, 8], [6, 8], [6, 8], bool [5, 6])",
                &[wide, wide, (1.0, 2.0)],
                "[0, 2]",
            ),
            ("rope([5, 8])", &[(0.0, 1.0)], "[-1.4142, 1.4142]"),
        ]);
    }

    /// The moments of the output and the growth of the value's gradient are held to attention on
    /// random numbers.
    #[test]
    fn moments_agree_with_random_attention() {
        let (queries, keys, width) = (40usize, 30usize, 16usize);
        let text = format!("sdpa([{queries}, {width}], [{keys}, {width}], [{keys}, {width}])");
        let mut random = Random(5);
        let mut draw = |rows: usize, deviation: f64| -> Vec<Vec<f64>> {
            let row =
                |random: &mut Random| (0..width).map(|_| random.normal() * deviation).collect();
            (0..rows).map(|_| row(&mut random)).collect()
        };
        let (mut output, mut gradient, rounds) = (0.0, 0.0, 20);
        for _ in 0..rounds {
            let (q, k, v) = (draw(queries, 0.8), draw(keys, 0.8), draw(keys, 2.0));
            let mut columns = vec![0.0; keys];
            for q in &q {
                let score = |k: &Vec<f64>| -> f64 {
                    let dot: f64 = q.iter().zip(k).map(|(a, b)| a * b).sum();
                    (dot / (width as f64).sqrt()).exp()
                };
                let weights: Vec<f64> = k.iter().map(score).collect();
                let total: f64 = weights.iter().sum();
                for axis in 0..width {
                    let mean: f64 = weights.iter().zip(&v).map(|(w, v)| w * v[axis]).sum();
                    output += (mean / total).powi(2) / (queries * width * rounds) as f64;
                }
                for (column, weight) in columns.iter_mut().zip(&weights) {
                    *column += (weight / total).powi(2);
                }
            }
            gradient += columns.iter().sum::<f64>() / (keys * rounds) as f64;
        }
        let given = [0.64, 0.64, 4.0].map(|variance| Some(Moments::new(0.0, variance)));
        with(&text, |call| {
            let moments = (call.op.moments)(call, &given).unwrap();
            let ratio = moments.variance / output;
            assert!((0.85..1.15).contains(&ratio), "{moments:?} {output}");
            let gain = (call.op.gradient_gain)(call, 2, &given).unwrap();
            assert!(
                (0.85..1.15).contains(&(gain / gradient)),
                "{gain} {gradient}"
            );
        })
        .unwrap();
    }
}
