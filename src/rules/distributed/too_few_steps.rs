//! `distributed/too-few-steps`: see its page.

use crate::diag::{Confidence, Level};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/too-few-steps",
    summary: "The batch has outgrown the data set.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/too-few-steps.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (data, batch) = (&context.run.data, context.facts.batch());
    let (Some(samples), Some(global)) = (data.samples.get(), batch.global) else {
        return;
    };
    if global == 0 || !context.run.trains() {
        return;
    }
    let steps = samples / global;
    if steps >= 10 {
        return;
    }
    let level = if steps == 0 && data.drop_last.or(false) {
        Level::Error
    } else {
        Level::Warning
    };
    let message = format!("{samples} samples in batches of {global} are {steps} steps an epoch");
    reporter
        .setting("data.samples", data.samples.span, message)
        .level(level)
        .confidence(Confidence::Likely)
        .help("use a smaller batch; spare devices can split the model instead");
}
