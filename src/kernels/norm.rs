//! Normalisation over features: `layer_norm`, `group_norm`, `rms_norm`, `local_response_norm`.

use super::registry::{Kernel, kernel, one};
use super::{KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("layer_norm", |tape, call, given| {
        let x = given.need(0)?;
        let axes = features(call)?;
        let eps = call.float("eps").unwrap_or(1e-5);
        let normal = standardised(tape, x, &axes, eps)?;
        one(affine(tape, normal, given.get(1), given.get(2))?)
    }),
    kernel("group_norm", |tape, call, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let groups = call.size("num_groups")?.max(1) as usize;
        let each = sizes.iter().product::<usize>() / (sizes[0] * groups).max(1);
        let folded = tape.reshape(x, &[sizes[0], groups, each])?;
        let normal = standardised(tape, folded, &[2], call.float("eps").unwrap_or(1e-5))?;
        let normal = tape.reshape(normal, &sizes)?;
        let weight = by_channel(tape, given.get(1), sizes.len())?;
        let bias = by_channel(tape, given.get(2), sizes.len())?;
        one(affine(tape, normal, weight, bias)?)
    }),
    kernel("rms_norm", |tape, call, given| {
        let x = given.need(0)?;
        let axes = features(call)?;
        // By default the spacing of numbers at 1 in the input's type.
        let format = call.dtype(0)?.float_format();
        let spacing = format.map_or(f64::EPSILON, |format| 2.0 * format.unit_roundoff());
        let eps = call.float("eps").unwrap_or(spacing);
        let squares = tape.square(x);
        let mean = tape.mean(squares, &axes, true)?;
        let guarded = tape.shift(mean, eps);
        let factor = tape.map(guarded, |x| 1.0 / x.sqrt(), |_, y| -0.5 * y * y * y);
        let normal = tape.multiply(x, factor)?;
        one(affine(tape, normal, given.get(1), None)?)
    }),
    kernel("local_response_norm", |tape, call, given| {
        let x = given.need(0)?;
        let size = call.size("size")?.max(1) as usize;
        let (alpha, beta) = (
            call.float("alpha").unwrap_or(1e-4),
            call.float("beta").unwrap_or(0.75),
        );
        let k = call.float("k").unwrap_or(1.0);
        let squares = tape.square(x);
        // The mean of the squares over neighbouring channels, with zeros outside.
        let channels = tape.sizes(x)[1];
        let mut total: Option<Var> = None;
        for offset in 0..size {
            let shift = offset as i64 - (size / 2) as i64;
            let moved = neighbours(tape, squares, channels, shift);
            total = Some(match total {
                Some(total) => tape.add(total, moved)?,
                None => moved,
            });
        }
        let total = total.unwrap_or(squares);
        let base = tape.affine(total, alpha / size as f64, k);
        let divisor = tape.map(
            base,
            move |x| x.powf(beta),
            move |x, _| beta * x.powf(beta - 1.0),
        );
        one(tape.divide(x, divisor)?)
    }),
];

/// The axes that are normalised: as many as the weight has, or as are named, or the last one.
fn features(call: &Call) -> Result<Vec<usize>, KernelError> {
    let rank = call.shape(0)?.rank();
    let count = match (call.shape(1), call.integers("normalized_shape")) {
        (Ok(weight), _) => weight.rank(),
        (_, Some(sizes)) => sizes.len(),
        _ => 1,
    };
    Ok((rank.saturating_sub(count)..rank).collect())
}

/// `(x - mean) / √(variance + eps)`, with the variance of the population.
pub(super) fn standardised(
    tape: &mut Tape,
    x: Var,
    axes: &[usize],
    eps: f64,
) -> Result<Var, KernelError> {
    let (mean, variance) = tape.moments(x, axes, 0.0)?;
    by_statistics(tape, x, mean, variance, eps)
}

/// The same with statistics from elsewhere.
pub(super) fn by_statistics(
    tape: &mut Tape,
    x: Var,
    mean: Var,
    variance: Var,
    eps: f64,
) -> Result<Var, KernelError> {
    let guarded = tape.shift(variance, eps);
    let factor = tape.map(guarded, |x| 1.0 / x.sqrt(), |_, y| -0.5 * y * y * y);
    let centred = tape.subtract(x, mean)?;
    tape.multiply(centred, factor)
}

/// `x · weight + bias`, each if given.
pub(super) fn affine(
    tape: &mut Tape,
    mut x: Var,
    weight: Option<Var>,
    bias: Option<Var>,
) -> Result<Var, KernelError> {
    if let Some(weight) = weight {
        x = tape.multiply(x, weight)?;
    }
    if let Some(bias) = bias {
        x = tape.add(x, bias)?;
    }
    Ok(x)
}

/// A vector with one element for each channel, along the second axis.
pub(super) fn by_channel(
    tape: &mut Tape,
    vector: Option<Var>,
    rank: usize,
) -> Result<Option<Var>, KernelError> {
    let Some(vector) = vector else {
        return Ok(None);
    };
    let mut sizes = vec![1; rank];
    sizes[1] = tape.value(vector).len();
    tape.reshape(vector, &sizes).map(Some)
}

/// The channels that lie `shift` further on, zeros beyond the ends.
fn neighbours(tape: &mut Tape, x: Var, channels: usize, shift: i64) -> Var {
    let sizes = tape.sizes(x);
    let places = super::tape::places::places_of(&sizes);
    let moved = super::Array::from_shape_fn(sizes, |mut at| {
        let channel = at[1] as i64 + shift;
        if channel < 0 || channel >= channels as i64 {
            return -1.0;
        }
        at[1] = channel as usize;
        places[at]
    });
    let moved = tape.constant(moved);
    tape.gather(x, moved, 0.0)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("layer_norm([2, 3, 8])", &[]),
            (
                "layer_norm([2, 3, 4], normalized_shape=[3, 4], eps=0.1)",
                &[],
            ),
            ("layer_norm([2, 8], elementwise_affine=false)", &[]),
            ("layer_norm([2, 8], bias=false)", &[]),
            ("group_norm([2, 6, 3, 2], num_groups=3)", &[]),
            ("group_norm([2, 6], num_groups=2, affine=false)", &[]),
            ("rms_norm([2, 3, 8])", &[]),
            ("rms_norm([2, 8], eps=1e-3, elementwise_affine=false)", &[]),
            ("local_response_norm([2, 7, 3], size=5, alpha=0.5)", &[]),
            ("local_response_norm([2, 7, 3, 2], size=2, k=2.0)", &[]),
        ]);
    }
}
