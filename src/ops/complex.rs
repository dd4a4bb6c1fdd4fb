//! Complex numbers: their parts, their polar form, and views between both ways to hold them.
//!
//! The range of a complex tensor is one of the parts of its numbers.

use smallvec::smallvec;

use super::definition::{BASE, any_value, no_work, operand, same_interval, save_input};
use super::gradient;
use super::layout::{Placement, same};
use super::pointwise::{range, real_of};
use super::shape::view;
use super::{Call, Op, OpError, Outputs};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    view(
        "view_as_complex",
        "the last axis, of real and imaginary parts, as complex numbers",
        |call| {
            let input = call.ty(0)?;
            let (Some(dtype), Some((&2, left))) =
                (complex_of(input.dtype), input.shape.sizes().split_last())
            else {
                return Err(OpError::new(format!(
                    "`view_as_complex` takes float32 or float64 with a last axis of size 2, not {input}"
                ))
                .operands([0]));
            };
            Ok(smallvec![TensorType::new(
                left.iter().copied().collect::<Shape>(),
                dtype
            )])
        },
        |_, strides| {
            let own = strides.first().cloned().unwrap_or_default();
            let left = own.len().saturating_sub(1);
            Placement::Shared(own[..left].iter().map(|stride| stride / 2).collect())
        },
    ),
    view(
        "view_as_real",
        "complex numbers as a last axis of real and imaginary parts",
        |call| {
            let mut made = parted(call)?;
            made[0].shape.push(2);
            Ok(made)
        },
        |_, strides| {
            let own = strides.first().cloned().unwrap_or_default();
            let wide = own.iter().map(|stride| stride.saturating_mul(2));
            Placement::Shared(wide.chain([1]).collect())
        },
    ),
    Op {
        gradient: gradient::each,
        ..view("real", "real parts", real_parts, |call, strides| match call
            .dtype(0)
            .is_ok_and(Dtype::is_complex)
        {
            true => one_part(call, strides),
            false => same(call, strides),
        })
    },
    Op {
        gradient: gradient::each,
        ..view("imag", "imaginary parts", parted, one_part)
    },
    view(
        "conj",
        "the conjugates: imaginary parts with the other sign",
        |call| Ok(smallvec![call.ty(0)?.clone()]),
        same,
    )
    .turned(),
    Op {
        name: "complex",
        summary: "complex numbers of these parts",
        operands: &[operand("real"), operand("imag")],
        infer: |call| joined(call, [0, 1]),
        work: no_work,
        // The gradient needs neither, and PyTorch keeps both.
        saved: |call, saved| {
            saved.argument(call, 0);
            saved.argument(call, 1);
        },
        interval: |_, ranges| range(ranges, 0).union(range(ranges, 1)),
        ..BASE
    },
    Op {
        name: "polar",
        summary: "complex numbers of these magnitudes and angles",
        operands: &[operand("abs"), operand("angle")],
        infer: |call| joined(call, [0, 1]),
        saved: |_, saved| saved.output(0),
        interval: |_, ranges| {
            let most = range(ranges, 0).magnitude();
            Interval::new(-most, most)
        },
        ..BASE
    },
    Op {
        name: "angle",
        summary: "the angle from the positive real axis",
        infer: |call| {
            let input = call.ty(0)?;
            let dtype = match input.dtype.is_float() {
                true => real_of(input.dtype),
                false => Dtype::Float32,
            };
            Ok(smallvec![TensorType::new(input.shape.clone(), dtype)])
        },
        saved: save_input,
        interval: |_, _| Interval::new(-std::f64::consts::PI, std::f64::consts::PI).widened(1e-7),
        gradient: gradient::each,
        ..BASE
    },
];

impl Op {
    /// The same op, which turns the sign of parts.
    const fn turned(mut self) -> Op {
        self.interval = |call, ranges| match call.dtype(0).is_ok_and(Dtype::is_complex) {
            true => range(ranges, 0).union(-range(ranges, 0)),
            false => same_interval(call, ranges),
        };
        self
    }
}

/// The complex type whose parts are of that type.
fn complex_of(dtype: Dtype) -> Option<Dtype> {
    match dtype {
        Dtype::Float32 => Some(Dtype::Complex64),
        Dtype::Float64 => Some(Dtype::Complex128),
        _ => None,
    }
}

