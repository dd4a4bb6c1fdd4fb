//! Resampling over positions: `interpolate`, `grid_sample`, `affine_grid`.

use super::registry::{Kernel, kernel, one};
use super::sample::{grid_sample, keys, keys_with};
use super::slicing::entries;
use super::tape::places::places_of;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("interpolate", |tape, call, given| {
        one(interpolate(tape, call, given.need(0)?)?)
    }),
    kernel("grid_sample", |tape, call, given| {
        one(grid_sample(tape, call, given.need(0)?, given.need(1)?)?)
    }),
    kernel("affine_grid", |tape, call, given| {
        let theta = given.need(0)?;
        let size = call.integers("size").unwrap_or_default();
        let spatial: Vec<usize> = size[2..].iter().map(|&size| size as usize).collect();
        let axes = spatial.len();
        let points: usize = spatial.iter().product();
        let centred = |at: usize, size: usize| match call.boolean("align_corners") {
            true if size > 1 => 2.0 * at as f64 / (size - 1) as f64 - 1.0,
            true => 0.0,
            false => (2.0 * at as f64 + 1.0) / size as f64 - 1.0,
        };
        let all = places_of(&spatial);
        let mut rows = vec![0.0; points * (axes + 1)];
        for (index, &place) in all.indexed_iter() {
            // The last axis is x.
            for axis in 0..axes {
                rows[place as usize * (axes + 1) + axis] =
                    centred(index[axes - 1 - axis], spatial[axes - 1 - axis]);
            }
            rows[place as usize * (axes + 1) + axes] = 1.0;
        }
        let batch = tape.sizes(theta)[0];
        let base = tape.constant(Array::from_shape_vec(vec![1, points, 1, axes + 1], rows)?);
        // One kernel forward; its derivative is a product of matrices.
        let products = (batch * points * axes * (axes + 1)) as u128;
        let theta = tape.computed_again(theta, products);
        let theta = tape.reshape(theta, &[batch, 1, axes, axes + 1])?;
        let terms = tape.multiply(base, theta)?;
        let grid = tape.sum(terms, &[3], false)?;
        let mut made = vec![batch];
        made.extend(&spatial);
        made.push(axes);
        one(tape.reshape(grid, &made)?)
    }),
];

/// Where an output position lies in the input.
fn source(at: usize, from: usize, to: usize, scale: Option<f64>, align: bool) -> f64 {
    if align {
        return match to {
            0 | 1 => 0.0,
            _ => at as f64 * (from - 1) as f64 / (to - 1) as f64,
        };
    }
    let step = scale.map_or(from as f64 / to as f64, |scale| 1.0 / scale);
    (at as f64 + 0.5) * step - 0.5
}

fn interpolate(tape: &mut Tape, call: &Call, x: Var) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let axes = sizes.len() - 2;
    let scale = call.float("scale_factor");
    let given = match call.attribute("size") {
        Some(_) => Some(call.sizes("size", axes)?),
        None => None,
    };
    let mode = call.text("mode").unwrap_or_default();
    let align = call.boolean("align_corners");
    let mut x = x;
    for axis in 0..axes {
        let from = sizes[axis + 2];
        let to = match (&given, scale) {
            (Some(given), _) => given[axis] as usize,
            (None, Some(scale)) => (from as f64 * scale).floor() as usize,
            (None, None) => from,
        };
        let scale = scale.filter(|_| given.is_none());
        let step = scale.map_or(from as f64 / to as f64, |scale| 1.0 / scale);
        let at = axis + 2;
        x = match mode.as_str() {
            "nearest" => {
                let chosen: Vec<usize> = (0..to)
                    .map(|i| ((i as f64 * step).floor() as usize).min(from - 1))
                    .collect();
                entries(tape, x, at, &chosen)
            }
            "nearest-exact" => {
                let chosen: Vec<usize> = (0..to)
                    .map(|i| (((i as f64 + 0.5) * step).floor() as usize).min(from - 1))
                    .collect();
                entries(tape, x, at, &chosen)
            }
            "area" => {
                let bin = |i: usize| (i * from / to, ((i + 1) * from).div_ceil(to));
                weighted(tape, x, at, to, |i| {
                    let (start, end) = bin(i);
                    (start..end)
                        .map(|k| (k, 1.0 / (end - start) as f64))
                        .collect()
                })?
            }
            "bilinear" | "bicubic" if call.boolean("antialias") => {
                let step = match align {
                    true if to > 1 => (from - 1) as f64 / (to - 1) as f64,
                    true => 0.0,
                    false => step,
                };
                let cubic = mode == "bicubic";
                weighted(tape, x, at, to, |i| antialiased(cubic, i, from, step))?
            }
            "bicubic" => weighted(tape, x, at, to, |i| {
                let place = source(i, from, to, scale, align);
                let base = place.floor();
                (-1..=2)
                    .map(|offset| {
                        let tap = base + f64::from(offset);
                        (
                            tap.clamp(0.0, (from - 1) as f64) as usize,
                            keys(place - tap),
                        )
                    })
                    .collect()
            })?,
            _ => weighted(tape, x, at, to, |i| {
                let place = source(i, from, to, scale, align).max(0.0);
                let low = (place.floor() as usize).min(from - 1);
                let share = place - low as f64;
                vec![(low, 1.0 - share), ((low + 1).min(from - 1), share)]
            })?,
        };
    }
    Ok(x)
}

