//! Primitives that move elements: reshaping, permuting, and gathering by places.
//!
//! A place is the number of an element in the row-major order of a tensor, held as a float64; a
//! negative one is outside, NaN one that is not known.

use ndarray::{ArrayViewD, Axis, IxDyn};

use super::pointwise::{gather_broadcast, spread};
use super::{Array, KernelError, Kind, Tape, Var};

/// The elements in row-major order. What lies in another order is copied first: ndarray walks such
/// arrays of many axes slowly.
pub fn row_major(view: ArrayViewD<'_, f64>) -> Vec<f64> {
    let standard = view.as_standard_layout();
    match standard.as_slice() {
        Some(elements) => elements.to_vec(),
        None => standard.iter().copied().collect(),
    }
}

/// An array in another shape, in row-major order.
pub fn reshaped(array: &Array, sizes: &[usize]) -> Array {
    let elements = row_major(array.view());
    // The callers see to it that the numbers of elements agree.
    Array::from_shape_vec(IxDyn(sizes), elements)
        .unwrap_or_else(|_| Array::from_elem(IxDyn(sizes), f64::NAN))
}

/// The places of all elements of a tensor of those sizes, as a tensor of those sizes.
pub fn places_of(sizes: &[usize]) -> Array {
    let mut next = -1.0;
    Array::from_shape_simple_fn(IxDyn(sizes), || {
        next += 1.0;
        next
    })
}

/// The elements of `array` at those places; `fill` outside.
pub fn picked(array: &Array, places: &Array, fill: f64) -> Array {
    let standard = array.as_standard_layout();
    let elements = standard.as_slice().unwrap_or_default();
    places.mapv(|place| {
        if place.is_nan() {
            f64::NAN
        } else if place < 0.0 {
            fill
        } else {
            elements.get(place as usize).copied().unwrap_or(f64::NAN)
        }
    })
}

/// Sums the elements of `array` into a tensor of those sizes at their places.
pub fn scattered(array: &Array, places: &Array, sizes: &[usize]) -> Array {
    let mut sums = vec![0.0; sizes.iter().product()];
    for (&element, &place) in array.iter().zip(places) {
        if place.is_nan() {
            return Array::from_elem(IxDyn(sizes), f64::NAN);
        }
        if place >= 0.0
            && let Some(sum) = sums.get_mut(place as usize)
        {
            *sum += element;
        }
    }
    Array::from_shape_vec(IxDyn(sizes), sums)
        .unwrap_or_else(|_| Array::from_elem(IxDyn(sizes), f64::NAN))
}

impl Tape {
    /// The same elements in another shape.
    ///
    /// # Errors
    /// Where the numbers of elements differ.
    pub fn reshape(&mut self, x: Var, sizes: &[usize]) -> Result<Var, KernelError> {
        let from = self.sizes(x);
        if from.iter().product::<usize>() != sizes.iter().product::<usize>() {
            return Err(KernelError::new(format!("{from:?} cannot be {sizes:?}")));
        }
        let value = reshaped(self.value(x), sizes);
        Ok(self.push_moved(value, &[x], move |back, gradient| {
            back.give(x, reshaped(gradient, &from));
        }))
    }

    /// The axes in another order: axis `i` of the result is axis `axes[i]` of `x`.
    pub fn permute(&mut self, x: Var, axes: &[usize]) -> Var {
        let mut inverse = vec![0; axes.len()];
        for (to, &from) in axes.iter().enumerate() {
            inverse[from] = to;
        }
        let turned = self.value(x).view().permuted_axes(IxDyn(axes));
        let value = turned.as_standard_layout().into_owned();
        self.push_moved(value, &[x], move |back, gradient| {
            let turned = gradient.view().permuted_axes(IxDyn(&inverse));
            back.give(x, turned.as_standard_layout().into_owned());
        })
    }

    /// Two axes exchanged.
    pub fn transpose(&mut self, x: Var, first: usize, second: usize) -> Var {
        let mut axes: Vec<usize> = (0..self.value(x).ndim()).collect();
        axes.swap(first, second);
        self.permute(x, &axes)
    }

    /// Repeated along axes of size 1 and new leading ones.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn broadcast(&mut self, x: Var, sizes: &[usize]) -> Result<Var, KernelError> {
        if self.value(x).broadcast(IxDyn(sizes)).is_none() {
            let from = self.sizes(x);
            return Err(KernelError::new(format!("{from:?} cannot be {sizes:?}")));
        }
        let value = spread(self.value(x), sizes);
        Ok(self.push_moved(value, &[x], move |back, gradient| {
            let gradient = gather_broadcast(gradient, back.value(x).shape());
            back.give(x, gradient);
        }))
    }

    /// The elements at those places, in the shape of `places`; `fill` outside. The way back sums.
    pub fn gather(&mut self, x: Var, places: Var, fill: f64) -> Var {
        let value = picked(self.value(x), self.value(places), fill);
        self.push_moved(value, &[x, places], move |back, gradient| {
            let sizes = back.value(x).shape();
            let given = scattered(gradient, back.value(places), sizes);
            back.give(x, given);
        })
    }

    /// Sums elements into a tensor of those sizes, each at its place.
    pub fn scatter_add(&mut self, x: Var, places: Var, sizes: &[usize]) -> Var {
        let value = scattered(self.value(x), self.value(places), sizes);
        self.count_many(Kind::Add, self.value(x).len());
        self.push(value, &[x, places], move |back, gradient| {
            let given = picked(gradient, back.value(places), 0.0);
            back.give(x, given);
        })
    }

    /// Several tensors one behind the other along an axis; the other sizes agree.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn concatenate(&mut self, parts: &[Var], axis: usize) -> Result<Var, KernelError> {
        let views: Vec<_> = parts.iter().map(|&part| self.value(part).view()).collect();
        let value = ndarray::concatenate(Axis(axis), &views)?;
        let owned = parts.to_vec();
        Ok(self.push_moved(value, parts, move |back, gradient| {
            let mut start = 0;
            for &part in &owned {
                let size = back.value(part).shape()[axis];
                let slice = ndarray::Slice::from(start..start + size);
                back.give(part, gradient.slice_axis(Axis(axis), slice).to_owned());
                start += size;
            }
        }))
    }

    /// `length` entries of an axis from `start` on.
    pub fn narrow(&mut self, x: Var, axis: usize, start: usize, length: usize) -> Var {
        let slice = ndarray::Slice::from(start..start + length);
        let value = self.value(x).slice_axis(Axis(axis), slice).to_owned();
        self.push_moved(value, &[x], move |back, gradient| {
            let mut whole = Array::zeros(back.value(x).raw_dim());
            whole.slice_axis_mut(Axis(axis), slice).assign(gradient);
            back.give(x, whole);
        })
    }
}
