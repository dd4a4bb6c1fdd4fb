//! Complex numbers: a tensor of them has a last axis of two more, the real and the imaginary part.
//!
//! The gradient of a complex tensor is held the same way, as the derivatives of a real loss by both
//! parts: `∂L/∂re + i·∂L/∂im`, which is PyTorch's convention. So what is written from real
//! primitives needs no rules of its own.

use super::evaluate::Given;
use super::registry::{Kernel, Results, kernel, one};
use super::tape::Kind;
use super::{Array, KernelError, Tape, Var};
use crate::ops::Call;

/// How a kernel takes complex numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complex {
    /// It does not.
    Refused,
    /// It knows how they are held.
    Itself,
    /// It moves elements: both parts alike, by the same integers.
    Moved,
    /// It is linear in all operands together: real parts by themselves, imaginary ones too.
    Summed,
    /// It is linear in each operand: a sum over the parts of each.
    Multiplied,
}

/// The kernels of this family.
pub static KERNELS: &[Kernel] = &[
    kernel("view_as_complex", |tape, _, given| {
        one(tape.affine(given.need(0)?, 1.0, 0.0))
    })
    .on_complex(Complex::Itself),
    kernel("view_as_real", |tape, _, given| {
        one(tape.affine(given.need(0)?, 1.0, 0.0))
    })
    .on_complex(Complex::Itself),
    kernel("real", |tape, call, given| {
        let x = given.need(0)?;
        match call.ty(0)?.dtype.is_complex() {
            true => one(part(tape, x, 0)?),
            false => one(tape.affine(x, 1.0, 0.0)),
        }
    })
    .on_complex(Complex::Itself),
    kernel("imag", |tape, _, given| one(part(tape, given.need(0)?, 1)?))
        .on_complex(Complex::Itself),
    kernel("conj", |tape, call, given| {
        let x = given.need(0)?;
        if !call.ty(0)?.dtype.is_complex() {
            return one(tape.affine(x, 1.0, 0.0));
        }
        let (re, im) = (part(tape, x, 0)?, part(tape, x, 1)?);
        let im = tape.scale(im, -1.0);
        one(joined(tape, re, im)?)
    })
    .on_complex(Complex::Itself),
    kernel("complex", |tape, _, given| {
        one(joined(tape, given.need(0)?, given.need(1)?)?)
    })
    .on_complex(Complex::Itself),
    kernel("polar", |tape, _, given| {
        let (length, angle) = (given.need(0)?, given.need(1)?);
        one(polar(tape, length, angle)?)
    })
    .on_complex(Complex::Itself),
    kernel("angle", |tape, call, given| {
        let x = given.need(0)?;
        if call.ty(0)?.dtype.is_complex() {
            return one(of_each(
                tape,
                x,
                |re, im| im.atan2(re),
                |re, im| {
                    // (-im, re) / |z|²; 0 at 0, by convention.
                    let square = re * re + im * im;
                    match square == 0.0 {
                        true => (0.0, 0.0),
                        false => (-im / square, re / square),
                    }
                },
            ));
        }
        let angle = |x: f64| match x {
            x if x.is_nan() => x,
            x if x < 0.0 => std::f64::consts::PI,
            _ => 0.0,
        };
        one(tape.map(x, angle, |_, _| 0.0))
    })
    .on_complex(Complex::Itself),
];

/// The real parts (0) or the imaginary ones (1).
fn part(tape: &mut Tape, x: Var, which: usize) -> Result<Var, KernelError> {
    let last = tape.sizes(x).len() - 1;
    let one = tape.narrow(x, last, which, 1);
    tape.dropped(one, &[last], false)
}

/// Complex numbers of these parts, which broadcast.
fn joined(tape: &mut Tape, re: Var, im: Var) -> Result<Var, KernelError> {
    let sizes = super::tape::pointwise::broadcast_sizes(&tape.sizes(re), &tape.sizes(im))?;
    let mut wide = sizes.clone();
    wide.push(1);
    let mut parts = [re, im];
    for part in &mut parts {
        *part = tape.broadcast(*part, &sizes)?;
        *part = tape.reshape(*part, &wide)?;
    }
    tape.concatenate(&parts, sizes.len())
}

