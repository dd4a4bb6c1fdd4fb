//! Running sums and order: `cumsum`, `sort`, `topk`, `median`, `quantile`.

use smallvec::smallvec;

use super::conversion::converted;
use super::extreme::by_index;
use super::registry::{Kernel, Results, kernel, one};
use super::shape::axis;
use super::{Array, Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("cumsum", |tape, call, given| {
        let x = converted(tape, call, given.need(0)?)?;
        let at = axis(call.integer("dim").unwrap_or(0), call.shape(0)?.rank())?;
        let value = running(tape.value(x), at, false, |sum, x| sum + x);
        tape.count_many(super::tape::Kind::Add, tape.value(x).len());
        one(tape.push(value, &[x], move |back, gradient| {
            back.give(x, running(gradient, at, true, |sum, x| sum + x));
        }))
    }),
    kernel("cumprod", |tape, call, given| {
        let x = converted(tape, call, given.need(0)?)?;
        let at = axis(call.integer("dim").unwrap_or(0), call.shape(0)?.rank())?;
        let value = running(tape.value(x), at, false, |product, x| product * x);
        tape.count_many(super::tape::Kind::Multiply, tape.value(x).len());
        one(tape.push(value, &[x], move |back, gradient| {
            let elements = back.value(x);
            let mut given = elements.clone();
            if given.ndim() == 0 {
                return back.give(x, gradient.clone());
            }
            // Each product without the element itself, so that zeros do no harm.
            for ((mut slots, x), g) in given
                .lanes_mut(ndarray::Axis(at))
                .into_iter()
                .zip(elements.lanes(ndarray::Axis(at)))
                .zip(gradient.lanes(ndarray::Axis(at)))
            {
                for k in 0..x.len() {
                    let mut product: f64 = x.iter().take(k).product();
                    let mut sum = 0.0;
                    for j in k..x.len() {
                        if j > k {
                            product *= x[j];
                        }
                        sum += g[j] * product;
                    }
                    slots[k] = sum;
                }
            }
            back.give(x, given);
        }))
    }),
    kernel("topk", |tape, call, given| {
        let at = last(call)?;
        let k = call.size("k")? as usize;
        let largest = call.boolean("largest");
        ordered(tape, given.need(0)?, at, 0, k, largest)
    }),
    kernel("sort", |tape, call, given| {
        let x = given.need(0)?;
        let at = last(call)?;
        let size = tape.sizes(x).get(at).copied().unwrap_or(1);
        ordered(tape, x, at, 0, size, call.boolean("descending"))
    }),
    kernel("argsort", |tape, call, given| {
        let x = given.need(0)?;
        let at = last(call)?;
        let size = tape.sizes(x).get(at).copied().unwrap_or(1);
        let mut results = ordered(tape, x, at, 0, size, call.boolean("descending"))?;
        one(results.swap_remove(1))
    }),
    kernel("median", |tape, call, given| {
        let x = given.need(0)?;
        let Some(dim) = call.integer("dim") else {
            let count = tape.value(x).len();
            let flat = tape.reshape(x, &[count])?;
            let made = ordered(tape, flat, 0, (count.max(1) - 1) / 2, 1, false)?;
            return one(tape.reshape(made[0], &[])?);
        };
        let at = axis(dim, call.shape(0)?.rank())?;
        let size = tape.sizes(x).get(at).copied().unwrap_or(1);
        chosen(tape, call, x, at, (size - 1) / 2)
    }),
    kernel("kthvalue", |tape, call, given| {
        let x = given.need(0)?;
        let at = last(call)?;
        let k = call.size("k")?.max(1) as usize;
        chosen(tape, call, x, at, k - 1)
    }),
    kernel("quantile", |tape, call, given| {
        let (mut x, q) = (given.need(0)?, given.need(1)?);
        let rank = tape.sizes(x).len();
        let at = match call.integer("dim") {
            Some(dim) => axis(dim, rank)?,
            None => {
                let count = tape.value(x).len();
                x = tape.reshape(x, &[count])?;
                0
            }
        };
        // The axis last, so that the levels can take its place.
        let last = tape.sizes(x).len() - 1;
        let mut turned: Vec<usize> = (0..=last).filter(|&axis| axis != at).collect();
        turned.push(at);
        let x = tape.permute(x, &turned);
        let sizes = tape.sizes(x);
        let order = tape.derive(&[x], |values| argsort(values[0], last, false));
        let order = tape.keep(Kept::Extra("indices"), order);
        let sorted = by_index(tape, x, order, last);
        let mut few = sizes.clone();
        few[last] = tape.value(q).len();
        let ranks = tape.derive(&[q], |values| {
            let levels: Vec<f64> = values[0].iter().copied().collect();
            Array::from_shape_fn(few, |place| levels[place[last]] * (sizes[last] - 1) as f64)
        });
        let mode = call.text("interpolation").unwrap_or_default();
        let to: fn(f64) -> f64 = match mode.as_str() {
            "higher" => f64::ceil,
            "nearest" => f64::round_ties_even,
            _ => f64::floor,
        };
        let below = tape.derive(&[ranks], |values| values[0].mapv(to));
        let below = tape.keep(Kept::Extra("rank below"), below);
        let low = by_index(tape, sorted, below, last);
        let mixed = match mode.as_str() {
            "lower" | "higher" | "nearest" => low,
            _ => {
                let above = tape.derive(&[ranks], |values| values[0].mapv(f64::ceil));
                let above = tape.keep(Kept::Extra("rank above"), above);
                let middle = mode == "midpoint";
                let weight = tape.derive(&[ranks], |values| {
                    values[0].mapv(|rank| match middle && rank.fract() != 0.0 {
                        true => 0.5,
                        false => rank - rank.floor(),
                    })
                });
                let weight = tape.keep(Kept::Extra("weight"), weight);
                let high = by_index(tape, sorted, above, last);
                let rest = tape.affine(weight, -1.0, 1.0);
                let low = tape.multiply(low, rest)?;
                let high = tape.multiply(high, weight)?;
                tape.add(low, high)?
            }
        };
        // The levels come first.
        let mut turned = vec![last];
        turned.extend(0..last);
        let mixed = tape.permute(mixed, &turned);
        let made = call.output().map(super::held_sizes).unwrap_or_default();
        one(tape.reshape(mixed, &made)?)
    }),
];

