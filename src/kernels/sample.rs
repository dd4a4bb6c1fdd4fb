//! Reading images at points between their elements: what `grid_sample`, convolutions with offsets
//! and pools over boxes share.

use super::tape::places::places_of;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The values of `x`, `[batch, channels, sizes…]`, at points whose positions along each axis of
/// sizes are `[batch, points]`: `[batch, channels, points]`, interpolated between the nearest
/// elements; 0 outside.
pub(super) fn linear(tape: &mut Tape, x: Var, positions: &[Var]) -> Result<Var, KernelError> {
    let mut sum: Option<Var> = None;
    for corner in 0..1usize << positions.len() {
        let taps: Vec<Var> = positions
            .iter()
            .enumerate()
            .map(|(axis, &place)| {
                let step = (corner >> axis & 1) as f64;
                tape.derive(&[place], |values| values[0].mapv(|p| p.floor() + step))
            })
            .collect();
        let mut part = at_taps(tape, x, &taps);
        for (&place, &tap) in positions.iter().zip(&taps) {
            // 1 - |place - tap|, on the side on which the tap lies.
            let distance = tape.subtract(place, tap)?;
            let weight = tape.map(
                distance,
                |d| 1.0 - d.abs(),
                |d, _| if (0.0..1.0).contains(&d) { -1.0 } else { 1.0 },
            );
            part = weighed(tape, part, weight)?;
        }
        sum = Some(match sum {
            Some(sum) => tape.add(sum, part)?,
            None => part,
        });
    }
    sum.ok_or_else(|| KernelError::new("nothing to sample"))
}

/// The elements at those whole positions; 0 outside.
fn at_taps(tape: &mut Tape, x: Var, taps: &[Var]) -> Var {
    let sizes = tape.sizes(x);
    let plane = places_of(&sizes[2..]);
    let each = plane.len() as f64;
    let points = tape.sizes(taps[0])[1];
    let spots = tape.derive(taps, |values| {
        Array::from_shape_fn(vec![sizes[0], sizes[1], points], |at| {
            let mut index = [0; 3];
            for (axis, tap) in values.iter().enumerate() {
                let tap = tap[[at[0], at[2]].as_slice()];
                if tap.is_nan() {
                    return f64::NAN;
                }
                if tap < 0.0 || tap >= sizes[2 + axis] as f64 {
                    return -1.0;
                }
                index[axis] = tap as usize;
            }
            let channel = (at[0] * sizes[1] + at[1]) as f64;
            channel * each + plane[&index[..values.len()]]
        })
    });
    tape.gather(x, spots, 0.0)
}

/// `[batch, channels, points]` times `[batch, points]`.
fn weighed(tape: &mut Tape, x: Var, weight: Var) -> Result<Var, KernelError> {
    let sizes = tape.sizes(weight);
    let weight = tape.reshape(weight, &[sizes[0], 1, sizes[1]])?;
    tape.multiply(x, weight)
}

/// Positions brought back into an axis of that size, as `padding_mode` says, and the slope of that.
fn brought_back(mode: &str, align: bool, size: f64, place: f64) -> (f64, f64) {
    let (mut place, mut slope) = (place, 1.0);
    if mode == "reflection" {
        // The ends lie on elements, or half an element beyond them.
        let (low, high) = if align {
            (0.0, size - 1.0)
        } else {
            (-0.5, size - 0.5)
        };
        let span = high - low;
        if span <= 0.0 {
            return (0.0, 0.0);
        }
        let far = place - low;
        slope = if far < 0.0 { -1.0 } else { 1.0 };
        let flips = (far.abs() / span).floor();
        let rest = far.abs() - flips * span;
        if flips % 2.0 == 0.0 {
            place = low + rest;
        } else {
            place = high - rest;
            slope = -slope;
        }
    }
    if mode == "zeros" {
        return (place, slope);
    }
    let inside = place > 0.0 && place < size - 1.0;
    (
        place.clamp(0.0, size - 1.0),
        if inside { slope } else { 0.0 },
    )
}

