//! Resampling over positions: `interpolate`, `grid_sample`, `affine_grid`.

use super::registry::{Kernel, kernel, one};
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
    if call.boolean("antialias") {
        return Err(KernelError::new("`antialias` is not covered"));
    }
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
            "bicubic" => weighted(tape, x, at, to, |i| {
                let place = source(i, from, to, scale, align);
                let base = place.floor();
                (-1..=2)
                    .map(|offset| {
                        let tap = base + f64::from(offset);
                        (
                            tap.clamp(0.0, (from - 1) as f64) as usize,
                            cubic(place - tap),
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

/// Keys's kernel with a = -0.75.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let d = distance.abs();
    if d <= 1.0 {
        (A + 2.0) * d * d * d - (A + 3.0) * d * d + 1.0
    } else if d < 2.0 {
        A * (((d - 5.0) * d + 8.0) * d - 4.0)
    } else {
        0.0
    }
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

fn grid_sample(tape: &mut Tape, call: &Call, x: Var, grid: Var) -> Result<Var, KernelError> {
    let mode = call.text("mode").unwrap_or_default();
    let padding = call.text("padding_mode").unwrap_or_default();
    if mode == "bicubic" || padding == "reflection" {
        return Err(KernelError::new(
            "`bicubic` and `reflection` are not covered",
        ));
    }
    let sizes = tape.sizes(x);
    let axes = sizes.len() - 2;
    let of_grid = tape.sizes(grid);
    let (batch, channels) = (sizes[0], sizes[1]);
    let points: usize = of_grid[1..=axes].iter().product();
    let flat = tape.reshape(grid, &[batch, points, axes])?;
    let align = call.boolean("align_corners");
    // Positions along each axis of the input; the last number of the grid is the first axis.
    let mut places = Vec::new();
    for axis in 0..axes {
        let size = sizes[2 + axis] as f64;
        let part = tape.narrow(flat, 2, axes - 1 - axis, 1);
        let part = tape.dropped(part, &[2], false)?;
        let mut place = match align {
            true => tape.affine(part, (size - 1.0) / 2.0, (size - 1.0) / 2.0),
            false => tape.affine(part, size / 2.0, (size - 1.0) / 2.0),
        };
        if padding == "border" {
            place = tape.map(
                place,
                move |p| p.clamp(0.0, size - 1.0),
                move |p, _| f64::from(u8::from(p > 0.0 && p < size - 1.0)),
            );
        }
        places.push(place);
    }
    let all = places_of(&sizes);
    let mut sum: Option<Var> = None;
    let corners = if mode == "nearest" { 1 } else { 1usize << axes };
    for corner in 0..corners {
        let taps: Vec<Var> = places
            .iter()
            .enumerate()
            .map(|(axis, &place)| {
                tape.derive(&[place], |values| {
                    values[0].mapv(|p| match mode == "nearest" {
                        true => p.round_ties_even(),
                        false => p.floor() + (corner >> axis & 1) as f64,
                    })
                })
            })
            .collect();
        let spots = tape.derive(&taps, |values| {
            Array::from_shape_fn(vec![batch, channels, points], |at| {
                let mut index = vec![at[0], at[1]];
                for (axis, tap) in values.iter().enumerate() {
                    let tap = tap[[at[0], at[2]].as_slice()];
                    if tap.is_nan() {
                        return f64::NAN;
                    }
                    if tap < 0.0 || tap >= sizes[2 + axis] as f64 {
                        return -1.0;
                    }
                    index.push(tap as usize);
                }
                all[index.as_slice()]
            })
        });
        let mut part = tape.gather(x, spots, 0.0);
        if mode != "nearest" {
            for (&place, &tap) in places.iter().zip(&taps) {
                // 1 - |place - tap|, on the side on which the tap lies.
                let distance = tape.subtract(place, tap)?;
                let weight = tape.map(
                    distance,
                    |d| 1.0 - d.abs(),
                    |d, _| if (0.0..1.0).contains(&d) { -1.0 } else { 1.0 },
                );
                let weight = tape.reshape(weight, &[batch, 1, points])?;
                part = tape.multiply(part, weight)?;
            }
        }
        sum = Some(match sum {
            Some(sum) => tape.add(sum, part)?,
            None => part,
        });
    }
    let mut made = vec![batch, channels];
    made.extend(&of_grid[1..=axes]);
    let sum = sum.ok_or_else(|| KernelError::new("nothing to sample"))?;
    tape.reshape(sum, &made)
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
