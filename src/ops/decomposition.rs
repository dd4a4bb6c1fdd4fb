//! Decompositions of matrices: singular values, eigenvalues, QR.
//!
//! Work and backward products are counted as in `linalg`, with a gradient at every output.

use smallvec::smallvec;

use super::definition::{Default, attribute};
use super::linalg::{
    A, batch, checked, cubes, each, general, matrix, real, square_size, times, with_matrix,
    with_tail,
};
use super::pointwise::range;
use super::{AttributeKind, Call, Op};
use crate::tensor::{Interval, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["linalg_svd"],
        attributes: &[attribute(
            "full_matrices",
            AttributeKind::Boolean,
            Default::Boolean(true),
            "whether U and Vh are square",
        )],
        // Golub & Reinsch, with both sets of vectors.
        work: |call| {
            each(call, |m, n| {
                let (long, short) = (m.max(n), m.min(n));
                14.0 * long * short * short + 8.0 * short.powi(3)
            })
        },
        // Uᵀ·G and G·V, and their sum between U and Vh; of a matrix that is not square, also what
        // lies beyond the rank.
        backward: |call| {
            let (m, n) = matrix(call, 0).unwrap_or_default();
            let (long, short) = (u128::from(m.max(n)), u128::from(m.min(n)));
            let rows = if m == n { 3 * long } else { 5 * long };
            times(&[2, batch(call, 0), short, short, rows + short])
        },
        saved: |_, saved| {
            for position in 0..3 {
                saved.output(position);
            }
        },
        interval: |_, _| Interval::new(-1.0, 1.0),
        ..general("svd", "U, S, Vh with A = U·diag(S)·Vh", A, |call| {
            let (m, n) = checked(call, 0)?;
            let rank = m.min(n);
            let (left, right) = match call.boolean("full_matrices") {
                true => (m, n),
                false => (rank, rank),
            };
            let mut outputs = with_matrix(call, [m, left])?;
            outputs.push(real(with_tail(call, &[rank], call.dtype(0)?)?.remove(0)));
            outputs.extend(with_matrix(call, [right, n])?);
            Ok(outputs)
        })
    },
    Op {
        aliases: &["linalg_svdvals"],
        work: |call| {
            each(call, |m, n| {
                let (long, short) = (m.max(n), m.min(n));
                4.0 * long * short * short - 4.0 / 3.0 * short.powi(3)
            })
        },
        // Both sets of vectors are computed after all where a gradient is wanted.
        saved: |call, saved| {
            saved.output(0);
            if let (Some((m, n)), Ok(dtype)) = (matrix(call, 0), call.dtype(0)) {
                let count = (batch(call, 0) as u64).saturating_mul(m.min(n));
                saved.extra("U", count.saturating_mul(m), dtype);
                saved.extra("Vh", count.saturating_mul(n), dtype);
            }
        },
        backward: |call| {
            let (m, n) = matrix(call, 0).unwrap_or_default();
            times(&[2, batch(call, 0), m.into(), n.into(), m.min(n).into()])
        },
        // No singular value exceeds the Frobenius norm.
        interval: |call, ranges| {
            let (m, n) = matrix(call, 0).unwrap_or_default();
            let most = (m as f64 * n as f64).sqrt() * range(ranges, 0).magnitude();
            Interval::new(0.0, most).widened(1e-12)
        },
        ..general("svdvals", "the singular values", A, |call| {
            let (m, n) = checked(call, 0)?;
            let values = with_tail(call, &[m.min(n)], call.dtype(0)?)?.remove(0);
            Ok(smallvec![real(values)])
        })
    },
    Op {
        aliases: &["linalg_eigh"],
        // Tridiagonal reduction and the symmetric QR iteration with vectors.
        work: |call| each(call, |n, _| 9.0 * n.powi(3)),
        backward: |call| cubes(call, 6),
        saved: |_, saved| {
            saved.output(0);
            saved.output(1);
        },
        interval: spectrum,
        ..general(
            "eigh",
            "eigenvalues and eigenvectors of symmetric matrices",
            A,
            |call| {
                let n = square_size(call, 0)?;
                let values = with_tail(call, &[n], call.dtype(0)?)?.remove(0);
                Ok(smallvec![real(values), call.ty(0)?.clone()])
            },
        )
    },
    Op {
        aliases: &["linalg_eigvalsh"],
        work: |call| each(call, |n, _| 4.0 / 3.0 * n.powi(3)),
        backward: |call| cubes(call, 2),
        // The vectors are computed after all where a gradient is wanted.
        saved: |call, saved| {
            saved.output(0);
            if let Ok(ty) = call.ty(0) {
                saved.extra("eigenvectors", ty.shape.elements(), ty.dtype);
            }
        },
        interval: spectrum,
        ..general(
            "eigvalsh",
            "the eigenvalues of symmetric matrices",
            A,
            |call| {
                let n = square_size(call, 0)?;
                let values = with_tail(call, &[n], call.dtype(0)?)?.remove(0);
                Ok(smallvec![real(values)])
            },
        )
    },
    Op {
        aliases: &["linalg_qr"],
        attributes: &[attribute(
            "mode",
            AttributeKind::Choice(&["reduced", "complete", "r"]),
            Default::Text("reduced"),
            "Q with as few columns as needed, square, or not at all",
        )],
        // Householder's reflections, and as much again for Q.
        work: |call| {
            let passes = if is_mode(call, "r") { 1.0 } else { 2.0 };
            each(call, |m, n| {
                let (long, short) = (m.max(n), m.min(n));
                passes * 2.0 * short * short * (long - short / 3.0)
            })
        },
        // G·Rᵀ, Qᵀ·G and Q times a triangle of them; of a matrix with more columns than rows, also
        // Q·G.
        backward: |call| {
            let (m, n) = matrix(call, 0).unwrap_or_default();
            // What is not unique has no gradient.
            if is_mode(call, "r") || is_mode(call, "complete") && m > n {
                return 0;
            }
            let (k, m, n) = (u128::from(m.min(n)), u128::from(m), u128::from(n));
            let rows = if m < n { 2 * (m + n) } else { 2 * m + n };
            times(&[2, batch(call, 0), k, k, rows])
        },
        saved: |_, saved| {
            saved.output(0);
            saved.output(1);
        },
        interval: |_, _| Interval::new(-1.0, 1.0),
        ..general("qr", "Q, R with A = Q·R", A, |call| {
            let (m, n) = checked(call, 0)?;
            let rank = m.min(n);
            let inner = if is_mode(call, "complete") { m } else { rank };
            let mut outputs = if is_mode(call, "r") {
                smallvec![TensorType::new([0], call.dtype(0)?)]
            } else {
                with_matrix(call, [m, inner])?
            };
            outputs.extend(with_matrix(call, [inner, n])?);
            Ok(outputs)
        })
    },
];

