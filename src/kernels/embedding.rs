//! Rows of a table by index.

use super::registry::{Kernel, kernel, one};
use super::tape::places::{picked, scattered};
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    BAG,
    kernel("embedding", |tape, call, given| {
        let (index, table) = (given.need(0)?, given.need(1)?);
        let table = renormalised(tape, call, index, table)?;
        let sizes = tape.sizes(table);
        let (rows, width) = (sizes[0], sizes[1]);
        let outside = tape
            .value(index)
            .iter()
            .any(|&row| row < 0.0 || row >= rows as f64);
        if outside {
            return Err(KernelError::outside("an index", rows, "rows"));
        }
        let places = tape.derive(&[index], |values| {
            let mut made = values[0].shape().to_vec();
            made.push(width);
            let rows: Vec<f64> = values[0].iter().copied().collect();
            let mut next = 0;
            Array::from_shape_simple_fn(made, || {
                let (row, column) = (next / width.max(1), next % width.max(1));
                next += 1;
                rows[row] * width as f64 + column as f64
            })
        });
        let Some(padding) = call.integer("padding_idx") else {
            return one(tape.gather(table, places, f64::NAN));
        };
        tape.by_convention("the row of `padding_idx` gets no gradient");
        let padding = if padding < 0 {
            padding + rows as i64
        } else {
            padding
        };
        let value = picked(tape.value(table), tape.value(places), f64::NAN);
        one(
            tape.push_moved(value, &[table, places], move |back, gradient| {
                let mut sum = scattered(gradient, back.value(places), back.value(table).shape());
                sum.index_axis_mut(ndarray::Axis(0), padding as usize)
                    .fill(0.0);
                back.give(table, sum);
            }),
        )
    }),
];

/// The table with the rows that are asked for scaled down to `max_norm`, where one is given, as
/// `torch.embedding_renorm_` writes them before the look-up. The gradient does not see that, and the
/// table is not changed for other calls.
fn renormalised(tape: &mut Tape, call: &Call, index: Var, table: Var) -> Result<Var, KernelError> {
    let Some(most) = call.float("max_norm") else {
        return Ok(table);
    };
    let p = call.float("norm_type").unwrap_or(2.0);
    let mut value = tape.value(table).clone();
    let asked: Vec<f64> = tape.value(index).iter().copied().collect();
    for (number, mut row) in value.outer_iter_mut().enumerate() {
        let magnitudes = row.iter().map(|x| x.abs());
        let norm = match p == f64::INFINITY {
            true => magnitudes.fold(0.0, f64::max),
            false => magnitudes.map(|x| x.powf(p)).sum::<f64>().powf(1.0 / p),
        };
        if norm > most && asked.contains(&(number as f64)) {
            // PyTorch's own guard.
            row.mapv_inplace(|x| x * (most / (norm + 1e-7)));
        }
    }
    tape.by_convention("rows are scaled to `max_norm` before the look-up, by no step of autograd");
    Ok(tape.push(value, &[table], move |back, gradient| {
        back.give(table, gradient.clone());
    }))
}

/// Sums, means or maxima of the rows of bags.
const BAG: Kernel = kernel("embedding_bag", |tape, call, given| {
    let (index, table) = (given.need(0)?, given.need(1)?);
    let table = renormalised(tape, call, index, table)?;
    let (rows, width) = (tape.sizes(table)[0], tape.sizes(table)[1]);
    let indices: Vec<f64> = tape.value(index).iter().copied().collect();
    if indices.iter().any(|&row| row < 0.0 || row >= rows as f64) {
        return Err(KernelError::outside("an index", rows, "rows"));
    }
    let (bag_of, bags) = bags(tape, call, given.get(2), &tape.sizes(index))?;
    // What pads is in no bag.
    let padding = call
        .integer("padding_idx")
        .map(|padding| match padding < 0 {
            true => (padding + rows as i64) as f64,
            false => padding as f64,
        });
    let bag_of: Vec<Option<usize>> = bag_of
        .into_iter()
        .zip(&indices)
        .map(|(bag, &row)| bag.filter(|_| padding != Some(row)))
        .collect();
    let places = tape.derive(&[index], |values| {
        let rows: Vec<f64> = values[0].iter().copied().collect();
        Array::from_shape_fn(vec![rows.len(), width], |at| {
            rows[at[0]] * width as f64 + at[1] as f64
        })
    });
    let mut chosen = tape.gather(table, places, f64::NAN);
    if let Some(weights) = given.get(3) {
        let weights = tape.reshape(weights, &[indices.len(), 1])?;
        chosen = tape.multiply(chosen, weights)?;
    }
    let sizes = [bags, width];
    if call.text("mode").as_deref() == Some("max") {
        let best = tape.derive(&[chosen], |values| best_of_bags(values[0], &bag_of, &sizes));
        let best = tape.keep(super::Kept::Extra("indices"), best);
        return one(tape.gather(chosen, best, 0.0));
    }
    let spots = Array::from_shape_fn(vec![indices.len(), width], |at| {
        bag_of[at[0]].map_or(-1.0, |bag| (bag * width + at[1]) as f64)
    });
    let spots = tape.constant(spots);
    let sum = tape.scatter_add(chosen, spots, &sizes);
    if call.text("mode").as_deref() == Some("sum") {
        return one(sum);
    }
    let mut counts = Array::zeros(vec![bags, 1]);
    for &bag in bag_of.iter().flatten() {
        counts[[bag, 0]] += 1.0;
    }
    // An empty bag is 0.
    let shares = tape.constant(counts.mapv(|count: f64| 1.0 / count.max(1.0)));
    one(tape.multiply(sum, shares)?)
});

