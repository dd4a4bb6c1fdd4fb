//! Softmax and its relatives, and gated units.

use super::registry::{Kernel, kernel, one};
use super::{Array, Kept, KernelError};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("softmax", |tape, call, given| {
        let x = given.need(0)?;
        one(tape.softmax(x, dim(call)?))
    }),
    kernel("softmin", |tape, call, given| {
        let x = given.need(0)?;
        let x = tape.scale(x, -1.0);
        one(tape.softmax(x, dim(call)?))
    }),
    kernel("log_softmax", |tape, call, given| {
        let x = given.need(0)?;
        one(tape.log_softmax(x, dim(call)?))
    }),
    kernel("gumbel_softmax", |tape, call, given| {
        let x = given.need(0)?;
        let axis = dim(call)?;
        let tau = call.float("tau").unwrap_or(1.0);
        let sizes = tape.sizes(x);
        let noise = Array::from_shape_simple_fn(sizes, || {
            -(-(1.0 - tape.uniform()).ln()).max(f64::MIN_POSITIVE).ln()
        });
        let noise = tape.constant(noise);
        let noisy = tape.add(x, noise)?;
        let scaled = tape.scale(noisy, 1.0 / tau);
        let soft = tape.softmax(scaled, axis);
        if !call.boolean("hard") {
            return one(soft);
        }
        let soft = tape.keep(Kept::Extra("soft"), soft);
        // The hard choice with the gradient of the soft one: hard - detached + soft.
        let hard = tape.derive(&[soft], |values| {
            let mut hard = values[0].clone();
            for mut lane in hard.lanes_mut(ndarray::Axis(axis)) {
                let best = lane
                    .iter()
                    .enumerate()
                    .max_by(|a, b| a.1.total_cmp(b.1))
                    .map_or(0, |(at, _)| at);
                lane.indexed_iter_mut()
                    .for_each(|(at, element)| *element = f64::from(u8::from(at == best)));
            }
            hard
        });
        let detached = tape.detach(soft);
        let offset = tape.subtract(hard, detached)?;
        one(tape.add(offset, soft)?)
    }),
    kernel("glu", |tape, call, given| {
        let x = given.need(0)?;
        let axis = dim(call)?;
        let half = tape.sizes(x)[axis] / 2;
        let value = tape.narrow(x, axis, 0, half);
        let gate = tape.narrow(x, axis, half, half);
        let gate = tape.sigmoid(gate);
        one(tape.multiply(value, gate)?)
    }),
];

fn dim(call: &Call) -> Result<usize, KernelError> {
    Ok(call.axis("dim", call.shape(0)?)?)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in ["softmax", "softmin", "log_softmax"] {
            check(&[
                (&format!("{name}([3, 4])"), &[]),
                (&format!("{name}([3, 4, 2], dim=1)"), &[(-30.0, 30.0)]),
            ]);
        }
        check(&[
            ("gumbel_softmax([3, 4], tau=0.7)", &[]),
            ("glu([3, 4])", &[]),
            ("glu([4, 3], dim=0)", &[]),
        ]);
    }
}
