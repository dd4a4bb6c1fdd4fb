//! Normalisation by statistics of the batch, or of each sample.

use super::norm::{affine, by_channel, by_statistics, standardised};
use super::registry::{Kernel, kernel, one};
use super::{Kept, KernelError, Tape, Var};

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("batch_norm", |tape, call, given| {
        let x = given.need(0)?;
        let rank = tape.sizes(x).len();
        let eps = call.float("eps").unwrap_or(1e-5);
        let normal = if call.training || given.get(3).is_none() {
            let axes: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
            standardised(tape, x, &axes, eps)?
        } else {
            let mean = by_channel(tape, given.get(3), rank)?;
            let variance = by_channel(tape, given.get(4), rank)?;
            running(tape, x, mean, variance, eps)?
        };
        let weight = by_channel(tape, given.get(1), rank)?;
        let bias = by_channel(tape, given.get(2), rank)?;
        one(affine(tape, normal, weight, bias)?)
    }),
    kernel("instance_norm", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let eps = call.float("eps").unwrap_or(1e-5);
        // PyTorch repeats vectors for each sample, and keeps the copies.
        let mut repeated =
            |position: usize, name: &'static str| repeat(tape, given.get(position), &sizes, name);
        let weight = repeated(1, "weight")?;
        let bias = repeated(2, "bias")?;
        let mean = repeated(3, "running mean")?;
        let variance = repeated(4, "running variance")?;
        let normal = if call.training || mean.is_none() {
            let axes: Vec<usize> = (2..sizes.len()).collect();
            standardised(tape, x, &axes, eps)?
        } else {
            running(tape, x, mean, variance, eps)?
        };
        one(affine(tape, normal, weight, bias)?)
    }),
];

fn running(
    tape: &mut Tape,
    x: Var,
    mean: Option<Var>,
    variance: Option<Var>,
    eps: f64,
) -> Result<Var, KernelError> {
    match (mean, variance) {
        (Some(mean), Some(variance)) => by_statistics(tape, x, mean, variance, eps),
        _ => Err(KernelError::new("running mean and variance come together")),
    }
}

/// A vector of channels for each sample, in a shape that broadcasts to the input's.
fn repeat(
    tape: &mut Tape,
    vector: Option<Var>,
    sizes: &[usize],
    name: &'static str,
) -> Result<Option<Var>, KernelError> {
    let Some(vector) = vector else {
        return Ok(None);
    };
    let copies = tape.broadcast(vector, &sizes[..2])?;
    let copies = tape.keep(Kept::Extra(name), copies);
    let mut wide = sizes.to_vec();
    wide.iter_mut().skip(2).for_each(|size| *size = 1);
    tape.reshape(copies, &wide).map(Some)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        let statistics = &[
            (-2.0, 2.0),
            (0.5, 2.0),
            (-1.0, 1.0),
            (-1.0, 1.0),
            (0.5, 2.0),
        ];
        check(&[
            ("batch_norm([6, 3, 4])", statistics),
            ("batch_norm([6, 3])", statistics),
            ("batch_norm([6, 3, 2, 2]) eval", statistics),
            (
                "batch_norm([6, 3, 2], affine=false, track_running_stats=false)",
                statistics,
            ),
            (
                "batch_norm([6, 3, 2], track_running_stats=false) eval",
                statistics,
            ),
            ("instance_norm([2, 3, 5])", statistics),
            ("instance_norm([2, 3, 5], affine=true)", statistics),
            (
                "instance_norm([2, 3, 5], affine=true, track_running_stats=true) eval",
                statistics,
            ),
        ]);
    }
}
