//! The greatest and the least, where they are, and logical reductions.

use smallvec::smallvec;

use super::reduce::axes;
use super::registry::{Kernel, kernel, one};
use super::shape::axis;
use super::tape::places::places_of;
use super::tape::reduction::lanes;
use super::{Array, Kept, KernelError, Tape, Var};
use crate::ops::Call;

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("amax", |tape, call, given| {
        one(extreme(
            tape,
            call,
            given.need(0)?,
            f64::NEG_INFINITY,
            f64::max,
        )?)
    }),
    kernel("amin", |tape, call, given| {
        one(extreme(
            tape,
            call,
            given.need(0)?,
            f64::INFINITY,
            f64::min,
        )?)
    }),
    kernel("max_dim", |tape, call, given| {
        along(tape, call, given.need(0)?, |a, b| a > b)
    }),
    kernel("min_dim", |tape, call, given| {
        along(tape, call, given.need(0)?, |a, b| a < b)
    }),
    kernel("argmax", |tape, call, given| {
        one(position(tape, call, given.need(0)?, |a, b| a > b)?)
    }),
    kernel("argmin", |tape, call, given| {
        one(position(tape, call, given.need(0)?, |a, b| a < b)?)
    }),
    kernel("any", |tape, call, given| {
        one(counted(tape, call, given.need(0)?, |some, _| some > 0)?)
    }),
    kernel("all", |tape, call, given| {
        one(counted(tape, call, given.need(0)?, |some, all| {
            some == all
        })?)
    }),
    kernel("count_nonzero", |tape, call, given| {
        let x = given.need(0)?;
        let (axes, _) = axes(call)?;
        let count = tape.derive(&[x], |values| {
            lanes(values[0], &axes, |lane| {
                lane.iter().filter(|&&x| x != 0.0).count() as f64
            })
        });
        one(tape.dropped(count, &axes, false)?)
    }),
];

/// The extreme over axes. Elements that share it share the gradient.
fn extreme(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    start: f64,
    better: fn(f64, f64) -> f64,
) -> Result<Var, KernelError> {
    let (axes, keep) = axes(call)?;
    let fold = |lane: &[f64]| match lane.iter().any(|x| x.is_nan()) {
        true => f64::NAN,
        false => lane.iter().copied().fold(start, better),
    };
    let value = lanes(tape.value(x), &axes, fold);
    let result = tape.next();
    let over = axes.clone();
    let extreme = tape.push(value, &[x], move |back, gradient| {
        let elements = back.value(x);
        let sizes = elements.raw_dim();
        let Some(best) = back.value(result).broadcast(sizes.clone()) else {
            return;
        };
        let mut wins = elements.clone();
        wins.zip_mut_with(&best, |x, &best| {
            *x = match x.is_nan() || best.is_nan() {
                true => f64::NAN,
                false => f64::from(u8::from(*x == best)),
            };
        });
        let counts = lanes(&wins, &over, |lane| lane.iter().sum());
        let share = gradient / &counts;
        if let Some(share) = share.broadcast(sizes) {
            wins *= &share;
        }
        back.give(x, wins);
    });
    tape.dropped(extreme, &axes, keep)
}

/// The first index of the best element of each lane along an axis, which stays with size 1.
pub(super) fn best_index(array: &Array, at: usize, better: fn(f64, f64) -> bool) -> Array {
    lanes(array, &[at], |lane| {
        let mut best = 0;
        for (index, &element) in lane.iter().enumerate() {
            if better(element, lane[best]) {
                best = index;
            }
        }
        match lane.iter().any(|element| element.is_nan()) {
            true => f64::NAN,
            false => best as f64,
        }
    })
}

/// Elements of an axis by index, of which each lane has some: `torch.gather` with the index's own
/// shape.
pub(super) fn by_index(tape: &mut Tape, x: Var, index: Var, at: usize) -> Var {
    let sizes = tape.sizes(x);
    let stride: usize = sizes[at + 1..].iter().product();
    let places = tape.derive(&[index], |values| {
        let index = values[0];
        let all = places_of(&sizes);
        Array::from_shape_fn(index.raw_dim(), |mut place| {
            let chosen = index[place.clone()];
            place[at] = 0;
            let start = if index.is_empty() || all.is_empty() {
                0.0
            } else {
                all[place]
            };
            start + chosen * stride as f64
        })
    });
    tape.gather(x, places, 0.0)
}

fn along(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    better: fn(f64, f64) -> bool,
) -> Result<super::registry::Results, KernelError> {
    let at = axis(call.integer("dim").unwrap_or(0), call.shape(0)?.rank())?;
    let keep = call.boolean("keepdim");
    let index = tape.derive(&[x], |values| best_index(values[0], at, better));
    let shown = tape.dropped(index, &[at], keep)?;
    let shown = tape.keep(Kept::Output(1), shown);
    let sizes = tape.sizes(index);
    let index = tape.reshape(shown, &sizes)?;
    let best = by_index(tape, x, index, at);
    let best = tape.dropped(best, &[at], keep)?;
    Ok(smallvec![best, shown])
}

fn position(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    better: fn(f64, f64) -> bool,
) -> Result<Var, KernelError> {
    let rank = call.shape(0)?.rank();
    let keep = call.boolean("keepdim");
    let Some(dim) = call.integer("dim") else {
        let count = tape.value(x).len();
        let flat = tape.reshape(x, &[count])?;
        let index = tape.derive(&[flat], |values| best_index(values[0], 0, better));
        let sizes = vec![1; if keep { rank } else { 0 }];
        return tape.reshape(index, &sizes);
    };
    let at = axis(dim, rank)?;
    let index = tape.derive(&[x], |values| best_index(values[0], at, better));
    tape.dropped(index, &[at], keep)
}

/// A judgement on how many of how many elements are not 0.
fn counted(
    tape: &mut Tape,
    call: &Call,
    x: Var,
    judge: fn(usize, usize) -> bool,
) -> Result<Var, KernelError> {
    let (axes, keep) = axes(call)?;
    let result = tape.derive(&[x], |values| {
        lanes(values[0], &axes, |lane| {
            let some = lane.iter().filter(|&&x| x != 0.0).count();
            f64::from(u8::from(judge(some, lane.len())))
        })
    });
    tape.dropped(result, &axes, keep)
}

#[cfg(test)]
mod tests {
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        for name in ["amax", "amin"] {
            check(&[
                (&format!("{name}([3, 4], dim=[1])"), &[]),
                (&format!("{name}([3, 4])"), &[]),
                (&format!("{name}([3, 4, 2], dim=[0, 2], keepdim=true)"), &[]),
            ]);
        }
        for name in ["max_dim", "min_dim"] {
            check(&[
                (&format!("{name}([3, 4], dim=1)"), &[]),
                (&format!("{name}([3, 4, 2], dim=-2, keepdim=true)"), &[]),
            ]);
        }
        for name in ["argmax", "argmin"] {
            check(&[
                (&format!("{name}([3, 4], dim=1)"), &[]),
                (&format!("{name}([3, 4])"), &[]),
                (&format!("{name}([3, 4], keepdim=true)"), &[]),
            ]);
        }
        check(&[
            ("any(bool [3, 4], dim=[1])", &[]),
            ("all(bool [3, 4], dim=[1], keepdim=true)", &[]),
            ("any(bool [3, 4])", &[]),
            ("count_nonzero(int64 [3, 4])", &[]),
            ("count_nonzero(int64 [3, 4], dim=[0])", &[]),
        ]);
    }
}
