//! Reading by index: `gather`, `index_select`, `index`.

use super::complex::Complex;
use super::extreme::by_index;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;

use super::tape::pointwise::{broadcast_sizes, spread};
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("index_select", |tape, call, given| {
        let (x, index) = (given.need(0)?, given.need(1)?);
        let sizes = tape.sizes(x);
        let at = axis(call.integer("dim").unwrap_or(0), sizes.len())?;
        // The same index in every lane.
        let count = tape.value(index).len();
        let mut wide = sizes;
        wide[at] = count;
        let mut shape = vec![1; wide.len()];
        shape[at] = count;
        let index = tape.reshape(index, &shape)?;
        let index = tape.derive(&[index], |values| spread(values[0], &wide));
        one(by_index(tape, x, index, at))
    })
    .on_complex(Complex::Moved),
    kernel("gather", |tape, call, given| {
        let (x, index) = (given.need(0)?, given.need(1)?);
        let at = axis(call.integer("dim").unwrap_or(0), tape.sizes(x).len())?;
        one(by_index(tape, x, index, at))
    })
    .on_complex(Complex::Moved),
    kernel("take_along_dim", |tape, call, given| {
        let (mut x, mut index) = (given.need(0)?, given.need(1)?);
        let Some(dim) = call.integer("dim") else {
            let (all, some) = (tape.value(x).len(), tape.value(index).len());
            x = tape.reshape(x, &[all])?;
            index = tape.reshape(index, &[some])?;
            return one(by_index(tape, x, index, 0));
        };
        let (of_x, of_index) = (tape.sizes(x), tape.sizes(index));
        let at = axis(dim, of_x.len())?;
        // All axes but this one broadcast.
        let mut narrow = of_x.clone();
        narrow[at] = of_index[at];
        let mut wide = broadcast_sizes(&narrow, &of_index)?;
        let index = tape.derive(&[index], |values| spread(values[0], &wide));
        wide[at] = of_x[at];
        let x = tape.broadcast(x, &wide)?;
        one(by_index(tape, x, index, at))
    }),
    kernel("index", |tape, call, given| {
        let x = given.need(0)?;
        let (places, _) = indexed(tape, call, x, |position| given.get(position), (1, false))?;
        one(tape.gather(x, places, f64::NAN))
    })
    .on_complex(Complex::Moved),
    kernel("masked_select", |tape, _, given| {
        let (x, mask) = (given.need(0)?, given.need(1)?);
        let sizes = broadcast_sizes(tape.value(x).shape(), tape.value(mask).shape())?;
        let x = tape.broadcast(x, &sizes)?;
        let places = tape.derive(&[mask], |values| chosen_first(&spread(values[0], &sizes)));
        one(tape.gather(x, places, f64::NAN))
    }),
    kernel("nonzero", |tape, _, given| {
        one(tape.derive(&[given.need(0)?], |values| {
            let sizes = values[0].shape();
            let places = chosen_first(values[0]);
            Array::from_shape_fn(vec![places.len(), sizes.len()], |at| {
                along_axis(places[[at[0]].as_slice()], sizes, at[1])
            })
        }))
    }),
];

/// The places of all elements, those that are not 0 first. How many these are is not known before a
/// run, so all are counted; behind those that are chosen stand the others.
fn chosen_first(mask: &Array) -> Array {
    let at = |wanted: &dyn Fn(f64) -> bool| -> Vec<f64> {
        let places = mask.iter().enumerate();
        let places = places.filter(|(_, value)| wanted(**value));
        places.map(|(place, _)| place as f64).collect()
    };
    let unknown = mask.iter().any(|value| value.is_nan());
    let mut places = [at(&|value| value != 0.0), at(&|value| value == 0.0)].concat();
    if unknown {
        places = vec![f64::NAN; mask.len()];
    }
    ndarray::Array1::from(places).into_dyn()
}

/// The index along an axis of the element at a place.
fn along_axis(place: f64, sizes: &[usize], axis: usize) -> f64 {
    let stride: usize = sizes[axis + 1..].iter().product();
    let lines = (place / stride.max(1) as f64).floor();
    lines % sizes[axis].max(1) as f64
}

