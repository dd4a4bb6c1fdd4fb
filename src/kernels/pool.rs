//! Pools: the greatest, the mean or a norm of windows.

use super::registry::{Kernel, kernel, one};
use super::tape::places::places_of;
use super::window::{Slide, slides, window_places};
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// Entries of one kind of pool over one, two and three axes.
macro_rules! pools {
    ($name:literal, $axes:literal, $f:ident) => {
        kernel($name, |tape, call, given| {
            one($f(tape, call, given.need(0)?, $axes)?)
        })
    };
}

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    pools!("max_pool1d", 1, maximum),
    pools!("max_pool2d", 2, maximum),
    pools!("max_pool3d", 3, maximum),
    pools!("avg_pool1d", 1, average),
    pools!("avg_pool2d", 2, average),
    pools!("avg_pool3d", 3, average),
    pools!("adaptive_avg_pool1d", 1, adaptive_average),
    pools!("adaptive_avg_pool2d", 2, adaptive_average),
    pools!("adaptive_avg_pool3d", 3, adaptive_average),
    kernel("adaptive_max_pool1d", |tape, call, given| {
        adaptive_maximum(tape, call, given.need(0)?, 1)
    }),
    kernel("adaptive_max_pool2d", |tape, call, given| {
        adaptive_maximum(tape, call, given.need(0)?, 2)
    }),
    kernel("adaptive_max_pool3d", |tape, call, given| {
        adaptive_maximum(tape, call, given.need(0)?, 3)
    }),
    pools!("lp_pool1d", 1, power),
    pools!("lp_pool2d", 2, power),
    pools!("lp_pool3d", 3, power),
    kernel("global_avg_pool", |tape, _, given| {
        let x = given.need(0)?;
        let axes: Vec<usize> = (2..tape.sizes(x).len()).collect();
        one(tape.mean(x, &axes, true)?)
    }),
    kernel("pool_indices", |tape, call, given| {
        one(indices(tape, call, given.need(0)?)?)
    }),
    kernel("global_max_pool", |tape, _, given| {
        let x = given.need(0)?;
        let sizes = tape.sizes(x);
        let each: usize = sizes[2..].iter().product();
        let flat = tape.reshape(x, &[sizes[0], sizes[1], each])?;
        let index = tape.derive(&[flat], |values| {
            super::extreme::best_index(values[0], 2, |a, b| a > b)
        });
        let best = super::extreme::by_index(tape, flat, index, 2);
        let mut made = sizes;
        made.iter_mut().skip(2).for_each(|size| *size = 1);
        one(tape.reshape(best, &made)?)
    }),
];

/// The windows of a call, and how many there are along each axis.
fn windows(
    call: &Call,
    sizes: &[usize],
    axes: usize,
) -> Result<(Vec<Slide>, Vec<usize>), KernelError> {
    let along = slides(call, axes, None)?;
    let ceil = call.boolean("ceil_mode");
    let spatial = &sizes[sizes.len() - axes..];
    let counts = along.iter().zip(spatial);
    let counts = counts
        .map(|(slide, &size)| slide.windows(size, ceil))
        .collect();
    Ok((along, counts))
}

/// The places of the greatest element of each group of places; the groups lie along the axes in
/// the middle.
fn greatest(
    tape: &mut Tape,
    x: Var,
    places: &Array,
    leading: usize,
    axes: usize,
) -> Result<Var, KernelError> {
    let sizes = places.shape();
    let each: usize = sizes[leading..leading + axes].iter().product();
    let mut flat = sizes[..leading].to_vec();
    flat.push(each);
    flat.extend(&sizes[leading + axes..]);
    let places = super::tape::places::reshaped(places, &flat);
    let best = tape.derive(&[x], |values| {
        let elements: Vec<f64> = values[0].iter().copied().collect();
        let mut order: Vec<usize> = (0..flat.len()).filter(|&axis| axis != leading).collect();
        order.push(leading);
        let all =
            super::tape::places::row_major(places.view().permuted_axes(ndarray::IxDyn(&order)));
        let mut made = flat.clone();
        made.remove(leading);
        let chosen = all.chunks(each.max(1)).map(|group| {
            group
                .iter()
                .copied()
                .filter(|&place| place >= 0.0)
                .fold(-1.0, |best: f64, place| {
                    let value = elements[place as usize];
                    let better = best < 0.0 || value > elements[best as usize] || value.is_nan();
                    if better { place } else { best }
                })
        });
        Array::from_shape_vec(made.clone(), chosen.collect())
            .unwrap_or_else(|_| Array::from_elem(made, f64::NAN))
    });
    Ok(best)
}

fn maximum(tape: &mut Tape, call: &Call, x: Var, axes: usize) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let (along, counts) = windows(call, &sizes, axes)?;
    let places = window_places(&sizes, &along, &counts);
    let best = greatest(tape, x, &places, sizes.len() - axes, axes)?;
    Ok(tape.gather(x, best, f64::NEG_INFINITY))
}

