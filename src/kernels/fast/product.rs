//! The product of two matrices, by faer, which has kernels for the vector units that the machine
//! turns out to have.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::{Array2, ArrayView2, CowArray, Ix2, LinalgScalar};

/// An element type that matrices are multiplied in.
pub trait Element: faer::traits::ComplexField + LinalgScalar {}
impl Element for f32 {}
impl Element for f64 {}

/// Up to so many multiply-adds, faer's packing costs more than it saves.
const SMALL: usize = 32 * 32 * 32;
/// Above so many multiply-adds, threads save more than waking them costs.
const LARGE: usize = 128 * 128 * 128;

/// The product of two matrices of which the second has as many rows as the first has columns, as
/// `ndarray`'s `dot`: added up in the type of the elements, in an order of its own.
///
/// # Panics
/// Where the inner sizes differ, as `dot` does.
pub fn product<T: Element>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Array2<T> {
    let (rows, inner, columns) = (a.nrows(), a.ncols(), b.ncols());
    let multiply_adds = rows.saturating_mul(inner).saturating_mul(columns);
    if multiply_adds <= SMALL || inner != b.nrows() {
        return a.dot(&b);
    }
    let threads = match multiply_adds > LARGE {
        true => Par::rayon(0),
        false => Par::Seq,
    };
    let mut elements = vec![T::zero(); rows * columns];
    let result = MatMut::from_row_major_slice_mut(&mut elements, rows, columns);
    let (a, b) = (dense(&a), dense(&b));
    let (first, second) = (matrix(&a), matrix(&b));
    matmul(result, Accum::Replace, first, second, T::one(), threads);
    Array2::from_shape_vec((rows, columns), elements).unwrap_or_else(|_| a.dot(&b))
}

/// The same matrix, copied if its elements lie in neither order without gaps.
fn dense<'a, T: Element>(view: &'a ArrayView2<'_, T>) -> CowArray<'a, T, Ix2> {
    match view.t().is_standard_layout() {
        true => CowArray::from(view.view()),
        // A copy that only closes gaps might still run backwards.
        false => view.as_standard_layout(),
    }
}

/// faer's view of a dense matrix.
fn matrix<'a, T: Element>(dense: &'a CowArray<'_, T, Ix2>) -> MatRef<'a, T> {
    let (rows, columns) = dense.dim();
    if let Some(elements) = dense.as_slice() {
        return MatRef::from_row_major_slice(elements, rows, columns);
    }
    let elements = dense.as_slice_memory_order().unwrap_or_default();
    MatRef::from_column_major_slice(elements, rows, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Axis, Slice};

    /// Whole numbers so small that every order of additions gives the same float32.
    fn whole(random: &mut fastrand::Rng, rows: usize, columns: usize) -> Array2<f32> {
        Array2::from_shape_simple_fn((rows, columns), || random.i32(-8..9) as f32)
    }

    /// Guards all layouts, and sizes about those at which another way is taken.
    #[test]
    fn as_dot() {
        let mut random = fastrand::Rng::with_seed(1);
        for (rows, inner, columns) in [
            (0, 3, 2),
            (2, 0, 3),
            (1, 1, 1),
            (1, 40_000, 1),
            (40_000, 1, 2),
            (32, 32, 32),
            (33, 32, 33),
            (31, 63, 65),
            (1, 200, 200),
            (200, 200, 1),
            (129, 130, 131),
            (300, 257, 90),
        ] {
            let a = whole(&mut random, rows, inner);
            let b = whole(&mut random, inner, columns);
            let (left, right) = (a.t().as_standard_layout().into_owned(), b.t().to_owned());
            let wide = whole(&mut random, rows, 2 * inner);
            let every_other = wide.slice_axis(Axis(1), Slice::new(0, None, 2));
            let backwards = b.slice_axis(Axis(0), Slice::new(0, None, -1));
            let expected = a.dot(&b);
            assert_eq!(
                product(a.view(), b.view()),
                expected,
                "{rows} {inner} {columns}"
            );
            assert_eq!(product(left.t(), b.view()), expected);
            assert_eq!(product(a.view(), right.t()), expected);
            assert_eq!(product(left.t(), right.t()), expected);
            assert_eq!(product(every_other, backwards), every_other.dot(&backwards));
            let (a, b) = (a.mapv(f64::from), b.mapv(f64::from));
            assert_eq!(product(a.view(), b.view()), expected.mapv(f64::from));
        }
    }

    /// Guards that what is not known stays in its row and its column, at any place: a gradient is
    /// proved to need no more than what is kept by NaN in all the rest.
    #[test]
    fn not_a_number_stays_in_its_row() {
        let ones = Array2::<f32>::ones((150, 140));
        for (row, inner) in [(0, 0), (149, 139), (77, 64)] {
            for odd in [f32::NAN, f32::INFINITY] {
                let mut a = ones.clone();
                a[[row, inner]] = odd;
                let made = product(a.view(), ones.t());
                for ((at, _), value) in made.indexed_iter() {
                    assert_eq!(at == row, !value.is_finite(), "{at} of {row}: {value}");
                }
                let made = product(ones.view(), a.t());
                for ((_, at), value) in made.indexed_iter() {
                    assert_eq!(at == row, !value.is_finite(), "{at} of {row}: {value}");
                }
            }
        }
    }

    /// Guards the result against the number of threads.
    #[test]
    fn threads_do_not_show() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut drawn = || Array2::from_shape_simple_fn((200, 210), || random.f32() - 0.5);
        let (a, b) = (drawn(), drawn());
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| product(a.view(), b.t()))
        };
        assert_eq!(with(1), with(3));
        assert_eq!(with(1), product(a.view(), b.t()));
    }
}
