//! Recurrences along one axis that are linear.

use ndarray::Axis;

use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::tape::Kind;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[kernel("linear_recurrence", |tape, call, given| {
    let (decay, input) = (given.need(0)?, given.need(1)?);
    let at = Axis(axis(
        call.integer("dim").unwrap_or(-1),
        call.shape(0)?.rank(),
    )?);
    let mut value = tape.value(input).clone();
    for (mut states, decays) in value
        .lanes_mut(at)
        .into_iter()
        .zip(tape.value(decay).lanes(at))
    {
        for step in 1..states.len() {
            states[step] += decays[step] * states[step - 1];
        }
    }
    tape.count_many(Kind::Multiply, value.len());
    tape.count_many(Kind::Add, value.len());
    let result = tape.next();
    one(tape.push(value, &[decay, input], move |back, gradient| {
        // What reaches a state comes from its own use and, through the decay, from the next one.
        let mut reached = gradient.clone();
        for (mut lane, decays) in reached
            .lanes_mut(at)
            .into_iter()
            .zip(back.value(decay).lanes(at))
        {
            for step in (1..lane.len()).rev() {
                lane[step - 1] += decays[step] * lane[step];
            }
        }
        let mut of_decay = reached.clone();
        for (mut lane, states) in of_decay
            .lanes_mut(at)
            .into_iter()
            .zip(back.value(result).lanes(at))
        {
            for step in 0..lane.len() {
                lane[step] *= if step == 0 { 0.0 } else { states[step - 1] };
            }
        }
        back.give(input, reached);
        back.give(decay, of_decay);
    }))
})];

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            (
                "linear_recurrence([2, 5], [2, 5])",
                &[(-1.5, 1.5), (-1.0, 1.0)],
            ),
            (
                "linear_recurrence([5, 2], [5, 2], dim=0)",
                &[(0.0, 1.0), (-1.0, 1.0)],
            ),
        ]);
    }
}
