//! `hyperparameter/bias-before-norm`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::shared_edit::set_attribute;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/bias-before-norm",
    summary: "A bias is subtracted again by the normalisation that follows.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/bias-before-norm.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    if !graph.training {
        return;
    }
    let mut reported = FxHashSet::default();
    for id in context
        .facts
        .index()
        .calls_of(&["batch_norm", "instance_norm"])
    {
        let norm = graph.node(id);
        let by_batch = graph.with_call(norm, |call| {
            call.op.name == "batch_norm" || !call.boolean("track_running_stats")
        });
        let Some(before) = norm
            .arguments
            .first()
            .and_then(|&input| graph.producer(input))
        else {
            continue;
        };
        let node = graph.node(before);
        let bias = node.arguments.get(2).copied();
        let Some(bias) = bias.and_then(|bias| graph.parameter(bias)) else {
            continue;
        };
        let input = graph.ty(norm.arguments[0]);
        // The axis of the bias must be the one that has statistics of its own.
        let same_axis = match node.op.name {
            "linear" => input.shape.rank() == 2 && norm.op.name == "batch_norm",
            name => name.starts_with("conv"),
        };
        if !by_batch || !same_axis || !bias.trainable || graph.only_user(before) != Some(id) {
            continue;
        }
        let definition = graph.layer(node.layer).definition;
        if node.span.is_some() || reported.contains(&definition) {
            continue;
        }
        reported.insert(definition);
        let count = graph.ty(bias.tensor).shape.elements();
        let message = format!(
            "the bias of {count} numbers has no effect: `{}` subtracts the mean of each channel, \
             and the bias with it",
            norm.op.name
        );
        let edits = set_attribute(context.spec, definition, "bias", "false");
        reporter
            .at(context.model.node_place(context.spec, before), message)
            .also(
                context.model.node_place(context.spec, id).span,
                "this one subtracts it",
            )
            .help("leave it out with bias = false; the norm has a bias of its own")
            .fix_edits(
                "leave the bias out",
                Safety::Unsafe,
                edits.into_iter().collect(),
            );
    }
}
