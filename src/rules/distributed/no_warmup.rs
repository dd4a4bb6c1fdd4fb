//! `distributed/no-warmup`: see its page.

use crate::diag::{Confidence, Level};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::{OptimizerKind, ScheduleKind};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/no-warmup",
    summary: "A large or scaled learning rate starts without a warm-up.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/no-warmup.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (train, baseline) = (&context.run.train, &context.run.baseline);
    let batch = context.facts.batch();
    let (Some(kind), Some(global)) = (train.optimizer.name.get(), batch.global) else {
        return;
    };
    if train.schedule.warmup_steps.or(0) > 0
        || matches!(kind, OptimizerKind::RAdam | OptimizerKind::Lars)
    {
        return;
    }
    if matches!(
        train.schedule.name.get(),
        Some(ScheduleKind::OneCycle | ScheduleKind::InverseSqrt)
    ) {
        return;
    }
    let growth = batch.growth.unwrap_or(1.0);
    let (rate, reference) = (train.optimizer.lr.get(), baseline.lr.get());
    let raised = match (rate, reference) {
        (Some(rate), Some(reference)) => rate > reference,
        _ => baseline.span.is_none(),
    };
    let growth_text = figure(growth);
    let reason = if growth >= 8.0 && raised {
        format!("the batch is {growth_text}× the baseline's and the rate was raised for it")
    } else if !kind.is_adaptive() && global >= 1024 && raised {
        format!("the global batch is {global}")
    } else {
        return;
    };
    let span = train.schedule.span.or(train.optimizer.lr.span);
    reporter
        .setting("train.schedule.warmup_steps", span, format!("{reason}, but the schedule has no warm-up"))
        .confidence(Confidence::Likely)
        .help("add warmup_steps: 5 epochs for images, at least 500 steps or 1 % of the run for language models");
}
