//! One step of a recurrent network.

use smallvec::smallvec;

use super::registry::{Kernel, Results, kernel, one};
use super::tape::contraction::Labels;
use super::{Array, Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("rnn_cell", |tape, call, given| {
        let state = given.get(1);
        let weights = [given.get(2), given.get(3), given.get(4), given.get(5)];
        let [next, _] = cell(tape, call, given.need(0)?, [state, None], weights)?;
        one(next)
    }),
    kernel("lstm_cell", |tape, call, given| {
        let states = [given.get(1), given.get(2)];
        let weights = [given.get(3), given.get(4), given.get(5), given.get(6)];
        let states = cell(tape, call, given.need(0)?, states, weights)?;
        Ok(Results::from_slice(&states))
    }),
    kernel("gru_cell", |tape, call, given| {
        let state = given.get(1);
        let weights = [given.get(2), given.get(3), given.get(4), given.get(5)];
        let [next, _] = cell(tape, call, given.need(0)?, [state, None], weights)?;
        Ok(smallvec![next])
    }),
];

/// The kind of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// `tanh(W x + U h)`.
    Tanh,
    /// `relu(W x + U h)`.
    Relu,
    /// Hochreiter and Schmidhuber's, with a forget gate.
    Lstm,
    /// Cho's, as cuDNN has it: the reset gate acts on the product.
    Gru,
}

impl Cell {
    /// The kind that a call names.
    pub(super) fn of(call: &Call) -> Cell {
        match call.op.name {
            "lstm" | "lstm_cell" => Cell::Lstm,
            "gru" | "gru_cell" => Cell::Gru,
            _ if call.text("nonlinearity").as_deref() == Some("relu") => Cell::Relu,
            _ => Cell::Tanh,
        }
    }
}

fn cell(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    states: [Option<Var>; 2],
    [input, hidden, bias_input, bias_hidden]: [Option<Var>; 4],
) -> Result<[Var; 2], KernelError> {
    let (Some(input), Some(hidden)) = (input, hidden) else {
        return Err(KernelError::new("a cell needs its weights"));
    };
    let unbatched = tape.sizes(x).len() == 1;
    let rows = |tape: &mut Tape, x: Var| -> Result<Var, KernelError> {
        let mut sizes = tape.sizes(x);
        if unbatched {
            sizes.insert(0, 1);
        }
        tape.reshape(x, &sizes)
    };
    let x = rows(tape, x)?;
    let batch = tape.sizes(x)[0];
    let width = tape.sizes(hidden)[1];
    let first = |tape: &mut Tape, state: Option<Var>| match state {
        Some(state) => rows(tape, state),
        None => {
            let zeros = tape.constant(Array::zeros(vec![batch, width]));
            Ok(tape.keep(Kept::Extra("initial state"), zeros))
        }
    };
    let h = first(tape, states[0])?;
    let c = first(tape, states[1])?;
    let inner = product(tape, x, input, bias_input)?;
    let inner = tape.keep(Kept::Extra("input gates"), inner);
    let recurrent = product(tape, h, hidden, bias_hidden)?;
    let recurrent = tape.keep(Kept::Extra("hidden gates"), recurrent);
    let made = step(tape, Cell::of(call), inner, recurrent, [h, c])?;
    let mut result = made;
    for state in &mut result {
        *state = tape.dropped(*state, &[0], !unbatched)?;
    }
    Ok(result)
}

/// `x Wᵀ + b` of rows.
pub(super) fn product(
    tape: &mut Tape,
    x: Var,
    weight: Var,
    bias: Option<Var>,
) -> Result<Var, KernelError> {
    let product = tape.contract(x, weight, Labels::letters("rf", "of", "ro"))?;
    super::norm::affine(tape, product, None, bias)
}

/// The next states of rows, from the products with the input and with the state, and the states.
pub(super) fn step(
    tape: &mut Tape,
    cell: Cell,
    input: Var,
    recurrent: Var,
    [h, c]: [Var; 2],
) -> Result<[Var; 2], KernelError> {
    if matches!(cell, Cell::Tanh | Cell::Relu) {
        let sum = tape.add(input, recurrent)?;
        let next = match cell {
            Cell::Relu => tape.map(
                sum,
                |x| x.max(0.0),
                |_, y| if y > 0.0 { 1.0 } else { y * 0.0 },
            ),
            _ => tape.tanh(sum),
        };
        return Ok([next, c]);
    }
    let gates = if cell == Cell::Gru { 3 } else { 4 };
    let width = tape.sizes(input)[1] / gates;
    if cell == Cell::Lstm {
        let sum = tape.add(input, recurrent)?;
        let mut part = |at: usize| tape.narrow(sum, 1, at * width, width);
        let (i, f, g, o) = (part(0), part(1), part(2), part(3));
        let (i, f, o) = (tape.sigmoid(i), tape.sigmoid(f), tape.sigmoid(o));
        let g = tape.tanh(g);
        let kept = tape.multiply(f, c)?;
        let new = tape.multiply(i, g)?;
        let c = tape.add(kept, new)?;
        let shown = tape.tanh(c);
        return Ok([tape.multiply(o, shown)?, c]);
    }
    let mut gate = |at: usize| -> Result<Var, KernelError> {
        let a = tape.narrow(input, 1, at * width, width);
        let b = tape.narrow(recurrent, 1, at * width, width);
        let sum = tape.add(a, b)?;
        Ok(tape.sigmoid(sum))
    };
    let (reset, update) = (gate(0)?, gate(1)?);
    let candidate = tape.narrow(input, 1, 2 * width, width);
    let old = tape.narrow(recurrent, 1, 2 * width, width);
    let old = tape.multiply(reset, old)?;
    let candidate = tape.add(candidate, old)?;
    let candidate = tape.tanh(candidate);
    let difference = tape.subtract(h, candidate)?;
    let change = tape.multiply(update, difference)?;
    let next = tape.add(candidate, change)?;
    Ok([next, c])
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("rnn_cell([3, 4], hidden_size=5)", &[]),
            (
                "rnn_cell([3, 4], [3, 5], hidden_size=5, nonlinearity='relu')",
                &[],
            ),
            ("lstm_cell([3, 4], hidden_size=5)", &[]),
            (
                "lstm_cell([3, 4], [3, 5], [3, 5], hidden_size=5, bias=false)",
                &[],
            ),
            ("lstm_cell([4], hidden_size=5)", &[]),
            ("gru_cell([3, 4], hidden_size=5)", &[]),
            ("gru_cell([3, 4], [3, 5], hidden_size=5)", &[]),
        ]);
    }
}
