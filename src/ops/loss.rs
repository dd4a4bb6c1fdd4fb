//! Losses over pairs of elements: regression, binary classification and divergences.
//!
//! Losses over classes stand in `cross_entropy`, those with a margin in `margin_loss`.

use super::definition::{Default, attribute, operand, optional};
use super::gradient::Gradient;
use super::layout::contiguous_strides;
use super::pairs::{
    PAIR, counts, finish, infer_pair, magnitude, output_dtype, pair_outputs, pairs, pairs_work,
    save_pair,
};
use super::pointwise::{broadcast_factor, operand_moments, range};
use super::reduction::{REDUCTION, Reduction, same_shape};
use super::{AttributeKind, Autocast, Call, Op};
use crate::tensor::{Interval, Moments};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "mse_loss",
        aliases: &["l2_loss", "mean_squared_error"],
        summary: "squared difference",
        // Difference, square, sum.
        work: |call| pairs_work(call, 3),
        saved: save_pair,
        interval: |call, ranges| {
            reduce(call, ranges, |difference| {
                difference.map_increasing(|d| d * d)
            })
        },
        moments: |call, moments| {
            let mean = squared_difference(call, moments)?;
            let (count, batch) = counts(call)?;
            let total = count as f64 * Reduction::of(call).factor(count, batch);
            // Of a mean over many elements the variance is left out.
            (Reduction::of(call) != Reduction::None).then(|| Moments::constant(mean * total))
        },
        // 2·(x − t)/n.
        gradient_gain: |call, position, moments| {
            let square = 4.0 * squared_difference(call, moments)?;
            loss_gain(call, position, square)
        },
        ..PAIR
    },
    Op {
        name: "l1_loss",
        aliases: &["mean_absolute_error"],
        summary: "magnitude of the difference",
        work: |call| pairs_work(call, 3),
        // PyTorch writes it as `abs(input − target)`.
        saved: |call, saved| saved.extra("difference", pairs(call), output_dtype(call)),
        gradient: l1_gradient,
        temporaries: |call, _| summed_bytes(call),
        interval: |call, ranges| reduce(call, ranges, |difference| difference),
        gradient_gain: |call, position, _| loss_gain(call, position, 1.0),
        ..PAIR
    },
    Op {
        name: "smooth_l1_loss",
        summary: "squared difference below beta, and its magnitude above",
        attributes: &[
            attribute(
                "beta",
                AttributeKind::Float,
                Default::Float(1.0),
                "where the square becomes a line; 0 is `l1_loss`",
            ),
            REDUCTION,
        ],
        work: |call| pairs_work(call, 6),
        saved: save_pair,
        interval: |call, ranges| {
            let beta = call.float("beta").unwrap_or(1.0);
            reduce(call, ranges, |difference| {
                difference.map_increasing(|d| match d < beta {
                    true => 0.5 * d * d / beta,
                    false => d - 0.5 * beta,
                })
            })
        },
        ..PAIR
    },
    Op {
        name: "huber_loss",
        summary: "half the squared difference below delta, and delta times its magnitude above",
        attributes: &[
            attribute(
                "delta",
                AttributeKind::Float,
                Default::Float(1.0),
                "where the square becomes a line",
            ),
            REDUCTION,
        ],
        work: |call| pairs_work(call, 6),
        saved: save_pair,
        interval: |call, ranges| {
            let delta = call.float("delta").unwrap_or(1.0);
            reduce(call, ranges, |difference| {
                difference.map_increasing(|d| match d <= delta {
                    true => 0.5 * d * d,
                    false => delta * (d - 0.5 * delta),
                })
            })
        },
        ..PAIR
    },
    Op {
        name: "binary_cross_entropy",
        aliases: &["bce_loss"],
        summary: "negative logarithm of the probability of the target, from probabilities",
        operands: &[operand("input"), operand("target"), optional("weight")],
        infer: |call| {
            same_shape(call, 1, 0)?;
            infer_pair(call)
        },
        // Autocast refuses it, for halves have too few probabilities near 1.
        autocast: Autocast::Keep,
        work: |call| pairs_work(call, 8),
        saved: |call, saved| {
            save_pair(call, saved);
            saved.argument(call, 2);
        },
        interval: |call, ranges| {
            let (input, target) = (range(ranges, 0), range(ranges, 1));
            let unit = |range: Interval| range.low >= 0.0 && range.high <= 1.0;
            if !unit(input) || !unit(target) {
                return Interval::ANYTHING;
            }
            // PyTorch clamps the logarithms at −100.
            let cost = |p: f64| (-p.ln()).min(100.0);
            let high = cost(input.low).max(cost(1.0 - input.high));
            let low = cost(input.high).min(cost(1.0 - input.low)).max(0.0);
            finish(
                call,
                weighted(call, ranges, 2, Interval::new(low, high).widened(1e-12)),
            )
        },
        ..PAIR
    },
    Op {
        name: "binary_cross_entropy_with_logits",
        aliases: &["bce_with_logits", "bce_with_logits_loss"],
        summary: "negative logarithm of the probability of the target, from logits",
        operands: &[
            operand("input"),
            operand("target"),
            optional("weight"),
            optional("pos_weight"),
        ],
        infer: |call| {
            same_shape(call, 1, 0)?;
            infer_pair(call)
        },
        work: |call| pairs_work(call, 8),
        saved: |call, saved| {
            save_pair(call, saved);
            saved.argument(call, 2);
            saved.argument(call, 3);
        },
        // σ(x) − t, in place; with weights of the positive, their product with t and σ(x) besides.
        gradient: |call, gradient| {
            // Not in place there is one more, and five with weights.
            let count = match (gradient.is_traced(), call.has(3)) {
                (false, false) => 0,
                (false, true) => 2,
                (true, false) => 1,
                (true, true) => 5,
            };
            for _ in 0..count {
                gradient.scratch(output_dtype(call).bytes_for(pairs(call)));
            }
            gradient.make(0);
        },
        interval: |call, ranges| {
            let (input, target) = (range(ranges, 0), range(ranges, 1));
            if target.low < 0.0 || target.high > 1.0 {
                return Interval::ANYTHING;
            }
            let positive = (-input).map_increasing(softplus).widened(1e-12);
            let negative = input.map_increasing(softplus).widened(1e-12);
            let element = weighted(call, ranges, 3, positive).union(negative);
            // Between both by the share of the target.
            finish(call, weighted(call, ranges, 2, element))
        },
        // (σ(x) − t)/n.
        gradient_gain: |call, position, moments| {
            (position == 0 && !call.has(2) && !call.has(3)).then_some(())?;
            let (input, target) = ((*moments.first()?)?, (*moments.get(1)?)?);
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let p = super::gaussian::moments(input, sigmoid)?;
            let square = p.square() - 2.0 * p.mean * target.mean + target.square();
            loss_gain(call, 0, square)
        },
        ..PAIR
    },
    Op {
        name: "kl_div",
        aliases: &["kl_div_loss"],
        summary: "target · (log target − input): divergence, from logarithms of probabilities",
        attributes: &[
            attribute(
                "reduction",
                AttributeKind::Choice(&["none", "mean", "sum", "batchmean"]),
                Default::Text("mean"),
                "`batchmean` is the divergence; `mean` also divides by the number of classes",
            ),
            attribute(
                "log_target",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether the target too is a logarithm",
            ),
        ],
        work: |call| pairs_work(call, 5),
        gradient: divergence_gradient,
        // Of target · log target − target · input both products, and the difference, which is summed;
        // with a logarithm for target its product.
        temporaries: |call, _| {
            let all = output_dtype(call).bytes_for(pairs(call));
            let parts = if call.boolean("log_target") { 0 } else { 2 };
            all.saturating_mul(parts).saturating_add(summed_bytes(call))
        },
        saved: |call, saved| match call.boolean("log_target") {
            // exp(target) · (target − input)
            true => {
                saved.extra("target", call.elements(1), output_dtype(call));
                if call.requires_grad(1) {
                    saved.extra("difference", call.elements(1), output_dtype(call));
                }
            }
            // target · log target − target · input
            false => {
                saved.argument(call, 1);
                if call.requires_grad(1) {
                    saved.argument(call, 0);
                }
            }
        },
        interval: |call, ranges| {
            let (input, target) = (range(ranges, 0), range(ranges, 1));
            let element = if call.boolean("log_target") {
                target.map_increasing(f64::exp).widened(1e-15) * (target - input)
            } else {
                // t·log t falls until 1/e, and is 0 at 0.
                let entropy = |t: f64| if t <= 0.0 { 0.0 } else { t * t.ln() };
                let mut own = Interval::new(entropy(target.low), entropy(target.high));
                let least = (-1.0f64).exp();
                if target.contains(least) {
                    own = own.union(Interval::point(-least));
                }
                (own.widened(1e-15) - target * input).or_non_finite(target.low < 0.0)
            };
            finish(call, element)
        },
        ..PAIR
    },
    Op {
        name: "poisson_nll_loss",
        summary: "negative log-likelihood of counts under a Poisson distribution",
        attributes: &[
            attribute(
                "log_input",
                AttributeKind::Boolean,
                Default::Boolean(true),
                "whether the input is the logarithm of the rate",
            ),
            attribute(
                "full",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether Stirling's term of the target is added",
            ),
            attribute(
                "eps",
                AttributeKind::Float,
                Default::Float(1e-8),
                "added to a rate before its logarithm",
            ),
            REDUCTION,
        ],
        work: |call| pairs_work(call, if call.boolean("full") { 9 } else { 4 }),
        // The target times the input, and the difference.
        temporaries: |call, _| {
            let product = output_dtype(call).bytes_for(pairs(call));
            product.saturating_add(summed_bytes(call))
        },
        // What arrives for each element, its negative, and its product with the rate.
        gradient: |call, gradient| {
            for _ in 0..2 {
                gradient.scratch(output_dtype(call).bytes_for(pairs(call)));
            }
            gradient.make(0);
            gradient.make(1);
        },
        saved: |call, saved| {
            let name = if call.boolean("log_input") {
                "rate"
            } else {
                "guarded rate"
            };
            saved.extra(name, call.elements(0), output_dtype(call));
            saved.argument(call, 1);
        },
        interval: |call, ranges| {
            let (input, target) = (range(ranges, 0), range(ranges, 1));
            let mut element = if call.boolean("log_input") {
                input.map_increasing(f64::exp).widened(1e-15) - target * input
            } else {
                let rate = input + Interval::point(call.float("eps").unwrap_or(1e-8));
                let positive = rate.clamped(f64::MIN_POSITIVE, f64::INFINITY);
                let log = positive.map_increasing(f64::ln).widened(1e-15);
                (input - target * log).or_non_finite(rate.low <= 0.0)
            };
            if call.boolean("full") && target.high > 1.0 {
                let stirling = |t: f64| {
                    let circle = 0.5 * (2.0 * std::f64::consts::PI * t).ln();
                    if t <= 1.0 {
                        0.0
                    } else {
                        t * t.ln() - t + circle
                    }
                };
                let most = Interval::new(stirling(1.0), stirling(target.high)).widened(1e-12);
                // Just above 1 the term is below 0: 0.5·log 2π − 1.
                element = element + most.union(Interval::point(-0.09));
            }
            finish(call, element)
        },
        ..PAIR
    },
    Op {
        name: "gaussian_nll_loss",
        summary: "negative log-likelihood of the target under a normal distribution",
        operands: &[operand("input"), operand("target"), operand("var")],
        attributes: &[
            attribute(
                "full",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether the constant ½ log 2π is added",
            ),
            attribute(
                "eps",
                AttributeKind::Float,
                Default::Float(1e-6),
                "least variance",
            ),
            REDUCTION,
        ],
        infer: |call| {
            let shape = call.broadcast()?;
            pair_outputs(call, shape)
        },
        autocast: Autocast::Keep,
        work: |call| pairs_work(call, 7),
        saved: |call, saved| {
            let dtype = output_dtype(call);
            saved.extra("variance", call.elements(2), dtype);
            saved.extra("difference", pairs(call), dtype);
            if call.requires_grad(2) {
                saved.extra("squared difference", pairs(call), dtype);
            }
        },
        interval: |call, ranges| {
            let eps = call.float("eps").unwrap_or(1e-6);
            if eps <= 0.0 {
                return Interval::ANYTHING;
            }
            let variance = range(ranges, 2).clamped(eps, f64::INFINITY);
            let difference = magnitude(range(ranges, 0) - range(ranges, 1));
            let log = variance.map_increasing(f64::ln).widened(1e-15);
            let square = difference.map_increasing(|d| d * d) / variance;
            let constant = match call.boolean("full") {
                true => 0.5 * (2.0 * std::f64::consts::PI).ln(),
                false => 0.0,
            };
            let element = (log + square) * Interval::point(0.5) + Interval::point(constant);
            finish(call, element)
        },
        ..PAIR
    },
];

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The range of a loss of the magnitude of the difference.
fn reduce(call: &Call, ranges: &[Interval], loss: impl Fn(Interval) -> Interval) -> Interval {
    finish(call, loss(magnitude(range(ranges, 0) - range(ranges, 1))))
}

