//! The backward passes of reductions, and of running products.
//!
//! From PyTorch's formulas (`tools/autograd/derivatives.yaml`, `FunctionsManual.cpp`), step by step:
//! which tensors of them live together.

use super::Call;
use super::gradient::Gradient;
use super::reduce::order;
use crate::tensor::Dtype;

/// The gradient of a variance: (2 / (n − c)) · g · (x − mean); of its root with g / 2σ first.
pub(super) fn spread<const ROOT: bool>(call: &Call, gradient: &mut Gradient<'_>) {
    if let (true, Ok(input)) = (call.requires_grad(0), call.ty(0)) {
        let each = gradient.output_bytes();
        if ROOT {
            gradient.scratch(each);
        }
        gradient.scratch(each);
        gradient.scratch(input.dtype.bytes_for(input.shape.elements()));
        gradient.scratch(each);
    }
    gradient.make(0);
}

/// The gradient of a norm, by its order. Of the second it is g · x / ‖x‖, without what is 0 / 0; of
/// others the power of the magnitudes times that of the norm; of the greatest magnitude it is shared
/// evenly by all elements that have it.
pub(super) fn norm(call: &Call, gradient: &mut Gradient<'_>) {
    if !call.requires_grad(0) {
        return;
    }
    let (all, mask) = (gradient.operand_bytes(0), call.elements(0));
    let (norms, few) = (gradient.output_bytes(), call.output_elements());
    match order(call) {
        0.0 => {}
        1.0 => gradient.scratch(all),
        2.0 => gradient.scratch_all(&[all, few]),
        f64::INFINITY | f64::NEG_INFINITY => {
            let count = Dtype::Int64.bytes_for(few);
            gradient.scratch(all);
            gradient.moment(&[mask; 3]);
            gradient.scratch_all(&[mask, count, norms, all, all]);
        }
        p if p < 1.0 => {
            gradient.moment(&[all, mask, all, all]);
            gradient.scratch_all(&[all, norms, all]);
        }
        p => {
            // The magnitudes to a power; their signs, too, where that is not left to them.
            let signs = if p < 2.0 { all } else { 0 };
            gradient.moment(&[all, all, signs]);
            gradient.scratch(all);
            gradient.moment(&[norms, norms]);
            gradient.scratch(norms);
            gradient.moment(&[few]);
        }
    }
    gradient.make(0);
}

/// The gradient of a product. Where zeros are counted there are none, and it is g · (y / x). Where
/// they cannot be, running products from both ends leave out each factor in turn.
pub(super) fn product(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        let all = gradient.operand_bytes(0);
        match gradient.is_traced() {
            true => gradient.scratch_all(&[all; 5]),
            false => {
                let count = Dtype::Int64.bytes_for(call.output_elements());
                gradient.scratch_all(&[call.elements(0), count, all]);
            }
        }
    }
    gradient.make(0);
}

/// The gradient of running products: the running sum from behind of g · y, divided by x. Where zeros
/// cannot be looked for, what lies before the first, between it and the second is joined by masks.
pub(super) fn running_product(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        let (all, mask) = (gradient.operand_bytes(0), call.elements(0));
        let axis = call.shape(0).ok().and_then(|shape| {
            let axis = call.axis("dim", shape).ok()?;
            shape.sizes().get(axis).copied()
        });
        let rows = mask / axis.unwrap_or(1).max(1);
        match gradient.is_traced() {
            true => {
                let counts = Dtype::Int64.bytes_for(mask);
                let row = all / axis.unwrap_or(1).max(1);
                let place = Dtype::Int64.bytes_for(rows);
                gradient.moment(&[
                    all, mask, all, counts, mask, mask, all, all, all, all, place, row, row, row,
                ]);
            }
            false => gradient.scratch_all(&[all, mask, all, all, all]),
        }
    }
    gradient.make(0);
}

/// The gradient of the greatest or least: shared evenly by all elements that equal it, whose mask
/// is made and counted.
pub(super) fn shared(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        gradient.scratch(call.elements(0));
        gradient.scratch(Dtype::Int64.bytes_for(call.output_elements()));
        gradient.scratch(gradient.output_bytes());
    }
    gradient.make(0);
}
