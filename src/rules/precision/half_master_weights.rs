//! `precision/half-master-weights`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::graph::Parameter;
use crate::ops::gaussian;
use crate::quantity::figure;
use crate::rules::precision::shared_policy::{narrow, origin, set_key, shown};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::OptimizerKind;
use crate::tensor::FloatFormat;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/half-master-weights",
    summary: "Updates are lost in the rounding of the weights.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/half-master-weights.md"),
};

/// The share of weights that do not move from which on it is a fault.
const SHARE: f64 = 0.1;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    use OptimizerKind as O;
    let (policy, train) = (context.facts.policy(), &context.run.train);
    let dtype = policy.updated();
    let Some(format) = narrow(dtype) else {
        return;
    };
    if !context.run.trains() || policy.stochastic_rounding.value {
        return;
    }
    let (Some(kind), Some(lr)) = (train.optimizer.name.get(), train.optimizer.lr.get()) else {
        return;
    };
    // The first update of these is the rate itself, whatever the gradient.
    let normalised = matches!(kind, O::Adam | O::AdamW | O::NAdam | O::Adam8bit | O::Lion);
    let Some((parameter, deviation)) = largest(context) else {
        return;
    };
    let share = unmoved(format, deviation, lr);
    if lr <= 0.0 || (normalised && share < SHARE) {
        return;
    }
    let chosen = match policy.master.value {
        Some(_) => policy.master.span,
        None => origin(context, &policy.params),
    };
    let edit = set_key(context, &train.precision.master, "master", "\"float32\"");
    let help = "keep a float32 copy of the weights (master = \"float32\"), as AMP does; or round the updates stochastically";
    let path = "train.precision.master";
    let edits = edit.into_iter().collect();
    if !normalised {
        let part = 0.5f64.powi(format.precision as i32 + 1);
        let message = format!(
            "weights are updated in {dtype}: a step that changes one by less than 2^-{} = {} % of \
             itself changes nothing, and towards the end of a run most do",
            format.precision + 1,
            figure(100.0 * part)
        );
        reporter
            .setting(path, chosen, message)
            .level(Level::Warning)
            .confidence(Confidence::Likely)
            .help(help)
            .fix_edits("keep a float32 copy", Safety::Unsafe, edits);
        return;
    }
    let weight = format.round(deviation);
    let after = format.round(weight - lr);
    let name = context.graph.parameter_path(parameter);
    let witness = match after == weight {
        true => format!(
            "{} − {} is {} again",
            shown(weight),
            shown(lr),
            shown(after)
        ),
        false => format!("the larger ones of `{name}` stay where they are"),
    };
    let message = format!(
        "weights are updated in {dtype}, where {witness}: a first step of {kind} at {} leaves {} % \
         of `{name}`, drawn with a standard deviation of {}, unmoved",
        shown(lr),
        figure(100.0 * share),
        shown(deviation)
    );
    let confidence = match after == weight {
        true => Confidence::Proved,
        false => Confidence::Likely,
    };
    let level = match share >= 0.5 {
        true => Level::Error,
        false => Level::Warning,
    };
    reporter
        .setting(path, chosen, message)
        .level(level)
        .confidence(confidence)
        .also(train.optimizer.lr.span, "the length of a step")
        .help(help)
        .fix_edits("keep a float32 copy", Safety::Unsafe, edits);
}

/// The trained matrix or kernel with the most elements, and its standard deviation at the start.
fn largest<'a>(context: &Context<'a>) -> Option<(&'a Parameter, f64)> {
    let graph = context.graph;
    graph
        .parameters
        .iter()
        .filter(|parameter| parameter.trainable)
        .filter_map(|parameter| {
            let shape = &graph.ty(parameter.tensor).shape;
            let deviation = parameter.init.moments(shape)?.variance.sqrt();
            (shape.rank() >= 2 && deviation > 0.0).then_some((parameter, deviation, shape))
        })
        .max_by_key(|(.., shape)| shape.elements())
        .map(|(parameter, deviation, _)| (parameter, deviation))
}

/// The share of normal weights of that deviation for which `w − step` rounds to `w`: those in
/// binades where half of the spacing is more than the step, `2^(k−p) ≥ step` for `|w| ≥ 2^k`.
fn unmoved(format: &FloatFormat, deviation: f64, step: f64) -> f64 {
    let binade = (step.log2() + f64::from(format.precision)).ceil();
    2.0 * (1.0 - gaussian::cumulative(binade.exp2() / deviation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Dtype;

    /// Against drawn weights: the share of N(0, 0.02²) that a step leaves where it is.
    #[test]
    fn share_of_weights_that_do_not_move() {
        for (dtype, step) in [
            (Dtype::Bfloat16, 1e-3),
            (Dtype::Bfloat16, 1e-4),
            (Dtype::Bfloat16, 3e-5),
            (Dtype::Bfloat16, 1e-5),
            (Dtype::Bfloat16, 1e-6),
            (Dtype::Float16, 3e-5),
            (Dtype::Float16, 1e-5),
            (Dtype::Float16, 1e-6),
        ] {
            let format = dtype.float_format().unwrap();
            let count = 20_000;
            // Quantiles of the normal distribution, by bisection, in place of random numbers.
            let weight = |index: u32| {
                let wanted = (f64::from(index) + 0.5) / f64::from(count);
                let (mut low, mut high) = (-8.0, 8.0);
                for _ in 0..40 {
                    let middle = (low + high) / 2.0;
                    match gaussian::cumulative(middle) < wanted {
                        true => low = middle,
                        false => high = middle,
                    }
                }
                format.round(0.02 * low)
            };
            let still = (0..count)
                .map(weight)
                .filter(|&weight| format.round(weight - step) == weight)
                .count();
            let drawn = still as f64 / f64::from(count);
            let figure = unmoved(format, 0.02, step);
            assert!(
                (figure - drawn).abs() < 0.01,
                "{dtype} {step}: {figure} {drawn}"
            );
        }
    }
}
