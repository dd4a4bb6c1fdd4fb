//! Connectionist temporal classification: the probability of all alignments of labels with steps.

use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// `ln(eᵃ + eᵇ)`, where both may be the logarithm of 0.
fn added(tape: &mut Tape, a: Var, b: Var) -> Result<Var, KernelError> {
    let share = |part: f64, sum: f64| match sum == f64::NEG_INFINITY {
        true => 0.0,
        false => (part - sum).exp(),
    };
    tape.zip(
        super::tape::Kind::Function,
        a,
        b,
        |a, b| {
            let most = a.max(b);
            match most == f64::NEG_INFINITY {
                true => most,
                false => most + ((a - most).exp() + (b - most).exp()).ln(),
            }
        },
        move |a, _, sum| share(a, sum),
        move |_, b, sum| share(b, sum),
    )
}

/// The states of a sample: a blank before, between and behind its labels.
fn states(labels: &[f64], blank: f64) -> Vec<f64> {
    let mut states = vec![blank];
    states.extend(labels.iter().flat_map(|&label| [label, blank]));
    states
}

/// The negative logarithm of the probability of one sample, `[steps, classes]`, by the recursion of
/// Graves and others (2006): a state is reached from itself, from the one before it, and from the
/// label before it over a blank, where that is another label.
fn sample(tape: &mut Tape, logs: Var, labels: &[f64], blank: f64) -> Result<Var, KernelError> {
    let states = states(labels, blank);
    let (steps, classes) = (tape.sizes(logs)[0], tape.sizes(logs)[1]);
    let count = states.len();
    let impossible = f64::NEG_INFINITY;
    let of_step = |tape: &mut Tape, step: usize, open: &dyn Fn(usize) -> bool| {
        let places = Array::from_shape_fn(vec![count], |at| match open(at[0]) {
            true => step as f64 * classes as f64 + states[at[0]],
            false => -1.0,
        });
        let places = tape.constant(places);
        tape.gather(logs, places, impossible)
    };
    let shifted = |tape: &mut Tape, from: Var, by: usize| {
        let places = Array::from_shape_fn(vec![count], |at| {
            let (state, before) = (at[0], at[0].checked_sub(by));
            let skips = by == 2;
            match before {
                Some(before)
                    if skips && (states[state] == blank || states[state] == states[before]) =>
                {
                    -1.0
                }
                Some(before) => before as f64,
                None => -1.0,
            }
        });
        let places = tape.constant(places);
        tape.gather(from, places, impossible)
    };
    let mut alpha = match steps {
        // No step has no state but the one before all labels.
        0 => tape.constant(Array::from_shape_fn(vec![count], |at| {
            if at[0] == 0 { 0.0 } else { impossible }
        })),
        _ => of_step(tape, 0, &|state| state < 2),
    };
    for step in 1..steps {
        let (next, skipped) = (shifted(tape, alpha, 1), shifted(tape, alpha, 2));
        let sum = added(tape, alpha, next)?;
        let sum = added(tape, sum, skipped)?;
        let own = of_step(tape, step, &|_| true);
        alpha = tape.add(sum, own)?;
    }
    let last = tape.narrow(alpha, 0, count - 1, 1);
    let total = match count {
        1 => last,
        _ => {
            let other = tape.narrow(alpha, 0, count - 2, 1);
            added(tape, last, other)?
        }
    };
    Ok(tape.scale(total, -1.0))
}

