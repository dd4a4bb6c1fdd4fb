//! `precision/loss-scaling-with-bfloat16`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::LossScale;
use crate::tensor::Dtype;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/loss-scaling-with-bfloat16",
    summary: "The loss is scaled though no type in use needs it.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/loss-scaling-with-bfloat16.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let policy = context.facts.policy();
    let scaled = policy.loss_scale.value != LossScale::None && policy.loss_scale.given;
    let float16 = [policy.params, policy.compute, policy.grads, policy.reduce]
        .iter()
        .any(|chosen| chosen.value == Dtype::Float16);
    let narrow = policy.compute.value.bits() < 16;
    if !context.run.trains() || !scaled || float16 || narrow {
        return;
    }
    let dtype = policy.compute.value;
    let message = format!(
        "{dtype} has the exponents of float32, down to 1.2e-38: gradients do not underflow, and a \
         loss scale only skips steps that should be looked at"
    );
    reporter
        .setting(
            "train.precision.loss_scale",
            policy.loss_scale.span,
            message,
        )
        .help("leave loss_scale out; it is for float16")
        .fix(
            "do not scale",
            Safety::Unsafe,
            policy.loss_scale.span,
            "\"none\"",
        );
}
