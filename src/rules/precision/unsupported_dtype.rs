//! `precision/unsupported-dtype`: see its page.

use crate::device::Support;
use crate::diag::Level;
use crate::rules::precision::shared_device::{asked, units};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/unsupported-dtype",
    summary: "The device cannot compute in the element type.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/unsupported-dtype.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let Some(device) = context.device else {
        return;
    };
    for wanted in asked(context) {
        if device.supports(wanted.name) != Support::Missing {
            continue;
        }
        let message = format!(
            "the {} has no unit that multiplies {}",
            device.id, wanted.name
        );
        reporter
            .setting(wanted.path, wanted.span, message)
            .also(context.run.cluster.device.span, "the device")
            .help(format!("it has {}", units(device)));
    }
}
