//! Scaled dot-product attention, and rotations by position.

use super::dropout::drawn;
use super::registry::{Kernel, kernel, one};
use super::tape::contraction::Labels;
use super::{Array, Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("scaled_dot_product_attention", |tape, call, given| {
        one(attention(
            tape,
            call,
            [given.need(0)?, given.need(1)?, given.need(2)?],
            given.get(3),
        )?)
    }),
    kernel("rotary_embedding", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let (positions, width) = (sizes[sizes.len() - 2], sizes[sizes.len() - 1]);
        let base = call.float("base").unwrap_or(10_000.0);
        // Halves are rotated against each other: pair i turns by position / base^(2i / width).
        let angle = |at: &[usize]| {
            let pair = (at[1] % (width / 2).max(1)) as f64;
            at[0] as f64 / base.powf(2.0 * pair / width as f64)
        };
        let mut table = |position: usize, name: &'static str, f: fn(f64) -> f64| {
            given.get(position).unwrap_or_else(|| {
                let table =
                    Array::from_shape_fn(vec![positions, width], |at| f(angle(&[at[0], at[1]])));
                let table = tape.constant(table);
                tape.keep(Kept::Extra(name), table)
            })
        };
        let cos = table(1, "cos", f64::cos);
        let sin = table(2, "sin", f64::sin);
        let last = sizes.len() - 1;
        let half = width / 2;
        let first = tape.narrow(x, last, 0, half);
        let second = tape.narrow(x, last, half, half);
        let turned = tape.scale(second, -1.0);
        let rotated = tape.concatenate(&[turned, first], last)?;
        let along = tape.multiply(x, cos)?;
        let across = tape.multiply(rotated, sin)?;
        one(tape.add(along, across)?)
    }),
];

/// Query, key or value as [batch · heads, positions, width], with heads repeated for each group of
/// queries.
fn folded(
    tape: &mut Tape,
    x: Var,
    leading: &[usize],
    name: &'static str,
) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let rank = sizes.len();
    let mut x = x;
    let own = &sizes[..rank - 2];
    if own != leading {
        let heads = own.last().copied().unwrap_or(1);
        let wanted = leading.last().copied().unwrap_or(1);
        if heads != wanted && heads > 1 && wanted.is_multiple_of(heads) {
            // Each head serves as many queries' heads in a row.
            let mut split = sizes.clone();
            split.insert(rank - 2, 1);
            x = tape.reshape(x, &split)?;
            split[rank - 2] = wanted / heads;
            x = tape.broadcast(x, &split)?;
        }
        let mut whole = leading.to_vec();
        whole.extend(&sizes[rank - 2..]);
        x = if tape.value(x).len() == whole.iter().product::<usize>() {
            tape.reshape(x, &whole)?
        } else {
            tape.broadcast(x, &whole)?
        };
    }
    let batch = leading.iter().product();
    let x = tape.reshape(x, &[batch, sizes[rank - 2], sizes[rank - 1]])?;
    // Kernels that ask for another width, another order of axes or a head for each of the query's
    // keep a copy of the same.
    Ok(tape.keep(Kept::Extra(name), x))
}

