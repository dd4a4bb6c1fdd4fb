//! The claims of one call: shapes, arithmetic, what is kept, gradients and ranges.

use std::rc::Rc;

use super::{Claim, Outcome, Verdict};
use crate::kernels::{self, Array, Gradients, Kept, Ran, Setting, Supplied};
use crate::ops::{Call, Saved};
use crate::tensor::Interval;

/// How many elements of each operand are moved to take differences, as long as that takes no more
/// than so many steps of arithmetic; each runs the kernel twice.
const SAMPLES: usize = 6;
const STEPS: u128 = 8_000_000;

/// Runs a call on these operands in float64 and holds each claim of its op against what happens.
///
/// The gradient is computed three times: with everything at hand, with nothing but what
/// `Op::saved` says is kept (NaN stands for the rest), and by central differences of the forward
/// kernel. `O(elements)` runs of the kernel.
pub fn verify_call(call: &Call, operands: &[Option<Rc<Array>>], seed: u64) -> Vec<Verdict> {
    let setting = Setting::exact(seed);
    let ran = match kernels::forward(call, operands, setting) {
        Ok(ran) => ran,
        Err(error) => {
            return vec![Verdict {
                claim: Claim::Shape,
                outcome: Outcome::Unchecked(error.message),
            }];
        }
    };
    let mut verdicts = Vec::new();
    let mut say = |claim, outcome| verdicts.push(Verdict { claim, outcome });
    let shapes = shapes(call, &ran);
    let fits = shapes == Outcome::Confirmed;
    say(Claim::Shape, shapes);
    if !fits {
        return verdicts;
    }
    if let Some(outcome) = element(call, operands, &ran) {
        say(Claim::Element, outcome);
    }
    say(
        Claim::Flops,
        same((call.op.work)(call).products, 2 * ran.count.products),
    );
    say(Claim::Range, range(call, operands, &ran));
    if call.op.differentiable && wants_gradient(call) {
        backward(call, operands, &ran, setting, &mut say);
    }
    verdicts
}

fn same(claimed: u128, found: u128) -> Outcome {
    if claimed == found {
        return Outcome::Confirmed;
    }
    Outcome::Contradicted {
        claimed: claimed.to_string(),
        found: found.to_string(),
    }
}

fn wants_gradient(call: &Call) -> bool {
    call.arguments.iter().flatten().any(|argument| {
        argument.requires_grad && argument.ty.dtype.is_float() && argument.constant.is_none()
    })
}

fn shapes(call: &Call, ran: &Ran) -> Outcome {
    let claimed: Vec<Vec<usize>> = call.outputs.iter().map(kernels::held_sizes).collect();
    let found: Vec<Vec<usize>> = ran
        .outputs
        .iter()
        .map(|output| output.shape().to_vec())
        .collect();
    // An op may state more outputs than its kernel makes: statistics that nobody reads.
    if found.len() <= claimed.len() && !found.is_empty() && claimed[..found.len()] == found[..] {
        return Outcome::Confirmed;
    }
    Outcome::Contradicted {
        claimed: format!("{claimed:?}"),
        found: format!("{found:?}"),
    }
}

/// Whether `Op::element`, on which ranges rest, says what the kernel says.
fn element(call: &Call, operands: &[Option<Rc<Array>>], ran: &Ran) -> Option<Outcome> {
    let element = call.op.element?;
    let output = &ran.outputs[0];
    let complex = |ty: &crate::tensor::TensorType| ty.dtype.is_complex();
    if call.outputs.iter().any(complex)
        || call
            .arguments
            .iter()
            .flatten()
            .any(|argument| complex(argument.ty))
    {
        return None;
    }
    let spread: Option<Vec<_>> = operands
        .iter()
        .flatten()
        .map(|operand| operand.broadcast(output.raw_dim()))
        .collect();
    let spread = spread?;
    let mut iterators: Vec<_> = spread.iter().map(|view| view.iter()).collect();
    for &found in output.iter() {
        let values: Vec<f64> = iterators
            .iter_mut()
            .filter_map(|iterator| iterator.next().copied())
            .collect();
        let claimed = element(call, &values);
        if !close(claimed, found, 1e-9) {
            return Some(Outcome::Contradicted {
                claimed: format!("{claimed} of {values:?}"),
                found: format!("{found}"),
            });
        }
    }
    Some(Outcome::Confirmed)
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    a == b
        || (a.is_nan() && b.is_nan())
        || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
}

