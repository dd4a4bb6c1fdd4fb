//! `distributed/half-precision-reduction`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::Dtype;

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/half-precision-reduction",
    summary: "Gradients of many ranks are reduced in half precision.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/half-precision-reduction.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let reduce = &context.run.train.precision.reduce;
    let ranks = context.facts.batch().data_ranks;
    let (dtype, limit) = match reduce.get() {
        Some(dtype @ Dtype::Bfloat16) => (dtype, 128),
        Some(dtype @ Dtype::Float16) => (dtype, 64),
        _ => return,
    };
    if ranks < limit {
        return;
    }
    let Some(format) = dtype.float_format() else {
        return;
    };
    // A ring rounds once per hop; the roundings are independent.
    let error = (ranks as f64).sqrt() * format.unit_roundoff();
    let message = format!(
        "a ring of {ranks} ranks rounds each gradient {ranks} times to {dtype}: a relative error of about √{ranks} · 2^-{} = {:.1} %",
        format.precision,
        100.0 * error
    );
    reporter
        .setting("train.precision.reduce", reduce.span, message)
        .confidence(Confidence::Likely)
        .help("reduce in float32, or in two steps: within nodes, then between them")
        .fix(
            "reduce in float32",
            Safety::Unsafe,
            reduce.span,
            "\"float32\"",
        );
}
