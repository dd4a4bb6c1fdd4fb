//! Linear algebra of small matrices: inverses, determinants, triangular factors.

use smallvec::smallvec;

use super::registry::{Kernel, kernel, one};
use super::slicing::diagonal;
use super::tape::places::reshaped;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

const FACTORS: &str = "PyTorch goes back by factors of its own, with other products";

/// The kernels of this family. Products within them are no products to PyTorch's counter of FLOPs.
pub static KERNELS: &[Kernel] = &[
    kernel("inverse", |tape, _, given| {
        // Two products on the way back.
        let x = given.need(0)?;
        let count = tape.value(x).len() * last_two(tape, x).1;
        let x = tape.computed_again(x, 2 * count as u128);
        one(inverse(tape, x)?)
    }),
    kernel("pinverse", |tape, _, given| {
        let a = given.need(0)?;
        let (rows, columns) = last_two(tape, a);
        let other = transposed(tape, a);
        // Of full rank: (AᵀA)⁻¹Aᵀ, or Aᵀ(AAᵀ)⁻¹ where there are more columns.
        if rows >= columns {
            let gram = multiplied(tape, other, a)?;
            let gram = inverse(tape, gram)?;
            return one(multiplied(tape, gram, other)?);
        }
        let gram = multiplied(tape, a, other)?;
        let gram = inverse(tape, gram)?;
        one(multiplied(tape, other, gram)?)
    })
    .by_other_steps(FACTORS),
    kernel("solve", |tape, _, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        one(system(tape, a, b, true))
    }),
    kernel("cholesky", |tape, call, given| {
        let lower = cholesky(tape, given.need(0)?)?;
        match call.boolean("upper") {
            true => one(transposed(tape, lower)),
            false => one(lower),
        }
    }),
    kernel("cholesky_solve", |tape, call, given| {
        let (b, factor) = (given.need(0)?, given.need(1)?);
        let factor = match call.boolean("upper") {
            true => transposed(tape, factor),
            false => factor,
        };
        one(factor_solved(tape, factor, b))
    }),
    kernel("triangular_solve", |tape, call, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        let upper = call.boolean("upper");
        let unit = call.boolean("unitriangular");
        let sizes = tape.sizes(a);
        let size = sizes[sizes.len() - 1];
        let kept = Array::from_shape_fn(vec![size, size], |at| {
            let inside = if upper {
                at[1] >= at[0]
            } else {
                at[1] <= at[0]
            };
            f64::from(u8::from(inside && !(unit && at[0] == at[1])))
        });
        let (kept, zero) = (tape.constant(kept), tape.number(0.0));
        let mut triangle = tape.select(kept, a, zero)?;
        if unit {
            let one =
                Array::from_shape_fn(vec![size, size], |at| f64::from(u8::from(at[0] == at[1])));
            let one = tape.constant(one);
            triangle = tape.add(triangle, one)?;
        }
        one(system(tape, triangle, b, call.boolean("left")))
    }),
    kernel("lstsq", |tape, call, given| {
        let (a, b) = (given.need(0)?, given.need(1)?);
        let other = transposed(tape, a);
        let gram = multiplied(tape, other, a)?;
        let gram = inverse(tape, gram)?;
        let solver = multiplied(tape, gram, other)?;
        one(applied(tape, call, solver, b)?)
    })
    .by_other_steps(FACTORS),
    kernel("det", |tape, _, given| {
        let (value, _, _) = determinant(tape, given.need(0)?, false)?;
        one(value)
    }),
    kernel("slogdet", |tape, _, given| {
        let (log, sign, _) = determinant(tape, given.need(0)?, true)?;
        Ok(smallvec![sign, log])
    }),
    kernel("logdet", |tape, _, given| {
        let (log, sign, _) = determinant(tape, given.need(0)?, true)?;
        let nan = tape.number(f64::NAN);
        let positive = tape.derive(&[sign], |values| {
            values[0].mapv(|sign| f64::from(u8::from(sign > 0.0)))
        });
        one(tape.select(positive, log, nan)?)
    }),
    kernel("matrix_exp", |tape, _, given| {
        // Taylor's series of A / 2ˢ, squared s times.
        let a = given.need(0)?;
        let norm: f64 = tape.value(a).iter().map(|x| x.abs()).sum();
        let squarings = norm.max(1.0).log2().ceil() as i32 + 1;
        let a = tape.scale(a, 0.5f64.powi(squarings));
        let sizes = tape.sizes(a);
        let size = sizes[sizes.len() - 1];
        let identity =
            Array::from_shape_fn(vec![size, size], |at| f64::from(u8::from(at[0] == at[1])));
        let identity = tape.constant(identity);
        let mut sum = tape.add(a, identity)?;
        let mut power = a;
        for degree in 2..=18 {
            let next = multiplied(tape, power, a)?;
            power = tape.scale(next, 1.0 / f64::from(degree));
            sum = tape.add(sum, power)?;
        }
        for _ in 0..squarings {
            sum = multiplied(tape, sum, sum)?;
        }
        one(sum)
    }),
    kernel("trace", |tape, _, given| {
        let elements = diagonal(tape, given.need(0)?, 0, 1, 0);
        one(tape.sum(elements, &[0], false)?)
    }),
];

