//! Functions of each element by itself, and arithmetic between tensors that are broadcast.

use super::call::{Call, Results, all, one};
use super::registry::{Entry, Mapping::*};
use crate::graph::TensorId;
use crate::tensor::{Dtype, Shape};

/// The entries of this family.
pub(super) const OPS: &[Entry] = &[
    ("Abs", Unary("abs")),
    ("Acos", Unary("acos")),
    ("Acosh", Unary("acosh")),
    ("Add", Binary("add")),
    ("And", Binary("logical_and")),
    ("Asin", Unary("asin")),
    ("Asinh", Unary("asinh")),
    ("Atan", Unary("atan")),
    ("Atanh", Unary("atanh")),
    ("BitShift", Special(shift)),
    ("BitwiseAnd", Binary("bitwise_and")),
    ("BitwiseNot", Unary("bitwise_not")),
    ("BitwiseOr", Binary("bitwise_or")),
    ("BitwiseXor", Binary("bitwise_xor")),
    ("Ceil", Unary("ceil")),
    ("Celu", Special(celu)),
    ("Clip", Special(clip)),
    ("Cos", Unary("cos")),
    ("Cosh", Unary("cosh")),
    ("Div", Special(divide)),
    ("Elu", Special(elu)),
    ("Equal", Binary("eq")),
    ("Erf", Unary("erf")),
    ("Exp", Unary("exp")),
    ("Floor", Unary("floor")),
    ("Gelu", Special(gelu)),
    ("Greater", Binary("gt")),
    ("GreaterOrEqual", Binary("ge")),
    ("HardSigmoid", Special(hard_sigmoid)),
    ("HardSwish", Unary("hardswish")),
    ("IsInf", Unary("isinf")),
    ("IsNaN", Unary("isnan")),
    ("LeakyRelu", Special(leaky_relu)),
    ("Less", Binary("lt")),
    ("LessOrEqual", Binary("le")),
    ("Log", Unary("log")),
    ("Max", Special(maximum)),
    ("Mean", Special(mean)),
    ("Min", Special(minimum)),
    ("Mish", Unary("mish")),
    ("Mod", Special(remainder)),
    ("Mul", Binary("mul")),
    ("Neg", Unary("neg")),
    ("Not", Unary("logical_not")),
    ("Or", Binary("logical_or")),
    ("Pow", Binary("pow")),
    ("PRelu", Special(prelu)),
    ("Reciprocal", Unary("reciprocal")),
    ("Relu", Unary("relu")),
    ("Round", Unary("round")),
    ("Selu", Special(selu)),
    ("Shrink", Special(shrink)),
    ("Sigmoid", Unary("sigmoid")),
    ("Sign", Unary("sign")),
    ("Sin", Unary("sin")),
    ("Sinh", Unary("sinh")),
    ("Softplus", Unary("softplus")),
    ("Softsign", Unary("softsign")),
    ("Sqrt", Unary("sqrt")),
    ("Sub", Binary("sub")),
    ("Sum", Special(sum)),
    ("Swish", Special(swish)),
    ("Tan", Unary("tan")),
    ("Tanh", Unary("tanh")),
    ("ThresholdedRelu", Special(thresholded_relu)),
    ("Where", Special(select)),
    ("Xor", Binary("logical_xor")),
];

/// The inputs as operands of an op that broadcasts them together: numbers where they are some.
/// The first is always a tensor where none else is.
fn operands(call: &mut Call<'_, '_>) -> Option<Vec<TensorId>> {
    let count = call.inputs.len();
    // Single numbers do not decide the shape, unless all are.
    let mut whole = Shape::scalar();
    let mut tensors = 0;
    for at in 0..count {
        let slot = call.tensor_slot(at)?;
        let number = slot.id.is_none() && slot.known.as_ref().is_some_and(|known| known.len() == 1);
        if !number {
            tensors += 1;
            whole = whole.broadcast(&call.ty(at)?.shape)?;
        }
    }
    if tensors == 0 {
        whole = call.ty(0)?.shape.clone();
    }
    let mut operands = Vec::with_capacity(count);
    for at in 0..count {
        operands.push(match tensors {
            0 if at == 0 => call.tensor(at)?,
            _ => call.beside(at, &whole)?,
        });
    }
    Some(operands)
}

/// Two inputs, broadcast together.
pub(super) fn broadcast(call: &mut Call<'_, '_>, op: &str) -> Option<TensorId> {
    let operands = operands(call)?;
    if call.version < 7 || operands.len() != 2 {
        return None;
    }
    call.first(op, &operands, &[])
}

