//! Linear algebra: inverses, systems of equations, determinants.
//!
//! Decompositions stand in `decomposition`.
//!
//! The work counts floating point operations of the usual direct algorithms (Golub & Van Loan,
//! *Matrix Computations*, 4th edition), to the leading order, for each matrix of the batch. PyTorch's
//! counter of FLOPs sees none of them, but the matrix products of their backward passes.
//! Half precision is refused, as PyTorch does.

use smallvec::smallvec;

use super::definition::{BASE, Default, Infer, attribute, operand};
use super::linalg_gradient::{
    after_matrices, determinant, exponential, factored_system, pseudo_inverse, system,
};
use super::pointwise::{INPUT, range, refuse, save_operands};
use super::{Attribute, AttributeKind, Call, Op, OpError, Operand, Outputs, Saved, Work};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// One operand, the matrices.
pub const A: &[Operand] = &[operand("A")];
const SYSTEM: &[Operand] = &[operand("A"), operand("B")];

const UPPER: Attribute = attribute(
    "upper",
    AttributeKind::Boolean,
    Default::Boolean(false),
    "whether the triangle is the upper one",
);

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        aliases: &["inv", "linalg_inv"],
        // By the LU factorisation.
        work: |call| each(call, |n, _| 2.0 * n.powi(3)),
        // -A⁻ᵀ·G·A⁻ᵀ.
        backward: |call| cubes(call, 4),
        saved: |_, saved| saved.output(0),
        gradient: after_matrices::<2>,
        ..square("inverse", "the inverse of square matrices")
    },
    Op {
        aliases: &["pinv", "linalg_pinv"],
        // By the singular value decomposition, and the product of its parts.
        work: |call| {
            each(call, |m, n| {
                let (long, short) = (m.max(n), m.min(n));
                14.0 * long * short * short + 8.0 * short.powi(3) + 2.0 * long * short * short
            })
        },
        // Eight products of size m·n·min(m, n).
        backward: |call| {
            let (m, n) = matrix(call, 0).unwrap_or_default();
            times(&[16, batch(call, 0), m.into(), n.into(), m.min(n).into()])
        },
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.output(0);
        },
        gradient: pseudo_inverse,
        ..general("pinverse", "the Moore-Penrose inverse", A, |call| {
            let (m, n) = checked(call, 0)?;
            with_matrix(call, [n, m])
        })
    },
    Op {
        aliases: &["linalg_solve"],
        work: |call| {
            let columns = columns(call);
            each(call, |n, _| 2.0 / 3.0 * n.powi(3) + 2.0 * n * n * columns)
        },
        backward: |call| {
            if call.requires_grad(0) {
                outer(call)
            } else {
                0
            }
        },
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.output(0);
            save_factorisation(call, saved);
        },
        gradient: system,
        ..general("solve", "X with A·X = B, for square A", SYSTEM, solve_type)
    },
    Op {
        aliases: &["linalg_cholesky"],
        attributes: &[UPPER],
        work: |call| each(call, |n, _| n.powi(3) / 3.0),
        backward: |call| cubes(call, 2),
        saved: |_, saved| saved.output(0),
        interval: |_, ranges| {
            // Σ Lᵢⱼ² = Aᵢᵢ. What is not positive definite has no factor.
            let most = range(ranges, 0).high.max(0.0).sqrt();
            Interval::new(-most, most).or_non_finite(true)
        },
        gradient: after_matrices::<3>,
        ..square("cholesky", "L with L·Lᵀ = A, for positive definite A")
    },
    Op {
        attributes: &[UPPER],
        // Two triangular systems.
        work: |call| {
            let columns = columns(call);
            each(call, |n, _| 2.0 * n * n * columns)
        },
        backward: |call| match call.requires_grad(1) {
            true => outer(call).saturating_add(cubes(call, 2)),
            false => 0,
        },
        saved: |call, saved| {
            save_operands(call, saved);
            saved.output(0);
        },
        gradient: factored_system,
        ..general(
            "cholesky_solve",
            "X with A·X = B, from the Cholesky factor of A",
            &[operand("B"), operand("L")],
            solve_type,
        )
    },
    Op {
        aliases: &["linalg_solve_triangular"],
        attributes: &[
            UPPER,
            attribute(
                "left",
                AttributeKind::Boolean,
                Default::Boolean(true),
                "false for X·A = B",
            ),
            attribute(
                "unitriangular",
                AttributeKind::Boolean,
                Default::Boolean(false),
                "whether the diagonal is taken to be 1",
            ),
        ],
        work: |call| {
            let columns = columns(call);
            each(call, |n, _| n * n * columns)
        },
        backward: |call| {
            if call.requires_grad(0) {
                outer(call)
            } else {
                0
            }
        },
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.output(0);
        },
        gradient: system,
        ..general(
            "triangular_solve",
            "X with A·X = B, for triangular A",
            SYSTEM,
            solve_type,
        )
    },
    Op {
        aliases: &["linalg_lstsq"],
        // By the QR factorisation, its transpose on B, and a triangular system.
        work: |call| {
            let columns = columns(call);
            each(call, |m, n| {
                let (long, short) = (m.max(n), m.min(n));
                2.0 * short * short * (long - short / 3.0) + 4.0 * long * short * columns
            })
        },
        // The pseudo-inverse is formed for the gradient.
        backward: |call| {
            let (m, n) = matrix(call, 0).unwrap_or_default();
            let size = [batch(call, 0), m.into(), n.into()];
            let columns = columns(call) as u128;
            let product = |factor| times(&[times(&size), factor]);
            let mut flops = 0u128;
            if call.requires_grad(0) {
                flops = product(16 * u128::from(m.min(n)) + 2 * columns);
            }
            if call.requires_grad(1) {
                flops = flops.saturating_add(product(2 * columns));
            }
            flops
        },
        saved: |call, saved| {
            save_operands(call, saved);
            saved.output(0);
        },
        ..general("lstsq", "X with the least ‖A·X - B‖", SYSTEM, solve_type)
    },
    Op {
        aliases: &["linalg_det"],
        work: |call| each(call, |n, _| 2.0 / 3.0 * n.powi(3)),
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.output(0);
            save_factorisation(call, saved);
        },
        // Hadamard 1893: |det A| ≤ Π‖aᵢ‖.
        interval: |call, ranges| {
            let n = matrix(call, 0).map_or(0, |(n, _)| n) as f64;
            let most = (n.sqrt() * range(ranges, 0).magnitude()).powf(n);
            Interval::new(-most, most).widened(1e-12)
        },
        gradient: determinant,
        ..general("det", "the determinant", A, |call| {
            square_size(call, 0)?;
            with_tail(call, &[], call.dtype(0)?)
        })
    },
    Op {
        aliases: &["linalg_slogdet"],
        work: |call| each(call, |n, _| 2.0 / 3.0 * n.powi(3)),
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.output(0);
            save_factorisation(call, saved);
        },
        interval: |_, _| Interval::new(-1.0, 1.0),
        gradient: after_matrices::<1>,
        ..general(
            "slogdet",
            "sign and logarithm of the magnitude of the determinant",
            A,
            |call| {
                square_size(call, 0)?;
                let mut outputs = with_tail(call, &[], call.dtype(0)?)?;
                outputs.push(real(outputs[0].clone()));
                Ok(outputs)
            },
        )
    },
    Op {
        work: |call| each(call, |n, _| 2.0 / 3.0 * n.powi(3)),
        saved: |call, saved| {
            saved.argument(call, 0);
            save_factorisation(call, saved);
            if let Some(output) = call.output() {
                saved.extra("sign", output.shape.elements(), output.dtype);
                saved.extra("negative", output.shape.elements(), Dtype::Bool);
            }
        },
        gradient: after_matrices::<1>,
        ..general(
            "logdet",
            "the logarithm of the determinant; NaN where that is negative",
            A,
            |call| {
                square_size(call, 0)?;
                with_tail(call, &[], call.dtype(0)?)
            },
        )
    },
    Op {
        aliases: &["linalg_matrix_exp"],
        // A Taylor polynomial of degree 18 by five products (Bader, Blanes & Casas 2019), without
        // the squarings, whose number depends on the norm.
        work: |call| each(call, |n, _| 10.0 * n.powi(3)),
        saved: |call, saved| saved.argument(call, 0),
        gradient: exponential,
        ..square("matrix_exp", "Σ Aᵏ/k!")
    },
    Op {
        name: "trace",
        summary: "the sum of the diagonal of a matrix",
        operands: INPUT,
        work: |call| Work::other(matrix(call, 0).map_or(0, |(m, n)| u128::from(m.min(n)))),
        interval: |call, ranges| {
            let terms = matrix(call, 0).map_or(0, |(m, n)| m.min(n)) as f64;
            super::reduce::total(terms, range(ranges, 0))
        },
        moments: |call, moments| {
            let terms = matrix(call, 0).map(|(m, n)| m.min(n))? as f64;
            let x = moments.first().copied().flatten()?;
            Some(crate::tensor::Moments::new(
                terms * x.mean,
                terms * x.variance,
            ))
        },
        infer: |call| {
            let shape = call.shape(0)?;
            if shape.rank() != 2 {
                let message = format!("`trace` takes a matrix, but its input is {shape}");
                return Err(OpError::new(message).operands([0]));
            }
            let own = call.dtype(0)?;
            let dtype = if own.is_float() { own } else { Dtype::Int64 };
            Ok(smallvec![TensorType::new([], dtype)])
        },
        ..BASE
    },
];

