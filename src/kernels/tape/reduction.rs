//! Primitives that reduce axes.

use ndarray::{ArrayViewMut1, Axis, IxDyn};

use super::number::round;
use super::{Array, KernelError, Kind, Tape, Var};
use crate::tensor::Dtype;

/// The sum of a lane in the type of accumulation, added up in pairs of halves down to runs of 128,
/// as NumPy and PyTorch do on a CPU.
pub fn pairwise(lane: &[f64], accumulate: Dtype) -> f64 {
    if lane.len() <= 128 {
        return lane
            .iter()
            .fold(0.0, |sum, &element| round(accumulate, sum + element));
    }
    let (left, right) = lane.split_at(lane.len() / 2);
    let sum = pairwise(left, accumulate) + pairwise(right, accumulate);
    round(accumulate, sum)
}

/// Calls `f` with each lane of elements along `axes`, in row-major order of the other axes, and
/// gives the results in the shape with those axes of size 1.
pub fn lanes(array: &Array, axes: &[usize], mut f: impl FnMut(&[f64]) -> f64) -> Array {
    let rank = array.ndim();
    let kept = (0..rank).filter(|axis| !axes.contains(axis));
    let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
    let reduced = |axis: usize| axes.contains(&axis);
    let sizes: Vec<usize> = (0..rank)
        .map(|axis| {
            if reduced(axis) {
                1
            } else {
                array.shape()[axis]
            }
        })
        .collect();
    let length: usize = axes.iter().map(|&axis| array.shape()[axis]).product();
    let elements = super::places::row_major(array.view().permuted_axes(IxDyn(&order)));
    let count: usize = sizes.iter().product();
    let results: Vec<f64> = (0..count)
        .map(|lane| f(&elements[lane * length..(lane + 1) * length]))
        .collect();
    Array::from_shape_vec(IxDyn(&sizes), results)
        .unwrap_or_else(|_| Array::from_elem(IxDyn(&sizes), f64::NAN))
}

/// The greatest element of a lane; NaN if there is one.
pub fn greatest_of<'a>(lane: impl IntoIterator<Item = &'a f64>) -> f64 {
    lane.into_iter().fold(f64::NEG_INFINITY, |most, &element| {
        match element.is_nan() || element > most {
            true => element,
            false => most,
        }
    })
}

impl Tape {
    /// The sum over axes, which stay with size 1 if `keep`. Needs no value on the way back.
    ///
    /// # Errors
    /// None that a caller with valid axes sees.
    pub fn sum(&mut self, x: Var, axes: &[usize], keep: bool) -> Result<Var, KernelError> {
        let accumulate = self.arithmetic().accumulate;
        let value = lanes(self.value(x), axes, |lane| pairwise(lane, accumulate));
        self.count_many(Kind::Add, self.value(x).len());
        let sum = self.push(value, &[x], move |back, gradient| {
            let sizes = back.value(x).raw_dim();
            if let Some(spread) = gradient.broadcast(sizes) {
                back.give(x, spread.to_owned());
            }
        });
        self.dropped(sum, axes, keep)
    }

    /// The mean over axes.
    ///
    /// # Errors
    /// None that a caller with valid axes sees.
    pub fn mean(&mut self, x: Var, axes: &[usize], keep: bool) -> Result<Var, KernelError> {
        let count = self.lane_length(x, axes);
        let sum = self.sum(x, axes, keep)?;
        Ok(self.map(sum, move |sum| sum / count, move |_, _| 1.0 / count))
    }

    /// The greatest element over axes, and no gradient: what softmax subtracts.
    ///
    /// # Errors
    /// None that a caller with valid axes sees.
    pub fn greatest(&mut self, x: Var, axes: &[usize], keep: bool) -> Result<Var, KernelError> {
        let value = lanes(self.value(x), axes, |lane| greatest_of(lane));
        self.count_many(Kind::Function, self.value(x).len());
        let result = self.constant(value);
        self.dropped(result, axes, keep)
    }