/// The places that `x[indices]` shows, with the indices from the operand `first` on, and the sizes
/// of the result. A mask is an index of all elements for each of its axes, those where it holds
/// first; the others are outside where `writes`.
pub(super) fn indexed(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    get: impl Fn(usize) -> Option<Var>,
    (first, writes): (usize, bool),
) -> Result<(Var, Vec<usize>), KernelError> {
    let sizes = tape.sizes(x);
    let mut given: Vec<(usize, Var)> = Vec::new();
    let mut next = 0;
    for position in first..call.arguments.len() {
        let Some(index) = get(position) else {
            next += 1;
            continue;
        };
        if call.dtype(position)? != crate::tensor::Dtype::Bool {
            given.push((next, index));
            next += 1;
            continue;
        }
        let of_mask = tape.sizes(index);
        for axis in 0..of_mask.len() {
            let index = tape.derive(&[index], |values| {
                let chosen = values[0].iter().filter(|&&value| value != 0.0).count();
                let places = chosen_first(values[0]);
                Array::from_shape_fn(vec![places.len()], |at| match writes && at[0] >= chosen {
                    true => f64::NEG_INFINITY,
                    false => along_axis(places[at], &of_mask, axis),
                })
            });
            given.push((next, index));
            next += 1;
        }
    }
    let mut shape = Vec::new();
    for &(_, index) in &given {
        shape = broadcast_sizes(&shape, tape.value(index).shape())?;
    }
    let axes: Vec<usize> = given.iter().map(|&(axis, _)| axis).collect();
    // Indices side by side give their axes in place, others in front.
    let together = axes.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let front = if together {
        axes.first().copied().unwrap_or(0)
    } else {
        0
    };
    let rest: Vec<usize> = (0..sizes.len())
        .filter(|axis| !axes.contains(axis))
        .collect();
    let before = if together {
        rest.iter().filter(|&&axis| axis < front).count()
    } else {
        0
    };
    let mut made: Vec<usize> = rest[..before].iter().map(|&axis| sizes[axis]).collect();
    made.extend(&shape);
    made.extend(rest[before..].iter().map(|&axis| sizes[axis]));
    let strides: Vec<f64> = (0..sizes.len())
        .map(|axis| sizes[axis + 1..].iter().product::<usize>() as f64)
        .collect();
    let vars: Vec<Var> = given.iter().map(|&(_, index)| index).collect();
    let places = tape.derive(&vars, |values| {
        let wide: Vec<Array> = values.iter().map(|index| spread(index, &shape)).collect();
        Array::from_shape_fn(made.clone(), |at| {
            let mut place = 0.0;
            for (number, &axis) in rest.iter().enumerate() {
                let index = if number < before {
                    at[number]
                } else {
                    at[number + shape.len()]
                };
                place += index as f64 * strides[axis];
            }
            let inner: Vec<usize> = (0..shape.len()).map(|axis| at[before + axis]).collect();
            for (index, &axis) in wide.iter().zip(&axes) {
                let index = index[inner.as_slice()];
                let index = if index < 0.0 {
                    index + sizes[axis] as f64
                } else {
                    index
                };
                place += index * strides[axis];
            }
            place
        })
    });
    Ok((places, made))
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        let index = &[(-2.0, 2.0), (0.0, 2.0), (0.0, 2.0)];
        check(&[
            ("index_select([4, 3], int64 [5], dim=0)", index),
            ("index_select([4, 3, 2], int64 [2], dim=1)", index),
            ("gather([4, 3], int64 [2, 3], dim=0)", index),
            ("gather([4, 3], int64 [4, 5], dim=-1)", index),
            ("take_along_dim([4, 3], int64 [1, 5], dim=1)", index),
            ("take_along_dim([4, 3], int64 [5])", index),
            ("index([4, 3], int64 [5])", index),
            (
                "index([4, 3], -, int64 [5])",
                &[(-2.0, 2.0), (0.0, 0.0), (0.0, 2.0)],
            ),
            ("index([4, 3, 5], int64 [2], int64 [2])", index),
            ("index([4, 3, 2], bool [4, 3])", index),
            ("index([4, 3], -, bool [3])", index),
            ("masked_select([4, 3], bool [3])", index),
            ("nonzero([4, 3])", index),
            (
                "index([4, 3, 5], int64 [2], -, int64 [2])",
                &[(-2.0, 2.0), (0.0, 2.0), (0.0, 0.0), (0.0, 2.0)],
            ),
        ]);
    }
}