/// The range of the first output that follows from the ranges of the operands as they are here.
fn range(call: &Call, operands: &[Option<Rc<Array>>], ran: &Ran) -> Outcome {
    let ranges: Vec<Interval> = operands
        .iter()
        .map(|operand| {
            operand
                .as_ref()
                .map_or(Interval::ANYTHING, |array| observed(array))
        })
        .collect();
    let claimed = call.interval(&ranges);
    let found = observed(&ran.outputs[0]);
    // Kernels and claims compute in float64, each with its own roundings.
    let slack = 1e-9 * (1.0 + found.low.abs().max(found.high.abs()));
    if holds(claimed, &ran.outputs[0], slack) {
        return Outcome::Confirmed;
    }
    let float = call.outputs.first().is_some_and(|ty| ty.dtype.is_float());
    if !float && ranges.iter().any(|range| range.non_finite) {
        let why = "what an infinity or NaN becomes among whole numbers depends on the machine";
        return Outcome::Unchecked(why.to_owned());
    }
    Outcome::Contradicted {
        claimed: format!("{claimed}"),
        found: format!("{found}"),
    }
}

/// Whether elements lie in a range, but for a slack; of those that are not finite, the range says
/// whether there may be any.
pub(super) fn holds(claimed: Interval, array: &Array, slack: f64) -> bool {
    let inside = |x: &f64| *x >= claimed.low - slack && *x <= claimed.high + slack;
    let mut elements = array.iter();
    elements.all(|x| match x.is_finite() {
        true => inside(x),
        false => claimed.non_finite,
    })
}

/// The smallest range that holds all elements.
pub(super) fn observed(array: &Array) -> Interval {
    let finite = array.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let mut interval = if low <= high {
        Interval::new(low, high)
    } else {
        Interval::new(0.0, 0.0)
    };
    interval.non_finite = array.iter().any(|value| !value.is_finite());
    interval
}

fn backward(
    call: &Call,
    operands: &[Option<Rc<Array>>],
    ran: &Ran,
    setting: Setting,
    say: &mut impl FnMut(Claim, Outcome),
) {
    let mut random = fastrand::Rng::with_seed(setting.seed);
    let seeds: Vec<Option<Array>> = call
        .outputs
        .iter()
        .zip(&ran.outputs)
        .map(|(ty, output)| {
            // A difference of infinities says nothing of what reaches the finite elements beside.
            let draw = |value: f64| match value.is_finite() {
                true => random.f64() * 2.0 - 1.0,
                false => 0.0,
            };
            ty.dtype.is_float().then(|| output.mapv(draw))
        })
        .collect();
    let outputs = ran.outputs.iter().enumerate();
    let outputs = outputs.map(|(position, output)| (Kept::Output(position), Rc::clone(output)));
    let everything = Supplied {
        operands: operands.to_vec(),
        kept: outputs.chain(ran.extras.iter().cloned()).collect(),
    };
    let full = match kernels::backward(call, &everything, &seeds, setting) {
        Ok(full) => full,
        Err(error) => return say(Claim::Gradient, Outcome::Unchecked(error.message)),
    };
    let kernel = kernels::find(call.op.name);
    // Other steps do other products, from the same tensors.
    let other_steps = kernel.and_then(|kernel| kernel.other_steps);
    let flops = same((call.op.backward)(call), 2 * full.count.products);
    say(
        Claim::BackwardFlops,
        match (other_steps, flops) {
            (Some(why), Outcome::Contradicted { .. }) => Outcome::Unchecked(why.to_owned()),
            (_, outcome) => outcome,
        },
    );
    let supplied = supplied(call, &everything);
    say(
        Claim::Saved,
        match kernels::backward(call, &supplied, &seeds, setting) {
            Ok(part) => sufficient(call, &full, &part),
            Err(error) => Outcome::Contradicted {
                claimed: "what is kept is enough".to_owned(),
                found: error.message,
            },
        },
    );
    if let Some(reason) = ran.convention {
        return say(Claim::Gradient, Outcome::Unchecked(reason.to_owned()));
    }
    let forward = |operands: &[Option<Rc<Array>>]| -> Option<f64> {
        let ran = kernels::forward(call, operands, setting).ok()?;
        let products = ran.outputs.iter().zip(&seeds);
        let weighted = |seed: &Array, output: &Array| -> f64 {
            let elements = seed.iter().zip(output).filter(|&(&seed, _)| seed != 0.0);
            elements.map(|(seed, element)| seed * element).sum()
        };
        Some(products.fold(0.0, |sum, (output, seed)| {
            sum + seed.as_ref().map_or(0.0, |seed| weighted(seed, output))
        }))
    };
    say(
        Claim::Gradient,
        differences(call, operands, (&full, samples(ran)), &mut random, forward),
    );
}