fn last_two(tape: &Tape, x: Var) -> (usize, usize) {
    let sizes = tape.value(x).shape();
    (sizes[sizes.len() - 2], sizes[sizes.len() - 1])
}

pub(super) fn transposed(tape: &mut Tape, x: Var) -> Var {
    let rank = tape.sizes(x).len();
    tape.transpose(x, rank - 2, rank - 1)
}

/// A product of matrices, element by element.
pub(super) fn multiplied(tape: &mut Tape, a: Var, b: Var) -> Result<Var, KernelError> {
    let (mut of_a, mut of_b) = (tape.sizes(a), tape.sizes(b));
    of_a.push(1);
    of_b.insert(of_b.len() - 2, 1);
    let a = tape.reshape(a, &of_a)?;
    let b = tape.reshape(b, &of_b)?;
    let products = tape.multiply(a, b)?;
    let inner = tape.sizes(products).len() - 2;
    tape.sum(products, &[inner], false)
}

/// A matrix times a right-hand side, which is a vector where it has an axis less.
fn applied(tape: &mut Tape, call: &Call, a: Var, b: Var) -> Result<Var, KernelError> {
    let vector = call.shape(1)?.rank() < call.shape(0)?.rank();
    if !vector {
        return multiplied(tape, a, b);
    }
    let mut sizes = tape.sizes(b);
    sizes.push(1);
    let b = tape.reshape(b, &sizes)?;
    let x = multiplied(tape, a, b)?;
    let last = tape.sizes(x).len() - 1;
    tape.dropped(x, &[last], false)
}

/// Changes each matrix of a batch.
fn each(array: &Array, f: impl Fn(&mut [Vec<f64>])) -> Array {
    let shape = array.shape().to_vec();
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let elements: Vec<f64> = array.iter().copied().collect();
    let mut result = Vec::with_capacity(elements.len());
    for matrix in elements.chunks((rows * columns).max(1)) {
        let mut matrix: Vec<Vec<f64>> =
            matrix.chunks(columns.max(1)).map(<[f64]>::to_vec).collect();
        f(&mut matrix);
        result.extend(matrix.into_iter().flatten());
    }
    Array::from_shape_vec(shape.clone(), result)
        .unwrap_or_else(|_| Array::from_elem(shape, f64::NAN))
}

/// Gauss and Jordan, with the greatest pivot of each column. Gives the determinant.
fn invert(a: &mut [Vec<f64>]) -> f64 {
    let size = a.len();
    let mut other: Vec<Vec<f64>> = (0..size)
        .map(|row| {
            (0..size)
                .map(|column| f64::from(u8::from(row == column)))
                .collect()
        })
        .collect();
    let mut determinant = 1.0;
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))
            .unwrap_or(column);
        if pivot != column {
            a.swap(pivot, column);
            other.swap(pivot, column);
            determinant = -determinant;
        }
        let factor = a[column][column];
        determinant *= factor;
        for k in 0..size {
            a[column][k] /= factor;
            other[column][k] /= factor;
        }
        for row in (0..size).filter(|&row| row != column) {
            let factor = a[row][column];
            for k in 0..size {
                a[row][k] -= factor * a[column][k];
                other[row][k] -= factor * other[column][k];
            }
        }
    }
    a.iter_mut()
        .zip(other)
        .for_each(|(row, other)| *row = other);
    determinant
}

/// The inverses of a batch.
pub(super) fn inverted(array: &Array) -> Array {
    each(array, |matrix| {
        invert(matrix);
    })
}

/// The inverse, whose gradient follows from it: `-Y⁻ᵀ G Y⁻ᵀ`.
pub(super) fn inverse(tape: &mut Tape, x: Var) -> Result<Var, KernelError> {
    let value = inverted(tape.value(x));
    let result = tape.next();
    Ok(tape.push(value, &[x], move |back, gradient| {
        let inverse = back.value(result);
        let transposed = transpose(inverse);
        let product = product(&product(&transposed, gradient), &transposed);
        back.give(x, product.mapv(|x| -x));
    }))
}