/// The range times that of the weight at `position`, if there is one.
fn weighted(call: &Call, ranges: &[Interval], position: usize, element: Interval) -> Interval {
    match call.has(position) {
        true => element * range(ranges, position),
        false => element,
    }
}

/// `E[(x − t)²]`.
fn squared_difference(call: &Call, moments: &[Option<Moments>]) -> Option<f64> {
    let (x, t) = (
        operand_moments(call, moments, 0)?,
        operand_moments(call, moments, 1)?,
    );
    Some(x.variance + t.variance + (x.mean - t.mean).powi(2))
}

/// The growth towards input or target, from the mean square of the derivative of one loss.
fn loss_gain(call: &Call, position: usize, square: f64) -> Option<f64> {
    (position < 2).then_some(())?;
    let (count, batch) = counts(call)?;
    let repeats = match Reduction::of(call) {
        Reduction::None => broadcast_factor(call, position)?,
        _ => count as f64 / call.elements(position).max(1) as f64,
    };
    Some(square * Reduction::of(call).factor(count, batch).powi(2) * repeats)
}

/// The gradient of a mean of magnitudes: the incoming one for each element, times the sign of the
/// difference, and its negative for the target.
fn l1_gradient(call: &Call, gradient: &mut Gradient<'_>) {
    let bytes = output_dtype(call).bytes_for(pairs(call));
    if Reduction::of(call) == Reduction::Mean {
        gradient.node(bytes);
    }
    gradient.scratch(bytes);
    gradient.node(bytes);
    gradient.release("difference");
    match call.shape(0) {
        Ok(shape) if shape.elements() == pairs(call) => {
            gradient.share(0, 0, contiguous_strides(shape.sizes()));
        }
        _ => gradient.make(0),
    }
    gradient.make(1);
}

