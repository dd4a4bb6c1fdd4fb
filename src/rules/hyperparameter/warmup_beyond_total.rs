//! `hyperparameter/warmup-beyond-total`: see its page.

use crate::diag::Level;
use crate::quantity::{figure, group};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/warmup-beyond-total",
    summary: "The warm-up is as long as the run.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/warmup-beyond-total.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let train = &context.run.train;
    let schedule = &train.schedule;
    let Some(warmup) = schedule.warmup_steps.get().filter(|&warmup| warmup > 0) else {
        return;
    };
    let ends = [
        (
            schedule.total_steps.get(),
            schedule.total_steps.span,
            "the schedule",
        ),
        (train.steps.get(), train.steps.span, "the run"),
    ];
    let end = ends
        .into_iter()
        .filter_map(|(steps, span, what)| Some((steps?, span, what)))
        .min_by_key(|&(steps, ..)| steps);
    let Some((steps, span, what)) = end.filter(|&(steps, ..)| warmup >= steps) else {
        return;
    };
    let reached = match train.optimizer.lr.get() {
        Some(lr) if warmup > steps => {
            let peak = lr * steps as f64 / warmup as f64;
            format!("; the rate gets to {} of {}", figure(peak), figure(lr))
        }
        _ => String::new(),
    };
    let message = format!(
        "the warm-up takes {} steps and {what} ends after {}{reached}",
        group(warmup.into()),
        group(steps.into())
    );
    reporter
        .setting(
            "train.schedule.warmup_steps",
            schedule.warmup_steps.span,
            message,
        )
        .also(span, "the end")
        .help("a warm-up is 1 to 10 % of the run; both count optimizer steps");
}
