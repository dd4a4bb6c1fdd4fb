//! Products in groups: `grouped_mm`, each row by the matrix of its group, as the experts of a
//! mixture are computed.

use smallvec::smallvec;

use super::definition::{BASE, operand};
use super::pointwise::{range, save_operands};
use super::{Autocast, Call, Op, OpError, Outputs, Work};
use crate::tensor::TensorType;

/// The entries of this family.
pub static OPS: &[Op] = &[Op {
    name: "grouped_mm",
    summary: "the product of each row of input [rows, inner] with the matrix of its group, one of mat2 [groups, inner, columns]; offs says where groups end",
    operands: &[operand("input"), operand("mat2"), operand("offs")],
    infer,
    autocast: Autocast::Lower,
    // Two per multiply-add, as in any product, but PyTorch's counter does not see this one.
    work: |call| Work::other(flops(call)),
    saved: |call, saved| {
        save_operands(call, saved);
        saved.argument(call, 2);
    },
    interval: |call, ranges| {
        let inner = call.shape(0).ok().and_then(|shape| shape.size(-1));
        let product = range(ranges, 0) * range(ranges, 1);
        product * crate::tensor::Interval::point(inner.unwrap_or(0) as f64)
    },
    ..BASE
}];

fn flops(call: &Call) -> u128 {
    let inner = call.shape(0).ok().and_then(|shape| shape.size(-1));
    2 * u128::from(call.output_elements()).saturating_mul(inner.unwrap_or(0).into())
}

fn infer(call: &Call) -> Result<Outputs, OpError> {
    let (rows, matrices, ends) = (call.shape(0)?, call.shape(1)?, call.shape(2)?);
    match (rows.sizes(), matrices.sizes(), ends.sizes()) {
        (&[rows, inner], &[groups, same, columns], &[ends]) if inner == same && groups == ends => {
            Ok(smallvec![TensorType::new(
                [rows, columns],
                call.ty(0)?.dtype
            )])
        }
        _ => Err(OpError::new(format!(
            "`grouped_mm` takes [rows, inner], [groups, inner, columns] and [groups], but they are \
             {rows}, {matrices} and {ends}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_products, check_saved};

    #[test]
    fn rows_meet_the_matrix_of_their_group() {
        check(&[
            ("grouped_mm([6, 4], [3, 4, 5], int32 [3])", "float32 [6, 5]"),
            (
                "grouped_mm([6, 4], [3, 5, 4], int32 [3])",
                "error: `grouped_mm` takes [rows, inner], [groups, inner, columns] and [groups], but they are [6, 4], [3, 5, 4] and [3]",
            ),
        ]);
        check_products(&[("grouped_mm([6, 4], [3, 4, 5], int32 [3])", (0, 0))]);
        check_saved(&[(
            "grouped_mm([6, 4], [3, 4, 5], int32 [3])",
            "input, mat2, offs",
        )]);
    }
}
