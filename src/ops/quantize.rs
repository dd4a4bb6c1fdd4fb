//! Uniform affine quantisation: `fake_quantize`, `quantize`, `dequantize`.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute};
use super::layout::preserved;
use super::pointwise::{operations, range};
use super::{Attribute, AttributeKind, Call, Op, OpError, Saved};
use crate::tensor::{Dtype, Interval, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[
    Op {
        name: "fake_quantize",
        aliases: &["fake_quantize_per_tensor_affine"],
        summary: "rounds to the grid of an integer type and stays floating point",
        attributes: &[
            SCALE,
            ZERO_POINT,
            attribute(
                "quant_min",
                AttributeKind::Integer,
                Default::Integer(-128),
                "least integer",
            ),
            attribute(
                "quant_max",
                AttributeKind::Integer,
                Default::Integer(127),
                "greatest integer",
            ),
        ],
        infer: |call| {
            let (low, high) = grid(call)?;
            if low > high {
                let message = format!("`quant_min` is {low}, above `quant_max`, {high}");
                return Err(OpError::new(message).attribute("quant_min"));
            }
            Ok(smallvec![floating(call)?.clone()])
        },
        layout: preserved,
        // Quotient, offset, rounding, two comparisons, offset, product.
        work: |call| operations(call, 7),
        // Where the input lay on the grid.
        saved: |call, saved: &mut Saved| saved.extra("mask", call.elements(0), Dtype::Bool),
        interval: |call, ranges| match grid(call) {
            Ok(grid) => dequantized(call, quantized(call, range(ranges, 0), grid)),
            Err(_) => Interval::ANYTHING,
        },
        // The gradient passes as if nothing were rounded.
        gradient_gain: |_, position, _| (position == 0).then_some(1.0),
        ..BASE
    },
    Op {
        name: "quantize",
        aliases: &["quantize_per_tensor"],
        summary: "the nearest integers to input / scale + zero_point",
        attributes: &[SCALE, ZERO_POINT, INTEGER_TYPE],
        infer: |call| {
            grid(call)?;
            let shape = floating(call)?.shape.clone();
            let dtype = integer_type(call)?;
            Ok(smallvec![TensorType { shape, dtype }])
        },
        layout: preserved,
        differentiable: false,
        work: |call| operations(call, 5),
        interval: |call, ranges| match grid(call) {
            Ok(grid) => quantized(call, range(ranges, 0), grid),
            Err(_) => Interval::ANYTHING,
        },
        ..BASE
    },
    Op {
        name: "dequantize",
        summary: "(input − zero_point) · scale",
        attributes: &[
            SCALE,
            ZERO_POINT,
            attribute(
                "dtype",
                AttributeKind::Dtype,
                Default::None,
                "element type of the output; float32 where not given",
            ),
        ],
        infer: |call| {
            scale(call)?;
            let input = call.ty(0)?;
            if input.dtype.is_float() || input.dtype == Dtype::Bool {
                let message = format!("`dequantize` takes integers, but its input is {input}");
                return Err(OpError::new(message).operands([0]));
            }
            let dtype = call.dtype_attribute("dtype").unwrap_or(Dtype::Float32);
            if !dtype.is_float() {
                let message = format!("`dequantize` makes floating point, not {dtype}");
                return Err(OpError::new(message).attribute("dtype"));
            }
            let shape = input.shape.clone();
            Ok(smallvec![TensorType { shape, dtype }])
        },
        layout: preserved,
        differentiable: false,
        work: |call| operations(call, 2),
        interval: |call, ranges| dequantized(call, range(ranges, 0)),
        ..BASE
    },
];

const SCALE: Attribute = attribute(
    "scale",
    AttributeKind::Float,
    Default::Required,
    "distance of two grid points",
);
const ZERO_POINT: Attribute = attribute(
    "zero_point",
    AttributeKind::Integer,
    Default::Integer(0),
    "the integer of 0",
);
const INTEGER_TYPE: Attribute = attribute(
    "dtype",
    AttributeKind::Dtype,
    Default::None,
    "element type of the output; int8 where not given",
);

fn floating<'a>(call: &Call<'a>) -> Result<&'a TensorType, OpError> {
    let input = call.ty(0)?;
    if !input.dtype.is_float() || input.dtype.is_complex() {
        let message = format!(
            "`{}` takes real floats, but its input is {input}",
            call.op.name
        );
        return Err(OpError::new(message).operands([0]));
    }
    Ok(input)
}