/// A real function of each complex number, with its derivatives by both parts.
fn of_each(
    tape: &mut Tape,
    x: Var,
    f: fn(f64, f64) -> f64,
    derivatives: fn(f64, f64) -> (f64, f64),
) -> Var {
    let sizes = tape.sizes(x);
    let numbers: Vec<f64> = tape.value(x).iter().copied().collect();
    let made = numbers.chunks(2).map(|z| f(z[0], z[1])).collect();
    let value = Array::from_shape_vec(&sizes[..sizes.len() - 1], made)
        .unwrap_or_else(|_| Array::from_elem(&sizes[..sizes.len() - 1], f64::NAN));
    tape.count_many(Kind::Function, value.len());
    tape.push(value, &[x], move |back, gradient| {
        let mut given = back.value(x).clone();
        for (mut z, g) in given.rows_mut().into_iter().zip(gradient) {
            let (by_re, by_im) = derivatives(z[0], z[1]);
            z[0] = g * by_re;
            z[1] = g * by_im;
        }
        back.count_many(Kind::Function, gradient.len());
        back.count_many(Kind::Multiply, given.len());
        back.give(x, given);
    })
}

/// `|z|`; its gradient is `g · z / |z|`, and 0 at 0.
pub(super) fn magnitude(tape: &mut Tape, x: Var) -> Var {
    of_each(tape, x, f64::hypot, |re, im| {
        let length = re.hypot(im);
        match length == 0.0 {
            true => (0.0, 0.0),
            false => (re / length, im / length),
        }
    })
}

/// `exp(z)`; its gradient is `g · conj(exp(z))`, which needs the result alone.
pub(super) fn exponential(tape: &mut Tape, x: Var) -> Var {
    let mut value = tape.value(x).clone();
    for mut z in value.rows_mut() {
        let (length, angle) = (z[0].exp(), z[1]);
        z[0] = length * angle.cos();
        z[1] = length * angle.sin();
    }
    tape.count_many(Kind::Function, value.len());
    let result = tape.next();
    tape.push(value, &[x], move |back, gradient| {
        let mut given = gradient.clone();
        let results = back.value(result);
        for (mut g, z) in given.rows_mut().into_iter().zip(results.rows()) {
            let (re, im) = (g[0], g[1]);
            g[0] = re * z[0] + im * z[1];
            g[1] = im * z[0] - re * z[1];
        }
        back.count_many(Kind::Multiply, 2 * given.len());
        back.give(x, given);
    })
}

/// Complex numbers by magnitude and angle. Their gradients follow from the result `z`:
/// `Re(conj(g) · z / |z|)` and `Re(conj(g) · i·z)`.
fn polar(tape: &mut Tape, length: Var, angle: Var) -> Result<Var, KernelError> {
    let sizes = super::tape::pointwise::broadcast_sizes(&tape.sizes(length), &tape.sizes(angle))?;
    let (length, angle) = (
        tape.broadcast(length, &sizes)?,
        tape.broadcast(angle, &sizes)?,
    );
    let pairs = tape.value(length).iter().zip(tape.value(angle));
    let numbers = pairs
        .flat_map(|(r, a)| [r * a.cos(), r * a.sin()])
        .collect();
    let mut wide = sizes.clone();
    wide.push(2);
    let value = Array::from_shape_vec(wide, numbers)?;
    tape.count_many(Kind::Function, value.len());
    tape.count_many(Kind::Multiply, value.len());
    let result = tape.next();
    Ok(tape.push(value, &[length, angle], move |back, gradient| {
        let results = back.value(result).rows();
        let pairs = gradient.rows().into_iter().zip(results);
        let (mut by_length, mut by_angle) = (Vec::new(), Vec::new());
        for (g, z) in pairs {
            let size = z[0].hypot(z[1]);
            let along = g[0] * z[0] + g[1] * z[1];
            by_length.push(if size == 0.0 { 0.0 } else { along / size });
            by_angle.push(g[1] * z[0] - g[0] * z[1]);
        }
        back.count_many(Kind::Multiply, 5 * by_length.len());
        for (var, numbers) in [(length, by_length), (angle, by_angle)] {
            let made = Array::from_shape_vec(sizes.clone(), numbers);
            back.give(
                var,
                made.unwrap_or_else(|_| Array::from_elem(sizes.clone(), f64::NAN)),
            );
        }
    }))
}

