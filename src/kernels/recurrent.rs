//! Recurrent networks: cells over steps, in layers and directions.

use super::cell::{Cell, product, step};
use super::dropout::drawn;
use super::registry::{Kernel, Results, kernel};
use super::{Array, Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("rnn", |tape, call, given| {
        network(
            tape,
            call,
            given.need(0)?,
            [given.get(1), None],
            given.from(2),
            2,
        )
    }),
    kernel("lstm", |tape, call, given| {
        let states = [given.get(1), given.get(2)];
        network(tape, call, given.need(0)?, states, given.from(3), 3)
    }),
    kernel("gru", |tape, call, given| {
        network(
            tape,
            call,
            given.need(0)?,
            [given.get(1), None],
            given.from(2),
            2,
        )
    }),
];

/// The weights of one direction of one layer.
struct Weights {
    input: Var,
    hidden: Var,
    biases: [Option<Var>; 2],
    projection: Option<Var>,
}

fn network(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    initial: [Option<Var>; 2],
    weights: Vec<Var>,
    outputs: usize,
) -> Result<Results, KernelError> {
    let cell = Cell::of(call);
    let unbatched = tape.sizes(x).len() == 2;
    let batch_first = call.boolean("batch_first") && !unbatched;
    let mut x = x;
    if unbatched {
        let sizes = tape.sizes(x);
        x = tape.reshape(x, &[sizes[0], 1, sizes[1]])?;
    } else if batch_first {
        x = tape.transpose(x, 0, 1);
    }
    let (steps, batch) = (tape.sizes(x)[0], tape.sizes(x)[1]);
    let layers = call.size("num_layers")?.max(1) as usize;
    let directions = 1 + usize::from(call.boolean("bidirectional"));
    let hidden = call.size("hidden_size")? as usize;
    let projected = match cell {
        Cell::Lstm => call.size("proj_size")? as usize,
        _ => 0,
    };
    let state = if projected > 0 { projected } else { hidden };
    let biased = call.boolean("bias");
    let cut = match call.size("bptt")? as usize {
        0 => steps,
        cut => cut,
    };
    if cut < steps {
        tape.by_convention("the gradient is cut off after `bptt` steps");
    }
    let mut weights = weights.into_iter();
    let mut missing = || {
        weights
            .next()
            .ok_or_else(|| KernelError::new("a weight is missing"))
    };
    let zero = |tape: &mut Tape, name: &'static str, width: usize| {
        let zeros = tape.constant(Array::zeros(vec![layers * directions, batch, width]));
        tape.keep(Kept::Extra(name), zeros)
    };
    let starts = [
        match initial[0] {
            Some(state) => Some(state),
            None => Some(zero(tape, "initial state", state)),
        },
        match (cell, initial[1]) {
            (Cell::Lstm, Some(state)) => Some(state),
            (Cell::Lstm, None) => Some(zero(tape, "initial cell", hidden)),
            _ => None,
        },
    ];
    let p = call.float("dropout").unwrap_or(0.0);
    let masks = (call.training && p > 0.0 && layers > 1).then(|| {
        let mask = drawn(tape, &[layers - 1, steps, batch, state * directions], p);
        let mask = tape.constant(mask);
        tape.keep(Kept::Extra("dropout mask"), mask)
    });
    let mut ends: [Vec<Var>; 2] = [Vec::new(), Vec::new()];
    for layer in 0..layers {
        let mut sides = Vec::new();
        for direction in 0..directions {
            let weights = Weights {
                input: missing()?,
                hidden: missing()?,
                biases: match biased {
                    true => [Some(missing()?), Some(missing()?)],
                    false => [None, None],
                },
                projection: match projected > 0 {
                    true => Some(missing()?),
                    false => None,
                },
            };
            let number = layer * directions + direction;
            let start = |tape: &mut Tape, state: Option<Var>| -> Result<Option<Var>, KernelError> {
                let Some(state) = state else { return Ok(None) };
                let width = tape.sizes(state).last().copied().unwrap_or(1);
                let part = tape.narrow(state, 0, number, 1);
                tape.reshape(part, &[batch, width]).map(Some)
            };
            let h = start(tape, starts[0])?;
            let c = start(tape, starts[1])?;
            let (Some(h), c) = (h, c) else {
                return Err(KernelError::new("a state is missing"));
            };
            let order: Vec<usize> = match direction {
                0 => (0..steps).collect(),
                _ => (0..steps).rev().collect(),
            };
            let (made, last) =
                direction_of(tape, cell, x, [h, c.unwrap_or(h)], &weights, &order, cut)?;
            sides.push(made);
            ends[0].push(last[0]);
            ends[1].push(last[1]);
        }
        x = match sides.as_slice() {
            [one] => *one,
            both => tape.concatenate(both, 2)?,
        };
        if let (Some(masks), true) = (masks, layer + 1 < layers) {
            let mask = tape.narrow(masks, 0, layer, 1);
            let sizes = tape.sizes(x);
            let mask = tape.reshape(mask, &sizes)?;
            let kept = tape.multiply(x, mask)?;
            x = tape.scale(kept, 1.0 / (1.0 - p));
        }
    }
    let mut results = Results::new();
    results.push(if unbatched {
        let sizes = tape.sizes(x);
        tape.reshape(x, &[sizes[0], sizes[2]])?
    } else if batch_first {
        tape.transpose(x, 0, 1)
    } else {
        x
    });
    for states in ends.iter().take(outputs - 1) {
        let mut stacked = Vec::new();
        for &state in states {
            let mut sizes = tape.sizes(state);
            sizes.insert(0, 1);
            stacked.push(tape.reshape(state, &sizes)?);
        }
        let all = tape.concatenate(&stacked, 0)?;
        results.push(tape.dropped(all, &[1], !unbatched)?);
    }
    Ok(results)
}

