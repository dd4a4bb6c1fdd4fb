//! Views with the axes in another order.

use super::complex::Complex;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::{KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("transpose", |tape, call, given| {
        let x = given.need(0)?;
        let rank = call.shape(0)?.rank();
        let first = axis(call.integer("dim0").unwrap_or(0), rank)?;
        let second = axis(call.integer("dim1").unwrap_or(1), rank)?;
        one(tape.transpose(x, first, second))
    })
    .on_complex(Complex::Itself),
    kernel("t", |tape, call, given| {
        let x = given.need(0)?;
        match call.shape(0)?.rank() {
            2 => one(tape.transpose(x, 0, 1)),
            _ => one(tape.affine(x, 1.0, 0.0)),
        }
    })
    .on_complex(Complex::Moved),
    kernel("matrix_transpose", |tape, call, given| {
        let x = given.need(0)?;
        let rank = call.shape(0)?.rank();
        one(tape.transpose(x, rank - 2, rank - 1))
    })
    .on_complex(Complex::Moved),
    kernel("permute", |tape, call, given| {
        let x = given.need(0)?;
        let rank = call.shape(0)?.rank();
        let dims = call.integers("dims").unwrap_or_default();
        let axes: Result<Vec<usize>, _> = dims.iter().map(|&dim| axis(dim, rank)).collect();
        one(ordered(tape, call, x, axes?)?)
    })
    .on_complex(Complex::Itself),
    kernel("movedim", |tape, call, given| {
        let x = given.need(0)?;
        let rank = call.shape(0)?.rank();
        let list = |name| -> Result<Vec<usize>, KernelError> {
            let dims = call.integers(name).unwrap_or_default();
            dims.iter().map(|&dim| axis(dim, rank)).collect()
        };
        let (from, to) = (list("source")?, list("destination")?);
        let mut rest = (0..rank).filter(|axis| !from.contains(axis));
        let axes = (0..rank)
            .filter_map(|place| match to.iter().position(|&other| other == place) {
                Some(at) => Some(from[at]),
                None => rest.next(),
            })
            .collect();
        one(ordered(tape, call, x, axes)?)
    })
    .on_complex(Complex::Moved),
];

/// The axes in that order; the parts of complex numbers stay behind.
fn ordered(tape: &mut Tape, call: &Call, x: Var, mut axes: Vec<usize>) -> Result<Var, KernelError> {
    axes.extend(call.shape(0)?.rank()..tape.sizes(x).len());
    Ok(tape.permute(x, &axes))
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("transpose([2, 3, 4], dim0=0, dim1=-1)", &[]),
            ("t([3, 4])", &[]),
            ("t([3])", &[]),
            ("matrix_transpose([2, 3, 4])", &[]),
            ("permute([2, 3, 4], dims=[2, 0, 1])", &[]),
            ("movedim([2, 3, 4], source=[0], destination=[2])", &[]),
            (
                "movedim([2, 3, 4], source=[0, 1], destination=[-1, 0])",
                &[],
            ),
        ]);
    }
}