fn rank_of(call: &Call) -> Result<usize, KernelError> {
    Ok(call.shape(0)?.rank())
}

fn last(call: &Call) -> Result<usize, KernelError> {
    axis(call.integer("dim").unwrap_or(-1), rank_of(call)?)
}

/// What comes up on the way along an axis, from its front or its back.
fn running(array: &Array, at: usize, reverse: bool, join: fn(f64, f64) -> f64) -> Array {
    let mut result = array.clone();
    if result.ndim() == 0 {
        return result;
    }
    for mut lane in result.lanes_mut(ndarray::Axis(at)) {
        let count = lane.len();
        for step in 1..count {
            let (from, to) = match reverse {
                true => (count - step, count - step - 1),
                false => (step - 1, step),
            };
            lane[to] = join(lane[from], lane[to]);
        }
    }
    result
}

/// The indices that sort each lane, equal elements in the order in which they stand.
fn argsort(array: &Array, at: usize, descending: bool) -> Array {
    let mut result = array.clone();
    if result.ndim() == 0 {
        result.fill(0.0);
        return result;
    }
    for mut lane in result.lanes_mut(ndarray::Axis(at)) {
        let mut order: Vec<usize> = (0..lane.len()).collect();
        order.sort_by(|&a, &b| match descending {
            true => lane[b].total_cmp(&lane[a]),
            false => lane[a].total_cmp(&lane[b]),
        });
        for (slot, index) in lane.iter_mut().zip(order) {
            *slot = index as f64;
        }
    }
    if array.iter().any(|x| x.is_nan()) {
        result.fill(f64::NAN);
    }
    result
}

/// `count` elements of the order of an axis from `start` on, and where they were.
fn ordered(
    tape: &mut Tape,
    x: Var,
    at: usize,
    start: usize,
    count: usize,
    descending: bool,
) -> Result<Results, KernelError> {
    if tape.value(x).ndim() == 0 {
        let index = tape.number(0.0);
        return Ok(smallvec![tape.affine(x, 1.0, 0.0), index]);
    }
    let order = tape.derive(&[x], |values| argsort(values[0], at, descending));
    let order = tape.narrow(order, at, start, count);
    let order = tape.keep(Kept::Output(1), order);
    Ok(smallvec![by_index(tape, x, order, at), order])
}

/// One element of the order of an axis, and where it was.
fn chosen(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    at: usize,
    rank: usize,
) -> Result<Results, KernelError> {
    if tape.value(x).ndim() == 0 {
        return ordered(tape, x, 0, 0, 1, false);
    }
    let keep = call.boolean("keepdim");
    let order = tape.derive(&[x], |values| argsort(values[0], at, false));
    let index = tape.narrow(order, at, rank, 1);
    let shape = tape.sizes(index);
    let shown = tape.dropped(index, &[at], keep)?;
    let shown = tape.keep(Kept::Output(1), shown);
    let index = tape.reshape(shown, &shape)?;
    let value = by_index(tape, x, index, at);
    Ok(smallvec![tape.dropped(value, &[at], keep)?, shown])
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("cumsum([3, 4], dim=1)", &[]),
            ("cumprod([3, 4], dim=0)", &[]),
            ("topk([3, 5], k=2)", &[]),
            ("topk([5, 3], k=2, dim=0, largest=false)", &[]),
            ("sort([3, 5])", &[]),
            ("sort([3, 5], dim=0, descending=true)", &[]),
            ("argsort([3, 5])", &[]),
            ("median([3, 5])", &[]),
            ("median([3, 5], dim=1)", &[]),
            ("median([3, 4], dim=0, keepdim=true)", &[]),
            ("kthvalue([3, 5], k=2)", &[]),
            ("quantile([3, 5], []!, dim=1)", &[(-2.0, 2.0), (0.1, 0.9)]),
            ("quantile([3, 5], [2]!)", &[(-2.0, 2.0), (0.1, 0.9)]),
            (
                "quantile([3, 5], [2]!, dim=1, keepdim=true, interpolation='lower')",
                &[(-2.0, 2.0), (0.1, 0.9)],
            ),
        ]);
    }
}
