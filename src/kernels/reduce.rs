//! Reductions along axes: sums, means, variances, products, norms.

use super::complex::Complex;
use super::conversion::converted;
use super::registry::{Kernel, kernel, one};
use super::tape::reduction::lanes;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("sum", |tape, call, given| {
        let (axes, keep) = axes(call)?;
        let x = converted(tape, call, given.need(0)?)?;
        one(tape.sum(x, &axes, keep)?)
    })
    .on_complex(Complex::Summed),
    kernel("mean", |tape, call, given| {
        let (axes, keep) = axes(call)?;
        one(tape.mean(given.need(0)?, &axes, keep)?)
    })
    .on_complex(Complex::Summed),
    kernel("var", |tape, call, given| {
        let (axes, keep) = axes(call)?;
        let (_, variance) = tape.moments(given.need(0)?, &axes, correction(call))?;
        one(tape.dropped(variance, &axes, keep)?)
    }),
    kernel("std", |tape, call, given| {
        let (axes, keep) = axes(call)?;
        let (_, variance) = tape.moments(given.need(0)?, &axes, correction(call))?;
        let deviation = tape.sqrt(variance);
        one(tape.dropped(deviation, &axes, keep)?)
    }),
    kernel("prod", |tape, call, given| {
        let (axes, keep) = axes(call)?;
        let x = converted(tape, call, given.need(0)?)?;
        let value = lanes(tape.value(x), &axes, |lane| lane.iter().product());
        tape.count_many(super::tape::Kind::Multiply, tape.value(x).len());
        let over = axes.clone();
        let product = tape.push(value, &[x], move |back, gradient| {
            // The product of the others, so that a zero does no harm.
            let elements = back.value(x);
            let mut given = Array::zeros(elements.raw_dim());
            for (index, slot) in given.indexed_iter_mut() {
                let mut others = 1.0;
                let mut at = index.clone();
                for &axis in &over {
                    at[axis] = 0;
                }
                for (other, &value) in elements.indexed_iter() {
                    let same_lane = (0..elements.ndim())
                        .all(|axis| over.contains(&axis) || other[axis] == index[axis]);
                    if same_lane && other != index {
                        others *= value;
                    }
                }
                *slot = gradient[at] * others;
            }
            back.give(x, given);
        });
        one(tape.dropped(product, &axes, keep)?)
    }),
    kernel("norm", |tape, call, given| {
        let (axes, keep) = axes(call)?;
        one(norm(
            tape,
            given.need(0)?,
            call.float("p").unwrap_or(2.0),
            &axes,
            keep,
        )?)
    }),
    kernel("logsumexp", |tape, call, given| {
        let (axes, keep) = axes(call)?;
        let x = given.need(0)?;
        let most = tape.greatest(x, &axes, true)?;
        let shifted = tape.subtract(x, most)?;
        let exponentials = tape.exp(shifted);
        let sum = tape.sum(exponentials, &axes, true)?;
        let log = tape.ln(sum);
        let result = tape.add(log, most)?;
        one(tape.dropped(result, &axes, keep)?)
    }),
];

/// The axes that are reduced, all of them where none is named, and whether they stay.
pub(super) fn axes(call: &Call) -> Result<(Vec<usize>, bool), KernelError> {
    let shape = call.shape(0)?;
    let named = call.integers("dim").filter(|dims| !dims.is_empty());
    let axes = match named {
        Some(dims) => dims
            .iter()
            .map(|&dim| super::shape::axis(dim, shape.rank()))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.rank()).collect(),
    };
    // A tensor without axes takes `dim = 0`.
    let axes = axes
        .into_iter()
        .filter(|&axis| axis < shape.rank())
        .collect();
    Ok((axes, call.boolean("keepdim")))
}

fn correction(call: &Call) -> f64 {
    let unbiased = f64::from(u8::from(call.boolean("unbiased")));
    call.float("correction").unwrap_or(unbiased)
}

/// `(Σ |x|ᵖ)^(1/p)`; the greatest magnitude for ∞, the least for -∞, the number of others than 0
/// for 0. Its gradient follows from element and result.
pub(super) fn norm(
    tape: &mut Tape,
    x: Var,
    p: f64,
    axes: &[usize],
    keep: bool,
) -> Result<Var, KernelError> {
    let of = move |lane: &[f64]| -> f64 {
        let magnitudes = lane.iter().map(|x| x.abs());
        if p == f64::INFINITY {
            magnitudes.fold(0.0, f64::max)
        } else if p == f64::NEG_INFINITY {
            magnitudes.fold(f64::INFINITY, f64::min)
        } else if p == 0.0 {
            magnitudes.filter(|&x| x != 0.0).count() as f64
        } else {
            magnitudes.map(|x| x.powf(p)).sum::<f64>().powf(1.0 / p)
        }
    };
    let value = lanes(tape.value(x), axes, of);
    tape.count_many(super::tape::Kind::Function, tape.value(x).len());
    let result = tape.next();
    let norm = tape.push(value, &[x], move |back, gradient| {
        let elements = back.value(x);
        let sizes = elements.raw_dim();
        let (Some(gradient), Some(norm)) = (
            gradient.broadcast(sizes.clone()),
            back.value(result).broadcast(sizes),
        ) else {
            return;
        };
        let mut given = elements.clone();
        ndarray::Zip::from(&mut given)
            .and(&gradient)
            .and(&norm)
            .for_each(|x, &g, &norm| {
                let sign = super::unary::sign(*x);
                let slope = if p == 0.0 || norm == 0.0 {
                    0.0
                } else if p.is_infinite() {
                    if x.abs() == norm { sign } else { 0.0 }
                } else {
                    sign * (x.abs() / norm).powf(p - 1.0)
                };
                *x = g * slope;
            });
        back.give(x, given);
    });
    tape.dropped(norm, axes, keep)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in ["sum", "mean", "var", "std", "prod", "norm", "logsumexp"] {
            check(&[
                (&format!("{name}([3, 4], dim=[1])"), &[]),
                (
                    &format!("{name}([3, 4, 2], dim=[0, -1], keepdim=true)"),
                    &[],
                ),
                (&format!("{name}([3, 4, 2], dim=[1])"), &[]),
            ]);
        }
        for name in ["sum", "mean", "var", "std", "prod", "norm"] {
            check(&[(&format!("{name}([3, 4])"), &[])]);
        }
        check(&[
            ("var([3, 4], dim=[1], correction=0)", &[]),
            ("std([3, 4], unbiased=false)", &[]),
            ("norm([3, 4], p=1.0, dim=[1])", &[]),
            ("norm([3, 4], p=3.0, dim=[1])", &[]),
            ("norm([3, 4], p=inf, dim=[1])", &[]),
        ]);
    }
}
