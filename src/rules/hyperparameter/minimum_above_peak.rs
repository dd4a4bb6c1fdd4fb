//! `hyperparameter/minimum-above-peak`: see its page.

use crate::diag::Level;
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/minimum-above-peak",
    summary: "The learning rate ends above where it began.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/minimum-above-peak.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let train = &context.run.train;
    let (Some(lr), Some(least)) = (train.optimizer.lr.get(), train.schedule.min_lr.get()) else {
        return;
    };
    if least <= lr {
        return;
    }
    let message = format!(
        "the schedule ends at {}, above the peak of {}: the rate rises {}× instead of falling",
        figure(least),
        figure(lr),
        figure(least / lr)
    );
    reporter
        .setting("train.schedule.min_lr", train.schedule.min_lr.span, message)
        .also(train.optimizer.lr.span, "the peak")
        .help("a tenth of the peak, or 0, is usual");
}