    /// Removes axes of size 1, unless they are to be kept.
    ///
    /// # Errors
    /// None that a caller with valid axes sees.
    pub fn dropped(&mut self, x: Var, axes: &[usize], keep: bool) -> Result<Var, KernelError> {
        if keep {
            return Ok(x);
        }
        let sizes = self.sizes(x).into_iter().enumerate();
        let left: Vec<usize> = sizes
            .filter(|(axis, _)| !axes.contains(axis))
            .map(|(_, size)| size)
            .collect();
        self.reshape(x, &left)
    }

    /// How many elements are reduced to one.
    pub fn lane_length(&self, x: Var, axes: &[usize]) -> f64 {
        let sizes = self.value(x).shape();
        axes.iter().map(|&axis| sizes[axis] as f64).product()
    }

    /// Softmax along an axis; its derivative follows from its result.
    pub fn softmax(&mut self, x: Var, axis: usize) -> Var {
        let value = self.along(x, axis, |mut lane| {
            let most = greatest_of(&lane);
            lane.mapv_inplace(|element| (element - most).exp());
            let sum: f64 = lane.iter().sum();
            lane.mapv_inplace(|element| element / sum);
        });
        self.count_many(Kind::Function, 2 * value.len());
        self.count_many(Kind::Add, 2 * value.len());
        self.count_many(Kind::Multiply, value.len());
        let result = self.next();
        self.push(value, &[x], move |back, gradient| {
            let value = back.value(result);
            let mut given = gradient * value;
            let sums = given.sum_axis(Axis(axis)).insert_axis(Axis(axis));
            given -= &(value * &sums);
            back.count_many(Kind::Multiply, 2 * given.len());
            back.count_many(Kind::Add, 2 * given.len());
            back.give(x, given);
        })
    }

    /// Logarithm of softmax along an axis; its derivative follows from its result.
    pub fn log_softmax(&mut self, x: Var, axis: usize) -> Var {
        let value = self.along(x, axis, |mut lane| {
            let most = greatest_of(&lane);
            let sum: f64 = lane.iter().map(|element| (element - most).exp()).sum();
            let log = sum.ln() + most;
            lane.mapv_inplace(|element| element - log);
        });
        self.count_many(Kind::Function, 2 * value.len());
        self.count_many(Kind::Add, 3 * value.len());
        let result = self.next();
        self.push(value, &[x], move |back, gradient| {
            let sums = gradient.sum_axis(Axis(axis)).insert_axis(Axis(axis));
            let given = gradient - &(back.value(result).mapv(f64::exp) * &sums);
            back.count_many(Kind::Function, given.len());
            back.count_many(Kind::Multiply, given.len());
            back.count_many(Kind::Add, 2 * given.len());
            back.give(x, given);
        })
    }

    /// Mean and variance over axes (which stay with size 1), the variance with `correction` degrees
    /// of freedom taken off, by the two-pass formula.
    ///
    /// # Errors
    /// None that a caller with valid axes sees.
    pub fn moments(
        &mut self,
        x: Var,
        axes: &[usize],
        correction: f64,
    ) -> Result<(Var, Var), KernelError> {
        let divisor = (self.lane_length(x, axes) - correction).max(0.0);
        let mean = self.mean(x, axes, true)?;
        let centred = self.subtract(x, mean)?;
        let squares = self.square(centred);
        let sum = self.sum(squares, axes, true)?;
        let variance = self.map(sum, move |sum| sum / divisor, move |_, _| 1.0 / divisor);
        Ok((mean, variance))
    }

    /// A copy of a value, with each lane along an axis changed.
    fn along(&self, x: Var, axis: usize, change: impl FnMut(ArrayViewMut1<f64>)) -> Array {
        let mut value = self.value(x).clone();
        if value.ndim() == 0 {
            // A tensor without axes is a lane of one.
            let mut lane = value.clone().insert_axis(Axis(0));
            lane.lanes_mut(Axis(0)).into_iter().for_each(change);
            return lane.remove_axis(Axis(0));
        }
        value.lanes_mut(Axis(axis)).into_iter().for_each(change);
        value
    }
}