fn is_mode(call: &Call, mode: &str) -> bool {
    call.text("mode").as_deref() == Some(mode)
}

/// No eigenvalue exceeds the greatest row sum of magnitudes.
fn spectrum(call: &Call, ranges: &[Interval]) -> Interval {
    let n = matrix(call, 0).map_or(0, |(n, _)| n) as f64;
    let most = n * range(ranges, 0).magnitude();
    Interval::new(-most, most).widened(1e-12)
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_products, check_saved, with};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("svd([5, 3])", "float32 [5, 5]; float32 [3]; float32 [3, 3]"),
            (
                "svd([2, 5, 3], full_matrices=false)",
                "float32 [2, 5, 3]; float32 [2, 3]; float32 [2, 3, 3]",
            ),
            ("svdvals([5, 3])", "float32 [3]"),
            ("eigh([3, 3])", "float32 [3]; float32 [3, 3]"),
            ("eigvalsh([2, 3, 3])", "float32 [2, 3]"),
            ("qr([5, 3])", "float32 [5, 3]; float32 [3, 3]"),
            (
                "qr([5, 3], mode=complete)",
                "float32 [5, 5]; float32 [5, 3]",
            ),
            ("qr([5, 3], mode=r)", "float32 [0]; float32 [3, 3]"),
        ]);
    }

    /// From the derivatives of PyTorch.
    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("svd([3, 3])", "output, output1, output2"),
            ("eigvalsh([3, 3])", "output, eigenvectors: 9 float32"),
            ("qr([3, 3])", "output, output1"),
        ]);
    }

    #[test]
    fn work_is_cubic() {
        let work = with("qr([10, 10])", |call| (call.op.work)(call).other);
        assert_eq!(work, Ok(2667));
        // As PyTorch's counter has them.
        check_products(&[
            ("eigvalsh([10, 10])", (0, 2000)),
            ("svd([5, 3])", (0, 504)),
            ("svd([4, 4])", (0, 512)),
            ("svd([2, 7, 3], full_matrices=false)", (0, 1368)),
            ("qr([5, 3])", (0, 234)),
            ("qr([3, 5])", (0, 288)),
        ]);
    }

    #[test]
    fn ranges() {
        check_intervals(&[
            ("eigvalsh([3, 3])", &[(-1.0, 1.0)], "[-3, 3]"),
            ("svdvals([4, 9])", &[(-1.0, 0.5)], "[0, 6]"),
            ("qr([4, 9])", &[(-5.0, 5.0)], "[-1, 1]"),
        ]);
    }
}
