//! `data/cross-entropy-over-one-class`: see its page.

use super::shared_targets::ClassLoss;
use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "data/cross-entropy-over-one-class",
    summary: "A softmax over a single class is always 1.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/data/cross-entropy-over-one-class.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for loss in ClassLoss::all(context).filter(|loss| loss.classes == 1) {
        // Of probabilities that are given as targets the only one may be anything, but is 1.
        if context.graph.node(loss.node).op.name != "cross_entropy" {
            continue;
        }
        reporter
            .at(
                context.model.node_place(context.spec, loss.node),
                "the softmax of one logit is 1 whatever the logit: the loss is −log 1 = 0, and so is \
                 every gradient",
            )
            .help("with two classes and one logit, use binary_cross_entropy_with_logits; or give the last layer one output for each class");
    }
}
