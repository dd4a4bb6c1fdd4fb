//! Discrete Fourier transforms along one axis or two.
//!
//! A transform of length n is counted as `5 n log₂ n` other operations, the customary figure for a
//! complex one (half of that where one side is real), and no product.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute};
use super::gradient::{Gradient, Kernels};
use super::layout::contiguous_strides;
use super::pointwise::range;
use super::{Attribute, AttributeKind, Call, Op, OpError, Outputs, Saved, Work};
use crate::tensor::{Dtype, Interval, Shape, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    one("fft", &["fft_fft"], "Fourier transform along an axis"),
    one(
        "ifft",
        &["fft_ifft"],
        "inverse Fourier transform along an axis",
    ),
    one(
        "rfft",
        &["fft_rfft"],
        "Fourier transform of reals along an axis: the half not mirrored",
    ),
    one("irfft", &["fft_irfft"], "inverse of `rfft`: reals"),
    two("fft2", &["fft_fft2"], "Fourier transform over two axes"),
    two(
        "ifft2",
        &["fft_ifft2"],
        "inverse Fourier transform over two axes",
    ),
    two(
        "rfft2",
        &["fft_rfft2"],
        "Fourier transform of reals over two axes",
    ),
    two("irfft2", &["fft_irfft2"], "inverse of `rfft2`: reals"),
];

const NORM: Attribute = attribute(
    "norm",
    AttributeKind::Choice(&["backward", "ortho", "forward"]),
    Default::Text("backward"),
    "which of both transforms divides by the length; with `ortho` both by its root",
);

const ONE: &[Attribute] = &[
    attribute(
        "n",
        AttributeKind::Size,
        Default::None,
        "length of the transform; the input is cut or filled with zeros",
    ),
    attribute(
        "dim",
        AttributeKind::Integer,
        Default::Integer(-1),
        "the axis",
    )
    .or(&["axis"]),
    NORM,
];

const TWO: &[Attribute] = &[
    attribute(
        "s",
        AttributeKind::Sizes,
        Default::None,
        "lengths of the transform; the input is cut or filled with zeros",
    ),
    attribute(
        "dim",
        AttributeKind::Integers,
        Default::None,
        "the axes; the last two by default",
    )
    .or(&["axes"]),
    NORM,
];