/// The kernel of `grid_sample`.
pub(super) fn grid_sample(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    grid: Var,
) -> Result<Var, KernelError> {
    let mode = call.text("mode").unwrap_or_default();
    let padding = call.text("padding_mode").unwrap_or_default();
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
        // A cubic reads around a point, and brings back what it reads.
        if mode != "bicubic" {
            let (first, second) = (padding.clone(), padding.clone());
            place = tape.map(
                place,
                move |p| brought_back(&first, align, size, p).0,
                move |p, _| brought_back(&second, align, size, p).1,
            );
        }
        places.push(place);
    }
    let sampled = match mode.as_str() {
        "nearest" => {
            let nearest =
                |&place: &Var| tape.derive(&[place], |values| values[0].mapv(f64::round_ties_even));
            let taps: Vec<Var> = places.iter().map(nearest).collect();
            at_taps(tape, x, &taps)
        }
        "bicubic" => cubic(tape, x, &places, &|tap, size| {
            brought_back(&padding, align, size, tap).0
        })?,
        _ => linear(tape, x, &places)?,
    };
    let mut made = vec![batch, channels];
    made.extend(&of_grid[1..=axes]);
    tape.reshape(sampled, &made)
}

/// The same as [`linear`] by the four nearest elements of each of two axes, of which `inside` says
/// where they are read.
fn cubic(
    tape: &mut Tape,
    x: Var,
    positions: &[Var],
    inside: &dyn Fn(f64, f64) -> f64,
) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let mut sum: Option<Var> = None;
    for number in 0..4usize.pow(positions.len() as u32) {
        let mut taps = Vec::new();
        let mut weights = Vec::new();
        for (axis, &place) in positions.iter().enumerate() {
            let step = (number / 4usize.pow(axis as u32) % 4) as f64 - 1.0;
            let size = sizes[2 + axis] as f64;
            let tap = tape.derive(&[place], |values| values[0].mapv(|p| p.floor() + step));
            let distance = tape.subtract(place, tap)?;
            weights.push(tape.map(distance, keys, |d, _| keys_slope(d)));
            taps.push(tape.derive(&[tap], |values| {
                values[0].mapv(|tap| inside(tap, size).round_ties_even())
            }));
        }
        let mut part = at_taps(tape, x, &taps);
        for weight in weights {
            part = weighed(tape, part, weight)?;
        }
        sum = Some(match sum {
            Some(sum) => tape.add(sum, part)?,
            None => part,
        });
    }
    sum.ok_or_else(|| KernelError::new("nothing to sample"))
}

/// The parameter of Keys's kernel in PyTorch.
const A: f64 = -0.75;

/// Keys's kernel: the weight of an element at that distance.
pub(super) fn keys(distance: f64) -> f64 {
    keys_with(A, distance)
}

/// The same with another parameter: with antialiasing it is -0.5.
pub(super) fn keys_with(a: f64, distance: f64) -> f64 {
    let d = distance.abs();
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        a * (((d - 5.0) * d + 8.0) * d - 4.0)
    } else {
        0.0
    }
}

fn keys_slope(distance: f64) -> f64 {
    let d = distance.abs();
    let slope = if d <= 1.0 {
        (3.0 * (A + 2.0) * d - 2.0 * (A + 3.0)) * d
    } else if d < 2.0 {
        A * ((3.0 * d - 10.0) * d + 8.0)
    } else {
        0.0
    };
    if distance < 0.0 { -slope } else { slope }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PyTorch's `reflect_coordinates` and `clip_coordinates`.
    #[test]
    fn positions_come_back() {
        assert_eq!(brought_back("reflection", true, 4.0, 3.5), (2.5, -1.0));
        assert_eq!(brought_back("reflection", true, 4.0, -1.0), (1.0, -1.0));
        assert_eq!(brought_back("reflection", false, 4.0, -0.75), (0.0, 0.0));
        assert_eq!(brought_back("reflection", false, 4.0, 4.0), (3.0, 0.0));
        assert_eq!(brought_back("border", false, 4.0, 9.0), (3.0, 0.0));
        assert_eq!(brought_back("zeros", false, 4.0, 9.0), (9.0, 1.0));
    }

    #[test]
    fn weights_of_a_cubic_sum_to_one() {
        let sum: f64 = [-1.3, -0.3, 0.7, 1.7].into_iter().map(keys).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        let step = 1e-6;
        for at in [-1.3, -0.3, 0.7, 1.7] {
            let found = (keys(at + step) - keys(at - step)) / (2.0 * step);
            assert!((found - keys_slope(at)).abs() < 1e-6, "{at}");
        }
    }
}
