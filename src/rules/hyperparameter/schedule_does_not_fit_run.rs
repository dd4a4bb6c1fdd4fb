//! `hyperparameter/schedule-does-not-fit-run`: see its page.

use crate::diag::{Level, Safety};
use crate::quantity::{figure, group};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::ScheduleKind;

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/schedule-does-not-fit-run",
    summary: "The schedule ends long before or after the run.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/schedule-does-not-fit-run.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let train = &context.run.train;
    let schedule = &train.schedule;
    let Some(steps) = train.steps.get().filter(|&steps| steps > 0) else {
        return;
    };
    if let Some(milestones) = schedule.milestones.get()
        && let Some(late) = milestones.iter().copied().find(|&at| at >= steps)
    {
        let message = format!(
            "the milestone at step {} is never reached: the run has {} steps",
            group(late.into()),
            group(steps.into())
        );
        reporter
            .setting(
                "train.schedule.milestones",
                schedule.milestones.span,
                message,
            )
            .also(train.steps.span, "the run's length")
            .help("scale the milestones with the run; they count optimizer steps");
    }
    let falls = schedule.name.get().is_some_and(|name| {
        !matches!(
            name,
            ScheduleKind::Constant | ScheduleKind::InverseSqrt | ScheduleKind::Exponential
        )
    });
    let Some(total) = schedule
        .total_steps
        .get()
        .filter(|&total| falls && total > 0)
    else {
        return;
    };
    let ratio = steps as f64 / total as f64;
    let message = if ratio > 1.1 {
        let after = match schedule.name.get() {
            Some(ScheduleKind::Cosine) => {
                "there the rate stays at its least, or, with CosineAnnealingLR, rises again"
            }
            Some(ScheduleKind::OneCycle) => "there OneCycleLR raises a ValueError",
            _ => "there the rate stays at its least",
        };
        format!(
            "the schedule ends after {} steps, but the run has {}, {}× as many; {after}",
            group(total.into()),
            group(steps.into()),
            figure(ratio)
        )
    } else if ratio < 0.5 {
        format!(
            "the run ends after {} steps, {} % of the schedule's {}: the rate has hardly fallen",
            group(steps.into()),
            figure(100.0 * ratio),
            group(total.into())
        )
    } else {
        return;
    };
    reporter
        .setting(
            "train.schedule.total_steps",
            schedule.total_steps.span,
            message,
        )
        .also(train.steps.span, "the run's length")
        .help("both count optimizer steps, not micro-batches and not epochs")
        .fix(
            format!("set total_steps to {steps}"),
            Safety::Unsafe,
            schedule.total_steps.span,
            steps.to_string(),
        );
}
