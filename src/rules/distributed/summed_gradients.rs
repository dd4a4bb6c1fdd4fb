//! `distributed/summed-gradients`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::Reduction;

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/summed-gradients",
    summary: "Gradients of a mean loss are summed over devices.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/summed-gradients.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (train, batch) = (&context.run.train, context.facts.batch());
    if batch.data_ranks < 2 || train.gradient_reduction.get() != Some(Reduction::Sum) {
        return;
    }
    let (graph, liveness) = (context.graph, context.facts.liveness());
    let summed = graph.nodes().any(|(id, node)| {
        node.op.attribute_position("reduction").is_some()
            && liveness.is_live(id)
            && graph
                .with_call(node, |call| call.text("reduction"))
                .as_deref()
                == Some("sum")
    });
    if summed {
        return;
    }
    let ranks = batch.data_ranks;
    let message = format!(
        "the loss is a mean and the gradients of {ranks} ranks are summed: they are {ranks}× those of the same batch on one device"
    );
    reporter
        .setting(
            "train.gradient_reduction",
            train.gradient_reduction.span,
            message,
        )
        .help("average the gradients")
        .fix(
            "average the gradients",
            Safety::Unsafe,
            train.gradient_reduction.span,
            "\"mean\"",
        );
}
