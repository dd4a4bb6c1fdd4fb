//! Rows of a table by index.

use super::registry::{Kernel, kernel, one};
use super::tape::places::{picked, scattered};
use super::{Array, KernelError};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    BAG,
    kernel("embedding", |tape, call, given| {
        let (index, table) = (given.need(0)?, given.need(1)?);
        if call.float("max_norm").is_some() {
            return Err(KernelError::new(
                "`max_norm` changes the table in place, which is not run here",
            ));
        }
        let sizes = tape.sizes(table);
        let (rows, width) = (sizes[0], sizes[1]);
        let outside = tape
            .value(index)
            .iter()
            .any(|&row| row < 0.0 || row >= rows as f64);
        if outside {
            return Err(KernelError::new(format!(
                "an index lies outside of {rows} rows"
            )));
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

/// Sums, means or maxima of the rows of bags.
const BAG: Kernel = kernel("embedding_bag", |tape, call, given| {
    let (index, table) = (given.need(0)?, given.need(1)?);
    if given.get(2).is_some()
        || call.float("max_norm").is_some()
        || call.integer("padding_idx").is_some()
    {
        return Err(KernelError::new(
            "bags by offsets, `max_norm` and `padding_idx` are not covered",
        ));
    }
    let (rows, width) = (tape.sizes(table)[0], tape.sizes(table)[1]);
    if tape
        .value(index)
        .iter()
        .any(|&row| row < 0.0 || row >= rows as f64)
    {
        return Err(KernelError::new(format!(
            "an index lies outside of {rows} rows"
        )));
    }
    let (bags, each) = (tape.sizes(index)[0], tape.sizes(index)[1]);
    let places = tape.derive(&[index], |values| {
        Array::from_shape_fn(vec![bags, each, width], |at| {
            values[0][[at[0], at[1]].as_slice()] * width as f64 + at[2] as f64
        })
    });
    let mut chosen = tape.gather(table, places, f64::NAN);
    if let Some(weights) = given.get(3) {
        let weights = tape.reshape(weights, &[bags, each, 1])?;
        chosen = tape.multiply(chosen, weights)?;
    }
    match call.text("mode").as_deref() {
        Some("sum") => one(tape.sum(chosen, &[1], false)?),
        Some("max") => {
            let best = tape.derive(&[chosen], |values| {
                super::extreme::best_index(values[0], 1, |a, b| a > b)
            });
            let best = tape.keep(super::Kept::Extra("indices"), best);
            let best = super::extreme::by_index(tape, chosen, best, 1);
            one(tape.dropped(best, &[1], false)?)
        }
        _ => one(tape.mean(chosen, &[1], false)?),
    }
});

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            (
                "embedding(int64 [3, 2], num_embeddings=5, embedding_dim=4)",
                &[(0.0, 4.0)],
            ),
            (
                "embedding(int64 [3, 2], num_embeddings=5, embedding_dim=4, padding_idx=1)",
                &[(0.0, 4.0)],
            ),
        ]);
    }
}
