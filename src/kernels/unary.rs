//! Functions of one element.

use smallvec::smallvec;

use super::registry::{Kernel, kernel};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("exp", |tape, _, given| {
        let x = given.need(0)?;
        Ok(smallvec![tape.exp(x)])
    }),
    kernel("tanh", |tape, _, given| {
        let x = given.need(0)?;
        Ok(smallvec![tape.tanh(x)])
    }),
    kernel("log", |tape, _, given| {
        let x = given.need(0)?;
        Ok(smallvec![tape.ln(x)])
    }),
];

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("exp([3, 4])", &[]),
            ("tanh([3, 4])", &[]),
            ("log([3, 4])", &[(0.5, 3.0)]),
        ]);
    }
}
