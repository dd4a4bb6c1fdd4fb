//! `memory/over-budget`: see its page.

use super::shared_advice::{advice, held, may_exceed};
use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/over-budget",
    summary: "A device must hold more than the budget allows.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/over-budget.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let budget = &context.run.budget.memory;
    let Some(limit) = budget.get() else { return };
    if !may_exceed(context, limit) {
        return;
    }
    let (total, parts) = held(context);
    if total <= limit {
        return;
    }
    let message =
        format!("a device must hold at least {total}, but the budget is {limit}: {parts}",);
    reporter
        .setting("budget.memory", budget.span, message)
        .label(format!("{} short", total - limit))
        .maybe_help(advice(context));
}