/// `X` with `A·X = B`, or with `X·A = B`, which is `Aᵀ·Xᵀ = Bᵀ`; where `B` has an axis less than
/// `A`, it is one column. The gradients follow from `A` and `X`: `A⁻ᵀ·G` of `B`, and of `A` that
/// times `-Xᵀ`, which is a product.
fn system(tape: &mut Tape, a: Var, b: Var, left: bool) -> Var {
    let narrow = tape.sizes(b);
    let mut wide = narrow.clone();
    if narrow.len() < tape.sizes(a).len() {
        wide.push(1);
    }
    let turned = move |array: &Array| match left {
        true => array.clone(),
        false => transpose(array),
    };
    let columns = move |array: &Array| turned(&reshaped(array, &wide));
    let value = product(&inverted(&turned(tape.value(a))), &columns(tape.value(b)));
    let result = tape.next();
    let value = reshaped(&turned(&value), &narrow);
    tape.push(value, &[a, b], move |back, gradient| {
        let solver = transpose(&inverted(&turned(back.value(a))));
        let of_b = product(&solver, &columns(gradient));
        if back.needs(a) {
            let x = columns(back.value(result));
            back.count_products((of_b.len() * solver.shape()[solver.ndim() - 1]) as u128);
            let of_a = product(&of_b, &transpose(&x)).mapv(|x| -x);
            back.give(a, turned(&of_a));
        }
        back.give(b, reshaped(&turned(&of_b), &narrow));
    })
}

/// `X` with `L·Lᵀ·X = B`. Its gradients are `(L·Lᵀ)⁻¹·G =: H` of `B`, and `-(H·Xᵀ + X·Hᵀ)·L` of
/// `L`, by two products.
fn factor_solved(tape: &mut Tape, factor: Var, b: Var) -> Var {
    let solver = |factor: &Array| {
        let inverse = inverted(factor);
        product(&transpose(&inverse), &inverse)
    };
    let value = product(&solver(tape.value(factor)), tape.value(b));
    let result = tape.next();
    tape.push(value, &[factor, b], move |back, gradient| {
        let lower = back.value(factor);
        let of_b = product(&solver(lower), gradient);
        if back.needs(factor) {
            let half = product(&of_b, &transpose(back.value(result)));
            let both = &half + &transpose(&half);
            let size = lower.shape()[lower.ndim() - 1];
            back.count_products(((of_b.len() + both.len()) * size) as u128);
            back.give(factor, product(&both, lower).mapv(|x| -x));
        }
        back.give(b, of_b);
    })
}

pub(super) fn transpose(array: &Array) -> Array {
    let mut view = array.view();
    let rank = view.ndim();
    view.swap_axes(rank - 2, rank - 1);
    view.to_owned()
}

/// The products of two batches of matrices of the same leading shape.
pub(super) fn product(a: &Array, b: &Array) -> Array {
    let mut shape = a.shape().to_vec();
    let (rank, inner) = (shape.len(), shape[shape.len() - 1]);
    let (rows, columns) = (shape[rank - 2], b.shape()[rank - 1]);
    shape[rank - 1] = columns;
    let a: Vec<f64> = a.iter().copied().collect();
    let b: Vec<f64> = b.iter().copied().collect();
    let mut result = Vec::new();
    for (a, b) in a
        .chunks((rows * inner).max(1))
        .zip(b.chunks((inner * columns).max(1)))
    {
        for i in 0..rows {
            for j in 0..columns {
                result.push(
                    (0..inner)
                        .map(|k| a[i * inner + k] * b[k * columns + j])
                        .sum(),
                );
            }
        }
    }
    Array::from_shape_vec(shape.clone(), result)
        .unwrap_or_else(|_| Array::from_elem(shape, f64::NAN))
}

/// The determinants of a batch, or the logarithms of their magnitudes; and their signs.
fn determinant(tape: &mut Tape, x: Var, log: bool) -> Result<(Var, Var, Var), KernelError> {
    let shape = tape.sizes(x);
    let rank = shape.len();
    let mut determinants = Vec::new();
    let size = shape[rank - 1];
    let elements: Vec<f64> = tape.value(x).iter().copied().collect();
    for matrix in elements.chunks((size * size).max(1)) {
        let mut matrix: Vec<Vec<f64>> = matrix.chunks(size.max(1)).map(<[f64]>::to_vec).collect();
        determinants.push(invert(&mut matrix));
    }
    let batch = shape[..rank - 2].to_vec();
    let values = Array::from_shape_vec(batch, determinants)?;
    let sign = tape.constant(values.mapv(super::unary::sign));
    let solver = inverse(tape, x)?;
    let value = if log {
        values.mapv(|x| x.abs().ln())
    } else {
        values.clone()
    };
    let result = tape.push(value, &[x], move |back, gradient| {
        let scale = if log {
            gradient.clone()
        } else {
            gradient * &values
        };
        let mut wide = scale.shape().to_vec();
        wide.extend([1, 1]);
        let scale = super::tape::places::reshaped(&scale, &wide);
        back.give(x, transpose(back.value(solver)) * &scale);
    });
    Ok((result, sign, solver))
}