/// An op of these operands.
pub const fn general(
    name: &'static str,
    summary: &'static str,
    operands: &'static [Operand],
    infer: Infer,
) -> Op {
    Op {
        name,
        summary,
        operands,
        infer,
        ..BASE
    }
}

/// An op on square matrices that gives matrices of the same shape.
const fn square(name: &'static str, summary: &'static str) -> Op {
    general(name, summary, A, |call| {
        square_size(call, 0)?;
        Ok(smallvec![call.ty(0)?.clone()])
    })
}

/// Rows and columns of the matrices of an operand.
pub fn matrix(call: &Call, position: usize) -> Option<(u64, u64)> {
    let shape = call.shape(position).ok()?;
    Some((shape.size(-2)?, shape.size(-1)?))
}

fn batch_shape(call: &Call, position: usize) -> Result<Shape, OpError> {
    let sizes = call.shape(position)?.sizes();
    Ok(Shape::from(&sizes[..sizes.len().saturating_sub(2)]))
}

/// The number of matrices of an operand.
pub fn batch(call: &Call, position: usize) -> u128 {
    batch_shape(call, position).map_or(0, |shape| u128::from(shape.elements()))
}

/// The same, checked: matrices, of a type that the solvers take.
pub fn checked(call: &Call, position: usize) -> Result<(u64, u64), OpError> {
    refuse(call, [position], "integers", |dtype| !dtype.is_float())?;
    refuse(call, [position], "low precision", |dtype| {
        dtype.bits() <= 16
    })?;
    matrix(call, position).ok_or_else(|| {
        let name = call.op.name;
        let shape = call
            .shape(position)
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = format!("`{name}` takes matrices, but an operand is {shape}");
        OpError::new(message).operands([position])
    })
}

