//! What the rules about numbers have in common: how numbers are written in messages, what may be
//! expected of an epsilon, and the evidence for a fault.

use crate::diag::{Confidence, FindingBuilder, Level};
use crate::facts::witness::Witness;
use crate::facts::zero::Zero;
use crate::graph::{NodeId, TensorId};
use crate::rules::Context;
use crate::rules::shared_edit::Part;
use crate::tensor::{Dtype, FloatFormat};

/// A number with as many digits as people need: `65504`, `0.125`, `3.4e38`, `1e-8`.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return match value {
            f64::INFINITY => "∞".to_owned(),
            f64::NEG_INFINITY => "-∞".to_owned(),
            _ => "NaN".to_owned(),
        };
    }
    let magnitude = value.abs();
    let trim = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    if value == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e6).contains(&magnitude) {
        let text = format!("{value:.1e}");
        match text.split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", trim(digits.to_owned())),
            None => text,
        }
    } else {
        let decimals = (3.0 - magnitude.log10().floor()).clamp(0.0, 6.0) as usize;
        trim(format!("{value:.decimals$}"))
    }
}

/// The same with all its digits, for numbers that a person wrote: `0.99999999`, `1e-8`.
pub fn written(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e6) {
        return format!("{value:e}");
    }
    format!("{value}")
}

/// A number to add where 0 is possible, for a computation in that type: no subnormal, and with a
/// finite reciprocal.
pub fn epsilon(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Float64 | Dtype::Complex128 => "1e-12",
        Dtype::Float16 => "1e-4",
        _ => "1e-8",
    }
}

/// The element type of a node's first output as it runs, under autocast too, if that is a float,
/// and its format.
pub fn float_of(context: &Context<'_>, node: NodeId) -> Option<(Dtype, &'static FloatFormat)> {
    let output = context.graph.node(node).first_output;
    let dtype = context.facts.dtypes().tensor(context.graph, output);
    Some((dtype, dtype.float_format()?))
}

/// Whether a gradient flows to the tensor while the model trains.
pub fn trains(context: &Context<'_>, tensor: TensorId) -> bool {
    context.graph.training && context.graph.tensor(tensor).requires_grad
}

/// `` `h.3.attn` ``, or nothing where the tensor is a part of the formula at hand.
pub fn name(context: &Context<'_>, tensor: TensorId, beside: NodeId) -> String {
    match is_beside(context, tensor, beside) {
        true => String::new(),
        false => format!(" `{}`", context.graph.tensor_name(tensor)),
    }
}

/// Whether a tensor is made by the layer that a node belongs to.
fn is_beside(context: &Context<'_>, tensor: TensorId, beside: NodeId) -> bool {
    let graph = context.graph;
    graph
        .producer(tensor)
        .is_some_and(|producer| graph.node(producer).layer == graph.node(beside).layer)
}

/// The name of a tensor, or its text where it is a part of the formula at hand.
pub fn text(context: &Context<'_>, tensor: TensorId, beside: NodeId) -> String {
    let part = context
        .graph
        .producer(tensor)
        .filter(|_| is_beside(context, tensor, beside))
        .and_then(|producer| Part::of(context, producer));
    match part {
        Some(part) => format!("`{}`", part.text()),
        None => {
            let content = context.facts.idioms().content(tensor);
            format!("`{}`", context.graph.tensor_name(content))
        }
    }
}

/// Why a tensor can be 0: `it is 0 where all elements of x are`.
pub fn reason(context: &Context<'_>, zero: Zero, beside: NodeId) -> String {
    let text = |tensor: TensorId| text(context, tensor, beside);
    match zero {
        Zero::OfMagnitudes(of) => format!("it is 0 where all elements of {} are", text(of)),
        Zero::OfSpread(of) => format!("it is 0 where all elements of {} are equal", text(of)),
        Zero::OfRectifier(_) => "a rectifier gives 0 for whatever is not positive".to_owned(),
        Zero::OfCount(of) => format!("it is 0 where {} chooses nothing", text(of)),
    }
}

/// What shows that a node fails.
#[derive(Debug, Clone, PartialEq)]
pub enum Evidence {
    /// It was run, and failed.
    Witness(Witness),
    /// The declared ranges allow it.
    Declared,
    /// The way it is made allows it, for inputs of which nothing is said.
    Assumed,
}

impl Evidence {
    /// Runs the node for a witness; without one its declared ranges, if they are all that it rests
    /// on, are the evidence. `tensor` is the operand in question.
    pub fn of(
        context: &Context<'_>,
        node: NodeId,
        tensor: TensorId,
        fails: impl Fn(&[f64], f64) -> bool,
    ) -> Evidence {
        let ranges = context.facts.ranges();
        let sound = |operands: &[f64], value: f64| {
            operands.iter().all(|operand| operand.is_finite()) && fails(operands, value)
        };
        if let Some(witness) =
            Witness::find(context.graph, context.facts.dtypes(), ranges, node, sound)
        {
            return Evidence::Witness(witness);
        }
        let known = ranges.known(tensor);
        match known.declared && !known.tainted {
            true => Evidence::Declared,
            false => Evidence::Assumed,
        }
    }

    /// `; run with x = 300 in every element, it gives ∞`, or nothing.
    pub fn sentence(&self, context: &Context<'_>) -> String {
        match self {
            Evidence::Witness(witness) => {
                let inputs = witness.describe(context.graph, number);
                format!("; run {inputs}, it gives {}", number(witness.value))
            }
            _ => String::new(),
        }
    }

    /// Sets level and confidence: an error that was run is proved.
    pub fn grade<'a>(&self, finding: FindingBuilder<'a>) -> FindingBuilder<'a> {
        match self {
            Evidence::Witness(_) => finding.level(Level::Error).confidence(Confidence::Proved),
            Evidence::Declared | Evidence::Assumed => finding.confidence(Confidence::Likely),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (65504.0, "65504"),
            (f64::from(f32::MAX), "3.4e38"),
            (0.125, "0.125"),
            (1e-8, "1e-8"),
            (-1.5e-20, "-1.5e-20"),
            (88.722_839, "88.72"),
            (120.0, "120"),
            (1.3e52, "1.3e52"),
            (0.0, "0"),
            (f64::INFINITY, "∞"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(written(0.999_999_99), "0.99999999");
        assert_eq!(written(1e-8), "1e-8");
        assert_eq!(written(-1e9), "-1e9");
        assert_eq!(written(-65504.0), "-65504");
    }
}