/// The places of the greatest elements, in the flattened input. How many windows there are is
/// stated; the padding is that in front.
fn indices(tape: &mut Tape, call: &Call, x: Var) -> Result<Var, KernelError> {
    if call.attribute("kernel_size").is_none() {
        return Err(KernelError::new(
            "of which pool the indices are is not stated: it has no `kernel_size`",
        ));
    }
    let sizes = tape.sizes(x);
    let counts = call.integers("size").unwrap_or_default();
    let counts: Vec<usize> = counts.iter().map(|&count| count.max(0) as usize).collect();
    let axes = sizes.len().saturating_sub(2);
    if counts.len() != sizes.len() || axes == 0 {
        return Err(KernelError::new(format!(
            "indices of sizes {counts:?} are not of a pool of {sizes:?}"
        )));
    }
    let along = slides(call, axes, None)?;
    let places = window_places(&sizes, &along, &counts[2..]);
    greatest(tape, x, &places, 2, axes)
}

/// Sums of windows, and the axes of their elements.
fn sums(tape: &mut Tape, x: Var, along: &[Slide], counts: &[usize]) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let leading = sizes.len() - along.len();
    let places = tape.constant(window_places(&sizes, along, counts));
    let elements = tape.gather(x, places, 0.0);
    let axes: Vec<usize> = (leading..leading + along.len()).collect();
    tape.sum(elements, &axes, false)
}

fn average(tape: &mut Tape, call: &Call, x: Var, axes: usize) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let (along, counts) = windows(call, &sizes, axes)?;
    let total = sums(tape, x, &along, &counts)?;
    let spatial = &sizes[sizes.len() - axes..];
    let include = call.boolean("count_include_pad");
    let fixed = call.integer("divisor_override");
    // A window counts the elements that it reaches; with the padding, but not beyond it.
    let divisors = Array::from_shape_fn(counts.clone(), |at| {
        if let Some(fixed) = fixed {
            return fixed as f64;
        }
        let reached = (0..axes).map(|axis| {
            let (slide, size) = (along[axis], spatial[axis]);
            let start = at[axis] * slide.stride;
            let end = (start + slide.kernel).min(size + slide.padding.0 + slide.padding.1);
            match include {
                true => end - start,
                false => {
                    let inside = |at: usize| at.saturating_sub(slide.padding.0).min(size);
                    inside(end) - inside(start)
                }
            }
        });
        reached.product::<usize>() as f64
    });
    let factors = tape.constant(divisors.mapv(|count| 1.0 / count));
    tape.multiply(total, factors)
}

/// From where to where each bin reaches: `⌊i · size / bins⌋` to `⌈(i + 1) · size / bins⌉`.
fn bin(index: usize, size: usize, bins: usize) -> (usize, usize) {
    (index * size / bins, ((index + 1) * size).div_ceil(bins))
}

/// The places of the elements of all bins, -1 where a bin is smaller than the greatest.
fn bin_places(
    call: &Call,
    sizes: &[usize],
    axes: usize,
) -> Result<(Array, Vec<usize>), KernelError> {
    let spatial = &sizes[sizes.len() - axes..];
    let asked = call.integers("output_size").unwrap_or_default();
    let bins: Vec<usize> = (0..axes)
        .map(|axis| match asked.get(axis).or(asked.first()) {
            Some(&count) if count >= 0 => count as usize,
            _ => spatial[axis],
        })
        .collect();
    let widest: Vec<usize> = (0..axes)
        .map(|axis| {
            let widths = (0..bins[axis]).map(|index| bin(index, spatial[axis], bins[axis]));
            widths.map(|(start, end)| end - start).max().unwrap_or(0)
        })
        .collect();
    let leading = sizes.len() - axes;
    let all = places_of(sizes);
    let made: Vec<usize> = sizes[..leading]
        .iter()
        .chain(&widest)
        .chain(&bins)
        .copied()
        .collect();
    let places = Array::from_shape_fn(made, |at| {
        let mut index: Vec<usize> = (0..leading).map(|axis| at[axis]).collect();
        for axis in 0..axes {
            let (start, end) = bin(at[leading + axes + axis], spatial[axis], bins[axis]);
            let element = start + at[leading + axis];
            if element >= end {
                return -1.0;
            }
            index.push(element);
        }
        all[index.as_slice()]
    });
    Ok((places, bins))
}

