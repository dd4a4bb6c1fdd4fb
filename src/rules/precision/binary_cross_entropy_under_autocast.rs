//! `precision/binary-cross-entropy-under-autocast`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/binary-cross-entropy-under-autocast",
    summary: "PyTorch refuses binary_cross_entropy under autocast.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/binary-cross-entropy-under-autocast.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let calls = context.facts.index().calls("binary_cross_entropy");
    if calls.is_empty() {
        return;
    }
    let Some(lower) = context.facts.dtypes().autocast() else {
        return;
    };
    for &id in calls {
        let message = format!(
            "under autocast to {lower} a call of binary_cross_entropy is an error on CUDA: \
             probabilities near 1 cannot be told apart in a half"
        );
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .help(
                "call binary_cross_entropy_with_logits with what the sigmoid is of, or leave \
                 autocast for the loss",
            )
            .label("refused under autocast");
    }
}
