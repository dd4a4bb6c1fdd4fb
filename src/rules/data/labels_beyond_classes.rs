//! `data/labels-beyond-classes`: see its page.

use super::shared_targets::ClassLoss;
use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "data/labels-beyond-classes",
    summary: "Labels lie outside of the classes that the logits have.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/data/labels-beyond-classes.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for loss in ClassLoss::all(context).filter(|loss| loss.by_number) {
        let Some((range, span)) = loss.range(context) else {
            continue;
        };
        let (last, ignored) = (loss.classes as f64 - 1.0, loss.ignored as f64);
        // Where the end of the range is the label that does not count, the others are not known.
        let below = range.low < 0.0 && range.low != ignored;
        let above = range.high > last && range.high != ignored;
        if !below && !above {
            continue;
        }
        let message = format!(
            "the labels run from {} to {}, but there are {} logits, for labels 0 to {last}",
            range.low, range.high, loss.classes
        );
        let help = if above && range.low == 1.0 && range.high == last + 1.0 {
            "count classes from 0: subtract 1 from the labels"
        } else if below {
            "give what does not count the label ignore_index (-100 unless set)"
        } else {
            "one logit for each class: the last layer's out_features is the greatest label + 1"
        };
        let place = context.model.node_place(context.spec, loss.node);
        reporter
            .at(place, message)
            .also(span, "the labels")
            .help(help);
    }
}
