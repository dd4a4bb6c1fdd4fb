//! Calls written as text (see `ops::cases`), run on random operands: for the tests of kernels.

use std::rc::Rc;

use super::{Outcome, verify_call};
use crate::kernels::{Array, held_sizes};
use crate::ops::{Call, cases};

/// A call, and the ranges of its operands by position: -2 to 2 where none is given for a float, 0
/// and 1 for an integer. Integers lie on whole numbers, both ends included.
pub type Case<'a> = (&'a str, &'a [(f64, f64)]);

/// Operands of a call within those ranges.
pub fn operands(call: &Call, ranges: &[(f64, f64)], seed: u64) -> Vec<Option<Rc<Array>>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut draw = |position: usize| -> Option<Rc<Array>> {
        let argument = call.argument(position)?;
        if let Some(value) = argument.constant {
            return Some(Rc::new(Array::from_elem(vec![], value)));
        }
        let float = argument.ty.dtype.is_float();
        let default = if float { (-2.0, 2.0) } else { (0.0, 1.0) };
        let (low, high) = ranges.get(position).copied().unwrap_or(default);
        let sizes = held_sizes(argument.ty);
        Some(Rc::new(Array::zeros(sizes).mapv(|_: f64| match float {
            true => low + (high - low) * random.f64(),
            false => (low + (high - low + 1.0) * random.f64()).floor().min(high),
        })))
    };
    (0..call.arguments.len()).map(&mut draw).collect()
}

/// Runs calls on random operands and holds every claim of their ops against what happens.
#[track_caller]
pub fn check(list: &[Case]) {
    let mut wrong = Vec::new();
    for (text, ranges) in list {
        let verdicts = cases::with(text, |call| {
            let seed = text.len() as u64;
            verify_call(call, &operands(call, ranges, seed), seed)
        });
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                wrong.push(format!("{text}: {error}"));
                continue;
            }
        };
        for verdict in verdicts {
            match verdict.outcome {
                Outcome::Confirmed => {}
                Outcome::Contradicted { claimed, found } => wrong.push(format!(
                    "{text}: {} claimed {claimed}, found {found}",
                    verdict.claim.name()
                )),
                // A gradient by convention (rounding) is no derivative.
                Outcome::Unchecked(_)
                    if matches!(
                        verdict.claim,
                        super::Claim::Gradient | super::Claim::Saved | super::Claim::BackwardFlops
                    ) => {}
                Outcome::Unchecked(why) => wrong.push(format!("{text}: unchecked: {why}")),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