/// Any number of inputs, joined two by two.
fn joined(call: &mut Call<'_, '_>, op: &str) -> Option<TensorId> {
    let operands = operands(call)?;
    let (&first, rest) = operands.split_first()?;
    if rest.is_empty() {
        return call.first("identity", &[first], &[]);
    }
    let mut result = first;
    for &next in rest {
        result = call.first(op, &[result, next], &[])?;
    }
    Some(result)
}

fn maximum(call: &mut Call<'_, '_>) -> Option<Results> {
    joined(call, "maximum").map(one)
}

fn minimum(call: &mut Call<'_, '_>) -> Option<Results> {
    joined(call, "minimum").map(one)
}

fn sum(call: &mut Call<'_, '_>) -> Option<Results> {
    joined(call, "add").map(one)
}

fn mean(call: &mut Call<'_, '_>) -> Option<Results> {
    let count = call.inputs.len() as f64;
    let dtype = call.dtype(0)?;
    let total = joined(call, "add")?;
    let count = call.lowering.builder.typed_constant(count, dtype);
    call.apply("div", &[total, count], &[]).map(all)
}

/// Division, which stays among integers as it does in C.
fn divide(call: &mut Call<'_, '_>) -> Option<Results> {
    let whole = !call.dtype(0)?.is_float();
    let operands = operands(call)?;
    match whole {
        true => call.apply("div", &operands, &[("rounding_mode", "trunc".into())]),
        false => call.apply("div", &operands, &[]),
    }
    .map(all)
}

fn remainder(call: &mut Call<'_, '_>) -> Option<Results> {
    let op = match call.attributes.flag("fmod") {
        true => "fmod",
        false => "remainder",
    };
    broadcast(call, op).map(one)
}

fn shift(call: &mut Call<'_, '_>) -> Option<Results> {
    let op = match call.attributes.text("direction")? {
        "LEFT" => "bitwise_left_shift",
        _ => "bitwise_right_shift",
    };
    broadcast(call, op).map(one)
}

fn select(call: &mut Call<'_, '_>) -> Option<Results> {
    let condition = call.tensor(0)?;
    let shape = call.shape_of(condition);
    let shape = match (call.shape(1), call.shape(2)) {
        (Some(left), Some(right)) => shape.broadcast(left)?.broadcast(right)?,
        _ => return None,
    };
    // What has the shape of the result, or a number beside it.
    let others = match (call.known_number(1), call.known_number(2)) {
        (Some(_), Some(_)) => call.shape_of(condition),
        _ => shape,
    };
    let left = call.beside(1, &others)?;
    let right = call.beside(2, &others)?;
    call.apply("where", &[condition, left, right], &[]).map(all)
}

fn alpha(call: &Call<'_, '_>, name: &str, default: f64) -> f64 {
    call.attributes.float(name).unwrap_or(default)
}

fn with_float(
    call: &mut Call<'_, '_>,
    op: &str,
    name: &'static str,
    value: f64,
) -> Option<Results> {
    let input = call.tensor(0)?;
    call.apply(op, &[input], &[(name, value.into())]).map(all)
}

fn elu(call: &mut Call<'_, '_>) -> Option<Results> {
    let value = alpha(call, "alpha", 1.0);
    with_float(call, "elu", "alpha", value)
}

fn celu(call: &mut Call<'_, '_>) -> Option<Results> {
    let value = alpha(call, "alpha", 1.0);
    with_float(call, "celu", "alpha", value)
}

fn leaky_relu(call: &mut Call<'_, '_>) -> Option<Results> {
    let value = alpha(call, "alpha", 0.01);
    with_float(call, "leaky_relu", "negative_slope", value)
}

fn thresholded_relu(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, threshold) = (call.tensor(0)?, alpha(call, "alpha", 1.0));
    let given = [("threshold", threshold.into()), ("value", 0.0.into())];
    call.apply("threshold", &[input], &given).map(all)
}

fn gelu(call: &mut Call<'_, '_>) -> Option<Results> {
    let approximate = call.attributes.text("approximate").unwrap_or("none");
    let input = call.tensor(0)?;
    let given = [("approximate", approximate.into())];
    call.apply("gelu", &[input], &given).map(all)
}

/// A number of the element type of the first input.
pub(super) fn number(call: &mut Call<'_, '_>, value: f64) -> Option<TensorId> {
    let dtype = call.dtype(0)?;
    Some(call.lowering.builder.typed_constant(value, dtype))
}

fn selu(call: &mut Call<'_, '_>) -> Option<Results> {
    let alpha = alpha(call, "alpha", 1.673_263_2);
    let gamma = call.attributes.float("gamma").unwrap_or(1.050_701);
    let input = call.tensor(0)?;
    if (alpha - 1.673_263_2).abs() < 1e-4 && (gamma - 1.050_701).abs() < 1e-4 {
        return call.apply("selu", &[input], &[]).map(all);
    }
    let curve = call.first("elu", &[input], &[("alpha", alpha.into())])?;
    let gamma = number(call, gamma)?;
    call.apply("mul", &[curve, gamma], &[]).map(all)
}