/// The taps of a window that is as much wider as the image gets smaller, with weights that sum to 1.
fn antialiased(cubic: bool, at: usize, from: usize, step: f64) -> Vec<(usize, f64)> {
    let wide = step.max(1.0);
    let reach = if cubic { 2.0 } else { 1.0 } * wide;
    let centre = step * (at as f64 + 0.5);
    let start = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5).max(0.0) as usize).min(from);
    let weight = |tap: usize| {
        let distance = (tap as f64 - centre + 0.5) / wide;
        match cubic {
            true => keys_with(-0.5, distance),
            false => (1.0 - distance.abs()).max(0.0),
        }
    };
    let total: f64 = (start..end).map(weight).sum();
    (start..end).map(|tap| (tap, weight(tap) / total)).collect()
}

/// Each entry of an axis as a weighted sum of entries.
fn weighted(
    tape: &mut Tape,
    x: Var,
    at: usize,
    to: usize,
    taps: impl Fn(usize) -> Vec<(usize, f64)>,
) -> Result<Var, KernelError> {
    let taps: Vec<Vec<(usize, f64)>> = (0..to).map(taps).collect();
    let most = taps.iter().map(Vec::len).max().unwrap_or(0);
    let rank = tape.sizes(x).len();
    let mut sum: Option<Var> = None;
    for number in 0..most {
        let chosen: Vec<usize> = taps
            .iter()
            .map(|taps| taps.get(number).map_or(0, |tap| tap.0))
            .collect();
        let mut shape = vec![1; rank];
        shape[at] = to;
        let weights: Vec<f64> = taps
            .iter()
            .map(|taps| taps.get(number).map_or(0.0, |tap| tap.1))
            .collect();
        let weights = tape.constant(Array::from_shape_vec(shape, weights)?);
        let part = entries(tape, x, at, &chosen);
        let part = tape.multiply(part, weights)?;
        sum = Some(match sum {
            Some(sum) => tape.add(sum, part)?,
            None => part,
        });
    }
    sum.ok_or_else(|| KernelError::new("nothing to interpolate"))
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("interpolate([2, 3, 4], scale_factor=2.0)", &[]),
            ("interpolate([2, 3, 4, 5], size=[7, 3])", &[]),
            (
                "interpolate([2, 3, 4, 5], size=[7, 3], mode='nearest-exact')",
                &[],
            ),
            (
                "interpolate([2, 3, 4, 5], scale_factor=2.0, mode='bilinear')",
                &[],
            ),
            (
                "interpolate([2, 3, 4, 5], size=[7, 9], mode='bilinear', align_corners=true)",
                &[],
            ),
            (
                "interpolate([2, 3, 4, 5], scale_factor=1.5, mode='bicubic')",
                &[],
            ),
            ("interpolate([2, 3, 7, 5], size=[3, 2], mode='area')", &[]),
            (
                "interpolate([1, 2, 3, 3, 3], scale_factor=2.0, mode='trilinear')",
                &[],
            ),
            ("interpolate([2, 3, 4], size=6, mode='linear')", &[]),
            (
                "interpolate([2, 3, 7, 5], size=[3, 9], mode='bilinear', antialias=true)",
                &[],
            ),
            (
                "interpolate([2, 3, 7, 5], size=[3, 9], mode='bicubic', antialias=true)",
                &[],
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 3, 2, 2], mode='bicubic', padding_mode='border')",
                &[(-2.0, 2.0), (-1.3, 1.3)],
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 3, 2, 2], mode='bicubic')",
                &[(-2.0, 2.0), (-1.3, 1.3)],
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 3, 2, 2], padding_mode='reflection')",
                &[(-2.0, 2.0), (-2.9, 2.9)],
            ),
            (
                "grid_sample([1, 2, 3, 4, 5], [1, 2, 3, 2, 3], padding_mode='reflection', align_corners=true)",
                &[(-2.0, 2.0), (-1.3, 1.3)],
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 3, 2, 2])",
                &[(-2.0, 2.0), (-1.3, 1.3)],
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 3, 2, 2], padding_mode='border', align_corners=true)",
                &[(-2.0, 2.0), (-1.3, 1.3)],
            ),
            (
                "grid_sample([2, 3, 4, 5], [2, 3, 2, 2]!, mode='nearest')",
                &[(-2.0, 2.0), (-1.3, 1.3)],
            ),
            ("affine_grid([2, 2, 3], size=[2, 1, 4, 5])", &[]),
            (
                "affine_grid([2, 3, 4], size=[2, 1, 2, 3, 4], align_corners=true)",
                &[],
            ),
        ]);
    }
}