/// The rows of square matrices, checked.
pub fn square_size(call: &Call, position: usize) -> Result<u64, OpError> {
    let (rows, columns) = checked(call, position)?;
    if rows != columns {
        let message = format!(
            "`{}` takes square matrices, but those of {} are {rows}×{columns}",
            call.op.name,
            call.shape(position)?
        );
        return Err(OpError::new(message).operands([position]));
    }
    Ok(rows)
}

/// The batch of the first operand, with these axes behind it.
pub fn with_tail(call: &Call, tail: &[u64], dtype: Dtype) -> Result<Outputs, OpError> {
    let mut shape = batch_shape(call, 0)?;
    for &size in tail {
        shape.push(size);
    }
    Ok(smallvec![TensorType { shape, dtype }])
}

/// The batch of the first operand, of matrices of these sizes.
pub fn with_matrix(call: &Call, sizes: [u64; 2]) -> Result<Outputs, OpError> {
    with_tail(call, &sizes, call.dtype(0)?)
}

/// The type with the real type of its elements.
pub fn real(ty: TensorType) -> TensorType {
    TensorType {
        dtype: super::pointwise::real_of(ty.dtype),
        ..ty
    }
}

/// The positions of the matrix and of the right side: `cholesky_solve` has them the other way.
fn sides(call: &Call) -> (usize, usize) {
    match call.op.name {
        "cholesky_solve" => (1, 0),
        _ => (0, 1),
    }
}

/// Whether the right side is a vector for each matrix; only `solve` takes such.
fn is_vector(call: &Call) -> bool {
    let (Ok(a), Ok(b)) = (call.shape(0), call.shape(1)) else {
        return false;
    };
    call.op.name == "solve"
        && (b.rank() == 1 || (b.rank() + 1 == a.rank() && b.sizes() == &a.sizes()[..a.rank() - 1]))
}

