//! Writing by index: `scatter`, `index_add`, `index_put`.

use super::complex::Complex;
use super::index::indexed;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::tape::places::places_of;
use super::tape::pointwise::spread;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("scatter", |tape, call, given| {
        let (x, index, source) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let places = element_places(tape, call, x, index)?;
        let source = corner(tape, source, index)?;
        one(put(tape, x, places, source)?)
    })
    .on_complex(Complex::Moved),
    kernel("scatter_add", |tape, call, given| {
        let (x, index, source) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let places = element_places(tape, call, x, index)?;
        let source = corner(tape, source, index)?;
        one(added(tape, x, places, source)?)
    })
    .on_complex(Complex::Moved),
    kernel("index_add", |tape, call, given| {
        let (x, index, source) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let places = slice_places(tape, call, x, index)?;
        one(added(tape, x, places, source)?)
    })
    .on_complex(Complex::Moved),
    kernel("index_copy", |tape, call, given| {
        let (x, index, source) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let places = slice_places(tape, call, x, index)?;
        one(put(tape, x, places, source)?)
    })
    .on_complex(Complex::Moved),
    kernel("scatter_reduce", |tape, call, given| {
        let (x, index, source) = (given.need(0)?, given.need(1)?, given.need(2)?);
        let places = element_places(tape, call, x, index)?;
        let source = corner(tape, source, index)?;
        match call.text("reduce").as_deref() {
            Some("sum") => one(added(tape, x, places, source)?),
            Some("mean") => {
                let sizes = tape.sizes(x);
                let counts = tape.derive(&[places], |values| {
                    let ones = Array::ones(values[0].raw_dim());
                    super::tape::places::scattered(&ones, values[0], &sizes) + 1.0
                });
                let sum = added(tape, x, places, source)?;
                one(tape.divide(sum, counts)?)
            }
            Some(kind) => {
                let kind = kind.to_owned();
                one(joined(tape, x, places, source, &kind))
            }
            None => Err(KernelError::new("`scatter_reduce` needs `reduce`")),
        }
    }),
    kernel("index_put", |tape, call, given| {
        let (x, values) = (given.need(0)?, given.need(1)?);
        let (places, sizes) = indexed(tape, call, x, |position| given.get(position), (2, true))?;
        let values = tape.broadcast(values, &sizes)?;
        match call.boolean("accumulate") {
            true => one(added(tape, x, places, values)?),
            false => one(put(tape, x, places, values)?),
        }
    })
    .on_complex(Complex::Moved),
    kernel("index_fill", |tape, call, given| {
        let (x, index) = (given.need(0)?, given.need(1)?);
        let places = slice_places(tape, call, x, index)?;
        let sizes = tape.sizes(places);
        let value = Array::from_elem(sizes, call.float("value").unwrap_or(0.0));
        let value = tape.constant(value);
        one(put(tape, x, places, value)?)
    }),
];

/// For each element of an index the place that it names, all axes but one its own.
fn element_places(tape: &mut Tape, call: &Call, x: Var, index: Var) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let at = axis(call.integer("dim").unwrap_or(0), sizes.len())?;
    let stride: usize = sizes[at + 1..].iter().product();
    Ok(tape.derive(&[index], |values| {
        let index = values[0];
        let all = places_of(&sizes);
        Array::from_shape_fn(index.raw_dim(), |mut place| {
            let chosen = index[place.clone()];
            place[at] = 0;
            all[place] + chosen * stride as f64
        })
    }))
}

/// For each element of the slices that a vector of indices names, its place.
fn slice_places(tape: &mut Tape, call: &Call, x: Var, index: Var) -> Result<Var, KernelError> {
    let mut wide = tape.sizes(x);
    let at = axis(call.integer("dim").unwrap_or(0), wide.len())?;
    let count = tape.value(index).len();
    wide[at] = count;
    let mut shape = vec![1; wide.len()];
    shape[at] = count;
    let index = tape.reshape(index, &shape)?;
    let index = tape.derive(&[index], |values| spread(values[0], &wide));
    element_places(tape, call, x, index)
}

/// What of the source the index covers: its corner at the front.
fn corner(tape: &mut Tape, mut source: Var, index: Var) -> Result<Var, KernelError> {
    let wanted = tape.sizes(index);
    if tape.value(source).ndim() == 0 && !wanted.is_empty() {
        return tape.broadcast(source, &wanted);
    }
    for (at, &size) in wanted.iter().enumerate() {
        if tape.sizes(source)[at] > size {
            source = tape.narrow(source, at, 0, size);
        }
    }
    Ok(source)
}

fn added(tape: &mut Tape, x: Var, places: Var, source: Var) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    let change = tape.scatter_add(source, places, &sizes);
    tape.add(x, change)
}

