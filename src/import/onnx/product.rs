//! Products of matrices.

use super::call::{Call, Results, all, one};
use super::elementwise::number;
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::Shape;

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("Det", Unary("det")),
    ("Einsum", Special(einsum)),
    ("Gemm", Special(gemm)),
    ("MatMul", Special(matmul)),
];

/// What ONNX Runtime adds to this family.
pub(super) const MICROSOFT_OPS: &[Entry] = &[("FusedMatMul", Special(fused_matmul))];

fn matmul(call: &mut Call<'_, '_>) -> Option<Results> {
    let operands = [call.weight(0)?, call.weight(1)?];
    call.apply("matmul", &operands, &[]).map(all)
}

fn einsum(call: &mut Call<'_, '_>) -> Option<Results> {
    let equation = call.attributes.text("equation")?;
    let operands: Option<Vec<TensorId>> =
        (0..call.inputs.len()).map(|at| call.tensor(at)).collect();
    let given = [("equation", equation.into())];
    call.apply("einsum", &operands?, &given).map(all)
}

/// `alpha · A · B + beta · C`, with A and B turned as asked for.
fn gemm(call: &mut Call<'_, '_>) -> Option<Results> {
    let alpha = call.attributes.float("alpha").unwrap_or(1.0);
    let beta = call.attributes.float("beta").unwrap_or(1.0);
    let (turn_a, turn_b) = (
        call.attributes.flag("transA"),
        call.attributes.flag("transB"),
    );
    let (mut a, mut b, c) = (call.weight(0)?, call.weight(1)?, call.optional_weight(2)?);
    let bias: Option<Shape> = c.is_present().then(|| call.shape_of(c));
    let flat = bias.as_ref().is_none_or(|shape| shape.rank() == 1);
    if turn_b && !turn_a && alpha == 1.0 && beta == 1.0 && flat {
        let made = call.apply("linear", &[a, b, c], &[]);
        if let Some(made) = made {
            return Some(all(made));
        }
    }
    if turn_a {
        a = call.first("t", &[a], &[])?;
    }
    if turn_b {
        b = call.first("t", &[b], &[])?;
    }
    if c.is_present() && beta != 0.0 {
        let given = [("beta", beta.into()), ("alpha", alpha.into())];
        return call.apply("addmm", &[c, a, b], &given).map(all);
    }
    let product = call.first("mm", &[a, b], &[])?;
    scaled(call, product, alpha).map(one)
}

fn scaled(call: &mut Call<'_, '_>, product: TensorId, alpha: f64) -> Option<TensorId> {
    if alpha == 1.0 {
        return Some(product);
    }
    let alpha = number(call, alpha)?;
    call.first("mul", &[product, alpha], &[])
}

/// `alpha · A · B`, with the last two axes of each turned as asked for.
fn fused_matmul(call: &mut Call<'_, '_>) -> Option<Results> {
    let alpha = call.attributes.float("alpha").unwrap_or(1.0);
    if call.attributes.flag("transBatchA") || call.attributes.flag("transBatchB") {
        return None;
    }
    let mut operands = [call.weight(0)?, call.weight(1)?];
    for (operand, turn) in operands.iter_mut().zip(["transA", "transB"]) {
        if call.attributes.flag(turn) {
            *operand = call.first("matrix_transpose", &[*operand], &[])?;
        }
    }
    let product = call.first("matmul", &operands, &[])?;
    scaled(call, product, alpha).map(one)
}