/// The kernel of `ctc_loss`. Its gradient is the derivative by the logarithms themselves; PyTorch
/// hands out that by what `log_softmax` was given, which goes through `log_softmax` unchanged.
pub(super) fn ctc_loss(
    tape: &mut Tape,
    call: &Call,
    [logs, targets, steps, lengths]: [Var; 4],
) -> Result<Var, KernelError> {
    let sizes = tape.sizes(logs);
    let (batch, classes) = match *sizes {
        [_, classes] => (1, classes),
        _ => (sizes[1], sizes[2]),
    };
    let logs = tape.reshape(logs, &[sizes[0], batch, classes])?;
    let numbers = |tape: &Tape, var: Var| -> Vec<f64> { tape.value(var).iter().copied().collect() };
    let (all, steps, lengths) = (
        numbers(tape, targets),
        numbers(tape, steps),
        numbers(tape, lengths),
    );
    let whole =
        |numbers: &[f64], most: usize| numbers.iter().all(|&n| n >= 0.0 && n <= most as f64);
    let wide = tape.sizes(targets);
    // One sample has its targets in one row, too.
    let row = match (wide.len(), sizes.len()) {
        (2, _) => Some(wide[1]),
        (_, 2) => Some(wide.first().copied().unwrap_or(0)),
        _ => None,
    };
    if !whole(&steps, sizes[0]) {
        return Err(KernelError::outside("a number of steps", sizes[0], "steps"));
    }
    let most = row.unwrap_or(all.len());
    let total: f64 = lengths.iter().sum();
    if !whole(&lengths, most) || (row.is_none() && total > all.len() as f64) {
        return Err(KernelError::outside("a number of labels", most, "labels"));
    }
    if all
        .iter()
        .any(|&class| class < 0.0 || class >= classes as f64)
    {
        return Err(KernelError::outside("a target", classes, "classes"));
    }
    let blank = call.size("blank")? as f64;
    let mut losses = Vec::new();
    let mut start = 0;
    for (number, (&steps, &length)) in steps.iter().zip(&lengths).enumerate() {
        let from = row.map_or(start, |row| number * row);
        let labels = &all[from..from + length as usize];
        start += length as usize;
        let own = tape.narrow(logs, 1, number, 1);
        let own = tape.narrow(own, 0, 0, steps as usize);
        let own = tape.reshape(own, &[steps as usize, classes])?;
        losses.push(sample(tape, own, labels, blank)?);
    }
    let mut losses = tape.concatenate(&losses, 0)?;
    if call.boolean("zero_infinity") {
        let finite = tape.derive(&[losses], |values| {
            values[0].mapv(|loss| f64::from(u8::from(loss.is_finite())))
        });
        let zero = tape.number(0.0);
        losses = tape.select(finite, losses, zero)?;
    }
    match call.text("reduction").as_deref() {
        Some("none") => match sizes.len() {
            2 => tape.reshape(losses, &[]),
            _ => Ok(losses),
        },
        Some("sum") => tape.sum(losses, &[0], false),
        _ => {
            // Each loss counts by its labels.
            let shares = lengths.iter().map(|&length| 1.0 / length.max(1.0));
            let shares = tape.constant(ndarray::Array1::from_iter(shares).into_dyn());
            let shared = tape.multiply(losses, shares)?;
            tape.mean(shared, &[0], false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Arithmetic;

    /// Guards the recursion: the probabilities of all paths that come to the labels, summed.
    #[test]
    fn all_alignments_are_counted() {
        let mut random = fastrand::Rng::with_seed(3);
        for labels in [vec![], vec![1.0], vec![1.0, 2.0], vec![1.0, 1.0]] {
            let (steps, classes) = (4, 3);
            let logs = Array::from_shape_simple_fn(vec![steps, classes], || -3.0 * random.f64());
            let mut total = 0.0;
            for path in 0..classes.pow(steps as u32) {
                let path: Vec<usize> = (0..steps)
                    .map(|step| path / classes.pow(step as u32) % classes)
                    .collect();
                let mut said: Vec<f64> = path.iter().map(|&class| class as f64).collect();
                said.dedup();
                said.retain(|&class| class != 0.0);
                if said == labels {
                    let along = path.iter().enumerate();
                    total += along
                        .map(|(step, &class)| logs[[step, class]])
                        .sum::<f64>()
                        .exp();
                }
            }
            let mut tape = Tape::new(Arithmetic::EXACT, 1, Vec::new());
            let logs = tape.constant(logs);
            let loss = sample(&mut tape, logs, &labels, 0.0).unwrap();
            let found = (-tape.value(loss)[[0]]).exp();
            assert!((found - total).abs() < 1e-12, "{labels:?}: {found} {total}");
        }
    }
}
