//! Losses with a margin: of rankings, distances and cosines.

use super::definition::{Default, attribute, operand};
use super::distance_gradient::triplet;
use super::pairs::{PAIR, finish, magnitude, output_dtype, pair_outputs, pairs, pairs_work, rows};
use super::pointwise::range;
use super::reduction::REDUCTION;
use super::{Attribute, AttributeKind, Call, Op, Work};
use crate::tensor::{Dtype, Interval};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "hinge_embedding_loss",
        summary: "the input where the target is 1, what it lacks of the margin where it is −1",
        attributes: &[MARGIN_ONE, REDUCTION],
        work: |call| pairs_work(call, 5),
        saved: |call, saved| {
            saved.extra("margin", pairs(call), output_dtype(call));
            saved.extra("target is not 1", call.elements(1), Dtype::Bool);
            saved.extra("target is not -1", call.elements(1), Dtype::Bool);
        },
        interval: |call, ranges| {
            let (input, margin) = (range(ranges, 0), margin(call));
            let lack = (Interval::point(margin) - input).clamped(0.0, f64::INFINITY);
            // Any target but 1 and −1 counts as both.
            let both = input + lack;
            finish(call, input.union(lack).union(both))
        },
        ..PAIR
    },
    Op {
        name: "margin_ranking_loss",
        summary: "how much of the margin the one input lacks over the other, as the target says",
        operands: &[operand("input1"), operand("input2"), operand("target")],
        attributes: &[MARGIN_ZERO, REDUCTION],
        infer: |call| {
            let shape = call.broadcast()?;
            pair_outputs(call, shape)
        },
        work: |call| pairs_work(call, 5),
        saved: |call, saved| {
            let dtype = output_dtype(call);
            saved.extra("negated target", call.elements(2), dtype);
            saved.extra("margin", pairs(call), dtype);
        },
        interval: |call, ranges| {
            let difference = range(ranges, 0) - range(ranges, 1);
            let lack = Interval::point(margin(call)) - range(ranges, 2) * difference;
            finish(call, lack.clamped(0.0, f64::INFINITY))
        },
        ..PAIR
    },
    Op {
        name: "cosine_embedding_loss",
        summary: "1 − cosine where the target is 1, its excess over the margin where it is −1",
        operands: &[operand("input1"), operand("input2"), operand("target")],
        attributes: &[MARGIN_ZERO, REDUCTION],
        infer: |call| pair_outputs(call, rows(call, &[0, 1], Some(2))?),
        // Three sums of products, and a dozen operations for each row.
        work: |call| Work::other(6 * u128::from(call.elements(0))),
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.argument(call, 1);
            let (dtype, count) = (output_dtype(call), call.elements(2));
            for name in [
                "product",
                "magnitude 1",
                "magnitude 2",
                "denominator",
                "excess",
            ] {
                saved.extra(name, count, dtype);
            }
            saved.extra("target is 1", count, Dtype::Bool);
            saved.extra("target is -1", count, Dtype::Bool);
        },
        interval: |call, _| {
            // Magnitudes carry an eps, so nothing is divided by 0.
            let most = (1.0 - margin(call)).max(2.0);
            finish(call, Interval::new(0.0, most).widened(1e-12))
        },
        ..PAIR
    },
    Op {
        name: "triplet_margin_loss",
        summary: "how much of the margin the negative lacks in distance over the positive",
        operands: &[operand("anchor"), operand("positive"), operand("negative")],
        attributes: &[
            MARGIN_ONE,
            attribute(
                "p",
                AttributeKind::Float,
                Default::Float(2.0),
                "which norm is the distance",
            ),
            attribute(
                "eps",
                AttributeKind::Float,
                Default::Float(1e-6),
                "added to each difference",
            ),
            attribute(
                "swap",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether the lesser of the negative's distances to anchor and positive counts",
            ),
            REDUCTION,
        ],
        infer: |call| pair_outputs(call, rows(call, &[0, 1, 2], None)?),
        // Difference, eps, power and sum for each element of each distance.
        work: |call| {
            let distances = if call.boolean("swap") { 3 } else { 2 };
            Work::other(4 * distances * u128::from(call.elements(0)))
        },
        saved: |call, saved| {
            let dtype = output_dtype(call);
            let (elements, width) = (call.elements(0), last(call));
            let count = elements / width.max(1);
            let swapped = call.boolean("swap").then_some("swapped");
            for name in ["positive", "negative"].into_iter().chain(swapped) {
                saved.extra(name, elements, dtype);
                saved.extra("distance", count, dtype);
            }
            saved.extra("margin", count, dtype);
        },
        gradient: |call, gradient| {
            let rows = call.elements(0) / last(call).max(1);
            triplet(call, gradient, rows);
        },
        // Each difference, before eps is added, and the difference of distances.
        temporaries: |call, _| {
            let dtype = output_dtype(call);
            let margins = call.elements(0) / last(call).max(1);
            dtype.bytes_for(call.elements(0).saturating_sub(margins))
        },
        interval: |call, ranges| {
            let (p, eps) = (
                call.float("p").unwrap_or(2.0),
                call.float("eps").unwrap_or(1e-6),
            );
            let gap = magnitude(range(ranges, 0) - range(ranges, 1)).high + eps.abs();
            let distance = match p.is_finite() && p > 0.0 {
                true => gap * (last(call) as f64).powf(1.0 / p),
                false => return Interval::ANYTHING,
            };
            let lack = Interval::new(0.0, (distance + margin(call)).max(0.0));
            finish(call, lack.widened(1e-12))
        },
        ..PAIR
    },
];

const MARGIN_ONE: Attribute = attribute(
    "margin",
    AttributeKind::Float,
    Default::Float(1.0),
    "the margin",
);

const MARGIN_ZERO: Attribute = attribute(
    "margin",
    AttributeKind::Float,
    Default::Float(0.0),
    "the margin",
);

fn margin(call: &Call) -> f64 {
    call.float("margin").unwrap_or(0.0)
}

fn last(call: &Call) -> u64 {
    call.shape(0)
        .ok()
        .and_then(|shape| shape.size(-1))
        .unwrap_or(1)
}
