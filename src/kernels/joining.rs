//! Several tensors become one.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("cat", |tape, call, given| {
        let parts = given.from(0);
        // An empty vector joins anything.
        let parts: Vec<_> = parts
            .iter()
            .copied()
            .filter(|&part| tape.value(part).shape() != [0])
            .collect();
        let Some(&first) = parts.first() else {
            return one(tape.constant(super::Array::zeros(vec![0])));
        };
        let at = axis(call.integer("dim").unwrap_or(0), tape.sizes(first).len())?;
        one(tape.concatenate(&parts, at)?)
    })
    .on_complex(Complex::Moved),
    kernel("stack", |tape, call, given| {
        let mut parts = given.from(0);
        let rank = call.shape(0)?.rank();
        let at = axis(call.integer("dim").unwrap_or(0), rank + 1)?;
        for part in &mut parts {
            let mut sizes = tape.sizes(*part);
            sizes.insert(at, 1);
            *part = tape.reshape(*part, &sizes)?;
        }
        one(tape.concatenate(&parts, at)?)
    })
    .on_complex(Complex::Moved),
];

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("cat([2, 3], [2, 4], dim=1)", &[]),
            ("cat([2, 3], [1, 3], [4, 3]!)", &[]),
            ("stack([2, 3], [2, 3], dim=-1)", &[]),
            ("stack([2, 3], [2, 3])", &[]),
        ]);
    }
}
