//! `distributed/steps-not-rescaled`: see its page.

use crate::diag::{Confidence, Level};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/steps-not-rescaled",
    summary: "The run kept its number of steps while the batch changed.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/steps-not-rescaled.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (train, baseline) = (&context.run.train, &context.run.baseline);
    let setting = if train.steps.is_given() {
        &train.steps
    } else {
        &train.schedule.total_steps
    };
    let (Some(steps), Some(reference), Some(growth)) = (
        setting.get(),
        baseline.steps.get(),
        context.facts.batch().growth,
    ) else {
        return;
    };
    if steps != reference || growth.log2().abs() < 1.0 {
        return;
    }
    let wanted = (steps as f64 / growth).round() as u64;
    let growth_text = figure(growth);
    let message = format!(
        "the run has {steps} steps as the baseline had, but each step has {growth_text}× the samples: it sees {growth_text}× the data"
    );
    reporter
        .setting("train.steps", setting.span, message)
        .confidence(Confidence::Likely)
        .help(format!(
            "{wanted} steps see as many samples as the baseline did"
        ));
}