/// `x` with what the source says at its places; of several at one place the last.
fn put(tape: &mut Tape, x: Var, places: Var, source: Var) -> Result<Var, KernelError> {
    let sizes = tape.sizes(x);
    // Which element of the source each place takes, -1 for none.
    let taken = tape.derive(&[places], |values| {
        let mut taken = vec![-1.0; sizes.iter().product()];
        for (number, &place) in values[0].iter().enumerate() {
            if place.is_nan() {
                taken.fill(f64::NAN);
                break;
            }
            if let Some(slot) = taken.get_mut(place as usize) {
                *slot = number as f64;
            }
        }
        Array::from_shape_vec(sizes.clone(), taken)
            .unwrap_or_else(|_| Array::from_elem(sizes.clone(), f64::NAN))
    });
    let given = tape.gather(source, taken, 0.0);
    let is_given = tape.derive(&[taken], |values| {
        values[0].mapv(|taken| match taken.is_nan() {
            true => taken,
            false => f64::from(u8::from(taken >= 0.0)),
        })
    });
    tape.select(is_given, given, x)
}

/// Products and extremes of what meets at one place. Of equal extremes each has its share of the
/// gradient.
fn joined(tape: &mut Tape, x: Var, places: Var, source: Var, kind: &str) -> Var {
    let join: fn(f64, f64) -> f64 = match kind {
        "prod" => |a, b| a * b,
        "amax" => f64::max,
        _ => f64::min,
    };
    let is_product = kind == "prod";
    let mut value: Vec<f64> = tape.value(x).iter().copied().collect();
    for (&element, &place) in tape.value(source).iter().zip(tape.value(places)) {
        if let Some(slot) = value.get_mut(place as usize) {
            *slot = join(*slot, element);
        }
    }
    let sizes = tape.sizes(x);
    let value = super::tape::places::reshaped(
        &Array::from_shape_fn(vec![value.len()], |at| value[at[0]]),
        &sizes,
    );
    let result = tape.next();
    tape.push(value, &[x, source, places], move |back, gradient| {
        let own: Vec<f64> = back.value(x).iter().copied().collect();
        let elements: Vec<f64> = back.value(source).iter().copied().collect();
        let spots: Vec<f64> = back.value(places).iter().copied().collect();
        let results: Vec<f64> = back.value(result).iter().copied().collect();
        let gradients: Vec<f64> = gradient.iter().copied().collect();
        let slope = |place: usize, value: f64, skip: Option<usize>| -> f64 {
            let here = || {
                spots
                    .iter()
                    .enumerate()
                    .filter(move |(_, spot)| **spot as usize == place)
            };
            if is_product {
                let mut others = if skip.is_none() { 1.0 } else { own[place] };
                for (number, _) in here() {
                    if Some(number) != skip {
                        others *= elements[number];
                    }
                }
                return others;
            }
            if value != results[place] {
                return 0.0;
            }
            let winners = here()
                .filter(|(number, _)| elements[*number] == results[place])
                .count()
                + usize::from(own[place] == results[place]);
            1.0 / winners as f64
        };
        let mut given = back.value(x).clone();
        given.iter_mut().enumerate().for_each(|(place, slot)| {
            *slot = gradients[place] * slope(place, own[place], None);
        });
        back.give(x, given);
        let mut given = back.value(source).clone();
        given.iter_mut().enumerate().for_each(|(number, slot)| {
            let place = spots[number] as usize;
            *slot = gradients[place] * slope(place, elements[number], Some(number));
        });
        back.give(source, given);
    })
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        let index = &[(-2.0, 2.0), (0.0, 3.0), (-2.0, 2.0)];
        check(&[
            ("scatter_add([4, 3], int64 [2, 3], [2, 3], dim=0)", index),
            ("scatter_add([4, 5], int64 [4, 2], [4, 3], dim=1)", index),
            ("scatter([4, 3], int64 [1, 3], [1, 3], dim=0)", index),
            ("index_add([4, 3], int64 [2], [2, 3], dim=0)", index),
            ("index_copy([4, 3], int64 [1], [1, 3], dim=0)", index),
            ("index_fill([4, 3], int64 [2], dim=0, value=0.5)", index),
            (
                "index_put([4, 3], [3], int64 [1])",
                &[(-2.0, 2.0), (-2.0, 2.0), (0.0, 3.0)],
            ),
            (
                "index_put([4, 3], [2, 3], int64 [2], accumulate=true)",
                &[(-2.0, 2.0), (-2.0, 2.0), (0.0, 3.0)],
            ),
            (
                "scatter_reduce([4, 3], int64 [2, 3], [2, 3], dim=0, reduce='sum')",
                index,
            ),
            (
                "scatter_reduce([4, 3], int64 [2, 3], [2, 3], dim=0, reduce='mean')",
                index,
            ),
            (
                "scatter_reduce([4, 3], int64 [2, 3], [2, 3], dim=0, reduce='amax')",
                index,
            ),
            (
                "scatter_reduce([4, 3], int64 [2, 3], [2, 3], dim=0, reduce='amin')",
                index,
            ),
            (
                "scatter_reduce([4, 3], int64 [2, 3], [2, 3], dim=0, reduce='prod')",
                index,
            ),
        ]);
    }
}
