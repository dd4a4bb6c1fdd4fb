//! What the backward pass of an attention allocates, by the kernel that runs it.

use smallvec::smallvec;

use super::Call;
use super::attention_kernel::{Kernel, Sizes, dropout, kernel};
use super::gradient::Gradient;
use super::layout::{Strides, contiguous_strides};

/// One kernel for the fused forms; products, dropout and softmax one after the other for the
/// decomposed one.
pub(super) fn gradient(call: &Call, gradient: &mut Gradient<'_>) {
    let (Ok(sizes), Ok(dtype)) = (Sizes::of(call), call.dtype(0)) else {
        return;
    };
    let bytes = |elements: u64| dtype.bytes_for(elements);
    let rows = sizes.batches().saturating_mul(sizes.keys);
    if kernel(call, &sizes) != Kernel::Math {
        for position in 0..3 {
            let width = if position == 2 {
                sizes.value_width
            } else {
                sizes.width
            };
            // Of repeated heads, the gradients are made for each and then summed.
            if position > 0 && rows.saturating_mul(width) > call.elements(position) {
                gradient.scratch(bytes(rows.saturating_mul(width)));
            }
            gradient.make_in_order(position, by_positions(call, position));
        }
        if call.requires_grad(3) && sizes.scores() > call.elements(3) {
            gradient.scratch(bytes(sizes.scores()));
        }
        return gradient.make(3);
    }
    // Halves are computed in float32.
    let computed = if dtype.is_half() {
        crate::tensor::Dtype::Float32
    } else {
        dtype
    };
    let scores = computed.bytes_for(sizes.scores());
    gradient.make(2);
    gradient.node(scores);
    gradient.release("dropped weights");
    gradient.release("value");
    if dropout(call) > 0.0 {
        gradient.node(scores);
        gradient.release("mask");
    }
    gradient.node(scores);
    gradient.release("weights");
    gradient.make(3);
    for position in 0..2 {
        if call.requires_grad(position) {
            gradient.scratch(computed.bytes_for(call.elements(position)));
        }
    }
    gradient.make(0);
    gradient.make(1);
}

/// The strides of [batch, heads, positions, width] that lies as [batch, positions, heads, width].
fn by_positions(call: &Call, position: usize) -> Strides {
    match call.shape(position).map(|shape| shape.sizes()) {
        Ok(&[batch, heads, positions, width]) => {
            let order = contiguous_strides(&[batch, positions, heads, width]);
            smallvec![order[0], order[2], order[1], order[3]]
        }
        Ok(sizes) => contiguous_strides(sizes),
        Err(_) => Strides::new(),
    }
}
