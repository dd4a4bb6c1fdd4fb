//! Convolutions: a product of windows with a weight, and its transpose.

use super::movement::padded;
use super::registry::{Kernel, kernel, one};
use super::tape::contraction::Labels;
use super::window::{slides, window_places};
use super::{Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// An entry over so many axes.
macro_rules! over {
    ($name:literal, $axes:literal, $f:ident) => {
        kernel($name, |tape, call, given| {
            let (x, weight) = (given.need(0)?, given.need(1)?);
            one($f(tape, call, x, weight, given.get(2), $axes)?)
        })
    };
}

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    over!("conv1d", 1, conv),
    over!("conv2d", 2, conv),
    over!("conv3d", 3, conv),
    over!("conv_transpose1d", 1, transposed),
    over!("conv_transpose2d", 2, transposed),
    over!("conv_transpose3d", 3, transposed),
];

/// Labels of the axes of windows and of their elements.
const KERNEL: [u32; 3] = [10, 11, 12];
const WINDOW: [u32; 3] = [20, 21, 22];
const BATCH: u32 = 0;
const GROUP: u32 = 1;
const IN: u32 = 2;
const OUT: u32 = 3;

/// The weight, on whose way back PyTorch's counter of FLOPs has a grouped convolution do the work of
/// one without groups.
fn counted(tape: &mut Tape, weight: Var, groups: usize, products: usize) -> Var {
    match groups {
        1 => weight,
        _ => tape.computed_again(weight, (products * (groups - 1)) as u128),
    }
}

/// With a batch, and whether one was added.
fn batched(tape: &mut Tape, x: Var, axes: usize) -> Result<(Var, bool), KernelError> {
    let mut sizes = tape.sizes(x);
    if sizes.len() == axes + 2 {
        return Ok((x, false));
    }
    sizes.insert(0, 1);
    Ok((tape.reshape(x, &sizes)?, true))
}

pub(super) fn finished(
    tape: &mut Tape,
    x: Var,
    bias: Option<Var>,
    unbatched: bool,
) -> Result<Var, KernelError> {
    let rank = tape.sizes(x).len();
    let bias = super::norm::by_channel(tape, bias, rank)?;
    let x = super::norm::affine(tape, x, None, bias)?;
    tape.dropped(x, &[0], !unbatched)
}

fn groups(call: &Call) -> Result<usize, KernelError> {
    Ok(call.size("groups")?.max(1) as usize)
}

fn conv(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    weight: Var,
    bias: Option<Var>,
    axes: usize,
) -> Result<Var, KernelError> {
    let groups = groups(call)?;
    let of_weight = tape.sizes(weight);
    let (x, unbatched) = batched(tape, x, axes)?;
    let mut along = slides(call, axes, Some(&of_weight[2..]))?;
    let mode = call.text("padding_mode").unwrap_or_default();
    let uneven = along.iter().any(|slide| slide.padding.0 != slide.padding.1);
    let mut x = x;
    if uneven || (mode != "zeros" && !mode.is_empty()) {
        // What the kernel itself cannot pad is padded before it, in a copy.
        let amounts: Vec<(i64, i64)> = std::iter::repeat_n((0, 0), 2)
            .chain(
                along
                    .iter()
                    .map(|slide| (slide.padding.0 as i64, slide.padding.1 as i64)),
            )
            .collect();
        let mode = if mode == "zeros" {
            "constant"
        } else {
            mode.as_str()
        };
        x = padded(tape, x, &amounts, mode, 0.0)?;
        x = tape.keep(Kept::Extra("padded input"), x);
        along.iter_mut().for_each(|slide| slide.padding = (0, 0));
    }
    let sizes = tape.sizes(x);
    let windows: Vec<usize> = along
        .iter()
        .zip(&sizes[2..])
        .map(|(slide, &size)| slide.windows(size, false))
        .collect();
    let places = tape.constant(window_places(&sizes, &along, &windows));
    let patches = tape.gather(x, places, 0.0);
    let kernel = &of_weight[2..];
    let mut split = vec![sizes[0], groups, sizes[1] / groups];
    split.extend(kernel.iter().chain(&windows));
    let patches = tape.reshape(patches, &split)?;
    let mut split = vec![groups, of_weight[0] / groups, of_weight[1]];
    split.extend(kernel);
    let weight = tape.reshape(weight, &split)?;
    let products = tape.value(patches).len() * (of_weight[0] / groups);
    let weight = counted(tape, weight, groups, products);
    let (kernels, places) = (&KERNEL[..axes], &WINDOW[..axes]);
    let labels = Labels {
        first: [&[BATCH, GROUP, IN], kernels, places].concat(),
        second: [&[GROUP, OUT, IN], kernels].concat(),
        result: [&[BATCH, GROUP, OUT], places].concat(),
    };
    let product = tape.contract(patches, weight, labels)?;
    let mut made = vec![sizes[0], of_weight[0]];
    made.extend(&windows);
    let product = tape.reshape(product, &made)?;
    finished(tape, product, bias, unbatched)
}

