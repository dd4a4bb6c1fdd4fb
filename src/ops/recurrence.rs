//! Mean-field dynamics of recurrent cells: the variance of the state over time, and by how much a
//! gradient grows or shrinks over one step back.
//!
//! Weights, states and inputs are taken to be independent, and what enters a gate to be normal, as
//! by Schoenholz et al. 2017 for deep and by Chen et al. 2018 for recurrent networks. That holds
//! near the usual initialisations; where recurrent weights are so large that gates stay open or
//! shut for many steps, states are larger than said here.

use super::gaussian::{expectation, expectation_of_two};
use crate::tensor::Moments;

/// Steps after which the state is taken to have settled.
const STEPS: u64 = 24;

/// What a cell computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// `tanh(W x + U h)`.
    Tanh,
    /// `relu(W x + U h)`.
    Relu,
    /// Long short-term memory.
    Lstm,
    /// Gated recurrent unit.
    Gru,
}

impl Cell {
    /// How many products with weights of the hidden size a step takes.
    pub fn gates(self) -> u64 {
        match self {
            Cell::Tanh | Cell::Relu => 1,
            Cell::Gru => 3,
            Cell::Lstm => 4,
        }
    }
}

/// What enters a cell, in second moments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drive {
    /// Variance of `W x + b` of one gate.
    pub input: f64,
    /// Factor from `E[h²]` to the variance of `U h` of one gate: the size of `h` times `E[U²]`.
    pub recurrent: f64,
    /// Factor from the mean square of the gradient of a gate to that of `x`: the hidden size times
    /// `E[W²]`.
    pub backward: f64,
}

/// A state that has settled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settled {
    /// Mean and variance of the hidden state.
    pub state: Moments,
    /// Factor of the mean square of a gradient over one step back in time.
    pub step_gain: f64,
    /// Factor of the mean square of a gradient from the hidden state to the input of that step.
    pub input_gain: f64,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn sigmoid_slope(x: f64) -> f64 {
    sigmoid(x) * (1.0 - sigmoid(x))
}

fn tanh_slope(x: f64) -> f64 {
    1.0 - x.tanh().powi(2)
}

fn normal(variance: f64) -> Moments {
    Moments::new(0.0, variance)
}

/// `E[f(x)²]` for normal `x` of mean 0.
fn square(variance: f64, f: impl Fn(f64) -> f64) -> f64 {
    expectation(normal(variance), |x| f(x).powi(2))
}

/// The state after `steps` steps, or once it has settled; `None` where it runs away.
pub fn settle(cell: Cell, drive: Drive, steps: u64) -> Option<Settled> {
    let steps = steps.clamp(1, STEPS);
    let settled = match cell {
        Cell::Tanh => simple(drive, steps, f64::tanh, tanh_slope),
        Cell::Relu => simple(
            drive,
            steps,
            |x| x.max(0.0),
            |x| if x > 0.0 { 1.0 } else { 0.0 },
        ),
        Cell::Lstm => lstm(drive, steps),
        Cell::Gru => gru(drive, steps),
    };
    let finite = [
        settled.state.mean,
        settled.state.variance,
        settled.step_gain,
        settled.input_gain,
    ];
    finite
        .iter()
        .all(|value| value.is_finite())
        .then_some(settled)
}

fn simple(
    drive: Drive,
    steps: u64,
    activation: impl Fn(f64) -> f64,
    slope: impl Fn(f64) -> f64,
) -> Settled {
    let (mut state, mut gate) = (Moments::constant(0.0), drive.input);
    for _ in 0..steps {
        gate = drive.input + drive.recurrent * state.square();
        let mean = expectation(normal(gate), &activation);
        let square = square(gate, &activation);
        state = Moments::new(mean, square - mean * mean);
    }
    let slope = square(gate, slope);
    Settled {
        state,
        step_gain: drive.recurrent * slope,
        input_gain: drive.backward * slope,
    }
}

/// `c' = f·c + i·g`, `h = o·tanh(c')`.
fn lstm(drive: Drive, steps: u64) -> Settled {
    let (mut hidden, mut memory, mut gate) = (0.0, 0.0, drive.input);
    let (mut open, mut candidate) = (0.25, 0.0);
    let mut before = 0.0;
    for _ in 0..steps {
        gate = drive.input + drive.recurrent * hidden;
        open = square(gate, sigmoid);
        candidate = square(gate, f64::tanh);
        before = memory;
        memory = open * memory + open * candidate;
        hidden = open * square(memory, f64::tanh);
    }
    let slope = square(gate, sigmoid_slope);
    // From c' to the gates f, i, g, and from h to the gate o and to c'.
    let to_gates = slope * before + slope * candidate + open * square(gate, tanh_slope);
    let to_output = slope * square(memory, f64::tanh);
    let to_memory = open * square(memory, tanh_slope);
    // The gradients of h and c one step back, as a matrix on those of this step: its greatest
    // eigenvalue is the growth.
    let (a, b) = (drive.recurrent * to_output, drive.recurrent * to_gates);
    let trace = a + open + to_memory * b;
    let determinant = a * open;
    let step_gain = (trace + (trace * trace - 4.0 * determinant).max(0.0).sqrt()) / 2.0;
    Settled {
        state: normal(hidden),
        step_gain,
        input_gain: drive.backward * (to_output + to_memory * to_gates),
    }
}