/// One direction over all steps: the states that it shows, in the order of time, and the last ones.
fn direction_of(
    tape: &mut Tape,
    cell: Cell,
    x: Var,
    [mut h, mut c]: [Var; 2],
    weights: &Weights,
    order: &[usize],
    cut: usize,
) -> Result<(Var, [Var; 2]), KernelError> {
    let sizes = tape.sizes(x);
    let mut shown = vec![h; order.len()];
    for (number, &at) in order.iter().enumerate() {
        // The gradient of what is shown at the end goes back `cut` steps and no further.
        if number > 0 && number == order.len().saturating_sub(cut) {
            h = tape.detach(h);
            c = tape.detach(c);
        }
        let rows = tape.narrow(x, 0, at, 1);
        let rows = tape.reshape(rows, &sizes[1..])?;
        let input = product(tape, rows, weights.input, weights.biases[0])?;
        let recurrent = product(tape, h, weights.hidden, weights.biases[1])?;
        let made = step(tape, cell, input, recurrent, [h, c])?;
        (h, c) = (made[0], made[1]);
        if let Some(projection) = weights.projection {
            h = product(tape, h, projection, None)?;
        }
        let mut one = tape.sizes(h);
        one.insert(0, 1);
        shown[at] = tape.reshape(h, &one)?;
    }
    Ok((tape.concatenate(&shown, 0)?, [h, c]))
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in ["rnn", "lstm", "gru"] {
            check(&[
                (&format!("{name}([4, 2, 3], hidden_size=5)"), &[]),
                (
                    &format!("{name}([2, 4, 3], hidden_size=5, batch_first=true, num_layers=2)"),
                    &[],
                ),
                (
                    &format!("{name}([4, 2, 3], hidden_size=5, bidirectional=true, bias=false)"),
                    &[],
                ),
                (&format!("{name}([4, 3], hidden_size=5)"), &[]),
                (&format!("{name}([4, 2, 3]!, hidden_size=5)"), &[]),
                (
                    &format!("{name}([4, 2, 3], hidden_size=5, num_layers=2, dropout=0.3)"),
                    &[],
                ),
                (&format!("{name}([4, 2, 3], hidden_size=5, bptt=2)"), &[]),
            ]);
        }
        check(&[
            ("rnn([4, 2, 3], hidden_size=5, nonlinearity='relu')", &[]),
            ("rnn([4, 2, 3], [1, 2, 5], hidden_size=5)", &[]),
            ("lstm([4, 2, 3], [1, 2, 5], [1, 2, 5], hidden_size=5)", &[]),
            ("lstm([4, 2, 3], hidden_size=5, proj_size=2)", &[]),
        ]);
    }
}
