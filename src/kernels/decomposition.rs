//! Decompositions of matrices: singular values by one-sided rotations of Jacobi, eigenvalues by his
//! two-sided ones, QR by Householder's reflections.
//!
//! The columns of factors are unique but for their signs, as long as values differ: the largest
//! element of a column is positive here, and QR has the signs of LAPACK. Gradients are those of
//! PyTorch's `svd_backward`, `linalg_eigh_backward` and `linalg_qr_backward`.

use ndarray::{Dimension, Slice};

use super::factors::{Matrix, complete, eigen, reflected, singular, turned};
use super::linalg::{inverted, product, transpose, transposed};
use super::registry::{Kernel, Results, kernel};
use super::tape::Backward;
use super::{Array, Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("svd", |tape, call, given| {
        svd(tape, given.need(0)?, call.boolean("full_matrices"))
    }),
    kernel("svdvals", |tape, _, given| svdvals(tape, given.need(0)?)),
    kernel("eigh", |tape, _, given| eigh(tape, given.need(0)?)),
    kernel("eigvalsh", |tape, _, given| eigvalsh(tape, given.need(0)?)),
    kernel("qr", |tape, call, given| qr(tape, call, given.need(0)?)),
];

/// The matrices of a batch.
fn matrices(array: &Array) -> Vec<Matrix> {
    let sizes = array.shape();
    let (rows, columns) = (sizes[sizes.len() - 2], sizes[sizes.len() - 1]);
    let elements: Vec<f64> = array.iter().copied().collect();
    if rows * columns == 0 {
        let batch = sizes[..sizes.len() - 2].iter().product();
        return vec![vec![vec![0.0; columns]; rows]; batch];
    }
    let rows_of = |matrix: &[f64]| matrix.chunks(columns).map(<[f64]>::to_vec).collect();
    elements.chunks(rows * columns).map(rows_of).collect()
}

/// The batch of `like`, with other last axes.
fn stacked(like: &Array, last: &[usize], elements: Vec<f64>) -> Result<Array, KernelError> {
    let mut sizes = like.shape()[..like.ndim() - 2].to_vec();
    sizes.extend(last);
    Ok(Array::from_shape_vec(sizes, elements)?)
}

fn flat(matrix: Matrix) -> impl Iterator<Item = f64> {
    matrix.into_iter().flatten()
}

fn svd(tape: &mut Tape, x: Var, full: bool) -> Result<Results, KernelError> {
    let value = tape.shared(x);
    let (rows, columns) = last_two(&value);
    let rank = rows.min(columns);
    let (wide, tall) = match full {
        true => (columns, rows),
        false => (rank, rank),
    };
    let (mut left, mut values, mut right) = (Vec::new(), Vec::new(), Vec::new());
    for matrix in matrices(&value) {
        // A wide matrix is the transpose of a tall one, with left and right exchanged.
        let (mut u, s, mut v) = match rows >= columns {
            true => singular(turned(&matrix, columns)),
            false => {
                let (v, s, u) = singular(matrix);
                (u, s, v)
            }
        };
        complete(&mut u, tall, rows);
        complete(&mut v, wide, columns);
        left.extend(flat(turned(&u, rows)));
        values.extend(s);
        right.extend(flat(v));
    }
    if full && rows != columns {
        tape.by_convention("vectors beyond the rank are not unique, and get no gradient");
    }
    let made = vec![
        stacked(&value, &[rows, tall], left)?,
        stacked(&value, &[rank], values)?,
        stacked(&value, &[wide, columns], right)?,
    ];
    let outputs = tape.push_many(made, &[x], move |back, outputs, gradients| {
        let part = |array: &Array, axis: usize| {
            let axis = ndarray::Axis(array.ndim() - axis);
            array.slice_axis(axis, Slice::from(0..rank)).to_owned()
        };
        let u = part(back.value(outputs[0]), 1);
        let vh = part(back.value(outputs[2]), 2);
        let s = back.value(outputs[1]);
        let (of_u, of_vh) = (part(&gradients[0], 1), part(&gradients[2], 2));
        let turn = multiplied(back, &transpose(&u), &of_u);
        let turn_right = multiplied(back, &vh, &transpose(&of_vh));
        let (turn, turn_right) = (
            &turn - &transpose(&turn),
            &turn_right - &transpose(&turn_right),
        );
        // (S² differs between columns) · inner = skew(Uᵀ G) S + S skew(V ᵀG), and G of S itself.
        let inner = squares(s, |s, i, j, matrix| match i == j {
            true => gradients[1][matrix],
            false => {
                let mut at = matrix[..matrix.len() - 1].to_vec();
                at.extend([i, j]);
                let sum = turn[&at[..]] * s[j] + s[i] * turn_right[&at[..]];
                sum / (s[j] * s[j] - s[i] * s[i])
            }
        });
        let given = if rows > columns {
            let scaled = by_columns(&of_u, s, |g, s| g / s);
            let first = multiplied(back, &u, &inner);
            let along = multiplied(back, &transpose(&u), &scaled);
            let along = multiplied(back, &u, &along);
            multiplied(back, &(&(&first + &scaled) - &along), &vh)
        } else if rows < columns {
            let scaled = transpose(&by_columns(&transpose(&of_vh), s, |g, s| g / s));
            let first = multiplied(back, &inner, &vh);
            let along = multiplied(back, &scaled, &transpose(&vh));
            let along = multiplied(back, &along, &vh);
            multiplied(back, &u, &(&(&first + &scaled) - &along))
        } else {
            let half = multiplied(back, &inner, &vh);
            multiplied(back, &u, &half)
        };
        back.give(x, given);
    });
    Ok(outputs.into_iter().collect())
}

