//! `range/logits-through-relu`: see its page.

use crate::diag::{Confidence, Level};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/logits-through-relu",
    summary: "The logits of a loss come out of a rectifier.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/logits-through-relu.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context
        .facts
        .index()
        .calls_of(&["cross_entropy", "binary_cross_entropy_with_logits"])
    {
        let idioms = context.facts.idioms();
        let node = context.graph.node(id);
        let input = idioms.content(node.arguments[0]);
        let Some(rectifier) = idioms.any_call(input, &["relu", "relu6"]) else {
            continue;
        };
        let message = match node.op.name {
            "cross_entropy" => {
                "the logits come out of a rectifier and are never below 0: every class that is \
                 wrong keeps at least e⁰ = 1 in the sum, and where all are 0 nothing has a gradient"
            }
            _ => {
                "the logits come out of a rectifier and are never below 0: no probability is ever \
                 below one half"
            }
        };
        let other = context
            .graph
            .producer(rectifier.first_output)
            .and_then(|node| context.model.node_place(context.spec, node).span);
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .help("hand the loss the output of the last linear layer")
            .label("takes logits")
            .also(other, "cuts them off at 0")
            .confidence(Confidence::Likely);
    }
}