/// `max(0, min(1, alpha · x + beta))`; PyTorch's has a slope of 1/6.
fn hard_sigmoid(call: &mut Call<'_, '_>) -> Option<Results> {
    let slope = alpha(call, "alpha", 0.2);
    let offset = call.attributes.float("beta").unwrap_or(0.5);
    let input = call.tensor(0)?;
    if (slope - 1.0 / 6.0).abs() < 1e-6 && offset == 0.5 {
        return call.apply("hardsigmoid", &[input], &[]).map(all);
    }
    let (slope, offset) = (number(call, slope)?, number(call, offset)?);
    let scaled = call.first("mul", &[input, slope], &[])?;
    let moved = call.first("add", &[scaled, offset], &[])?;
    let bounds = [("min", 0.0.into()), ("max", 1.0.into())];
    call.apply("clamp", &[moved], &bounds).map(all)
}

/// `x · sigmoid(alpha · x)`.
fn swish(call: &mut Call<'_, '_>) -> Option<Results> {
    let slope = alpha(call, "alpha", 1.0);
    let input = call.tensor(0)?;
    if slope == 1.0 {
        return call.apply("silu", &[input], &[]).map(all);
    }
    let slope = number(call, slope)?;
    let scaled = call.first("mul", &[input, slope], &[])?;
    let gate = call.first("sigmoid", &[scaled], &[])?;
    call.apply("mul", &[input, gate], &[]).map(all)
}

/// 0 within `lambd` of 0, and `bias` nearer to it elsewhere.
fn shrink(call: &mut Call<'_, '_>) -> Option<Results> {
    let bias = call.attributes.float("bias").unwrap_or(0.0);
    let lambd = call.attributes.float("lambd").unwrap_or(0.5);
    let input = call.tensor(0)?;
    let given = [("lambd", lambd.into())];
    if bias == lambd {
        return call.apply("softshrink", &[input], &given).map(all);
    }
    let shrunk = call.first("hardshrink", &[input], &given)?;
    if bias == 0.0 {
        return Some(one(shrunk));
    }
    let sign = call.first("sign", &[shrunk], &[])?;
    let bias = number(call, bias)?;
    let moved = call.first("mul", &[sign, bias], &[])?;
    call.apply("sub", &[shrunk, moved], &[]).map(all)
}

/// Bounds are attributes before opset 11 and inputs since; `None` where one is no number.
fn clip(call: &mut Call<'_, '_>) -> Option<Results> {
    let mut bounds = Vec::new();
    let mut tensors: Vec<(&str, usize)> = Vec::new();
    for (name, op, at) in [("min", "maximum", 1), ("max", "minimum", 2)] {
        let number = call
            .attributes
            .float(name)
            .or_else(|| call.known_number(at));
        match number {
            Some(value) => bounds.push((name, value.into())),
            None if call.has(at) => tensors.push((op, at)),
            None => {}
        }
    }
    let mut input = call.tensor(0)?;
    let bounded = !bounds.is_empty();
    if bounded {
        input = call.first("clamp", &[input], &bounds)?;
    }
    for &(op, at) in &tensors {
        let bound = call.tensor(at)?;
        input = call.first(op, &[input, bound], &[])?;
    }
    if !bounded && tensors.is_empty() {
        return call.apply("identity", &[input], &[]).map(all);
    }
    Some(one(input))
}

/// The slope is one number, one for each channel, or of any shape that broadcasts.
fn prelu(call: &mut Call<'_, '_>) -> Option<Results> {
    let (input, slope) = (call.tensor(0)?, call.weight(1)?);
    let (shape, slopes) = (call.shape_of(input), call.shape_of(slope));
    let channels = shape.sizes().get(1).copied();
    let count = slopes.elements();
    let by_channel = slopes.rank() + 1 == shape.rank() && slopes.sizes().first() == Some(&count);
    if count == 1 || (by_channel && channels == Some(count)) {
        let slope = call.reshape(slope, &[count].into())?;
        return call.apply("prelu", &[input, slope], &[]).map(all);
    }
    let positive = call.first("relu", &[input], &[])?;
    let zero = number(call, 0.0)?;
    let negative = call.first("minimum", &[input, zero], &[])?;
    let scaled = call.first("mul", &[negative, slope], &[])?;
    call.apply("add", &[positive, scaled], &[]).map(all)
}

/// Whether an element type counts, so that arithmetic on it is exact.
pub(super) fn counts(dtype: Dtype) -> bool {
    !dtype.is_float() && dtype != Dtype::Bool
}
