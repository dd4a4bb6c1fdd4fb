//! Rearrangements of images: shuffles, and windows as columns.

use super::registry::{Kernel, kernel, one};
use super::window::{slides, window_places};
use super::{KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("pixel_shuffle", |tape, call, given| {
        let x = given.need(0)?;
        let factor = call.size("upscale_factor")? as usize;
        let sizes = tape.sizes(x);
        let lead = sizes.len() - 3;
        let (c, h, w) = (sizes[lead], sizes[lead + 1], sizes[lead + 2]);
        let batch: usize = sizes[..lead].iter().product();
        let split = tape.reshape(x, &[batch, c / (factor * factor), factor, factor, h, w])?;
        let moved = tape.permute(split, &[0, 1, 4, 2, 5, 3]);
        let mut made = sizes[..lead].to_vec();
        made.extend([c / (factor * factor), h * factor, w * factor]);
        one(tape.reshape(moved, &made)?)
    }),
    kernel("pixel_unshuffle", |tape, call, given| {
        let x = given.need(0)?;
        let factor = call.size("downscale_factor")? as usize;
        let sizes = tape.sizes(x);
        let lead = sizes.len() - 3;
        let (c, h, w) = (
            sizes[lead],
            sizes[lead + 1] / factor,
            sizes[lead + 2] / factor,
        );
        let batch: usize = sizes[..lead].iter().product();
        let split = tape.reshape(x, &[batch, c, h, factor, w, factor])?;
        let moved = tape.permute(split, &[0, 1, 3, 5, 2, 4]);
        let mut made = sizes[..lead].to_vec();
        made.extend([c * factor * factor, h, w]);
        one(tape.reshape(moved, &made)?)
    }),
    kernel("channel_shuffle", |tape, call, given| {
        let x = given.need(0)?;
        let groups = call.size("groups")?.max(1) as usize;
        let sizes = tape.sizes(x);
        let rest: usize = sizes[2..].iter().product();
        let split = tape.reshape(x, &[sizes[0], groups, sizes[1] / groups, rest])?;
        let moved = tape.permute(split, &[0, 2, 1, 3]);
        one(tape.reshape(moved, &sizes)?)
    }),
    kernel("unfold", |tape, call, given| {
        let x = given.need(0)?;
        let (x, unbatched) = batched(tape, x, 4)?;
        let sizes = tape.sizes(x);
        let along = slides(call, 2, None)?;
        let windows: Vec<usize> = along
            .iter()
            .zip(&sizes[2..])
            .map(|(slide, &size)| slide.windows(size, false))
            .collect();
        let places = tape.constant(window_places(&sizes, &along, &windows));
        let columns = tape.gather(x, places, 0.0);
        let each: usize = along.iter().map(|slide| slide.kernel).product();
        let made = [sizes[0], sizes[1] * each, windows.iter().product()];
        let columns = tape.reshape(columns, &made)?;
        one(tape.dropped(columns, &[0], !unbatched)?)
    }),
    kernel("fold", |tape, call, given| {
        let x = given.need(0)?;
        let (x, unbatched) = batched(tape, x, 3)?;
        let sizes = tape.sizes(x);
        let along = slides(call, 2, None)?;
        let output: Vec<usize> = output_size(call)?;
        let each: usize = along.iter().map(|slide| slide.kernel).product();
        let made = vec![sizes[0], sizes[1] / each.max(1), output[0], output[1]];
        let windows: Vec<usize> = along
            .iter()
            .zip(&output)
            .map(|(slide, &size)| slide.windows(size, false))
            .collect();
        let places = window_places(&made, &along, &windows);
        let shape = places.shape().to_vec();
        let places = tape.constant(places);
        let columns = tape.reshape(x, &shape)?;
        let image = tape.scatter_add(columns, places, &made);
        one(tape.dropped(image, &[0], !unbatched)?)
    }),
];

fn output_size(call: &Call) -> Result<Vec<usize>, KernelError> {
    let sizes = call.sizes("output_size", 2)?;
    Ok(sizes.into_iter().map(|size| size as usize).collect())
}

fn batched(tape: &mut Tape, x: Var, rank: usize) -> Result<(Var, bool), KernelError> {
    let mut sizes = tape.sizes(x);
    if sizes.len() == rank {
        return Ok((x, false));
    }
    sizes.insert(0, 1);
    Ok((tape.reshape(x, &sizes)?, true))
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("pixel_shuffle([2, 8, 3, 2], upscale_factor=2)", &[]),
            ("pixel_unshuffle([2, 2, 6, 4], downscale_factor=2)", &[]),
            ("channel_shuffle([2, 6, 3, 2], groups=3)", &[]),
            (
                "unfold([2, 3, 6, 5], kernel_size=3, padding=1, stride=2)",
                &[],
            ),
            ("unfold([3, 6, 5], kernel_size=[2, 3], dilation=2)", &[]),
            ("fold([2, 12, 12], output_size=[4, 5], kernel_size=2)", &[]),
        ]);
    }
}