fn adaptive_average(tape: &mut Tape, call: &Call, x: Var, axes: usize) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let (places, bins) = bin_places(call, &sizes, axes)?;
    let leading = sizes.len() - axes;
    let spatial = sizes[leading..].to_vec();
    let places = tape.constant(places);
    let elements = tape.gather(x, places, 0.0);
    let over: Vec<usize> = (leading..leading + axes).collect();
    let total = tape.sum(elements, &over, false)?;
    let factors = Array::from_shape_fn(bins.clone(), |at| {
        let counts = (0..axes).map(|axis| {
            let (start, end) = bin(at[axis], spatial[axis], bins[axis]);
            end - start
        });
        1.0 / counts.product::<usize>() as f64
    });
    let factors = tape.constant(factors);
    tape.multiply(total, factors)
}

fn adaptive_maximum(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    axes: usize,
) -> Result<super::registry::Results, KernelError> {
    let sizes = tape.sizes(x);
    let (places, _) = bin_places(call, &sizes, axes)?;
    let best = greatest(tape, x, &places, sizes.len() - axes, axes)?;
    one(tape.gather(x, best, f64::NEG_INFINITY))
}

/// `(Σ xᵖ)^(1/p)` of each window; of a negative sum 0, and its own sign.
fn power(tape: &mut Tape, call: &Call, x: Var, axes: usize) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let p = call.float("norm_type").unwrap_or(2.0);
    let (along, counts) = windows(call, &sizes, axes)?;
    let powers = tape.map(x, move |x| x.powf(p), move |x, _| p * x.powf(p - 1.0));
    let total = sums(tape, powers, &along, &counts)?;
    // PyTorch takes a mean over what a window reaches, times the size of the whole window.
    let spatial = &sizes[sizes.len() - axes..];
    let whole: usize = along.iter().map(|slide| slide.kernel).product();
    let factors = Array::from_shape_fn(counts, |at| {
        let reached = (0..axes).map(|axis| {
            let start = at[axis] * along[axis].stride;
            (start + along[axis].kernel).min(spatial[axis]) - start
        });
        whole as f64 / reached.product::<usize>() as f64
    });
    let factors = tape.constant(factors);
    let scaled = tape.multiply(total, factors)?;
    Ok(tape.map(
        scaled,
        move |x| x.max(0.0).powf(1.0 / p),
        move |x, _| {
            if x > 0.0 {
                x.powf(1.0 / p - 1.0) / p
            } else {
                0.0
            }
        },
    ))
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("max_pool1d([2, 3, 8], kernel_size=3)", &[]),
            (
                "max_pool2d([2, 3, 7, 6], kernel_size=3, stride=2, padding=1)",
                &[],
            ),
            (
                "max_pool2d([3, 7, 6], kernel_size=[2, 3], ceil_mode=true)",
                &[],
            ),
            (
                "max_pool2d([2, 3, 7, 6], kernel_size=2, dilation=2, stride=1)",
                &[],
            ),
            ("max_pool3d([1, 2, 4, 4, 4], kernel_size=2)", &[]),
            (
                "lp_pool3d([1, 2, 4, 4, 4], norm_type=2.0, kernel_size=2)",
                &[(0.1, 2.0)],
            ),
            ("adaptive_max_pool3d([1, 2, 4, 5, 6], output_size=2)", &[]),
            (
                "adaptive_avg_pool3d([1, 2, 4, 5, 6], output_size=[2, 3, 2])",
                &[],
            ),
            (
                "pool_indices([2, 3, 7, 6], size=[2, 3, 4, 3], kernel_size=3, stride=2, padding=1)",
                &[],
            ),
            ("avg_pool1d([2, 3, 8], kernel_size=3, stride=2)", &[]),
            (
                "avg_pool2d([2, 3, 7, 6], kernel_size=3, stride=2, padding=1)",
                &[],
            ),
            (
                "avg_pool2d([2, 3, 7, 6], kernel_size=3, stride=2, padding=1, count_include_pad=false, ceil_mode=true)",
                &[],
            ),
            (
                "avg_pool2d([2, 3, 7, 6], kernel_size=2, divisor_override=3)",
                &[],
            ),
            ("avg_pool3d([1, 2, 4, 4, 4], kernel_size=2)", &[]),
            ("adaptive_avg_pool1d([2, 3, 7], output_size=3)", &[]),
            ("adaptive_avg_pool2d([2, 3, 7, 6], output_size=[3, 2])", &[]),
            ("adaptive_avg_pool2d([2, 3, 7, 6], output_size=1)", &[]),
            ("adaptive_max_pool2d([2, 3, 7, 6], output_size=[3, 4])", &[]),
            ("adaptive_max_pool1d([2, 3, 7], output_size=3)", &[]),
            (
                "lp_pool1d([2, 3, 8], norm_type=2.0, kernel_size=3)",
                &[(0.2, 2.0)],
            ),
            (
                "lp_pool2d([2, 3, 7, 6], norm_type=3.0, kernel_size=2, ceil_mode=true)",
                &[(0.2, 2.0)],
            ),
            ("global_avg_pool([2, 3, 4, 5])", &[]),
            ("global_max_pool([2, 3, 4, 5])", &[]),
        ]);
    }
}
