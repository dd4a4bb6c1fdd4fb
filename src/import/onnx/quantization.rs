//! Integers that stand for real numbers, and products of them.

use super::call::{Call, Output, Results, all, one, sizes_of};
use super::constant::dtype as numbered;
use super::convolution::convolved;
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::{Dtype, Interval, Shape};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("ConvInteger", Special(integer_convolution)),
    ("DequantizeLinear", Special(dequantize)),
    ("DynamicQuantizeLinear", Special(dynamic_quantize)),
    ("MatMulInteger", Special(integer_matmul)),
    ("QLinearConv", Special(quantized_convolution)),
    ("QLinearMatMul", Special(quantized_matmul)),
    ("QuantizeLinear", Special(quantize)),
];

/// A scale or zero point in a shape that broadcasts with the tensor that it is of: one number, one
/// for each index of an axis, or one for each block of an axis.
fn spread(call: &mut Call<'_, '_>, side: TensorId, of: &Shape, axis: i64) -> Option<TensorId> {
    let shape = call.shape_of(side);
    let rank = of.rank();
    if shape.elements() == 1 || rank == 0 {
        return call.reshape(side, &Shape::scalar());
    }
    let at = super::call::axis(axis, rank)?;
    if shape.rank() == rank && rank > 1 {
        let (blocks, size) = (shape.sizes()[at], of.sizes()[at]);
        if blocks == size {
            return Some(side);
        }
        let block = i64::try_from(size.checked_div(blocks)?).ok()?;
        let given = [("repeats", block.into()), ("dim", (at as i64).into())];
        return call.first("repeat_interleave", &[side], &given);
    }
    let mut sizes = vec![1; rank];
    sizes[at] = shape.elements();
    call.reshape(side, &Shape::from(&sizes[..]))
}

/// `(integers - zero point) · scale`, for inputs at those positions.
fn real(
    call: &mut Call<'_, '_>,
    integers: TensorId,
    scale: usize,
    zero: usize,
    axis: i64,
) -> Option<TensorId> {
    let shape = call.shape_of(integers);
    let dtype = call.dtype(scale)?;
    let (factor, offset) = (call.known_number(scale), number_or(call, zero, 0.0));
    if let (Some(factor), Some(offset)) = (factor, offset)
        && let Some(id) = call.first(
            "dequantize",
            &[integers],
            &[
                ("scale", factor.into()),
                ("zero_point", (offset as i64).into()),
                ("dtype", dtype.into()),
            ],
        )
    {
        return Some(id);
    }
    let mut result = call.cast(integers, dtype)?;
    if call.has(zero) {
        let offset = call.buffer(zero)?;
        let offset = call.cast(offset, dtype)?;
        let offset = spread(call, offset, &shape, axis)?;
        result = call.first("sub", &[result, offset], &[])?;
    }
    let factor = call.buffer(scale)?;
    let factor = spread(call, factor, &shape, axis)?;
    call.first("mul", &[result, factor], &[])
}

/// A number that is known, or what stands for one that is not given.
fn number_or(call: &Call<'_, '_>, position: usize, absent: f64) -> Option<f64> {
    match call.has(position) {
        true => call.known_number(position),
        false => Some(absent),
    }
}

/// `x / scale + zero point`, on the grid of the element type.
fn integers(
    call: &mut Call<'_, '_>,
    input: TensorId,
    scale: usize,
    zero: usize,
    axis: i64,
    dtype: Dtype,
) -> Option<TensorId> {
    let shape = call.shape_of(input);
    let (factor, offset) = (call.known_number(scale), number_or(call, zero, 0.0));
    if let (Some(factor), Some(offset)) = (factor, offset)
        && let Some(id) = call.first(
            "quantize",
            &[input],
            &[
                ("scale", factor.into()),
                ("zero_point", (offset as i64).into()),
                ("dtype", dtype.into()),
            ],
        )
    {
        return Some(id);
    }
    let factor = call.buffer(scale)?;
    let factor = spread(call, factor, &shape, axis)?;
    let mut result = call.first("div", &[input, factor], &[])?;
    if !dtype.is_float() {
        result = call.first("round", &[result], &[])?;
    }
    if call.has(zero) {
        let offset = call.buffer(zero)?;
        let offset = call.cast(offset, call.type_of(input).dtype)?;
        let offset = spread(call, offset, &shape, axis)?;
        result = call.first("add", &[result, offset], &[])?;
    }
    let grid = match dtype.float_format() {
        Some(format) => Interval::new(-format.max, format.max),
        None => Interval::of_dtype(dtype),
    };
    let bounds = [("min", grid.low.into()), ("max", grid.high.into())];
    result = call.first("clamp", &[result], &bounds)?;
    call.cast(result, dtype)
}

fn axis(call: &Call<'_, '_>) -> i64 {
    call.attributes.integer("axis").unwrap_or(1)
}

fn quantize(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let named = call.attributes.integer("output_dtype").filter(|&n| n != 0);
    let dtype = match (call.dtype(2), named) {
        (Some(dtype), _) => dtype,
        (None, Some(number)) => numbered(i32::try_from(number).ok()?)?,
        (None, None) => Dtype::Uint8,
    };
    let axis = axis(call);
    integers(call, input, 1, 2, axis, dtype).map(one)
}