/// What `Op::saved` says is kept, and numbers that the spec states.
fn supplied(call: &Call, everything: &Supplied) -> Supplied {
    let mut saved = Saved::default();
    (call.op.saved)(call, &mut saved);
    let operands = everything.operands.iter().enumerate();
    Supplied {
        operands: operands
            .map(|(position, operand)| {
                let kept = saved.arguments.contains(&position) || call.constant(position).is_some();
                operand.clone().filter(|_| kept)
            })
            .collect(),
        kept: everything
            .kept
            .iter()
            .filter(|(what, elements)| is_kept(&saved, *what, elements))
            .cloned()
            .collect(),
    }
}

/// Whether a tensor is among what `Op::saved` says is kept. Of several of one name, those are that
/// have as many elements as one that is named.
pub(super) fn is_kept(saved: &Saved, what: Kept, elements: &Array) -> bool {
    let mut extras = saved.extra.iter();
    match what {
        Kept::Output(position) => saved.outputs.contains(&position),
        Kept::Extra(name) => extras.any(|(extra, ..)| *extra == name),
        Kept::Part(name, _) => {
            let count = elements.len() as u64;
            extras.any(|(extra, elements, _)| *extra == name && *elements == count)
        }
    }
}

/// Whether both runs give the same gradients.
fn sufficient(call: &Call, full: &Gradients, part: &Gradients) -> Outcome {
    for (position, (full, part)) in full.operands.iter().zip(&part.operands).enumerate() {
        let (Some(full), Some(part)) = (full, part) else {
            continue;
        };
        let differs = full.iter().zip(part).find(|&(&a, &b)| !close(a, b, 1e-7));
        if let Some((wanted, found)) = differs {
            let name = call.op.operand_name(position);
            return Outcome::Contradicted {
                claimed: format!("the gradient of `{name}` follows from what is kept ({wanted})"),
                found: match found.is_nan() {
                    true => "it needs what is not kept".to_owned(),
                    false => format!("{found}"),
                },
            };
        }
    }
    Outcome::Confirmed
}

/// How many elements of each operand are worth their time. A function of one element takes as long
/// as many products.
fn samples(ran: &Ran) -> usize {
    let count = ran.count;
    let steps = 16 * count.functions + count.products / 8 + count.bytes / 8 + count.additions;
    SAMPLES.min(1 + usize::try_from(STEPS / steps.max(1)).unwrap_or(SAMPLES))
}

/// Holds gradients to central differences at a few elements of each operand.
fn differences(
    call: &Call,
    operands: &[Option<Rc<Array>>],
    (full, samples): (&Gradients, usize),
    random: &mut fastrand::Rng,
    forward: impl Fn(&[Option<Rc<Array>>]) -> Option<f64>,
) -> Outcome {
    for (position, argument) in call.arguments.iter().enumerate() {
        let Some(argument) = argument else { continue };
        let Some(operand) = operands.get(position).cloned().flatten() else {
            continue;
        };
        if !argument.requires_grad
            || !argument.ty.dtype.is_float()
            || argument.constant.is_some()
            || operand.is_empty()
        {
            continue;
        }
        let zeros = Array::zeros(operand.raw_dim());
        let gradient = full.operands[position].as_ref().unwrap_or(&zeros);
        for _ in 0..samples.min(operand.len()) {
            let at = random.usize(..operand.len());
            let value = operand.iter().nth(at).copied().unwrap_or(0.0);
            let step = 1e-5 * value.abs().max(1.0);
            let moved = |by: f64| {
                let mut changed = (*operand).clone();
                if let Some(element) = changed.iter_mut().nth(at) {
                    *element = value + by;
                }
                let mut operands = operands.to_vec();
                operands[position] = Some(Rc::new(changed));
                forward(&operands)
            };
            let (Some(above), Some(below)) = (moved(step), moved(-step)) else {
                continue;
            };
            let found = (above - below) / (2.0 * step);
            let claimed = gradient.iter().nth(at).copied().unwrap_or(0.0);
            // The error of the difference grows with the size of what is subtracted.
            let slack = 1e-5 * (1.0 + above.abs()).max(claimed.abs()).max(found.abs());
            let same = (found - claimed).abs() <= slack || (found.is_nan() && claimed.is_nan());
            // At a kink, as where a pool's greatest elements tie, both sides have slopes of their
            // own, and the gradient is one of them.
            let kink = || {
                let middle = moved(0.0).unwrap_or(f64::NAN);
                let (right, left) = (above - middle, middle - below);
                (right - left).abs() > 1e-3 * (right.abs() + left.abs())
            };
            if !same && !kink() {
                let name = call.op.operand_name(position);
                return Outcome::Contradicted {
                    claimed: format!("∂/∂{name}[{at}] = {claimed}"),
                    found: format!("{found} by differences"),
                };
            }
        }
    }
    Outcome::Confirmed
}