/// The lower triangular factor of a symmetric positive definite matrix. Its gradient is
/// `L⁻ᵀ Φ(Lᵀ G) L⁻¹`, made symmetric, where `Φ` keeps the lower triangle and half of the diagonal.
fn cholesky(tape: &mut Tape, x: Var) -> Result<Var, KernelError> {
    let value = each(tape.value(x), |a| {
        let size = a.len();
        for i in 0..size {
            for j in 0..=i {
                let sum: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
                a[i][j] = match i == j {
                    true => (a[i][i] - sum).sqrt(),
                    false => (a[i][j] - sum) / a[j][j],
                };
            }
            // The upper triangle is read no more: the matrix is symmetric.
            a[i][i + 1..].fill(0.0);
        }
    });
    tape.by_convention("the gradient of a symmetric matrix is made symmetric");
    let result = tape.next();
    Ok(tape.push(value, &[x], move |back, gradient| {
        let lower = back.value(result);
        let solver = inverted(lower);
        // The one product; the rest are triangular systems.
        let inner = product(&transpose(lower), gradient);
        back.count_products((inner.len() * lower.shape()[lower.ndim() - 1]) as u128);
        let halved = each(&inner, |matrix| {
            for (i, row) in matrix.iter_mut().enumerate() {
                for (j, element) in row.iter_mut().enumerate() {
                    *element *= match i.cmp(&j) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
        });
        let outer = product(&product(&transpose(&solver), &halved), &solver);
        let symmetric = (&outer + &transpose(&outer)).mapv(|x| x * 0.5);
        back.give(x, symmetric);
    }))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::kernels::Arithmetic;
    use crate::verify::cases::check;

    /// Guards the factor of a matrix that has one, which random operands rarely do, and its gradient
    /// against differences along a symmetric direction.
    #[test]
    fn a_factor_and_its_gradient_are_right() {
        let wave = |shift: f64| {
            Array::from_shape_fn(vec![3, 3], |at| (shift + (3 * at[0] + at[1]) as f64).sin())
        };
        let root = wave(1.0);
        let eye = Array::from_shape_fn(vec![3, 3], |at| f64::from(u8::from(at[0] == at[1])));
        let a = product(&root, &transpose(&root)) + &eye;
        let direction = wave(2.0) + transpose(&wave(2.0));
        let seed = wave(3.0);
        let factor = |a: &Array| {
            let mut tape = Tape::new(Arithmetic::EXACT, 1, Vec::new());
            let x = tape.leaf(Rc::new(a.clone()), true);
            let lower = cholesky(&mut tape, x).unwrap();
            let (gradients, count) = tape.backward(&[(lower, seed.clone())], &[Some(x)]);
            assert_eq!(count.products, 27);
            (tape.value(lower).clone(), gradients[0].clone().unwrap())
        };
        let (lower, gradient) = factor(&a);
        let again = product(&lower, &transpose(&lower));
        assert!((&again - &a).iter().all(|x| x.abs() < 1e-12));
        let loss = |by: f64| (&factor(&(&a + &(&direction * by))).0 * &seed).sum();
        let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
        assert!((slope - (&gradient * &direction).sum()).abs() < 1e-7);
    }

    #[test]
    fn claims_hold() {
        check(&[
            ("inverse([2, 3, 3])", &[]),
            ("pinverse([4, 3])", &[]),
            ("pinverse([3, 4])", &[]),
            ("solve([3, 3], [3, 2])", &[]),
            ("solve([3, 3], [3])", &[]),
            ("solve([2, 3, 3], [2, 3, 2])", &[]),
            (
                "triangular_solve([3, 3], [2, 3], left=false)",
                &[(0.5, 2.0)],
            ),
            (
                "cholesky_solve([3, 2], [3, 3], upper=true)",
                &[(-2.0, 2.0), (0.5, 2.0)],
            ),
            ("triangular_solve([3, 3], [3, 2])", &[(0.5, 2.0)]),
            (
                "triangular_solve([3, 3], [3, 2], upper=true, unitriangular=true)",
                &[(0.5, 2.0)],
            ),
            ("cholesky_solve([3, 2], [3, 3])", &[(-2.0, 2.0), (0.5, 2.0)]),
            ("lstsq([4, 3], [4, 2])", &[]),
            ("cholesky([2, 1, 1])", &[(0.5, 2.0)]),
            ("logdet([2, 1, 1])", &[(0.5, 2.0)]),
            ("det([2, 3, 3])", &[]),
            ("slogdet([3, 3])", &[]),
            ("matrix_exp([3, 3])", &[(-1.0, 1.0)]),
            ("trace([3, 4])", &[]),
        ]);
    }
}