fn real_parts(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    Ok(smallvec![TensorType::new(
        input.shape.clone(),
        real_of(input.dtype)
    )])
}

/// The parts of complex numbers.
fn parted(call: &Call) -> Result<Outputs, OpError> {
    let input = call.ty(0)?;
    if !input.dtype.is_complex() {
        let message = format!("`{}` takes complex numbers, not {input}", call.op.name);
        return Err(OpError::new(message).operands([0]));
    }
    real_parts(call)
}

fn one_part(_: &Call, strides: &[super::layout::Strides]) -> Placement {
    let own = strides.first().cloned().unwrap_or_default();
    Placement::Shared(own.iter().map(|stride| stride.saturating_mul(2)).collect())
}

/// Complex numbers of two tensors of one real type.
fn joined(call: &Call, operands: [usize; 2]) -> Result<Outputs, OpError> {
    let (first, second) = (call.ty(operands[0])?, call.ty(operands[1])?);
    let dtype = complex_of(first.dtype).filter(|_| first.dtype == second.dtype);
    let dtype = dtype.ok_or_else(|| {
        let name = call.op.name;
        let message = format!(
            "`{name}` takes two tensors of float32 or of float64, not {first} and {second}"
        );
        OpError::new(message).operands(operands)
    })?;
    Ok(smallvec![TensorType::new(call.broadcast()?, dtype)])
}

/// The range of the parts of what an op makes. Products and functions of complex numbers mix their
/// parts, which ranges of reals know nothing of.
pub(super) fn interval(call: &Call, ranges: &[Interval]) -> Interval {
    let operands = call.arguments.iter().flatten().map(|argument| argument.ty);
    let complex = operands.chain(call.outputs).any(|ty| ty.dtype.is_complex());
    let mixes = call.op.element.is_some()
        || call.op.autocast == super::Autocast::Lower
        || (call.op.work)(call).products > 0;
    match complex && mixes {
        true => any_value(call, ranges),
        false => (call.op.interval)(call, ranges),
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::{check, check_intervals, check_saved};

    #[test]
    fn types_follow_pytorch() {
        check(&[
            ("view_as_complex([3, 4, 2])", "complex64 [3, 4]"),
            ("view_as_complex(float64 [2])", "complex128 []"),
            (
                "view_as_complex([3, 4])",
                "error: `view_as_complex` takes float32 or float64 with a last axis of size 2, not float32 [3, 4]",
            ),
            ("view_as_real(complex64 [3, 4])", "float32 [3, 4, 2]"),
            (
                "view_as_real([3])",
                "error: `view_as_real` takes complex numbers, not float32 [3]",
            ),
            ("real(complex128 [3])", "float64 [3]"),
            ("real([3])", "float32 [3]"),
            ("imag(complex64 [3])", "float32 [3]"),
            ("conj(complex64 [3])", "complex64 [3]"),
            ("complex([3, 1], [4])", "complex64 [3, 4]"),
            (
                "complex([3], float64 [3])",
                "error: `complex` takes two tensors of float32 or of float64, not float32 [3] and float64 [3]",
            ),
            ("polar([3], [3])", "complex64 [3]"),
            ("angle(complex64 [3])", "float32 [3]"),
            ("angle(int64 [3])", "float32 [3]"),
        ]);
    }

    /// As `torch.autograd.graph.saved_tensors_hooks` shows it.
    #[test]
    fn what_autograd_keeps() {
        check_saved(&[
            ("view_as_complex([3, 2])", ""),
            ("complex([3], [3])", "real, imag"),
            ("polar([3], [3])", "output"),
            ("angle(complex64 [3])", "input"),
        ]);
    }

    #[test]
    fn parts_lie_within() {
        check_intervals(&[
            ("complex([3], [3])", &[(0.0, 1.0), (-3.0, -2.0)], "[-3, 1]"),
            ("polar([3], [3])", &[(0.0, 2.0), (0.0, 1.0)], "[-2, 2]"),
            ("conj(complex64 [3])", &[(1.0, 2.0)], "[-2, 2]"),
        ]);
    }
}
