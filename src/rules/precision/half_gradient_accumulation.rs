//! `precision/half-gradient-accumulation`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::quantity::figure;
use crate::rules::precision::shared_policy::{narrow, origin, set_key, simulate};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/half-gradient-accumulation",
    summary: "Gradients of many micro-batches are summed in a narrow type.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/half-gradient-accumulation.md"),
};

/// Micro-batches from which on the rounding of a sum is worth a word: √16 · 2^-9 is 0.8 %.
const MANY: u64 = 16;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (policy, train) = (context.facts.policy(), &context.run.train);
    let (dtype, count) = (policy.accumulate.value, train.grad_accumulation.or(1));
    let Some(format) = narrow(dtype) else {
        return;
    };
    // Where the bits of the type are many for the number of terms, nothing is lost.
    let many = MANY.max(format.precision.pow(2).into());
    if !context.run.trains() || count < many.min(256) || policy.stochastic_rounding.value {
        return;
    }
    let steps = u32::try_from(count).unwrap_or(u32::MAX).min(1 << 20);
    let sum = simulate(format, 0.0, steps, |sum| sum + 1.0);
    let message = if sum < f64::from(steps) {
        format!(
            "{count} gradients are summed in {dtype}: {count} equal ones make {sum}, since from \
             there on adding one more changes nothing"
        )
    } else {
        format!(
            "{count} gradients are summed in {dtype}, each sum rounded to 2^-{}: a relative error \
             of about √{count} · 2^-{} = {} %",
            format.precision,
            format.precision,
            figure(100.0 * (count as f64).sqrt() * format.unit_roundoff())
        )
    };
    let confidence = match sum < f64::from(steps) {
        true => Confidence::Proved,
        false => Confidence::Likely,
    };
    let span = policy
        .accumulate
        .span
        .or(policy.grads.span)
        .or(origin(context, &policy.params));
    let field = &train.precision.accumulate;
    let edit = set_key(context, field, "accumulate", "\"float32\"");
    reporter
        .setting("train.precision.accumulate", span, message)
        .confidence(confidence)
        .also(train.grad_accumulation.span, "so many are summed")
        .help("accumulate in float32 (accumulate = \"float32\"; Megatron's --accumulate-allreduce-grads-in-fp32)")
        .fix_edits(
            "accumulate in float32",
            Safety::Unsafe,
            edit.into_iter().collect(),
        );
}
