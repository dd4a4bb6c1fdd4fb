//! Quantisation: onto a grid of integers, and back.

use super::Kept;
use super::registry::{Kernel, kernel, one};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("fake_quantize", |tape, call, given| {
        let x = given.need(0)?;
        let scale = call.float("scale").unwrap_or(1.0);
        let zero = call.integer("zero_point").unwrap_or(0) as f64;
        let low = call.integer("quant_min").unwrap_or(-128) as f64;
        let high = call.integer("quant_max").unwrap_or(127) as f64;
        tape.by_convention("the gradient passes as if nothing were rounded");
        let mask = tape.derive(&[x], |values| {
            values[0].mapv(|x| {
                let place = (x / scale).round_ties_even() + zero;
                if x.is_nan() {
                    x
                } else {
                    f64::from(u8::from(place >= low && place <= high))
                }
            })
        });
        let mask = tape.keep(Kept::Extra("mask"), mask);
        let value = tape.value(x).mapv(|x| {
            let place = ((x / scale).round_ties_even() + zero).max(low).min(high);
            (place - zero) * scale
        });
        one(tape.push(value, &[x], move |back, gradient| {
            let given = gradient * back.value(mask);
            back.give(x, given);
        }))
    }),
    kernel("quantize", |tape, call, given| {
        let x = given.need(0)?;
        let scale = call.float("scale").unwrap_or(1.0);
        let zero = call.integer("zero_point").unwrap_or(0) as f64;
        let range = call.output().and_then(|ty| ty.dtype.integer_range());
        let (low, high) = range.map_or((f64::MIN, f64::MAX), |(low, high)| {
            (low as f64, high as f64)
        });
        one(tape.derive(&[x], |values| {
            values[0].mapv(|x| ((x / scale).round_ties_even() + zero).max(low).min(high))
        }))
    }),
    kernel("dequantize", |tape, call, given| {
        let x = given.need(0)?;
        let scale = call.float("scale").unwrap_or(1.0);
        let zero = call.integer("zero_point").unwrap_or(0) as f64;
        let shifted = tape.shift(x, -zero);
        one(tape.scale(shifted, scale))
    }),
];

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("fake_quantize([3, 4], scale=0.1)", &[]),
            (
                "fake_quantize([3, 4], scale=0.1, zero_point=3, quant_min=0, quant_max=15)",
                &[],
            ),
            ("quantize([3, 4], scale=0.1)", &[]),
            ("quantize([3, 4], scale=0.001)", &[]),
            (
                "dequantize(int8 [3, 4], scale=0.1, zero_point=3)",
                &[(-128.0, 127.0)],
            ),
        ]);
    }
}
