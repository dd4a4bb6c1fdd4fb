//! Linear maps with weights of their own.

use smallvec::smallvec;

use super::definition::{BASE, Default, attribute, operand, optional};
use super::gradient::Gradient;
use super::layout::viewed;
use super::{
    AttributeKind, Autocast, Call, Init, Op, OpError, Outputs, ParameterDefinition, Saved, Work,
};
use crate::tensor::{Interval, Moments, TensorType};

/// The entries of this family.
pub static OPS: &[Op] = &[Op {
    name: "linear",
    aliases: &["dense", "fully_connected"],
    summary: "x @ weight.T + bias over the last axis",
    operands: &[operand("input"), operand("weight"), optional("bias")],
    attributes: &[
        attribute(
            "out_features",
            AttributeKind::Size,
            Default::None,
            "size of the last axis",
        ),
        attribute(
            "in_features",
            AttributeKind::Size,
            Default::None,
            "checked if given",
        ),
        attribute(
            "weight",
            AttributeKind::Parameter,
            Default::None,
            "a weight to share",
        ),
        attribute(
            "bias",
            AttributeKind::Parameter,
            Default::Boolean(true),
            "whether to add one",
        ),
    ],
    parameters: Some(|call| {
        let input = call.shape(0)?;
        let features = input.size(-1).ok_or_else(|| {
            OpError::new("`linear` needs at least one axis, but its input is a scalar")
                .operands([0])
        })?;
        if let Some(given) = call.integer("in_features")
            && given != features as i64
        {
            let message =
                format!("`in_features` is {given}, but the input {input} has {features} features");
            return Err(OpError::new(message).operands([0]).attribute("in_features"));
        }
        let out_features = match call.argument(1) {
            Some(weight) => weight.ty.shape.size(0).unwrap_or(0),
            None => call.size("out_features")?,
        };
        let init = Init::FanIn(features);
        Ok(smallvec![
            ParameterDefinition::new(1, "weight", [out_features, features], init),
            ParameterDefinition::new(2, "bias", [out_features], init),
        ])
    }),
    infer,
    autocast: Autocast::Lower,
    work: |call| Work {
        products: products(call),
        other: if call.has(2) {
            u128::from(call.output_elements())
        } else {
            0
        },
    },
    // The gradient of each of the two factors is one product of the same size.
    backward: |call| {
        let factors = [0, 1]
            .into_iter()
            .filter(|&factor| call.requires_grad(factor))
            .count();
        products(call) * factors as u128
    },
    saved: |call, saved: &mut Saved| {
        if call.requires_grad(1) {
            save_rows(call, saved);
        }
        if call.requires_grad(0) {
            saved.argument(call, 1);
        }
    },
    interval: |call, ranges| {
        let terms = call
            .shape(0)
            .ok()
            .and_then(|shape| shape.size(-1))
            .unwrap_or(0) as f64;
        let sum = ranges[0] * ranges[1] * Interval::point(terms);
        if call.has(2) { sum + ranges[2] } else { sum }
    },
    moments: |call, moments| {
        let terms = call.shape(0).ok()?.size(-1)? as f64;
        let (input, weight) = (moments[0]?, moments[1]?);
        let bias = moments
            .get(2)
            .copied()
            .flatten()
            .unwrap_or(Moments::constant(0.0));
        // Var[Σ wx] = n·(E[w²]E[x²] − E[w]²E[x]²) for independent terms.
        let product = weight.square() * input.square() - (weight.mean * input.mean).powi(2);
        let mean = terms * weight.mean * input.mean + bias.mean;
        Some(Moments::new(mean, terms * product + bias.variance))
    },
    gradient_gain: |call, position, moments| {
        let outputs = call.shape(1).ok()?.size(0)? as f64;
        (position == 0).then_some(())?;
        Some(outputs * moments[1]?.square())
    },
    gradient,
    ..BASE
}];

/// The gradients of both factors, and of the bias the sum over rows. That of the weight goes through
/// a transpose, a node of its own, and so comes to the others last. Where the incoming one has no
/// strides that fold its rows, a copy takes its place.
fn gradient(call: &Call, gradient: &mut Gradient<'_>) {
    if let Some(output) = call.output()
        && !folds(output.shape.sizes(), &gradient.incoming())
    {
        gradient.node(gradient.output_bytes());
    }
    // `addmm` makes the gradient of its first factor first, `mm` that of the second.
    let order = if call.has(2) { [0, 1, 2] } else { [1, 0, 2] };
    for position in order {
        gradient.make(position);
    }
    for name in ["input", "folded input", "weight"] {
        gradient.release(name);
    }
    gradient.end();
    gradient.hand(2);
    gradient.hand(0);
}

/// Whether the axes but the last can be seen as one.
fn folds(sizes: &[u64], strides: &[u64]) -> bool {
    let Some((&features, leading)) = sizes.split_last() else {
        return true;
    };
    let rows = leading.iter().product();
    leading.len() < 2
        || strides.len() != sizes.len()
        || viewed(sizes, strides, &[rows, features]).is_some()
}

/// Keeps the input, whose axes but the last are folded into one; where it has no strides for that,
/// as what has been permuted, a copy of it.
fn save_rows(call: &Call, saved: &mut Saved) {
    let Ok(input) = call.ty(0) else { return };
    match folds(input.shape.sizes(), &call.strides(0)) {
        true => saved.argument(call, 0),
        false => saved.extra("folded input", input.shape.elements(), input.dtype),
    }
}

/// Two per multiply-add: `2 · rows · in_features · out_features`.
fn products(call: &Call) -> u128 {
    let features = call
        .shape(0)
        .ok()
        .and_then(|shape| shape.size(-1))
        .unwrap_or(0);
    2 * u128::from(call.output_elements()) * u128::from(features)
}

fn infer(call: &Call) -> Result<Outputs, OpError> {
    let (input, weight) = (call.ty(0)?, call.shape(1)?);
    if weight.rank() != 2 {
        let message = format!("the weight of `linear` must have 2 axes, but it is {weight}");
        return Err(OpError::new(message).operands([1]));
    }
    let (outputs, features) = (weight.sizes()[0], weight.sizes()[1]);
    let Some(&last) = input.shape.sizes().last() else {
        let message = "`linear` needs at least one axis, but its input is a scalar";
        return Err(OpError::new(message).operands([0]));
    };
    if last != features {
        let message = format!(
            "the input {} has {last} features, but the weight {weight} takes {features}",
            input.shape
        );
        return Err(OpError::new(message).operands([0, 1]));
    }
    if let Some(bias) = call.argument(2)
        && bias.ty.shape.sizes() != [outputs]
    {
        let message = format!(
            "the bias is {}, but the weight {weight} gives {outputs}",
            bias.ty
        );
        return Err(OpError::new(message).operands([2, 1]));
    }
    let mut shape = input.shape.clone();
    shape.set(shape.rank() - 1, outputs);
    Ok(smallvec![TensorType {
        shape,
        dtype: call.promoted_dtype()
    }])
}

#[cfg(test)]
mod tests {
    use super::super::cases::check_saved;

    /// Guards the copy that folding makes of permuted axes.
    #[test]
    fn the_input_is_kept_or_its_fold() {
        check_saved(&[
            ("linear([2, 4, 8], out_features=5)", "input, weight"),
            ("linear([8, 4] / [1, 8], out_features=5)", "input, weight"),
            (
                "linear([2, 4, 4, 8] / [128, 8, 32, 1], out_features=5)",
                "weight, folded input: 256 float32",
            ),
            ("linear([2, 4, 8]!, out_features=5)", "input"),
        ]);
    }
}