/// `a / b` as `a · conj(b) / |b|²`.
pub(super) fn quotient(
    tape: &mut Tape,
    call: &Call,
    (a, b): (Var, Var),
) -> Result<Var, KernelError> {
    let of_a = parts(tape, call, 0, a)?;
    let of_b = parts(tape, call, 1, b)?;
    let scaled = |tape: &mut Tape, part: Var, by: Var| tape.divide(part, by);
    let Some(b_im) = of_b.1 else {
        let re = scaled(tape, of_a.0, of_b.0)?;
        let a_im = imaginary(tape, of_a);
        let im = scaled(tape, a_im, of_b.0)?;
        return joined(tape, re, im);
    };
    let (re, im) = (tape.square(of_b.0), tape.square(b_im));
    let square = tape.add(re, im)?;
    let a_im = imaginary(tape, of_a);
    let straight = (tape.multiply(of_a.0, of_b.0)?, tape.multiply(a_im, b_im)?);
    let crossed = (tape.multiply(a_im, of_b.0)?, tape.multiply(of_a.0, b_im)?);
    let re = tape.add(straight.0, straight.1)?;
    let im = tape.subtract(crossed.0, crossed.1)?;
    let (re, im) = (scaled(tape, re, square)?, scaled(tape, im, square)?);
    joined(tape, re, im)
}

type Parts = (Var, Option<Var>);

/// The parts of an operand; a real one has no imaginary part.
fn parts(tape: &mut Tape, call: &Call, position: usize, x: Var) -> Result<Parts, KernelError> {
    let complex = call
        .argument(position)
        .is_some_and(|operand| operand.ty.dtype.is_complex());
    match complex {
        true => Ok((part(tape, x, 0)?, Some(part(tape, x, 1)?))),
        false => Ok((x, None)),
    }
}

fn imaginary(tape: &mut Tape, (re, im): Parts) -> Var {
    im.unwrap_or_else(|| {
        let sizes = tape.sizes(re);
        tape.constant(Array::zeros(sizes))
    })
}

/// Runs a kernel of real tensors on the parts of complex ones.
pub(super) fn by_parts(
    kernel: &Kernel,
    tape: &mut Tape,
    call: &Call,
    given: &[Option<Var>],
) -> Result<Results, KernelError> {
    let mut all: Vec<Option<Parts>> = Vec::with_capacity(given.len());
    for (position, operand) in given.iter().enumerate() {
        let of_one = operand.map(|x| parts(tape, call, position, x));
        all.push(of_one.transpose()?);
    }
    if kernel.complex == Complex::Multiplied {
        return multilinear(kernel, tape, call, &all);
    }
    let run = |tape: &mut Tape, operands: Vec<Option<Var>>| {
        (kernel.run)(tape, call, &Given::of(&operands, call))
    };
    let complex = all.iter().flatten().any(|(_, im)| im.is_some());
    let re = run(tape, all.iter().map(|one| one.map(|(re, _)| re)).collect())?;
    let im = match complex {
        false => None,
        true => {
            let mut operands = Vec::new();
            for (position, one) in all.iter().enumerate() {
                let float = call
                    .argument(position)
                    .is_some_and(|x| x.ty.dtype.is_float());
                let stays = kernel.complex == Complex::Moved && !float;
                operands.push(one.map(|one| if stays { one.0 } else { imaginary(tape, one) }));
            }
            tape.of_part(1);
            let made = run(tape, operands);
            tape.of_part(0);
            Some(made?)
        }
    };
    let mut results = Results::new();
    for (position, &re) in re.iter().enumerate() {
        let wanted = call
            .outputs
            .get(position)
            .is_some_and(|ty| ty.dtype.is_complex());
        let im = im.as_ref().and_then(|im| im.get(position).copied());
        results.push(match wanted {
            true => {
                let im = imaginary(tape, (re, im));
                joined(tape, re, im)?
            }
            false => re,
        });
    }
    Ok(results)
}

/// The sum over one part of each complex operand, times `i` for each imaginary one.
fn multilinear(
    kernel: &Kernel,
    tape: &mut Tape,
    call: &Call,
    all: &[Option<Parts>],
) -> Result<Results, KernelError> {
    let complex: Vec<usize> = (0..all.len())
        .filter(|&at| all[at].is_some_and(|(_, im)| im.is_some()))
        .collect();
    let mut sums: [Option<Var>; 2] = [None, None];
    for choice in 0..1usize << complex.len() {
        let is_imaginary = |at: usize| {
            complex
                .iter()
                .position(|&other| other == at)
                .is_some_and(|bit| choice >> bit & 1 == 1)
        };
        let chosen = all.iter().enumerate().map(|(at, one)| {
            one.map(|(re, im)| {
                if is_imaginary(at) {
                    im.unwrap_or(re)
                } else {
                    re
                }
            })
        });
        let operands: Vec<Option<Var>> = chosen.collect();
        tape.of_part(choice);
        let made = (kernel.run)(tape, call, &Given::of(&operands, call));
        tape.of_part(0);
        let turns = choice.count_ones() as usize;
        let made = made?[0];
        let made = if turns & 2 == 0 {
            made
        } else {
            tape.scale(made, -1.0)
        };
        let sum = &mut sums[turns & 1];
        *sum = Some(match *sum {
            Some(before) => tape.add(before, made)?,
            None => made,
        });
    }
    match sums {
        [Some(re), im] => {
            let im = imaginary(tape, (re, im));
            one(joined(tape, re, im)?)
        }
        _ => Err(KernelError::new("there is no operand")),
    }
}

