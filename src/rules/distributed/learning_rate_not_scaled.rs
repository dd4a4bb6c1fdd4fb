//! `distributed/learning-rate-not-scaled`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/learning-rate-not-scaled",
    summary: "The learning rate does not follow the batch as it did in the baseline.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/learning-rate-not-scaled.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let optimizer = &context.run.train.optimizer;
    let baseline = &context.run.baseline;
    let batch = context.facts.batch();
    let (Some(kind), Some(rate), Some(reference), Some(growth), Some(global)) = (
        optimizer.name.get(),
        optimizer.lr.get(),
        baseline.lr.get(),
        batch.growth,
        batch.global,
    ) else {
        return;
    };
    if growth.log2().abs() < 0.5 || rate <= 0.0 || reference <= 0.0 {
        return;
    }
    let adaptive = kind.is_adaptive();
    let factor = if adaptive { growth.sqrt() } else { growth };
    let expected = reference * factor;
    // Half as much again either way is within what a search of the rate gives.
    if (rate / expected).log2().abs() <= 0.585 {
        return;
    }
    let linear = adaptive && growth >= 4.0 && (rate / (reference * growth)).log2().abs() < 0.33;
    let expected_text = figure(expected);
    let factor_text = figure(factor);
    let growth_text = figure(growth);
    let rate_text = figure(rate);
    let reference_text = figure(reference);
    let law = if adaptive { "its square root" } else { "it" };
    let was = baseline.global_batch.or(0);
    let message = if linear {
        format!(
            "the batch grew {growth_text}× ({was} → {global}) and the rate of {kind} grew with it ({reference_text} → {rate_text}); for an adaptive optimizer it grows with the square root: {expected_text}"
        )
    } else {
        format!(
            "the batch changed {growth_text}× ({was} → {global}), so the rate of {kind} is expected to change with {law}: {reference_text} × {factor_text} = {expected_text}, but it is {rate_text}"
        )
    };
    reporter
        .setting("train.optimizer.lr", optimizer.lr.span, message)
        .confidence(Confidence::Likely)
        .also(baseline.lr.span, "the baseline's rate")
        .help("scale the rate, with a warm-up; or keep the batch by lowering the micro-batch or the accumulation")
        .fix(format!("set lr to {expected_text}"), Safety::Unsafe, optimizer.lr.span, expected_text.clone());
}
