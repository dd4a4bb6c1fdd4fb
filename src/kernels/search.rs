//! Searching and counting: nothing of this has a gradient.

use std::cmp::Ordering;

use ndarray::Axis;

use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::{Array, KernelError};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("searchsorted", |tape, call, given| {
        let (sequence, x) = (given.need(0)?, given.need(1)?);
        let right = call.boolean("right");
        one(tape.derive(&[sequence, x], |values| {
            let length = values[0].shape().last().copied().unwrap_or(1);
            let sorted: Vec<f64> = values[0].iter().copied().collect();
            let width = values[1].shape().last().copied().unwrap_or(1).max(1);
            let one_row = values[0].ndim() == 1;
            let mut number = 0;
            values[1].mapv(|x| {
                let row = if one_row { 0 } else { number / width };
                number += 1;
                place(&sorted[row * length..(row + 1) * length], x, right)
            })
        }))
    }),
    kernel("bucketize", |tape, call, given| {
        let (x, boundaries) = (given.need(0)?, given.need(1)?);
        let right = call.boolean("right");
        one(tape.derive(&[x, boundaries], |values| {
            let sorted: Vec<f64> = values[1].iter().copied().collect();
            values[0].mapv(|x| place(&sorted, x, right))
        }))
    }),
    kernel("unique", |tape, call, given| {
        let x = given.need(0)?;
        let dim = call.integer("dim");
        let at = dim.map(|dim| axis(dim, tape.sizes(x).len())).transpose()?;
        one(tape.derive(&[x], |values| match at {
            Some(at) => unique(values[0], at),
            None => {
                let elements: Vec<f64> = values[0].iter().copied().collect();
                unique(&ndarray::Array1::from(elements).into_dyn(), 0)
            }
        }))
    }),
    kernel("bincount", |tape, call, given| {
        let x = given.need(0)?;
        let bins = call.size("minlength")? as usize;
        if tape.value(x).iter().any(|&x| x >= bins as f64) {
            return Err(KernelError::new(
                "how many bins there are depends on the values",
            ));
        }
        let mut parents = vec![x];
        parents.extend(given.get(1));
        one(tape.derive(&parents, |values| {
            let mut counts = Array::zeros(vec![bins]);
            for (at, &x) in values[0].iter().enumerate() {
                let weight = values.get(1).and_then(|weights| weights.iter().nth(at));
                counts[x as usize] += weight.copied().unwrap_or(1.0);
            }
            counts
        }))
    }),
];

/// The slices of an axis in order, each once. How many these are is not known before a run, so all
/// are counted; behind the others, the last one is repeated.
fn unique(array: &Array, at: usize) -> Array {
    let slices = array.axis_iter(Axis(at));
    let mut rows: Vec<Vec<f64>> = slices
        .map(|slice| slice.iter().copied().collect())
        .collect();
    let count = rows.len();
    rows.sort_by(|a, b| {
        let mut orders = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
        orders
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    rows.dedup();
    let last = rows.last().cloned().unwrap_or_default();
    rows.resize(count, last);
    let mut made = array.clone();
    for (mut slice, row) in made.axis_iter_mut(Axis(at)).zip(rows) {
        slice
            .iter_mut()
            .zip(row)
            .for_each(|(element, value)| *element = value);
    }
    made
}

/// How many elements of a sorted sequence stand before `x`; with `right`, equal ones too.
fn place(sorted: &[f64], x: f64, right: bool) -> f64 {
    sorted.partition_point(|&element| if right { element <= x } else { element < x }) as f64
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("bucketize([3, 4], [5])", &[(-2.0, 2.0), (0.0, 0.0)]),
            ("searchsorted([5], [3, 4])", &[(0.0, 0.0), (-2.0, 2.0)]),
            (
                "searchsorted([2, 5], [2, 4], right=true)",
                &[(0.0, 0.0), (-2.0, 2.0)],
            ),
            ("bincount(int64 [6], minlength=4)", &[(0.0, 3.0)]),
            ("unique(int64 [6, 2])", &[(0.0, 3.0)]),
            ("unique(int64 [6, 2], dim=0)", &[(0.0, 1.0)]),
        ]);
    }

    /// The first place among equal elements, or the one behind them.
    #[test]
    fn equal_elements_are_before_or_behind() {
        assert_eq!(super::place(&[0.0, 1.0, 1.0, 2.0], 1.0, false), 1.0);
        assert_eq!(super::place(&[0.0, 1.0, 1.0, 2.0], 1.0, true), 3.0);
        assert_eq!(super::place(&[0.0, 1.0], 5.0, false), 2.0);
    }
}
