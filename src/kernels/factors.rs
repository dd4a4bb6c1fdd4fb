//! Factors of one matrix: by rotations of Jacobi and reflections of Householder.

/// Rotations come to rest after a few sweeps; what never does, as NaN, is left as it is.
const SWEEPS: usize = 40;

/// The elements of one matrix, row by row.
pub(super) type Matrix = Vec<Vec<f64>>;

/// Ones on the diagonal.
fn identity(size: usize) -> Matrix {
    let row = |at: usize| (0..size).map(move |column| f64::from(u8::from(column == at)));
    (0..size).map(|at| row(at).collect()).collect()
}

/// Columns as rows.
pub(super) fn turned(matrix: &Matrix, columns: usize) -> Matrix {
    let column = |at: usize| matrix.iter().map(|row| row[at]).collect();
    (0..columns).map(column).collect()
}

/// Cosine and sine of the rotation that makes two columns orthogonal, whose squared lengths differ
/// by `difference` and whose product is `product`.
fn rotation(difference: f64, product: f64) -> (f64, f64) {
    let ratio = difference / (2.0 * product);
    let tangent = ratio.signum() / (ratio.abs() + (1.0 + ratio * ratio).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    (cosine, cosine * tangent)
}

/// Rotates two rows into each other.
fn rotate(rows: &mut Matrix, p: usize, q: usize, (cosine, sine): (f64, f64)) {
    for at in 0..rows[p].len() {
        let (x, y) = (rows[p][at], rows[q][at]);
        rows[p][at] = cosine * x - sine * y;
        rows[q][at] = sine * x + cosine * y;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// -1 where the element of largest magnitude is negative.
fn sign(vector: &[f64]) -> f64 {
    let largest = vector.iter().fold(
        0.0f64,
        |most, &x| if x.abs() > most.abs() { x } else { most },
    );
    if largest < 0.0 { -1.0 } else { 1.0 }
}

/// Eigenvalues in ascending order, and their vectors as rows, of a symmetric matrix.
pub(super) fn eigen(mut a: Matrix) -> (Vec<f64>, Matrix) {
    let size = a.len();
    let mut vectors = identity(size);
    for _ in 0..SWEEPS {
        let mut rested = true;
        for p in 0..size {
            for q in p + 1..size {
                let off = a[p][q];
                if off.abs() <= f64::EPSILON * f64::EPSILON * (a[p][p] * a[q][q]).abs().sqrt() {
                    continue;
                }
                rested = false;
                let by = rotation(a[q][q] - a[p][p], off);
                rotate(&mut a, p, q, by);
                let mut columns = turned(&a, size);
                rotate(&mut columns, p, q, by);
                a = turned(&columns, size);
                (a[p][q], a[q][p]) = (0.0, 0.0);
                rotate(&mut vectors, p, q, by);
            }
        }
        if rested {
            break;
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&i, &j| a[i][i].total_cmp(&a[j][j]));
    let values = order.iter().map(|&at| a[at][at]).collect();
    let signed = |&at: &usize| {
        let sign = sign(&vectors[at]);
        vectors[at].iter().map(|x| x * sign).collect()
    };
    (values, order.iter().map(signed).collect())
}

/// Left vectors as rows, singular values in descending order and right vectors as rows, of a matrix
/// with no more columns than rows, which is given by its columns.
pub(super) fn singular(mut columns: Matrix) -> (Matrix, Vec<f64>, Matrix) {
    let count = columns.len();
    let mut right = identity(count);
    for _ in 0..SWEEPS {
        let mut rested = true;
        for p in 0..count {
            for q in p + 1..count {
                let of_p = dot(&columns[p], &columns[p]);
                let of_q = dot(&columns[q], &columns[q]);
                let product = dot(&columns[p], &columns[q]);
                if product.abs() <= f64::EPSILON * (of_p * of_q).sqrt() {
                    continue;
                }
                rested = false;
                let by = rotation(of_q - of_p, product);
                rotate(&mut columns, p, q, by);
                rotate(&mut right, p, q, by);
            }
        }
        if rested {
            break;
        }
    }
    let lengths: Vec<f64> = columns.iter().map(|x| dot(x, x).sqrt()).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&i, &j| lengths[j].total_cmp(&lengths[i]));
    let mut left: Matrix = Vec::new();
    let mut others: Matrix = Vec::new();
    for &at in &order {
        let sign = sign(&columns[at]);
        // A column of length 0 has no direction; one is found that is orthogonal to the others.
        if lengths[at] > 0.0 {
            left.push(columns[at].iter().map(|x| x * sign / lengths[at]).collect());
        }
        others.push(right[at].iter().map(|x| x * sign).collect());
    }
    let size = columns.first().map_or(0, Vec::len);
    complete(&mut left, count, size);
    (left, order.iter().map(|&at| lengths[at]).collect(), others)
}

/// Adds unit vectors that are orthogonal to all, until there are `count`.
pub(super) fn complete(rows: &mut Matrix, count: usize, size: usize) {
    for at in 0..size {
        if rows.len() >= count {
            return;
        }
        let mut next: Vec<f64> = identity(size).swap_remove(at);
        // Once more takes away what the first time left by rounding.
        for _ in 0..2 {
            for row in rows.iter() {
                let share = dot(row, &next);
                next.iter_mut().zip(row).for_each(|(x, y)| *x -= share * y);
            }
        }
        let length = dot(&next, &next).sqrt();
        // Among `size` axes there is always one at least so far from a space with fewer.
        if length * length * size as f64 >= 0.5 || length.is_nan() {
            rows.push(next.iter().map(|x| x / length).collect());
        }
    }
    rows.resize(count, vec![f64::NAN; size]);
}

/// Q of as many rows and columns as `r` has rows, by reflections that leave `r` triangular.
pub(super) fn reflected(r: &mut Matrix) -> Matrix {
    let rows = r.len();
    let columns = r.first().map_or(0, Vec::len);
    let mut q = identity(rows);
    for at in 0..columns.min(rows.saturating_sub(1)) {
        let mut axis: Vec<f64> = r[at..].iter().map(|row| row[at]).collect();
        if axis[1..].iter().all(|&x| x == 0.0) {
            continue;
        }
        let length = dot(&axis, &axis).sqrt();
        axis[0] += if axis[0] < 0.0 { -length } else { length };
        let square = dot(&axis, &axis);
        for column in 0..columns {
            let share = r[at..].iter().zip(&axis).map(|(row, v)| row[column] * v);
            let share = 2.0 * share.sum::<f64>() / square;
            let rows = r[at..].iter_mut().zip(&axis);
            rows.for_each(|(row, v)| row[column] -= share * v);
        }
        for row in &mut q {
            let share = 2.0 * dot(&row[at..], &axis) / square;
            row[at..]
                .iter_mut()
                .zip(&axis)
                .for_each(|(x, v)| *x -= share * v);
        }
        // What the reflection takes away is gone, not small.
        r[at + 1..].iter_mut().for_each(|row| row[at] = 0.0);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: usize, columns: usize, seed: u64) -> Matrix {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut row = |_| (0..columns).map(|_| random.f64() * 2.0 - 1.0).collect();
        (0..rows).map(&mut row).collect()
    }

    fn times(a: &Matrix, b: &Matrix) -> Matrix {
        let columns = turned(b, b[0].len());
        let row = |row: &Vec<f64>| columns.iter().map(|column| dot(row, column)).collect();
        a.iter().map(row).collect()
    }

    #[track_caller]
    fn assert_same(a: &Matrix, b: &Matrix) {
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    /// Guards the factors themselves: they are orthogonal, ordered, and give back the matrix.
    #[test]
    fn factors_give_back_the_matrix() {
        for seed in 0..20 {
            let (rows, columns) = (3 + seed as usize % 4, 3);
            let mut a = random(rows, columns, seed);
            if seed % 5 == 0 {
                // One column twice: a singular value is 0.
                a.iter_mut().for_each(|row| row[2] = row[0]);
            }
            let (u, s, v) = singular(turned(&a, columns));
            assert!(s.is_sorted_by(|a, b| a >= b));
            assert_same(&times(&u, &turned(&u, rows)), &identity(columns));
            assert_same(&times(&v, &turned(&v, columns)), &identity(columns));
            let scaled: Matrix = v
                .iter()
                .zip(&s)
                .map(|(row, s)| row.iter().map(|x| x * s).collect())
                .collect();
            assert_same(&times(&turned(&u, rows), &scaled), &a);
            let mut r = a.clone();
            let q = reflected(&mut r);
            assert_same(&times(&q, &turned(&q, rows)), &identity(rows));
            assert_same(&times(&q, &r), &a);
            let gram = times(&turned(&a, columns), &a);
            let (values, vectors) = eigen(gram);
            for (value, s) in values.iter().zip(s.iter().rev()) {
                assert!((value.max(0.0).sqrt() - s).abs() < 1e-7, "{value} {s}");
            }
            assert_same(
                &times(&vectors, &turned(&vectors, columns)),
                &identity(columns),
            );
        }
    }
}
