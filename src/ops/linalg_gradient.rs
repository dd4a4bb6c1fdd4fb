//! The backward passes of linear algebra.
//!
//! From PyTorch's formulas (`tools/autograd/derivatives.yaml`, `FunctionsManual.cpp`), step by step:
//! which tensors of them live together. Of formulas of many steps only those are written that live
//! at the worst one.

use super::Call;
use super::gradient::Gradient;
use super::layout::contiguous_strides;
use super::linalg::{batch, matrix};

/// Bytes of one matrix of these sizes for each of the batch.
fn matrices(call: &Call, rows: u64, columns: u64) -> u64 {
    let count = u64::try_from(batch(call, 0)).unwrap_or(u64::MAX);
    let elements = count.saturating_mul(rows).saturating_mul(columns);
    call.dtype(0).map_or(0, |dtype| dtype.bytes_for(elements))
}

/// One kernel after so many matrices of the size of the first operand.
pub(super) fn after_matrices<const COUNT: usize>(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        gradient.scratch_all(&[gradient.operand_bytes(0); COUNT]);
    }
    gradient.make(0);
}

/// The gradient of a determinant: the solution for a diagonal matrix, after one with a guarded
/// diagonal is made of the factors.
pub(super) fn determinant(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        let all = gradient.operand_bytes(0);
        let n = matrix(call, 0).map_or(0, |(n, _)| n);
        let mask = call.elements(0) / n.max(1);
        gradient.moment(&[all, mask, matrices(call, n, 1), all, all]);
        gradient.scratch_all(&[all, all]);
    }
    gradient.make(0);
}

/// The gradients of a system: that of the right side is the solution of the transposed one, and is
/// made for that of the matrix, the product of it and the solution.
pub(super) fn system(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(0) {
        gradient.make_anyway(1);
        gradient.scratch(gradient.operand_bytes(0));
        gradient.make(0);
    } else {
        gradient.make(1);
    }
}

/// The gradients of a system of which the factor of a Cholesky decomposition is given: the product
/// is made with that of its transpose, and with the factor.
pub(super) fn factored_system(call: &Call, gradient: &mut Gradient<'_>) {
    if call.requires_grad(1) {
        gradient.make_anyway(0);
        gradient.scratch_all(&[gradient.operand_bytes(1); 2]);
        gradient.make(1);
    } else {
        gradient.make(0);
    }
}

/// The gradient of singular values: U · diag(g) · Vᴴ, the diagonal first joined with the shorter.
pub(super) fn singular_values(call: &Call, gradient: &mut Gradient<'_>) {
    if let (true, Some((m, n))) = (call.requires_grad(0), matrix(call, 0)) {
        gradient.scratch(matrices(call, m.min(n), m.min(n)));
    }
    gradient.make(0);
}

/// The gradients of a singular value decomposition: at the worst three matrices live as large as the
/// square of the values, and five as large as the input.
pub(super) fn singular_value_decomposition(call: &Call, gradient: &mut Gradient<'_>) {
    if let (true, Some((m, n))) = (call.requires_grad(0), matrix(call, 0)) {
        let (square, all) = (
            matrices(call, m.min(n), m.min(n)),
            gradient.operand_bytes(0),
        );
        match [0, 2].into_iter().any(|output| gradient.is_defined(output)) {
            true => gradient.scratch_all(&[square, square, square, all, all, all, all]),
            false => gradient.scratch(square),
        }
    }
    gradient.make(0);
}

/// The gradient of a pseudo-inverse: a sum of three products, all of whose factors live to its end.
pub(super) fn pseudo_inverse(call: &Call, gradient: &mut Gradient<'_>) {
    if let (true, Some((m, n))) = (call.requires_grad(0), matrix(call, 0)) {
        let (short, long) = (m.min(n), m.max(n));
        let (small, large) = (matrices(call, short, short), matrices(call, long, long));
        let all = gradient.operand_bytes(0);
        gradient.scratch_all(&[small, large, large]);
        gradient.scratch_all(&[all; 9]);
    }
    gradient.make(0);
}

/// The gradient of a matrix exponential: a block of that of a matrix twice as large, which is made
/// of the input, of g and of zeros.
pub(super) fn exponential(call: &Call, gradient: &mut Gradient<'_>) {
    let Ok(shape) = call.shape(0) else { return };
    if call.requires_grad(0) {
        let all = gradient.operand_bytes(0);
        let block = all.saturating_mul(4);
        gradient.moment(&[2 * all, all, 2 * all, block]);
        gradient.scratch(block);
        gradient.node(block);
        gradient.share(0, 0, contiguous_strides(shape.sizes()));
    }
}
