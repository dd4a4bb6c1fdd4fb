//! `gradient/nothing-to-train`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "gradient/nothing-to-train",
    summary: "A training run has no parameter to train.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/gradient/nothing-to-train.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    let known = graph.tensors.iter().all(|tensor| tensor.known);
    if !context.run.trains() || !known || graph.dag.node_count() == 0 {
        return;
    }
    let parameters = graph
        .parameters
        .iter()
        .filter(|parameter| !parameter.buffer);
    let (count, trained) = parameters.fold((0, false), |(count, trained), parameter| {
        (count + 1, trained || parameter.trainable)
    });
    if trained {
        return;
    }
    let message = match count {
        0 => {
            "the run trains a model without parameters: torch.optim raises a ValueError".to_owned()
        }
        _ => format!(
            "all {count} parameters of the model are frozen: the loss has no gradient, and \
             backward() raises a RuntimeError"
        ),
    };
    reporter
        .setting("train", context.run.train.span, message)
        .help("leave [train] out, or leave something unfrozen");
}
