//! `distributed/warmup-not-rescaled`: see its page.

use crate::diag::{Level, Safety};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/warmup-not-rescaled",
    summary: "The warm-up kept its number of steps while the batch grew.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/warmup-not-rescaled.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (schedule, baseline) = (&context.run.train.schedule, &context.run.baseline);
    let (Some(steps), Some(reference), Some(growth)) = (
        schedule.warmup_steps.get(),
        baseline.warmup_steps.get(),
        context.facts.batch().growth,
    ) else {
        return;
    };
    if steps != reference || steps == 0 || growth < 2.0 {
        return;
    }
    let total = schedule.total_steps.get().or(context.run.train.steps.get());
    let share = total
        .filter(|&total| total > 0)
        .map(|total| steps as f64 / total as f64);
    let level = if share.is_some_and(|share| share > 0.15) {
        Level::Warning
    } else {
        Level::Info
    };
    let wanted = ((steps as f64 / growth).round() as u64).max(1);
    let growth_text = figure(growth);
    let message = format!(
        "the warm-up is {steps} steps as in the baseline, but each step has {growth_text}× the samples: it lasts {growth_text}× as long"
    );
    reporter
        .setting(
            "train.schedule.warmup_steps",
            schedule.warmup_steps.span,
            message,
        )
        .level(level)
        .help(format!(
            "{wanted} steps are as many samples as the baseline's {reference}"
        ))
        .fix(
            format!("set warmup_steps to {wanted}"),
            Safety::Unsafe,
            schedule.warmup_steps.span,
            wanted.to_string(),
        );
}