const fn one(name: &'static str, aliases: &'static [&'static str], summary: &'static str) -> Op {
    Op {
        name,
        aliases,
        summary,
        attributes: ONE,
        ..TRANSFORM
    }
}

const fn two(name: &'static str, aliases: &'static [&'static str], summary: &'static str) -> Op {
    Op {
        name,
        aliases,
        summary,
        attributes: TWO,
        ..TRANSFORM
    }
}

const TRANSFORM: Op = Op {
    infer,
    work: |call| {
        let Ok(lengths) = lengths(call) else {
            return Work::default();
        };
        let all = lengths
            .iter()
            .map(|&(_, length)| length as f64)
            .product::<f64>();
        let lines = transformed_elements(call, &lengths);
        let each = if call.op.name.contains("rfft") {
            2.5
        } else {
            5.0
        };
        Work::other((each * lines * all.max(1.0).log2()) as u128)
    },
    // The real and the imaginary part of a sum of as many terms as the transform is long.
    interval: |call, ranges| {
        let Ok(lengths) = lengths(call) else {
            return Interval::ANYTHING;
        };
        let terms = lengths
            .iter()
            .map(|&(_, length)| length as f64)
            .product::<f64>();
        let inverse = call.op.name.starts_with('i');
        let scale = match (call.text("norm").as_deref(), inverse) {
            (Some("ortho"), _) => 1.0 / terms.sqrt(),
            (Some("forward"), false) => 1.0 / terms,
            (Some("forward"), true) => 1.0,
            (_, true) => 1.0 / terms,
            (_, false) => 1.0,
        };
        let complex = call.dtype(0).is_ok_and(Dtype::is_complex);
        let turned = if complex {
            std::f64::consts::SQRT_2
        } else {
            1.0
        };
        let bound = range(ranges, 0).magnitude() * turned * terms * scale;
        Interval::new(0.0 - bound, bound).widened(1e-12)
    },
    saved,
    gradient,
    temporaries,
    ..BASE
};

/// A transform of reals to the half not mirrored keeps what it transforms, after it was filled with
/// zeros.
fn saved(call: &Call, saved: &mut Saved) {
    if !call.op.name.starts_with("rfft") {
        return;
    }
    let (Ok(input), Ok(lengths)) = (call.ty(0), lengths(call)) else {
        return;
    };
    let sizes = input.shape.sizes();
    match lengths.iter().any(|&(axis, length)| length > sizes[axis]) {
        true => {
            let filled = transformed_elements(call, &lengths);
            saved.extra("filled input", filled as u64, input.dtype);
        }
        false => saved.argument(call, 0),
    }
}

/// Of reals, a transform to both halves is one of complex numbers, to which they are converted.
fn is_converted(call: &Call) -> bool {
    !matches!(call.op.name, "rfft" | "rfft2" | "irfft" | "irfft2")
        && call.dtype(0).is_ok_and(|dtype| !dtype.is_complex())
}

fn temporaries(call: &Call, _: Kernels) -> u64 {
    match (is_converted(call), call.output()) {
        (true, Some(output)) => output.dtype.bytes_for(call.elements(0)),
        _ => 0,
    }
}

/// The gradient is a transform. That of the half not mirrored is one of complex numbers, of the half
/// and zeros besides; what flows on where the operand is real is the view of its real part.
fn gradient(call: &Call, gradient: &mut Gradient<'_>) {
    let (Ok(input), Some(output)) = (call.ty(0), call.output()) else {
        return;
    };
    if !call.requires_grad(0) || input.dtype.is_complex() || !output.dtype.is_complex() {
        return gradient.make(0);
    }
    let whole = output.dtype.bytes_for(input.shape.elements());
    if !is_converted(call) {
        gradient.scratch(whole);
    }
    gradient.node(whole);
    let strides = contiguous_strides(input.shape.sizes());
    gradient.share(0, 0, strides.iter().map(|stride| 2 * stride).collect());
}

/// The axes of the transform, and its length along each.
fn lengths(call: &Call) -> Result<Vec<(usize, u64)>, OpError> {
    let input = call.shape(0)?;
    let single = call.op.attribute_position("n").is_some();
    let axes = match (single, call.integers("dim")) {
        (true, _) => vec![call.axis("dim", input)?],
        (false, Some(given)) => {
            let mut axes = Vec::new();
            for axis in given {
                let index = input.axis(axis).filter(|index| !axes.contains(index));
                axes.push(index.ok_or_else(|| {
                    let message = format!("`dim` names axis {axis} of {input} twice or beyond it");
                    OpError::new(message).attribute("dim")
                })?);
            }
            axes
        }
        (false, None) if input.rank() >= 2 => vec![input.rank() - 2, input.rank() - 1],
        (false, None) => {
            let message = format!("`{}` needs at least two axes, not {input}", call.op.name);
            return Err(OpError::new(message).operands([0]));
        }
    };
    let name = if single { "n" } else { "s" };
    let given = match call.is_given(name) {
        true => Some(call.sizes(if single { "n" } else { "s" }, axes.len())?),
        false => None,
    };
    let mut lengths: Vec<(usize, u64)> = axes
        .iter()
        .enumerate()
        .map(|(index, &axis)| {
            let size = given
                .as_ref()
                .map_or(input.sizes()[axis], |given| given[index]);
            (axis, size)
        })
        .collect();
    // The input of an inverse to reals is the half that is not mirrored.
    if call.op.name.starts_with("irfft")
        && given.is_none()
        && let Some((axis, length)) = lengths.last_mut()
    {
        *length = input.sizes()[*axis].saturating_sub(1).saturating_mul(2);
    }
    match lengths.iter().find(|&&(_, length)| length == 0) {
        Some((axis, _)) => {
            let message = format!("the transform of {input} has length 0 along axis {axis}");
            Err(OpError::new(message).operands([0]).attribute(name))
        }
        None => Ok(lengths),
    }
}

/// Elements of the input cut and filled to the lengths of the transform.
fn transformed_elements(call: &Call, lengths: &[(usize, u64)]) -> f64 {
    let mut shape = call.shape(0).cloned().unwrap_or_default();
    for &(axis, length) in lengths {
        shape.set(axis, length);
    }
    shape.elements() as f64
}

fn infer(call: &Call) -> Result<Outputs, OpError> {
    let (input, lengths) = (call.ty(0)?, lengths(call)?);
    let real_input = call.op.name.starts_with("rfft");
    if real_input && input.dtype.is_complex() {
        let message = format!("`{}` takes reals, but its input is {input}", call.op.name);
        return Err(OpError::new(message)
            .operands([0])
            .help("`fft` takes complex numbers"));
    }
    let wide = matches!(input.dtype, Dtype::Float64 | Dtype::Complex128);
    let dtype = match (call.op.name.starts_with("irfft"), wide) {
        (true, true) => Dtype::Float64,
        (true, false) => Dtype::Float32,
        (false, true) => Dtype::Complex128,
        (false, false) => Dtype::Complex64,
    };
    let mut shape: Shape = input.shape.clone();
    for &(axis, length) in &lengths {
        shape.set(axis, length);
    }
    if real_input && let Some(&(axis, length)) = lengths.last() {
        shape.set(axis, length / 2 + 1);
    }
    Ok(smallvec![TensorType { shape, dtype }])
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Random, check, with};
    use crate::tensor::Interval;

    #[test]
    fn shapes_and_errors() {
        check(&[
            ("fft([2, 8])", "complex64 [2, 8]"),
            ("fft(float64 [2, 8], n=5, dim=0)", "complex128 [5, 8]"),
            ("rfft([2, 8])", "complex64 [2, 5]"),
            ("rfft([2, 9])", "complex64 [2, 5]"),
            ("irfft(complex64 [2, 5])", "float32 [2, 8]"),
            ("irfft(complex64 [2, 5], n=9)", "float32 [2, 9]"),
            ("rfft2([3, 6, 8])", "complex64 [3, 6, 5]"),
            ("irfft2(complex64 [3, 6, 5])", "float32 [3, 6, 8]"),
            (
                "fft2([3, 6, 8], dim=[0, 1], s=[4, 4])",
                "complex64 [4, 4, 8]",
            ),
            (
                "fft([2, 8], dim=2)",
                "error: `dim = 2` lies outside [2, 8], which has 2 axes",
            ),
            (
                "fft2([8])",
                "error: `fft2` needs at least two axes, not [8]",
            ),
            (
                "rfft(complex64 [8])",
                "error: `rfft` takes reals, but its input is complex64 [8]",
            ),
            (
                "irfft(complex64 [1])",
                "error: the transform of [1] has length 0 along axis 0",
            ),
        ]);
        let other = |text: &str| with(text, |call| (call.op.work)(call).other);
        assert_eq!(other("fft([3, 8])"), Ok(5 * 3 * 8 * 3));
        assert_eq!(other("rfft2([3, 4, 8])"), Ok(5 * 3 * 32 * 5 / 2));
    }

    #[test]
    fn transforms_of_random_numbers_lie_in_the_range() {
        let mut random = Random(21);
        for norm in ["backward", "ortho", "forward"] {
            let text = format!("fft([8], norm={norm})");
            for _ in 0..50 {
                let (a, b) = (random.uniform(-3.0, 3.0), random.uniform(-3.0, 3.0));
                let input = Interval::new(a, b);
                let range = with(&text, |call| (call.op.interval)(call, &[input])).unwrap();
                let x: Vec<f64> = (0..8)
                    .map(|_| random.uniform(input.low, input.high))
                    .collect();
                let scale = match norm {
                    "backward" => 1.0,
                    "ortho" => 8f64.sqrt().recip(),
                    _ => 0.125,
                };
                for k in 0..8 {
                    let angle = |n: usize| std::f64::consts::TAU * (k * n) as f64 / 8.0;
                    let real: f64 = x.iter().enumerate().map(|(n, x)| x * angle(n).cos()).sum();
                    let imaginary: f64 =
                        x.iter().enumerate().map(|(n, x)| x * angle(n).sin()).sum();
                    assert!(range.contains(real * scale), "{text} {x:?}");
                    assert!(range.contains(imaginary * scale), "{text} {x:?}");
                }
            }
        }
    }
}