/// Columns of the right side.
fn columns(call: &Call) -> f64 {
    let columns = match is_vector(call) {
        true => Some(1),
        false if is_right(call) => matrix(call, sides(call).1).map(|(rows, _)| rows),
        false => matrix(call, sides(call).1).map(|(_, columns)| columns),
    };
    columns.unwrap_or(0) as f64
}

/// Whether the unknown stands on the left: X·A = B.
fn is_right(call: &Call) -> bool {
    call.op.name == "triangular_solve" && !call.boolean("left")
}

fn solve_type(call: &Call) -> Result<Outputs, OpError> {
    let (left, right) = sides(call);
    let (rows, unknowns) = match call.op.name {
        "lstsq" => checked(call, left)?,
        _ => {
            let n = square_size(call, left)?;
            (n, n)
        }
    };
    refuse(call, [right], "integers", |dtype| !dtype.is_float())?;
    let (a, b) = (call.shape(left)?, call.shape(right)?);
    let vector = is_vector(call);
    let sizes = match vector {
        true => b.size(-1).map(|size| (size, 1)),
        false => Some(checked(call, right)?),
    };
    let (given, others) = sizes.unwrap_or_default();
    let (given, others) = if is_right(call) {
        (others, given)
    } else {
        (given, others)
    };
    if given != rows {
        let side = if is_right(call) { "columns" } else { "rows" };
        let message = format!("the matrices of {a} have {rows} rows, but {b} has {given} {side}");
        return Err(OpError::new(message).operands([left, right]));
    }
    let mut shape = batch_shape(call, left)?;
    if !(vector && b.rank() == 1) {
        let own = if vector {
            b.sizes().len() - 1
        } else {
            b.sizes().len() - 2
        };
        let other = Shape::from(&b.sizes()[..own]);
        shape = shape.broadcast(&other).ok_or_else(|| {
            let message = format!("the batches of {a} and {b} do not broadcast");
            OpError::new(message).operands([left, right])
        })?;
    }
    match (vector, is_right(call)) {
        (true, _) => shape.push(unknowns),
        (false, true) => {
            shape.push(others);
            shape.push(unknowns);
        }
        (false, false) => {
            shape.push(unknowns);
            shape.push(others);
        }
    }
    Ok(smallvec![TensorType {
        shape,
        dtype: call.promoted_dtype(),
    }])
}

/// `count` operations of rows and columns for every matrix.
pub fn each(call: &Call, count: impl Fn(f64, f64) -> f64) -> Work {
    let position = sides(call).0;
    let (rows, columns) = matrix(call, position).unwrap_or_default();
    let one = count(rows as f64, columns as f64).max(0.0).round() as u128;
    let solutions = match call.op.operands.len() {
        2 => call.output_elements() as f64 / (columns as f64 * self::columns(call)).max(1.0),
        _ => batch(call, position) as f64,
    };
    Work::other(one.saturating_mul(solutions.max(0.0) as u128))
}

/// The product; saturates.
pub fn times(factors: &[u128]) -> u128 {
    factors.iter().copied().fold(1, u128::saturating_mul)
}

/// `factor · n³` for every matrix of n rows.
pub fn cubes(call: &Call, factor: u128) -> u128 {
    let position = sides(call).0;
    let n = matrix(call, position).map_or(0, |(n, _)| u128::from(n));
    times(&[factor, n, n, n, batch(call, position)])
}

/// The product that makes the gradient of the matrix from that of the right side and the solution.
fn outer(call: &Call) -> u128 {
    let n = matrix(call, sides(call).0).map_or(0, |(n, _)| u128::from(n));
    times(&[2, call.output_elements().into(), n])
}

/// The LU factorisation and its pivots.
fn save_factorisation(call: &Call, saved: &mut Saved) {
    if let (Ok(ty), Some((n, _))) = (call.ty(0), matrix(call, 0)) {
        saved.extra("LU", ty.shape.elements(), ty.dtype);
        let pivots = batch(call, 0).saturating_mul(u128::from(n));
        saved.extra(
            "pivots",
            u64::try_from(pivots).unwrap_or(u64::MAX),
            Dtype::Int32,
        );
    }
}

#[cfg(test)]
mod tests;
