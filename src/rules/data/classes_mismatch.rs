//! `data/classes-mismatch`: see its page.

use super::shared_targets::ClassLoss;
use crate::diag::{Confidence, Level};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "data/classes-mismatch",
    summary: "The logits are fewer or more than the classes of the data.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/data/classes-mismatch.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let data = &context.run.data;
    let Some(classes) = data.classes.get() else {
        return;
    };
    for loss in ClassLoss::all(context) {
        let logits = loss.classes;
        // A vocabulary is often padded to a multiple of 8, 64 or 128 for the hardware's sake.
        let padded = logits > classes && logits.is_multiple_of(8) && logits - classes < 128;
        if logits == classes || padded {
            continue;
        }
        let place = context.model.node_place(context.spec, loss.node);
        let finding = match logits < classes {
            true => reporter.at(
                place,
                format!("the data has {classes} classes, but there are {logits} logits"),
            ),
            false => {
                let message = format!(
                    "the data has {classes} classes, but there are {logits} logits: {} are never \
                     the target, and only ever pushed down",
                    logits - classes
                );
                reporter
                    .at(place, message)
                    .level(Level::Warning)
                    .confidence(Confidence::Likely)
            }
        };
        finding
            .also(data.classes.span, "the classes")
            .help("give the last layer as many outputs as there are classes");
    }
}
