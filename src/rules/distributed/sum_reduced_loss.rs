//! `distributed/sum-reduced-loss`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::Reduction;

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/sum-reduced-loss",
    summary: "A summed loss meets averaged gradients.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/sum-reduced-loss.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (train, batch) = (&context.run.train, context.facts.batch());
    if batch.data_ranks < 2
        || train.span.is_none()
        || train.gradient_reduction.or(Reduction::Mean) == Reduction::Sum
    {
        return;
    }
    let (graph, ranks) = (context.graph, batch.data_ranks);
    for (id, node) in graph.nodes() {
        if node.op.attribute_position("reduction").is_none()
            || !context.facts.liveness().is_live(id)
        {
            continue;
        }
        if graph
            .with_call(node, |call| call.text("reduction"))
            .as_deref()
            != Some("sum")
        {
            continue;
        }
        let adaptive = train
            .optimizer
            .name
            .get()
            .is_some_and(|kind| kind.is_adaptive());
        let level = if adaptive {
            Level::Warning
        } else {
            Level::Error
        };
        let message = format!(
            "`{}` sums over the samples of one device, and the gradients of {ranks} ranks are averaged: they are {ranks}× smaller than those of the same batch on one device",
            node.op.name
        );
        let place = context.model.attribute_place(context.spec, id, "reduction");
        let span = place
            .span
            .filter(|&span| context.spec.document.source_text(span).contains("sum"));
        reporter
            .at(place, message)
            .level(level)
            .help("average the loss (reduction = \"mean\"), which is the same at any number of devices; or sum the gradients too")
            .fix("average the loss", Safety::Unsafe, span, "\"mean\"");
    }
}
