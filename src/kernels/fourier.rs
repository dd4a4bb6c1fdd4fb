//! Discrete Fourier transforms, as sums over roots of unity.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("fft", |tape, call, given| {
        one(along_one(tape, call, given.need(0)?, false)?)
    })
    .on_complex(Complex::Itself),
    kernel("ifft", |tape, call, given| {
        one(along_one(tape, call, given.need(0)?, true)?)
    })
    .on_complex(Complex::Itself),
    kernel("rfft", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call)?;
        let size = length(call, "n")?.unwrap_or(tape.sizes(x)[at]);
        let whole = along_one(tape, call, x, false)?;
        // The other half follows from this one.
        one(tape.narrow(whole, at, 0, size / 2 + 1))
    })
    .on_complex(Complex::Itself),
    kernel("irfft", |tape, call, given| {
        let x = given.need(0)?;
        let at = dim(call)?;
        let size = length(call, "n")?.unwrap_or(2 * (tape.sizes(x)[at].max(1) - 1));
        one(real_inverse(tape, call, x, at, size)?)
    })
    .on_complex(Complex::Itself),
    kernel("fft2", |tape, call, given| {
        one(along_two(tape, call, given.need(0)?, false)?)
    })
    .on_complex(Complex::Itself),
    kernel("ifft2", |tape, call, given| {
        one(along_two(tape, call, given.need(0)?, true)?)
    })
    .on_complex(Complex::Itself),
    kernel("rfft2", |tape, call, given| {
        let x = given.need(0)?;
        let axes = dims(call)?;
        let last = axes[axes.len() - 1];
        let size = lengths(call, axes.len())?
            .last()
            .copied()
            .unwrap_or(tape.sizes(x)[last]);
        let whole = along_two(tape, call, x, false)?;
        one(tape.narrow(whole, last, 0, size / 2 + 1))
    })
    .on_complex(Complex::Itself),
    kernel("irfft2", |tape, call, given| {
        let x = given.need(0)?;
        let axes = dims(call)?;
        let given = lengths(call, axes.len())?;
        let last = axes[axes.len() - 1];
        let mut x = x;
        for (number, &at) in axes.iter().take(axes.len() - 1).enumerate() {
            let size = given.get(number).copied().unwrap_or(tape.sizes(x)[at]);
            x = transform(tape, call, x, at, size, true)?;
        }
        let size = given
            .last()
            .copied()
            .unwrap_or(2 * (tape.sizes(x)[last].max(1) - 1));
        one(real_inverse(tape, call, x, last, size)?)
    })
    .on_complex(Complex::Itself),
];

fn dim(call: &Call) -> Result<usize, KernelError> {
    axis(call.integer("dim").unwrap_or(-1), call.shape(0)?.rank())
}

fn dims(call: &Call) -> Result<Vec<usize>, KernelError> {
    let rank = call.shape(0)?.rank();
    let named = call.integers("dim").unwrap_or_else(|| vec![-2, -1]);
    named.iter().map(|&dim| axis(dim, rank)).collect()
}

fn length(call: &Call, name: &'static str) -> Result<Option<usize>, KernelError> {
    Ok(match call.attribute(name) {
        Some(_) => Some(call.size(name)? as usize),
        None => None,
    })
}

fn lengths(call: &Call, count: usize) -> Result<Vec<usize>, KernelError> {
    Ok(match call.attribute("s") {
        Some(_) => call
            .sizes("s", count)?
            .into_iter()
            .map(|size| size as usize)
            .collect(),
        None => Vec::new(),
    })
}

/// A tensor with a last axis of real and imaginary parts.
fn complex(tape: &mut Tape, call: &Call, x: Var) -> Result<Var, KernelError> {
    if tape.sizes(x).len() > call.shape(0)?.rank() {
        return Ok(x);
    }
    let mut sizes = tape.sizes(x);
    sizes.push(1);
    let real = tape.reshape(x, &sizes)?;
    let zero = tape.constant(Array::zeros(sizes.clone()));
    tape.concatenate(&[real, zero], sizes.len() - 1)
}

fn scale(call: &Call, size: usize, inverse: bool) -> f64 {
    let size = size as f64;
    match (call.text("norm").as_deref(), inverse) {
        (Some("ortho"), _) => 1.0 / size.sqrt(),
        (Some("forward"), false) | (Some("backward") | None, true) => 1.0 / size,
        _ => 1.0,
    }
}