/// The integers are weights where they stand in the file.
fn dequantize(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.weight(0)?;
    let axis = axis(call);
    real(call, input, 1, 2, axis).map(one)
}

/// Scale and zero point that take all values, 0 among them, to 8 bits.
fn dynamic_quantize(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let high = call.first("amax", &[input], &[])?;
    let low = call.first("amin", &[input], &[])?;
    let high = call.first("clamp", &[high], &[("min", 0.0.into())])?;
    let low = call.first("clamp", &[low], &[("max", 0.0.into())])?;
    let span = call.first("sub", &[high, low], &[])?;
    let steps = call.lowering.builder.constant(255.0);
    let scale = call.first("div", &[span, steps], &[])?;
    let below = call.first("neg", &[low], &[])?;
    let zero = call.first("div", &[below, scale], &[])?;
    let zero = call.first("round", &[zero], &[])?;
    let bounds = [("min", 0.0.into()), ("max", 255.0.into())];
    let zero = call.first("clamp", &[zero], &bounds)?;
    let scaled = call.first("div", &[input, scale], &[])?;
    let whole = call.first("round", &[scaled], &[])?;
    let moved = call.first("add", &[whole, zero], &[])?;
    let bounded = call.first("clamp", &[moved], &bounds)?;
    let result = call.cast(bounded, Dtype::Uint8)?;
    let zero = call.cast(zero, Dtype::Uint8)?;
    Some(Results::from_slice(&[
        Output::Tensor(result),
        Output::Tensor(scale),
        Output::Tensor(zero),
    ]))
}

/// Integers less their zero point, in float32, which holds sums of few enough products exactly.
fn centred(
    call: &mut Call<'_, '_>,
    integers: TensorId,
    zero: usize,
    axis: i64,
) -> Option<TensorId> {
    let result = call.cast(integers, Dtype::Float32)?;
    if !call.has(zero) || call.known_number(zero) == Some(0.0) {
        return Some(result);
    }
    let offset = call.buffer(zero)?;
    let offset = call.cast(offset, Dtype::Float32)?;
    let shape = call.shape_of(integers);
    let offset = match call.shape_of(offset).rank() {
        0 | 1 => spread(call, offset, &shape, axis)?,
        _ => offset,
    };
    call.first("sub", &[result, offset], &[])
}

fn integer_matmul(call: &mut Call<'_, '_>) -> Option<Results> {
    let (left, right) = (call.weight(0)?, call.weight(1)?);
    let left = centred(call, left, 2, -2)?;
    let right = centred(call, right, 3, -1)?;
    let product = call.first("matmul", &[left, right], &[])?;
    call.cast(product, Dtype::Int32).map(one)
}

fn integer_convolution(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, weight) = (call.tensor(0)?, call.weight(1)?);
    let input = centred(call, input, 2, 1)?;
    let weight = centred(call, weight, 3, 0)?;
    let product = convolved(call, [input, weight, TensorId::ABSENT])?;
    call.cast(product, Dtype::Int32).map(one)
}

/// Computed in real numbers, which is what the integers stand for.
fn quantized_convolution(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, weight) = (call.tensor(0)?, call.weight(3)?);
    let input = real(call, input, 1, 2, 1)?;
    let weight = real(call, weight, 4, 5, 0)?;
    let bias = match call.has(8) {
        true => {
            let bias = call.optional_weight(8)?;
            call.cast(bias, Dtype::Float32)?
        }
        false => TensorId::ABSENT,
    };
    let product = convolved(call, [input, weight, bias])?;
    let dtype = call.dtype(7)?;
    integers(call, product, 6, 7, 1, dtype).map(one)
}

fn quantized_matmul(call: &mut Call<'_, '_>) -> Option<Results> {
    let (left, right) = (call.weight(0)?, call.weight(3)?);
    let left = real(call, left, 1, 2, -2)?;
    let right = real(call, right, 4, 5, -1)?;
    let product = call.first("matmul", &[left, right], &[])?;
    let dtype = call.dtype(7)?;
    integers(call, product, 6, 7, -1, dtype).map(one)
}

/// A weight of packed integers of few bits, with scales for blocks of its columns, times an input.
pub(super) fn packed_matmul(call: &mut Call<'_, '_>) -> Option<Results> {
    let input = call.tensor(0)?;
    let (inner, outer) = (call.attributes.integer("K")?, call.attributes.integer("N")?);
    let (packed, scales) = (call.weight(1)?, call.buffer(2)?);
    let dtype = call.type_of(input).dtype;
    let (k, n) = (u64::try_from(inner).ok()?, u64::try_from(outer).ok()?);
    let ty = crate::tensor::TensorType::new([n, k], dtype);
    let unpacked = call.apply_as(
        "opaque",
        &[packed, scales],
        &[
            ("size", sizes_of(&ty.shape).into()),
            ("target", "unpack".into()),
        ],
        &[ty],
    )?;
    let operands = [input, *unpacked.first()?, call.optional_weight(5)?];
    call.apply("linear", &operands, &[]).map(all)
}
