//! Arithmetic with tensors that are known before the model runs.

use std::rc::Rc;

use super::call::Call;
use super::constant::{Constant, Indices, MAX_ELEMENTS, place};
use crate::tensor::{Dtype, Shape};

pub(super) fn select(inputs: &[Rc<Constant>]) -> Option<Constant> {
    let [condition, left, right] = inputs else {
        return None;
    };
    let shape = condition.ty.shape.broadcast(&left.ty.shape)?;
    let shape = shape.broadcast(&right.ty.shape)?;
    elements(&shape, left.ty.dtype, |index| {
        let chosen = condition.integer(place(index, &condition.ty.shape)) != 0;
        let from = if chosen { left } else { right };
        Some(from.real(place(index, &from.ty.shape)))
    })
}

pub(super) fn reduce(call: &Call<'_, '_>, inputs: &[Rc<Constant>]) -> Option<Constant> {
    let first = inputs.first()?;
    // Of a list, or of all axes: what shapes are computed with.
    let axes = match call.integers_at("axes", 1) {
        Some(axes) => axes?,
        None if call.attributes.flag("noop_with_empty_axes") => return None,
        None => Vec::new(),
    };
    let rank = first.ty.shape.rank();
    if !(axes.is_empty() || axes.len() == rank) || !first.is_small() {
        return None;
    }
    let values = first.all_reals()?.into_iter();
    let value = match call.node.op_type.as_str() {
        "ReduceProd" => values.product(),
        "ReduceSum" => values.sum(),
        "ReduceMax" => values.reduce(f64::max)?,
        _ => values.reduce(f64::min)?,
    };
    let shape: Shape = match call.attributes.integer("keepdims").unwrap_or(1) {
        0 => Shape::scalar(),
        _ => std::iter::repeat_n(1, rank).collect(),
    };
    Some(Constant::floats(shape, first.ty.dtype, vec![value]))
}

pub(super) fn nonzero(inputs: &[Rc<Constant>]) -> Option<Constant> {
    let first = inputs.first().filter(|first| first.is_small())?;
    let shape = &first.ty.shape;
    let found: Vec<Vec<u64>> = Indices::of(shape)
        .filter(|index| first.real(place(index, shape)) != 0.0)
        .collect();
    let values = (0..shape.rank()).flat_map(|axis| found.iter().map(move |at| at[axis] as i64));
    Some(Constant::integers(
        [shape.rank() as u64, found.len() as u64],
        Dtype::Int64,
        values.collect(),
    ))
}

/// The elements that a function gives, of a small tensor.
fn elements(
    shape: &Shape,
    dtype: Dtype,
    mut element: impl FnMut(&[u64]) -> Option<f64>,
) -> Option<Constant> {
    if shape.checked_elements()? > MAX_ELEMENTS {
        return None;
    }
    let values: Option<Vec<f64>> = Indices::of(shape).map(|index| element(&index)).collect();
    let values = values?;
    // Integers that a float does not hold are none that a shape is made of.
    let exact = |value: &f64| value.abs() <= 9e15;
    (dtype.is_float() || values.iter().all(exact))
        .then(|| Constant::floats(shape.clone(), dtype, values))
}

/// Arithmetic element by element.
pub(super) fn pointwise(
    name: &str,
    call: &Call<'_, '_>,
    inputs: &[Rc<Constant>],
) -> Option<Constant> {
    let first = inputs.first()?;
    let dtype = match name {
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor"
        | "Not" => Dtype::Bool,
        _ => first.ty.dtype,
    };
    let whole = !first.ty.dtype.is_float();
    if let [only] = inputs {
        let function: fn(f64) -> f64 = match name {
            "Neg" => |x| -x,
            "Abs" => f64::abs,
            "Floor" => f64::floor,
            "Ceil" => f64::ceil,
            "Round" => f64::round_ties_even,
            "Sqrt" => f64::sqrt,
            "Exp" => f64::exp,
            "Log" => f64::ln,
            "Reciprocal" => f64::recip,
            "Sign" => |x| if x == 0.0 { 0.0 } else { x.signum() },
            "Not" => |x| f64::from(x == 0.0),
            "Max" | "Min" | "Sum" | "Mean" => |x| x,
            _ => return None,
        };
        if let (Some(value), true) = (only.uniform(), only.len() > MAX_ELEMENTS) {
            let one = Constant::floats(Shape::scalar(), dtype, vec![function(value)]);
            return Some(one.spread(only.ty.shape.clone()));
        }
        return elements(&only.ty.shape, dtype, |index| {
            Some(function(only.real(place(index, &only.ty.shape))))
        });
    }
    let mut shape = Shape::scalar();
    for input in inputs {
        shape = shape.broadcast(&input.ty.shape)?;
    }
    let count = inputs.len() as f64;
    elements(&shape, dtype, |index| {
        let mut values = inputs
            .iter()
            .map(|input| input.real(place(index, &input.ty.shape)));
        let (a, b) = (values.next()?, values.next()?);
        Some(match name {
            "Max" => values.fold(a.max(b), f64::max),
            "Min" => values.fold(a.min(b), f64::min),
            "Sum" => values.fold(a + b, |sum, value| sum + value),
            "Mean" => values.fold(a + b, |sum, value| sum + value) / count,
            _ if values.next().is_some() => return None,
            "Add" => a + b,
            "Sub" => a - b,
            "Mul" => a * b,
            "Div" if whole && b == 0.0 => return None,
            "Div" if whole => (a / b).trunc(),
            "Div" => a / b,
            "Pow" => a.powf(b),
            "Mod" if b == 0.0 => return None,
            "Mod" if call.attributes.flag("fmod") => a % b,
            "Mod" => a - b * (a / b).floor(),
            "Equal" => f64::from(a == b),
            "Less" => f64::from(a < b),
            "LessOrEqual" => f64::from(a <= b),
            "Greater" => f64::from(a > b),
            "GreaterOrEqual" => f64::from(a >= b),
            "And" => f64::from(a != 0.0 && b != 0.0),
            "Or" => f64::from(a != 0.0 || b != 0.0),
            "Xor" => f64::from((a != 0.0) != (b != 0.0)),
            _ => return None,
        })
    })
}