/// `Σ x[k] · exp(∓2πi jk / n)` along an axis, cut or padded with zeros to `size` elements.
fn transform(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    at: usize,
    size: usize,
    inverse: bool,
) -> Result<Var, KernelError> {
    let x = complex(tape, call, x)?;
    let have = tape.sizes(x)[at];
    let x = if have > size {
        tape.narrow(x, at, 0, size)
    } else {
        x
    };
    let have = have.min(size);
    let parts = tape.sizes(x).len() - 1;
    let factor = scale(call, size, inverse);
    let direction = if inverse { 1.0 } else { -1.0 };
    // The axis goes behind all others, where it meets the roots of unity.
    let mut order: Vec<usize> = (0..parts).filter(|&axis| axis != at).collect();
    order.push(at);
    order.push(parts);
    let x = tape.permute(x, &order);
    let angle = |j: usize, k: usize| std::f64::consts::TAU * ((j * k) % size) as f64 / size as f64;
    let cos = Array::from_shape_fn(vec![have, size], |at| factor * angle(at[0], at[1]).cos());
    let sin = Array::from_shape_fn(vec![have, size], |at| {
        direction * factor * angle(at[0], at[1]).sin()
    });
    let (cos, sin) = (tape.constant(cos), tape.constant(sin));
    let real = tape.narrow(x, parts, 0, 1);
    let real = tape.dropped(real, &[parts], false)?;
    let imaginary = tape.narrow(x, parts, 1, 1);
    let imaginary = tape.dropped(imaginary, &[parts], false)?;
    let mut summed = |part: Var, roots: Var| -> Result<Var, KernelError> {
        let mut sizes = tape.sizes(part);
        sizes.push(1);
        let part = tape.reshape(part, &sizes)?;
        let products = tape.multiply(part, roots)?;
        tape.sum(products, &[parts - 1], false)
    };
    let (a, b) = (summed(real, cos)?, summed(imaginary, sin)?);
    let (c, d) = (summed(real, sin)?, summed(imaginary, cos)?);
    let real = tape.subtract(a, b)?;
    let imaginary = tape.add(c, d)?;
    let mut sizes = tape.sizes(real);
    sizes.push(1);
    let real = tape.reshape(real, &sizes)?;
    let imaginary = tape.reshape(imaginary, &sizes)?;
    let result = tape.concatenate(&[real, imaginary], parts)?;
    let mut back: Vec<usize> = (0..parts - 1).collect();
    back.insert(at, parts - 1);
    back.push(parts);
    Ok(tape.permute(result, &back))
}

fn along_one(tape: &mut Tape, call: &Call, x: Var, inverse: bool) -> Result<Var, KernelError> {
    let at = dim(call)?;
    let size = length(call, "n")?.unwrap_or(tape.sizes(x)[at]);
    transform(tape, call, x, at, size, inverse)
}

fn along_two(tape: &mut Tape, call: &Call, x: Var, inverse: bool) -> Result<Var, KernelError> {
    let axes = dims(call)?;
    let given = lengths(call, axes.len())?;
    let mut x = x;
    for (number, &at) in axes.iter().enumerate() {
        let size = given.get(number).copied().unwrap_or(tape.sizes(x)[at]);
        x = transform(tape, call, x, at, size, inverse)?;
    }
    Ok(x)
}

/// The inverse of what `rfft` gives: the other half is the conjugate of this one, backwards.
fn real_inverse(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    at: usize,
    size: usize,
) -> Result<Var, KernelError> {
    let mut x = x;
    let parts = tape.sizes(x).len() - 1;
    let have = tape.sizes(x)[at];
    let half = (size / 2 + 1).min(have);
    if have > half {
        x = tape.narrow(x, at, 0, half);
    }
    // The imaginary parts of the first and, of an even length, the middle element play no part.
    let plain = |index: usize| index == 0 || (size.is_multiple_of(2) && index == size / 2);
    let mut shape = vec![1; parts + 1];
    shape[at] = half;
    shape[parts] = 2;
    let weights = Array::from_shape_fn(shape, |place| match (plain(place[at]), place[parts]) {
        (true, 1) => 0.0,
        (true, _) => 1.0,
        (false, _) => 2.0,
    });
    let weights = tape.constant(weights);
    let doubled = tape.multiply(x, weights)?;
    let whole = transform(tape, call, doubled, at, size, true)?;
    let real = tape.narrow(whole, parts, 0, 1);
    tape.dropped(real, &[parts], false)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("fft([3, 5])", &[]),
            ("fft(complex64 [3, 4], dim=0)", &[]),
            ("fft([3, 5], n=8, norm='ortho')", &[]),
            ("ifft(complex64 [3, 4])", &[]),
            ("rfft([3, 6])", &[]),
            ("rfft([3, 5], n=4)", &[]),
            ("irfft(complex64 [3, 4])", &[]),
            ("irfft(complex64 [3, 4], n=7)", &[]),
            ("fft2([2, 3, 4])", &[]),
            ("ifft2(complex64 [3, 4])", &[]),
            ("rfft2([3, 4])", &[]),
            ("irfft2(complex64 [3, 3])", &[]),
        ]);
    }
}