/// The bag of each index, and how many bags there are: rows of a matrix, or stretches of a vector
/// that begin at the offsets. What stands before the first or behind a last offset is in none.
fn bags(
    tape: &Tape,
    call: &Call,
    offsets: Option<Var>,
    sizes: &[usize],
) -> Result<(Vec<Option<usize>>, usize), KernelError> {
    let Some(offsets) = offsets else {
        let (bags, each) = (sizes[0], sizes[1]);
        return Ok(((0..bags * each).map(|at| Some(at / each)).collect(), bags));
    };
    let starts: Vec<f64> = tape.value(offsets).iter().copied().collect();
    let rising = starts.windows(2).all(|pair| pair[0] <= pair[1]);
    if !rising
        || starts
            .iter()
            .any(|&start| start < 0.0 || start > sizes[0] as f64)
    {
        return Err(KernelError::outside("an offset", sizes[0], "indices"));
    }
    let bags = starts.len() - usize::from(call.boolean("include_last_offset")).min(starts.len());
    let bag_of = |at: usize| {
        let before = starts.partition_point(|&start| start <= at as f64);
        before.checked_sub(1).filter(|&bag| bag < bags)
    };
    Ok(((0..sizes[0]).map(bag_of).collect(), bags))
}

/// The place of the greatest row of each bag, by column; -1 for an empty bag.
fn best_of_bags(rows: &Array, bag_of: &[Option<usize>], sizes: &[usize; 2]) -> Array {
    let mut best = Array::from_elem(sizes.to_vec(), -1.0);
    let elements: Vec<f64> = rows.iter().copied().collect();
    for (row, bag) in bag_of.iter().enumerate() {
        let Some(bag) = *bag else { continue };
        for column in 0..sizes[1] {
            let place = row * sizes[1] + column;
            let slot = &mut best[[bag, column]];
            if *slot < 0.0 || elements[place] > elements[*slot as usize] {
                *slot = place as f64;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("embedding(int64 [3], [4, 5], max_norm=1.0)", &[(0.0, 3.0)]),
            (
                "embedding_bag(int64 [3, 2], [4, 5], max_norm=0.5, norm_type=1.0)",
                &[(0.0, 3.0)],
            ),
            (
                "embedding(int64 [3, 2], num_embeddings=5, embedding_dim=4)",
                &[(0.0, 4.0)],
            ),
            (
                "embedding(int64 [3, 2], num_embeddings=5, embedding_dim=4, padding_idx=1)",
                &[(0.0, 4.0)],
            ),
            ("embedding_bag(int64 [3, 2], [5, 4])", &[(0.0, 4.0)]),
            (
                "embedding_bag(int64 [3, 2], [5, 4], mode=max)",
                &[(0.0, 4.0)],
            ),
            (
                "embedding_bag(int64 [6], [5, 4], int64 [1], mode=sum, padding_idx=1)",
                &[(0.0, 4.0), (-2.0, 2.0), (2.0, 2.0)],
            ),
            (
                "embedding_bag(int64 [6], [5, 4], int64 [2], [6], mode=sum)",
                &[(0.0, 4.0), (-2.0, 2.0), (0.0, 0.0)],
            ),
            (
                "embedding_bag(int64 [6], [5, 4], int64 [2], mode=mean, include_last_offset=true)",
                &[(0.0, 4.0), (-2.0, 2.0), (3.0, 3.0)],
            ),
        ]);
    }
}