/// The bytes of the loss of each element, where they are summed.
fn summed_bytes(call: &Call) -> u64 {
    match Reduction::of(call) {
        Reduction::None => 0,
        _ => output_dtype(call).bytes_for(pairs(call)),
    }
}

/// The gradient of a divergence. With a logarithm for target that of exp(target) · (target − input),
/// factor by factor; else that of target · log target, without what is 0 · log 0, before that of
/// target · input.
fn divergence_gradient(call: &Call, gradient: &mut Gradient<'_>) {
    let (all, mask) = (output_dtype(call).bytes_for(pairs(call)), pairs(call));
    let target = call.requires_grad(1);
    gradient.scratch(all);
    if call.boolean("log_target") {
        if target {
            gradient.scratch(all);
            gradient.release("difference");
            gradient.scratch(all);
            gradient.drop(0, 1);
        }
        gradient.release("target");
        gradient.make(0);
        return gradient.make(1);
    }
    if target {
        gradient.moment(&[all, all]);
        gradient.scratch_all(&[all, all, mask, mask, mask, all]);
        gradient.drop(2, 4);
        gradient.scratch(all);
        gradient.drop(1, 2);
        gradient.scratch(all);
    }
    gradient.make(0);
    gradient.drop(0, 1);
    gradient.make(1);
}

#[cfg(test)]
mod tests;