fn svdvals(tape: &mut Tape, x: Var) -> Result<Results, KernelError> {
    let parts = {
        // The vectors stand beside the values on the way back, which needs nothing else.
        let detached = tape.detach(x);
        svd(tape, detached, false)?
    };
    let u = tape.keep(Kept::Extra("U"), parts[0]);
    let vh = tape.keep(Kept::Extra("Vh"), parts[2]);
    let values = tape.value(parts[1]).clone();
    let result = tape.push(values, &[x], move |back, gradient| {
        let (u, vh) = (back.value(u), back.value(vh));
        let scaled = by_columns(u, gradient, |u, g| u * g);
        let given = multiplied(back, &scaled, vh);
        back.give(x, given);
    });
    Ok(smallvec::smallvec![result])
}

/// Half of a matrix and of its transpose: of the matrices that these ops are for, the same.
fn symmetric(tape: &mut Tape, x: Var) -> Result<Var, KernelError> {
    let other = transposed(tape, x);
    let sum = tape.add(x, other)?;
    Ok(tape.scale(sum, 0.5))
}

/// Eigenvalues, and vectors as columns.
fn spectrum(value: &Array) -> Result<(Array, Array), KernelError> {
    let (size, _) = last_two(value);
    let (mut values, mut vectors) = (Vec::new(), Vec::new());
    for matrix in matrices(value) {
        let (own, rows) = eigen(matrix);
        values.extend(own);
        vectors.extend(flat(turned(&rows, size)));
    }
    let values = stacked(value, &[size], values)?;
    Ok((values, stacked(value, &[size, size], vectors)?))
}

fn eigh(tape: &mut Tape, x: Var) -> Result<Results, KernelError> {
    let x = symmetric(tape, x)?;
    let (values, vectors) = spectrum(tape.value(x))?;
    let outputs = tape.push_many(
        vec![values, vectors],
        &[x],
        move |back, outputs, gradients| {
            let (values, vectors) = (back.value(outputs[0]), back.value(outputs[1]));
            let turn = multiplied(back, &transpose(vectors), &gradients[1]);
            let inner = squares(values, |values, i, j, matrix| match i == j {
                true => gradients[0][matrix],
                false => {
                    let mut at = matrix[..matrix.len() - 1].to_vec();
                    at.extend([i, j]);
                    turn[&at[..]] / (values[j] - values[i])
                }
            });
            let half = multiplied(back, vectors, &inner);
            let given = multiplied(back, &half, &transpose(vectors));
            back.give(x, given);
        },
    );
    Ok(outputs.into_iter().collect())
}

fn eigvalsh(tape: &mut Tape, x: Var) -> Result<Results, KernelError> {
    let x = symmetric(tape, x)?;
    let (values, vectors) = spectrum(tape.value(x))?;
    let vectors = tape.constant(vectors);
    let vectors = tape.keep(Kept::Extra("eigenvectors"), vectors);
    let result = tape.push(values, &[x], move |back, gradient| {
        let vectors = back.value(vectors);
        let scaled = by_columns(vectors, gradient, |x, g| x * g);
        let given = multiplied(back, &scaled, &transpose(vectors));
        back.give(x, given);
    });
    Ok(smallvec::smallvec![result])
}

