//! `precision/float8-format`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::Dtype;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/float8-format",
    summary: "Activations are multiplied in float8_e5m2.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/float8-format.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let policy = context.facts.policy();
    if !context.run.trains() || policy.compute.value != Dtype::Float8E5m2 {
        return;
    }
    reporter
        .setting(
            "train.precision.compute",
            policy.compute.span,
            "float8_e5m2 keeps two bits behind the point: forward products are rounded to 12.5 %, \
             twice as coarsely as in float8_e4m3fn, for a range that scaled activations do not need",
        )
        .help("float8_e4m3fn forward, float8_e5m2 for gradients (the preset fp8); Transformer Engine does not support pure E5M2 training")
        .fix(
            "multiply in float8_e4m3fn",
            Safety::Unsafe,
            policy.compute.span.filter(|_| policy.compute.given),
            "\"float8_e4m3fn\"",
        );
}