/// Whether PyTorch takes a fused kernel: heads of their own axis, the same batch, a width that comes
/// in whole 16 bytes. Else it multiplies, takes the softmax and multiplies.
fn is_fused(call: &Call) -> Result<bool, KernelError> {
    use crate::tensor::Dtype;
    let shapes = [call.shape(0)?, call.shape(1)?, call.shape(2)?];
    let dtype = call.dtype(0)?;
    let unit = if dtype.is_half() { 8 } else { 4 };
    let single = matches!(dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
    let whole = |shape: &&crate::tensor::Shape| {
        let sizes = shape.sizes();
        sizes.len() == 4 && (sizes[3].is_multiple_of(unit) || (dtype.is_half() && !call.has(3)))
    };
    let lead = |at: usize| shapes[at].sizes().get(..2);
    let together = (lead(0) == lead(1) && lead(0) == lead(2)) || call.boolean("enable_gqa");
    Ok(call.fused_attention && single && shapes.iter().all(whole) && together)
}

fn attention(
    tape: &mut Tape,
    call: &Call,
    [query, key, value]: [Var; 3],
    mask: Option<Var>,
) -> Result<Var, KernelError> {
    let of_query = tape.sizes(query);
    let rank = of_query.len();
    let mut leading = of_query[..rank - 2].to_vec();
    for other in [key, value] {
        let sizes = tape.sizes(other);
        // Groups of heads are repeated; other leading axes broadcast.
        if !call.boolean("enable_gqa") {
            leading = super::tape::pointwise::broadcast_sizes(&leading, &sizes[..sizes.len() - 2])?;
        }
    }
    let fused = is_fused(call)?;
    let scale = call
        .float("scale")
        .unwrap_or_else(|| 1.0 / (of_query[rank - 1].max(1) as f64).sqrt());
    let query = folded(tape, query, &leading, "query")?;
    let key = folded(tape, key, &leading, "key")?;
    let value = folded(tape, value, &leading, "value")?;
    let sizes = tape.sizes(query);
    let (batch, queries, width) = (sizes[0], sizes[1], sizes[2]);
    let keys = tape.sizes(key)[1];
    // Query and key each take the root of the scale, so that halves do not overflow.
    let root = scale.abs().sqrt();
    let query = tape.scale(query, root * scale.signum());
    let query = tape.keep(Kept::Extra("scaled query"), query);
    let key = tape.scale(key, root);
    let key = tape.keep(Kept::Extra("scaled key"), key);
    let mut scores = tape.contract(query, key, Labels::letters("bqe", "bke", "bqk"))?;
    if fused {
        let products = batch as u128 * queries as u128 * keys as u128 * width as u128;
        scores = tape.computed_again(scores, products);
    }
    if call.boolean("is_causal") {
        let bias = Array::from_shape_fn(vec![queries, keys], |at| {
            if at[1] <= at[0] {
                0.0
            } else {
                f64::NEG_INFINITY
            }
        });
        let bias = tape.constant(bias);
        scores = tape.add(scores, bias)?;
    }
    if let Some(mask) = mask {
        let boolean = call.dtype(3)? == crate::tensor::Dtype::Bool;
        let mut whole = leading.clone();
        whole.extend([queries, keys]);
        // Booleans become a bias, which needs no gradient, and so the mask is not kept.
        let bias = match boolean {
            true => tape.derive(&[mask], |values| {
                values[0].mapv(|seen| match seen {
                    0.0 => f64::NEG_INFINITY,
                    seen => seen * 0.0,
                })
            }),
            false => mask,
        };
        let bias = tape.keep(Kept::Extra("bias"), bias);
        let bias = tape.broadcast(bias, &whole)?;
        let bias = tape.reshape(bias, &[batch, queries, keys])?;
        scores = tape.add(scores, bias)?;
    }
    let weights = masked_softmax(tape, scores)?;
    let mut weights = tape.keep(Kept::Extra("weights"), weights);
    let p = call.float("dropout_p").unwrap_or(0.0);
    if p > 0.0 {
        let kept = drawn(tape, &[batch, queries, keys], p);
        let kept = tape.constant(kept);
        let kept = tape.keep(Kept::Extra("mask"), kept);
        let dropped = tape.multiply(weights, kept)?;
        weights = tape.scale(dropped, 1.0 / (1.0 - p));
        weights = tape.keep(Kept::Extra("dropped weights"), weights);
    }
    let mixed = tape.contract(weights, value, Labels::letters("bqk", "bke", "bqe"))?;
    let mut made = leading;
    made.extend([queries, tape.sizes(value)[2]]);
    tape.reshape(mixed, &made)
}

/// Softmax over keys; zeros where a query may look at none (`_safe_softmax`).
fn masked_softmax(tape: &mut Tape, scores: Var) -> Result<Var, KernelError> {
    let nothing = tape.derive(&[scores], |values| {
        super::tape::reduction::lanes(values[0], &[2], |lane| {
            f64::from(u8::from(lane.iter().all(|&x| x == f64::NEG_INFINITY)))
        })
    });
    let any = tape.value(nothing).iter().any(|&x| x != 0.0);
    if !any {
        return Ok(tape.softmax(scores, 2));
    }
    let zero = tape.number(0.0);
    let open = tape.select(nothing, zero, scores)?;
    let weights = tape.softmax(open, 2);
    tape.select(nothing, zero, weights)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for kind in ["", " fused"] {
            let case = |text: &str| format!("scaled_dot_product_attention({text}){kind}");
            check(&[
                (&case("[2, 3, 5, 8], [2, 3, 7, 8], [2, 3, 7, 8]"), &[]),
                (
                    &case("[2, 3, 5, 8], [2, 3, 5, 8], [2, 3, 5, 8], is_causal=true"),
                    &[],
                ),
                (
                    &case("[2, 3, 5, 8], [2, 3, 7, 8], [2, 3, 7, 8], bool [5, 7]"),
                    &[],
                ),
                (
                    &case("[2, 3, 5, 8], [2, 3, 7, 8], [2, 3, 7, 8], [2, 1, 5, 7]!"),
                    &[],
                ),
                (
                    &case("[2, 4, 5, 8], [2, 2, 7, 8], [2, 2, 7, 8], enable_gqa=true"),
                    &[],
                ),
                (
                    &case("[2, 3, 5, 8], [2, 3, 7, 8], [2, 3, 7, 8], dropout_p=0.2"),
                    &[],
                ),
                (
                    &case("[2, 3, 5, 8], [2, 3, 7, 8], [2, 3, 7, 8], scale=0.3"),
                    &[],
                ),
            ]);
        }
        check(&[
            (
                "scaled_dot_product_attention([2, 5, 8], [2, 7, 8], [2, 7, 4])",
                &[],
            ),
            ("rotary_embedding([2, 3, 5, 8])", &[]),
            ("rotary_embedding([2, 3, 5, 8], [5, 8]!, [5, 8]!)", &[]),
            ("rotary_embedding([2, 5, 8], base=100.0)", &[]),
        ]);
    }
}
