//! `precision/emulated-dtype`: see its page.

use crate::device::Support;
use crate::diag::Level;
use crate::rules::precision::shared_device::{asked, units};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/emulated-dtype",
    summary: "The device computes in the element type without hardware for it.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/emulated-dtype.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let Some(device) = context.device else {
        return;
    };
    for wanted in asked(context) {
        if device.supports(wanted.name) != Support::Emulated {
            continue;
        }
        let message = format!(
            "the {} has no unit for {}: products are emulated, several times slower than in float16 \
             or even float32",
            device.id, wanted.name
        );
        reporter
            .setting(wanted.path, wanted.span, message)
            .also(context.run.cluster.device.span, "the device")
            .help(format!(
                "it has {}; with float16 goes a loss scale",
                units(device)
            ));
    }
}