fn transposed(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    weight: Var,
    bias: Option<Var>,
    axes: usize,
) -> Result<Var, KernelError> {
    let groups = groups(call)?;
    let of_weight = tape.sizes(weight);
    let (x, unbatched) = batched(tape, x, axes)?;
    let sizes = tape.sizes(x);
    let along = slides(call, axes, Some(&of_weight[2..]))?;
    let extra = call.sizes("output_padding", axes)?;
    let outputs: Vec<usize> = along
        .iter()
        .zip(&sizes[2..])
        .zip(&extra)
        .map(|((slide, &size), &extra)| {
            let whole = (size - 1) * slide.stride + slide.dilation * (slide.kernel - 1) + 1;
            (whole + extra as usize).saturating_sub(2 * slide.padding.0)
        })
        .collect();
    let kernel = &of_weight[2..];
    let mut split = vec![sizes[0], groups, sizes[1] / groups];
    split.extend(&sizes[2..]);
    let x = tape.reshape(x, &split)?;
    let mut split = vec![groups, of_weight[0] / groups, of_weight[1]];
    split.extend(kernel);
    let weight = tape.reshape(weight, &split)?;
    let products = tape.value(x).len() * of_weight[1] * kernel.iter().product::<usize>();
    let weight = counted(tape, weight, groups, products);
    let (kernels, places) = (&KERNEL[..axes], &WINDOW[..axes]);
    let labels = Labels {
        first: [&[BATCH, GROUP, IN], places].concat(),
        second: [&[GROUP, IN, OUT], kernels].concat(),
        result: [&[BATCH, GROUP, OUT], kernels, places].concat(),
    };
    let product = tape.contract(x, weight, labels)?;
    let mut made = vec![sizes[0], groups * of_weight[1]];
    made.extend(&outputs);
    // Each product is added where a convolution of the result would read; -1 is outside.
    let spots = tape.constant(window_places(&made, &along, &sizes[2..]));
    let flat = tape.sizes(spots);
    let product = tape.reshape(product, &flat)?;
    let result = tape.scatter_add(product, spots, &made);
    finished(tape, result, bias, unbatched)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("conv1d([2, 3, 8], out_channels=4, kernel_size=3)", &[]),
            (
                "conv1d([3, 8], out_channels=4, kernel_size=3, stride=2, padding=1)",
                &[],
            ),
            (
                "conv2d([2, 3, 6, 5], out_channels=4, kernel_size=3, padding=1)",
                &[],
            ),
            (
                "conv2d([2, 4, 6, 5], out_channels=4, kernel_size=[3, 2], groups=2, bias=false)",
                &[],
            ),
            (
                "conv2d([2, 4, 6, 5], out_channels=8, kernel_size=3, groups=4, dilation=2, padding=2)",
                &[],
            ),
            (
                "conv2d([2, 3, 6, 5], out_channels=4, kernel_size=3, padding='same')",
                &[],
            ),
            (
                "conv1d([2, 3, 8], out_channels=4, kernel_size=4, padding='same')",
                &[],
            ),
            (
                "conv1d([2, 3, 8], out_channels=4, kernel_size=3, padding='valid')",
                &[],
            ),
            (
                "conv2d([2, 3, 6, 5], out_channels=4, kernel_size=3, padding=1, padding_mode='reflect')",
                &[],
            ),
            (
                "conv2d([2, 3, 6, 5], out_channels=4, kernel_size=3, padding=1, padding_mode='circular')",
                &[],
            ),
            (
                "conv1d([2, 3, 6], out_channels=4, kernel_size=3, padding=1, padding_mode='replicate')",
                &[],
            ),
            (
                "conv3d([1, 2, 4, 4, 3], out_channels=2, kernel_size=2)",
                &[],
            ),
            ("conv2d([2, 3, 6, 5]!, out_channels=4, kernel_size=3)", &[]),
            (
                "conv_transpose1d([2, 3, 5], out_channels=4, kernel_size=3, stride=2)",
                &[],
            ),
            (
                "conv_transpose2d([2, 4, 3, 3], out_channels=4, kernel_size=3, stride=2, padding=1, output_padding=1, groups=2)",
                &[],
            ),
            (
                "conv_transpose2d([4, 3, 3], out_channels=2, kernel_size=2, dilation=2)",
                &[],
            ),
            (
                "conv_transpose3d([1, 2, 2, 2, 2], out_channels=2, kernel_size=2, stride=2)",
                &[],
            ),
        ]);
    }
}