/// Whether a call has to do with complex numbers.
pub(super) fn concerns(call: &Call) -> bool {
    let operands = call.arguments.iter().flatten().map(|argument| argument.ty);
    operands.chain(call.outputs).any(|ty| ty.dtype.is_complex())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::kernels::{Kept, Setting, Supplied, backward, forward, held_sizes};
    use crate::verify::cases::check;

    #[test]
    fn claims_hold() {
        check(&[
            ("view_as_complex([3, 4, 2])", &[]),
            ("view_as_real(complex64 [3, 4])", &[]),
            ("real(complex64 [3])", &[]),
            ("real([3])", &[]),
            ("imag(complex64 [3])", &[]),
            ("conj(complex64 [3])", &[]),
            ("complex([3, 1], [4])", &[]),
            ("polar([3], [3, 1])", &[(0.1, 2.0)]),
            ("angle(complex64 [5])", &[]),
            ("angle([5])", &[]),
            ("abs(complex64 [5])", &[]),
            ("exp(complex64 [5])", &[]),
        ]);
    }

    /// The `i`-th number of operand `k`, and of the gradient (`k` = 7): `sin(i + 1 + 10k)`.
    fn numbers(sizes: &[usize], k: usize) -> Array {
        let mut at = 0;
        Array::from_shape_simple_fn(sizes, || {
            at += 1;
            ((at + 10 * k) as f64).sin()
        })
    }

    /// Guards PyTorch's convention for gradients of complex numbers: results and the gradients of
    /// operands, as PyTorch 2.15 computes them in float64, rounded to six places.
    #[test]
    fn gradients_are_those_of_pytorch() {
        type Case<'a> = (&'a str, &'a [f64], &'a [&'a [f64]]);
        let cases: &[Case] = &[
            (
                "mul(complex128 [2], complex128 [2])",
                &[-0.353558, -1.360799, 0.808988, -0.178189],
                &[
                    &[-1.08724, 0.256489, -1.26025, 0.256489],
                    &[1.031086, -0.651207, 0.650055, -0.651207],
                ],
            ),
            (
                "mul(complex128 [2], float64 [2])",
                &[-0.841463, -0.909289, -0.075721, 0.40608],
                &[
                    &[-0.951045, -0.253821, 0.363138, 0.528603],
                    &[1.031086, 0.650055],
                ],
            ),
            (
                "div(complex128 [2], complex128 [2])",
                &[-1.032205, -0.355448, -0.596281, -0.395371],
                &[
                    &[-0.632702, -0.59332, 0.597262, -0.936518],
                    &[-0.863972, -0.387535, -0.014136, -0.794568],
                ],
            ),
            (
                "abs(complex128 [2])",
                &[1.238909, 0.769847],
                &[&[0.645959, 0.698027, 0.046528, -0.249522]],
            ),
            (
                "angle(complex128 [2])",
                &[0.82412, -1.386445],
                &[&[-0.563421, 0.521394, 0.324119, 0.060438]],
            ),
            (
                "exp(complex128 [2])",
                &[1.42504, 1.830472, 0.837227, -0.790663],
                &[&[1.819907, -1.37917, 0.212308, -1.359889]],
            ),
            (
                "conj(complex128 [2])",
                &[0.841471, -0.909297, 0.14112, 0.756802],
                &[&[0.951055, -0.253823, -0.676772, 0.985146]],
            ),
            (
                "real(complex128 [2])",
                &[0.841471, 0.14112],
                &[&[0.951055, 0.0, 0.253823, 0.0]],
            ),
            (
                "imag(complex128 [2])",
                &[0.909297, -0.756802],
                &[&[0.0, 0.951055, 0.0, 0.253823]],
            ),
            (
                "polar(float64 [2], float64 [2])",
                &[0.454656, -0.708069, 0.78151, -0.464827],
                &[&[0.300281, -0.078062], &[0.788815, -1.084483]],
            ),
            (
                "complex(float64 [2], float64 [2])",
                &[0.841471, -0.99999, 0.909297, -0.536573],
                &[&[0.951055, -0.676772], &[0.253823, -0.985146]],
            ),
            (
                "matmul(complex128 [1, 2], complex128 [2, 1])",
                &[0.45543, -1.538988],
                &[
                    &[-1.08724, 0.256489, 0.651041, -0.835474],
                    &[1.031086, -0.651207, -0.057881, 0.75558],
                ],
            ),
            (
                "einsum(complex128 [1, 2, 1, 1], complex128 [2, 1, 1, 1], equation='bixy,ioxy->boxy')",
                &[0.45543, -1.538988],
                &[
                    &[-1.08724, 0.256489, 0.651041, -0.835474],
                    &[1.031086, -0.651207, -0.057881, 0.75558],
                ],
            ),
            (
                "sum(complex128 [2])",
                &[0.982591, 0.152495],
                &[&[0.951055, 0.253823, 0.951055, 0.253823]],
            ),
            (
                "mean(complex128 [2])",
                &[0.491295, 0.076247],
                &[&[0.475527, 0.126912, 0.475527, 0.126912]],
            ),
            (
                "rfft(float64 [4])",
                &[1.135086, 0.0, 0.700351, -1.6661, 0.830096, 0.0],
                &[&[-0.113499, 2.323983, 1.240045, 0.35369]],
            ),
            (
                "view_as_complex(float64 [2, 2])",
                &[0.841471, 0.909297, 0.14112, -0.756802],
                &[&[0.951055, 0.253823, -0.676772, -0.985146]],
            ),
        ];
        for (text, results, gradients) in cases {
            let (found, back) = crate::ops::cases::with(text, |call| {
                let sizes = |at: usize| held_sizes(call.ty(at).unwrap());
                let operands: Vec<_> = (0..call.arguments.len())
                    .map(|at| Some(Rc::new(numbers(&sizes(at), at))))
                    .collect();
                let setting = Setting::exact(1);
                let ran = forward(call, &operands, setting).unwrap();
                let seed = numbers(ran.outputs[0].shape(), 7);
                let kept = vec![(Kept::Output(0), Rc::clone(&ran.outputs[0]))];
                let supplied = Supplied { operands, kept };
                let back = backward(call, &supplied, &[Some(seed)], setting).unwrap();
                (Rc::clone(&ran.outputs[0]), back.operands)
            })
            .unwrap();
            let close = |wanted: &[f64], found: &Array| {
                assert_eq!(wanted.len(), found.len(), "{text}");
                for (wanted, found) in wanted.iter().zip(found) {
                    assert!((wanted - found).abs() < 1e-6, "{text}: {wanted} {found}");
                }
            };
            close(results, &found);
            for (wanted, found) in gradients.iter().zip(&back) {
                close(wanted, found.as_ref().unwrap());
            }
        }
    }

    /// Guards operands of both kinds, each way to take them, and that a complex product counts as
    /// one.
    #[test]
    fn arithmetic_of_parts_holds() {
        check(&[
            ("mul(complex64 [2, 3], complex64 [3])", &[]),
            ("mul(complex64 [2, 3], [3])", &[]),
            ("mul([2, 3], complex64 [1])", &[]),
            ("mul(complex64 [3], 2.0)", &[]),
            ("add(complex64 [3], [3])", &[]),
            ("add(complex64 [3], 1.5, alpha=2)", &[]),
            ("sub([3], complex64 [2, 3])", &[]),
            ("div(complex64 [3], complex64 [3])", &[]),
            ("div(complex64 [3], [3])", &[(-2.0, 2.0), (0.5, 2.0)]),
            ("div([3], complex64 [3])", &[]),
            ("neg(complex64 [3])", &[]),
            ("sum(complex64 [3, 4], dim=1)", &[]),
            ("mean(complex64 [3, 4])", &[]),
            ("matmul(complex64 [2, 3, 4], complex64 [4, 5])", &[]),
            ("mm(complex64 [3, 4], complex64 [4, 5])", &[]),
            ("bmm(complex64 [2, 3, 4], complex64 [2, 4, 5])", &[]),
            (
                "einsum(complex64 [2, 3, 4, 4], complex64 [3, 5, 4, 4], equation='bixy,ioxy->boxy')",
                &[],
            ),
            ("cat(complex64 [2, 3], complex64 [1, 3])", &[]),
            ("split(complex64 [4, 3], split_size=2)", &[]),
            ("index_select(complex64 [4, 3], int64 [2], dim=0)", &[]),
            ("pad(complex64 [2, 3], pad=[1, 2])", &[]),
            ("zeros(size=[2, 3], dtype=complex64)", &[]),
            ("to([2, 3], dtype=complex64)", &[]),
        ]);
    }
}
