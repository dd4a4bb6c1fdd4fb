//! `memory/does-not-fit-device`: see its page.

use super::shared_advice::{advice, held, may_exceed};
use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/does-not-fit-device",
    summary: "A device must hold more than its memory.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/does-not-fit-device.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let Some(device) = context.device else { return };
    let usable = device.memory_usable();
    if !may_exceed(context, usable) {
        return;
    }
    let (total, parts) = held(context);
    if total <= usable {
        return;
    }
    let message = format!(
        "each {} must hold at least {total}, but has {usable}: {parts}",
        device.id,
    );
    reporter
        .setting("cluster.device", context.run.cluster.device.span, message)
        .label(format!("{} short", total - usable))
        .maybe_help(advice(context));
}