fn qr(tape: &mut Tape, call: &Call, x: Var) -> Result<Results, KernelError> {
    let value = tape.shared(x);
    let (rows, columns) = last_two(&value);
    let mode = call.text("mode").unwrap_or_default();
    let inner = match mode.as_str() {
        "complete" => rows,
        _ => rows.min(columns),
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for mut matrix in matrices(&value) {
        let q = reflected(&mut matrix);
        first.extend(q.into_iter().flat_map(|mut row| {
            row.truncate(inner);
            row
        }));
        matrix.truncate(inner);
        second.extend(flat(matrix));
    }
    let q = stacked(&value, &[rows, inner], first)?;
    let r = stacked(&value, &[inner, columns], second)?;
    if mode == "r" {
        tape.by_convention("without Q there is no gradient");
        let (nothing, r) = (tape.constant(Array::zeros(vec![0])), tape.constant(r));
        return Ok(smallvec::smallvec![nothing, r]);
    }
    if inner > columns {
        tape.by_convention("columns of Q beyond those of the matrix are not unique: no gradient");
        let (q, r) = (tape.constant(q), tape.constant(r));
        return Ok(smallvec::smallvec![q, r]);
    }
    let outputs = tape.push_many(vec![q, r], &[x], move |back, outputs, gradients| {
        let (q, r) = (back.value(outputs[0]), back.value(outputs[1]));
        let (of_q, of_r) = (&gradients[0], &gradients[1]);
        let along = multiplied(back, &transpose(q), of_q);
        let across = multiplied(back, of_r, &transpose(r));
        let given = if rows >= columns {
            let triangle = kept(&(&across - &along), |i, j| f64::from(u8::from(j >= i)));
            let both = &triangle + &transpose(&triangle);
            let both = kept(&both, |i, j| if i == j { 0.5 } else { 1.0 });
            let sum = &multiplied(back, q, &both) + of_q;
            product(&sum, &transpose(&inverted(r)))
        } else {
            // The first columns alone decide Q; the others are Q times those of R.
            let square = Slice::from(0..rows);
            let axis = ndarray::Axis(r.ndim() - 1);
            let leading = r.slice_axis(axis, square).to_owned();
            let skew = &along - &across;
            let skew = &skew - &transpose(&skew);
            let skew = kept(&skew, |i, j| f64::from(u8::from(i > j)));
            let turned = multiplied(back, q, &skew);
            let turned = product(&turned, &transpose(&inverted(&leading)));
            let mut sum = multiplied(back, q, of_r);
            let mut front = sum.slice_axis_mut(axis, square);
            front += &turned;
            sum
        };
        back.give(x, given);
    });
    Ok(outputs.into_iter().collect())
}

fn last_two(array: &Array) -> (usize, usize) {
    let sizes = array.shape();
    (sizes[sizes.len() - 2], sizes[sizes.len() - 1])
}

/// The product of matrices, counted.
fn multiplied(back: &mut Backward<'_>, a: &Array, b: &Array) -> Array {
    let columns = b.shape()[b.ndim() - 1];
    back.count_products(a.len() as u128 * columns as u128);
    product(a, b)
}

/// `f` of each element and the number of its column.
fn by_columns(matrices: &Array, numbers: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    let numbers = numbers
        .clone()
        .insert_axis(ndarray::Axis(numbers.ndim() - 1));
    let mut made = matrices.clone();
    if let Some(numbers) = numbers.broadcast(made.raw_dim()) {
        made.zip_mut_with(&numbers, |x, &number| *x = f(*x, number));
    }
    made
}

/// Square matrices from the numbers of each: `f` is given them, row, column, and where the number of
/// that row stands.
fn squares(numbers: &Array, f: impl Fn(&[f64], usize, usize, &[usize]) -> f64) -> Array {
    let size = numbers.shape()[numbers.ndim() - 1];
    let all: Vec<f64> = numbers.iter().copied().collect();
    let mut sizes = numbers.shape().to_vec();
    sizes.push(size);
    let mut count = 0;
    Array::from_shape_fn(sizes, |at| {
        let (row, column) = (at[at.ndim() - 2], at[at.ndim() - 1]);
        let matrix = count / (size * size).max(1);
        count += 1;
        let place: Vec<usize> = (0..at.ndim() - 1).map(|axis| at[axis]).collect();
        f(
            &all[matrix * size..(matrix + 1) * size],
            row,
            column,
            &place,
        )
    })
}

/// Matrices whose elements are multiplied by a factor of row and column.
fn kept(matrices: &Array, factor: impl Fn(usize, usize) -> f64) -> Array {
    let mut made = matrices.clone();
    for (at, element) in made.indexed_iter_mut() {
        *element *= factor(at[at.ndim() - 2], at[at.ndim() - 1]);
    }
    made
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("svd([5, 3], full_matrices=false)", &[]),
            ("svd([3, 5], full_matrices=false)", &[]),
            ("svd([2, 4, 4])", &[]),
            ("svd([5, 3])", &[]),
            ("svdvals([5, 3])", &[]),
            ("svdvals([2, 3, 4])", &[]),
            ("eigh([2, 4, 4])", &[]),
            ("eigvalsh([5, 5])", &[]),
            ("qr([5, 3])", &[]),
            ("qr([2, 3, 5])", &[]),
            ("qr([4, 4], mode=complete)", &[]),
            ("qr([5, 3], mode=complete)", &[]),
            ("qr([5, 3], mode=r)", &[]),
        ]);
    }
}