fn scale(call: &Call) -> Result<f64, OpError> {
    let scale = call.float("scale").ok_or_else(|| {
        OpError::new(format!("`{}` needs `scale`", call.op.name)).attribute("scale")
    })?;
    if !(scale.is_finite() && scale > 0.0) {
        let message = format!("`scale` is {scale}, but must be above 0");
        return Err(OpError::new(message).attribute("scale"));
    }
    Ok(scale)
}

fn integer_type(call: &Call) -> Result<Dtype, OpError> {
    let dtype = call.dtype_attribute("dtype").unwrap_or(Dtype::Int8);
    match dtype {
        Dtype::Bool => {}
        dtype if dtype.integer_range().is_some() => return Ok(dtype),
        _ => {}
    }
    let message = format!("`{}` makes integers, not {dtype}", call.op.name);
    Err(OpError::new(message).attribute("dtype"))
}

/// The least and the greatest integer of the grid.
fn grid(call: &Call) -> Result<(i128, i128), OpError> {
    scale(call)?;
    if call.op.attribute_position("quant_min").is_some() {
        let integer = |name| i128::from(call.integer(name).unwrap_or(0));
        return Ok((integer("quant_min"), integer("quant_max")));
    }
    let dtype = integer_type(call)?;
    let range = dtype.integer_range();
    range.ok_or_else(|| OpError::new(format!("{dtype} has no grid")).attribute("dtype"))
}

/// The integers that come of a range.
fn quantized(call: &Call, input: Interval, (low, high): (i128, i128)) -> Interval {
    let scale = call.float("scale").unwrap_or(1.0);
    let zero = call.integer("zero_point").unwrap_or(0) as f64;
    input
        .map_increasing(|x| (x / scale + zero).round_ties_even())
        .clamped(low as f64, high as f64)
}

/// The reals that integers stand for.
fn dequantized(call: &Call, integers: Interval) -> Interval {
    let scale = call.float("scale").unwrap_or(1.0);
    let zero = call.integer("zero_point").unwrap_or(0) as f64;
    integers
        .map_increasing(|q| (q - zero) * scale)
        .widened(1e-15)
}

#[cfg(test)]
mod tests {
    use super::super::cases::{check, check_intervals, check_saved};

    #[test]
    fn types_errors_and_ranges() {
        check(&[
            (
                "fake_quantize(bfloat16 [2, 3], scale=0.1)",
                "bfloat16 [2, 3]",
            ),
            (
                "fake_quantize([2, 3], scale=0)",
                "error: `scale` is 0, but must be above 0",
            ),
            (
                "fake_quantize([2, 3], scale=1, quant_min=5, quant_max=1)",
                "error: `quant_min` is 5, above `quant_max`, 1",
            ),
            ("quantize([2, 3], scale=0.1)", "int8 [2, 3]"),
            ("quantize([2, 3], scale=0.1, dtype=uint8)", "uint8 [2, 3]"),
            (
                "quantize([2, 3], scale=0.1, dtype=float16)",
                "error: `quantize` makes integers, not float16",
            ),
            ("dequantize(int8 [2, 3], scale=0.1)", "float32 [2, 3]"),
            (
                "dequantize([2, 3], scale=0.1)",
                "error: `dequantize` takes integers, but its input is float32 [2, 3]",
            ),
        ]);
        check_saved(&[("fake_quantize([2, 3], scale=0.1)", "mask: 6 bool")]);
        check_intervals(&[
            (
                "quantize([2], scale=0.5, zero_point=3)",
                &[(-1.0, 1e6)],
                "[1, 127]",
            ),
            (
                "dequantize(int8 [2], scale=0.5, zero_point=3)",
                &[(-128.0, 127.0)],
                "[-65.5, 62]",
            ),
            ("fake_quantize([2], scale=0.5)", &[(0.3, 0.6)], "[0.5, 0.5]"),
            ("fake_quantize([2], scale=0.5)", &[(-1e9, 0.2)], "[-64, 0]"),
        ]);
    }
}
