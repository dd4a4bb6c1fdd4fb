//! The backward passes of directions and distances.
//!
//! From PyTorch's formulas (`FunctionsManual.cpp`) and, where the op is written in terms of others, from
//! those of these; step by step: which tensors of them live together.

use super::Call;
use super::distance::{is_product, pairs};
use super::gradient::Gradient;

/// The gradient of a quotient of vectors and their guarded norms, towards the vectors; what of it
/// waits to be summed to that of the norms goes.
fn divided(gradient: &mut Gradient<'_>, position: usize, pairs: u64, norms: u64) {
    let before = gradient.living();
    gradient.scratch_all(&[pairs; 4]);
    gradient.drop(before, 3);
    gradient.make_summed(position);
    gradient.scratch(norms);
    gradient.drop(before, 1);
}

/// The gradient of norms towards the vectors: g · x / ‖x‖ without what is 0 / 0, which is added to the
/// one that there is.
fn measured(gradient: &mut Gradient<'_>, position: usize, few: u64) {
    let before = gradient.living();
    gradient.scratch_all(&[gradient.operand_bytes(position), few]);
    gradient.make(position);
    gradient.drop(before, 2);
    gradient.hand(position);
    gradient.hand(position);
}

/// The gradient of `normalize`: that of the quotient, and that of the norm.
pub(super) fn direction(call: &Call, gradient: &mut Gradient<'_>, norms: u64) {
    if !call.requires_grad(0) {
        return;
    }
    let all = gradient.operand_bytes(0);
    let bytes = norms.saturating_mul(all) / call.elements(0).max(1);
    divided(gradient, 0, all, bytes);
    measured(gradient, 0, norms);
}

/// The gradient of `cosine_similarity`: the products of both directions, then for each the quotient,
/// then for each the norm.
pub(super) fn cosine(call: &Call, gradient: &mut Gradient<'_>) {
    let Some(output) = call.output() else { return };
    let (norms, few) = (gradient.output_bytes(), call.output_elements());
    let pairs = output.dtype.bytes_for(pairs(call));
    let wanted = || [1, 0].into_iter().filter(|&at| call.requires_grad(at));
    gradient.end();
    wanted().for_each(|_| gradient.scratch(pairs));
    gradient.release("direction");
    gradient.release("direction");
    for position in wanted() {
        divided(gradient, position, pairs, norms);
        gradient.drop(0, 1);
        gradient.release("divisor");
    }
    for position in wanted() {
        measured(gradient, position, few);
        gradient.release("norm");
    }
}

/// The gradient of `cdist`. Where distances come from a product, x · Σ(g / d) − (g / d) · y for both
/// sides, whether wanted or not; else one kernel for each, the second one on transposed copies.
pub(super) fn distances(call: &Call, gradient: &mut Gradient<'_>) {
    let all = gradient.output_bytes();
    if !is_product(call) {
        gradient.make(0);
        if call.requires_grad(1) {
            gradient.scratch_all(&[all, all]);
        }
        return gradient.make(1);
    }
    gradient.scratch(all);
    gradient.moment(&[call.output_elements()]);
    for position in 0..2 {
        let own = gradient.operand_bytes(position);
        let rows = call.shape(position).ok().and_then(|shape| shape.size(-1));
        gradient.scratch_all(&[own, own / rows.unwrap_or(1).max(1), own]);
        gradient.make_anyway(position);
    }
}

/// The gradient of `triplet_margin_loss`: of each distance that of a norm, towards the anchor, and its
/// negative.
pub(super) fn triplet(call: &Call, gradient: &mut Gradient<'_>, rows: u64) {
    let all = gradient.operand_bytes(0);
    let norms = rows.saturating_mul(all) / call.elements(0).max(1);
    gradient.end();
    gradient.scratch(norms);
    gradient.moment(&[rows]);
    gradient.release("margin");
    gradient.scratch(norms);
    for (position, name) in [(2, "negative"), (1, "positive")] {
        let before = gradient.living();
        gradient.scratch_all(&[all, rows]);
        gradient.make(0);
        gradient.drop(before, 2);
        gradient.release(name);
        gradient.release("distance");
        gradient.drop(before - 1, 1);
        gradient.make(position);
    }
    gradient.release("swapped");
}