/// `n = tanh(W x + r·(U h))`, `h' = (1 − z)·n + z·h`.
fn gru(drive: Drive, steps: u64) -> Settled {
    let (mut hidden, mut gate, mut candidate) = (0.0, drive.input, 0.0);
    let mut before = 0.0;
    for _ in 0..steps {
        before = hidden;
        gate = drive.input + drive.recurrent * hidden;
        let open = square(gate, sigmoid);
        candidate = drive.input + open * drive.recurrent * hidden;
        let shut = square(gate, |z| 1.0 - sigmoid(z));
        hidden = shut * square(candidate, f64::tanh) + open * hidden;
    }
    let open = square(gate, sigmoid);
    let slope = square(gate, sigmoid_slope);
    let kept = expectation_of_two(normal(gate), normal(candidate), |z, n| {
        ((1.0 - sigmoid(z)) * tanh_slope(n)).powi(2)
    });
    let update = slope * (square(candidate, f64::tanh) + before);
    let reset = kept * slope * drive.recurrent * before;
    Settled {
        state: normal(hidden),
        step_gain: open + drive.recurrent * (update + reset + kept * open),
        input_gain: drive.backward * (update + reset + kept),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::Random;
    use super::*;

    /// Runs a cell of that size on random weights and inputs, twice, from states that differ a
    /// little, and returns the mean square of the state and the growth of the difference per step.
    fn sample(cell: Cell, size: usize, weight: f64, input: f64, steps: usize) -> (f64, f64) {
        let mut random = Random(17);
        let gates = cell.gates() as usize;
        let matrix: Vec<f64> = (0..gates * size * size)
            .map(|_| random.normal() * weight)
            .collect();
        let step = |state: &(Vec<f64>, Vec<f64>), drive: &[f64]| {
            let recurrent: Vec<f64> = (0..gates * size)
                .map(|row| {
                    let weights = &matrix[row * size..(row + 1) * size];
                    weights
                        .iter()
                        .zip(&state.0)
                        .map(|(w, h)| w * h)
                        .sum::<f64>()
                })
                .collect();
            let gate = |at: usize, k: usize| drive[at * size + k] + recurrent[at * size + k];
            (0..size)
                .map(|k| match cell {
                    Cell::Tanh => (gate(0, k).tanh(), 0.0),
                    Cell::Relu => (gate(0, k).max(0.0), 0.0),
                    Cell::Lstm => {
                        let memory = sigmoid(gate(0, k)) * state.1[k]
                            + sigmoid(gate(1, k)) * gate(2, k).tanh();
                        (sigmoid(gate(3, k)) * memory.tanh(), memory)
                    }
                    Cell::Gru => {
                        let z = sigmoid(gate(0, k));
                        let n = drive[2 * size + k] + sigmoid(gate(1, k)) * recurrent[2 * size + k];
                        ((1.0 - z) * n.tanh() + z * state.0[k], 0.0)
                    }
                })
                .unzip()
        };
        let mut state = (vec![0.0; size], vec![0.0; size]);
        let mut drive = || {
            (0..gates * size)
                .map(|_| random.normal() * input)
                .collect::<Vec<_>>()
        };
        for _ in 0..40 {
            state = step(&state, &drive());
        }
        let mut other: (Vec<f64>, Vec<f64>) = state.clone();
        let mut nudge = Random(3);
        other.0.iter_mut().for_each(|h| *h += nudge.normal() * 1e-7);
        let distance = |a: &(Vec<f64>, Vec<f64>), b: &(Vec<f64>, Vec<f64>)| -> f64 {
            let part = |x: &[f64], y: &[f64]| -> f64 {
                x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum()
            };
            part(&a.0, &b.0) + part(&a.1, &b.1)
        };
        // The first steps turn the difference towards where it grows most.
        for _ in 0..3 {
            let drive = drive();
            (state, other) = (step(&state, &drive), step(&other, &drive));
        }
        let (start, mut squares) = (distance(&state, &other), 0.0);
        for _ in 0..steps {
            let drive = drive();
            (state, other) = (step(&state, &drive), step(&other, &drive));
            squares += state.0.iter().map(|h| h * h).sum::<f64>() / (size * steps) as f64;
        }
        (
            squares,
            (distance(&state, &other) / start).powf(1.0 / steps as f64),
        )
    }

    #[test]
    fn the_mean_field_agrees_with_random_cells() {
        let (size, input) = (150, 0.7);
        for (cell, weight) in [
            (Cell::Tanh, 0.05),
            (Cell::Tanh, 0.12),
            (Cell::Relu, 0.08),
            (Cell::Lstm, 0.05),
            (Cell::Lstm, 0.1),
            (Cell::Gru, 0.05),
            (Cell::Gru, 0.1),
        ] {
            let drive = Drive {
                input: input * input,
                recurrent: size as f64 * weight * weight,
                backward: 1.0,
            };
            let settled = settle(cell, drive, 1000).unwrap();
            let (squares, growth) = sample(cell, size, weight, input, 6);
            let state = settled.state.square() / squares;
            let gain = settled.step_gain / growth;
            assert!(
                (0.85..1.15).contains(&state),
                "{cell:?} {weight}: {state} of {squares}"
            );
            assert!(
                (0.7..1.4).contains(&gain),
                "{cell:?} {weight}: {gain} of {growth}"
            );
        }
    }

    #[test]
    fn a_state_that_runs_away_is_unknown() {
        let drive = Drive {
            input: 1.0,
            recurrent: 1e20,
            backward: 1.0,
        };
        assert_eq!(settle(Cell::Relu, drive, 100), None);
    }
}
