//! Recurrent layers step by step, as PyTorch computes them where no device has a fused kernel:
//! what autograd keeps of each step, and what the backward pass allocates.
//!
//! Read off the tensors that `torch.lstm`, `torch.gru` and `torch.rnn_tanh` make on the meta
//! device. The backward pass goes from the last step to the first. Its first step makes the
//! gradients of the weights and the second one adds to them, which are three tensors at once;
//! later ones do the same with ever less kept, so only the first two are told apart.

use super::gradient::Gradient;
use super::recurrence::Cell;
use super::recurrent_sizes::{Sizes, back_steps};
use super::{Call, Saved};
use crate::tensor::Dtype;

/// What the steps of a layer keep.
const LAST: &str = "last step";
const SECOND: &str = "last step but one";
const OTHERS: &str = "other steps";

/// Elements that a step of one layer and direction keeps, and how many fewer the last one does,
/// whose state no further step reads.
fn kept(sizes: &Sizes) -> (u64, u64) {
    let (state, hidden) = (sizes.state(), sizes.hidden);
    let projected = if sizes.projected > 0 { hidden } else { 0 };
    let (each, less) = match sizes.cell {
        // The gates, the cell, its tanh, what is projected, and the state.
        Cell::Lstm => (6 * hidden + projected + state, hidden + state),
        // The gates, four parts of the candidate and of the mean, of which the last is the state.
        Cell::Gru => (7 * hidden, hidden),
        Cell::Tanh | Cell::Relu => (hidden, 0),
    };
    let all = |elements: u64| elements.saturating_mul(sizes.batch);
    (all(each), all(less))
}

/// Input, initial states, weights, and for every step its gates and states; between layers the
/// output of the one below, dropped out with its mask.
pub(super) fn saved(call: &Call, sizes: &Sizes, dtype: Dtype, saved: &mut Saved) {
    let steps = back_steps(call, sizes) as u64;
    let (each, less) = kept(sizes);
    for _ in 0..sizes.layers.saturating_mul(sizes.directions) {
        saved.extra(OTHERS, steps.saturating_sub(2).saturating_mul(each), dtype);
        if steps > 1 {
            saved.extra(SECOND, each, dtype);
        }
        if steps > 0 {
            saved.extra(LAST, each - less, dtype);
        }
    }
    let between = [steps, sizes.batch, sizes.state(), sizes.directions]
        .into_iter()
        .fold(1, u64::saturating_mul);
    let dropped = call.training && call.float("dropout").unwrap_or(0.0) > 0.0;
    for _ in 1..sizes.layers {
        saved.extra("output of a layer", between, dtype);
        if dropped {
            saved.extra("dropout mask", between, Dtype::Bool);
        }
    }
}

/// The backward pass, from the top layer down.
pub(super) fn gradient(call: &Call, sizes: &Sizes, gradient: &mut Gradient<'_>) {
    let Some(dtype) = call.output().map(|ty| ty.dtype) else {
        return;
    };
    let steps = back_steps(call, sizes) as u64;
    let gates = [sizes.cell.gates(), sizes.hidden, sizes.batch]
        .into_iter()
        .fold(1, u64::saturating_mul);
    let each = (call.arguments.len() - sizes.first_weight())
        / (sizes.layers.saturating_mul(sizes.directions)).max(1) as usize;
    let mut position = call.arguments.len();
    for layer in (0..sizes.layers).rev() {
        // The gradients of the inputs of so many steps. Those of the other direction are added to them.
        let wanted = layer > 0 || call.requires_grad(0);
        let input = |steps: u64, direction: u64| match wanted && direction == 0 {
            true => dtype.bytes_for(
                [steps, sizes.batch, sizes.features(layer)]
                    .into_iter()
                    .fold(1, u64::saturating_mul),
            ),
            false => 0,
        };
        for direction in 0..sizes.directions {
            position -= each;
            let weights = position..position + each;
            // The last step: the gradients of its gates, in parts and joined.
            let parts = dtype.bytes_for(gates);
            gradient.scratch(input(1, direction));
            let at = gradient.living();
            gradient.scratch_all(&[parts, parts]);
            gradient.release(LAST);
            weights.clone().for_each(|weight| gradient.make(weight));
            gradient.drop(at, gradient.living() - at);
            if steps < 2 {
                continue;
            }
            // The one before: each gradient of a weight again, and the sum of both. Those of the
            // gates go before the second map's, but for a GRU, which needs their parts to its end, and
            // a plain cell whose output is used: the gradient of the state is a sum then.
            let sums_late = match sizes.cell {
                Cell::Lstm => true,
                Cell::Gru => false,
                Cell::Tanh | Cell::Relu => !gradient.is_defined(0),
            };
            gradient.scratch(input(1, direction));
            let at = gradient.living();
            gradient.scratch(parts);
            gradient.release(SECOND);
            for weight in weights {
                if call.requires_grad(weight) {
                    let bytes = gradient.operand_bytes(weight);
                    let goes = sums_late && weight == position + 1;
                    let before = gradient.living();
                    gradient.scratch(bytes);
                    if goes {
                        gradient.drop(at, before - at);
                    }
                    gradient.scratch(bytes);
                    let first = if goes { at } else { before };
                    gradient.drop(first, gradient.living() - first);
                }
            }
            gradient.drop(at, gradient.living() - at);
            gradient.release(OTHERS);
            gradient.scratch(input(steps.saturating_sub(2), direction));
        }
        // The gradient of the layer's input takes the place of its parts.
        match layer {
            0 => gradient.make(0),
            _ => {
                gradient.drop(0, gradient.living());
                gradient.scratch(input(steps, 0));
                gradient.release("output of a layer");
                gradient.release("dropout mask");
            }
        }
    }
    for state in 1..sizes.first_weight() {
        gradient.make(state);
    }
}
