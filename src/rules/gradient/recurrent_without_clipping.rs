//! `gradient/recurrent-without-clipping`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::source::Span;
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "gradient/recurrent-without-clipping",
    summary: "A recurrent layer is trained over many steps without clipping.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/gradient/recurrent-without-clipping.md"),
};

/// From how many steps on a small excess of the recurrence's gain makes a large one: 1.1^50 = 117.
const MANY_STEPS: u64 = 50;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (train, graph) = (&context.run.train, context.graph);
    if !context.run.trains() || train.clip_grad_norm.is_given() || train.clip_grad_value.is_given()
    {
        return;
    }
    let mut reported = FxHashSet::default();
    for id in context.facts.index().calls_of(&["rnn", "lstm", "gru"]) {
        let node = graph.node(id);
        let definition = graph.layer(node.layer).definition;
        let trained = node
            .arguments
            .iter()
            .filter_map(|&argument| graph.parameter(argument))
            .any(|parameter| parameter.trainable);
        let (first, bptt) = graph.with_call(node, |call| {
            (call.boolean("batch_first"), call.integer("bptt"))
        });
        let input = &graph.ty(node.arguments[0]).shape;
        let axis = match (input.rank(), first) {
            (3, true) => 1,
            _ => 0,
        };
        let Some(steps) = input.size(axis) else {
            continue;
        };
        let truncated = bptt.and_then(|bptt| u64::try_from(bptt).ok());
        let reach = match truncated {
            Some(bptt) if bptt > 0 => steps.min(bptt),
            _ => steps,
        };
        if !trained || reach < MANY_STEPS || reported.contains(&definition) {
            continue;
        }
        reported.insert(definition);
        let how = match reach < steps {
            true => format!("{reach} of {steps} steps (bptt = {reach})"),
            false => format!("all {steps} steps"),
        };
        let message = format!(
            "the gradient goes back through {how}, each time multiplied by the same matrix: a gain \
             of 1.1 makes 1.1^{reach} = {}, and nothing clips it",
            figure(1.1f64.powf(reach as f64))
        );
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .confidence(Confidence::Likely)
            .help("set clip_grad_norm = 1.0 in [train]; bptt = 35 on the layer stops the backward pass after 35 steps")
            .fix(
                "clip the norm at 1",
                Safety::Unsafe,
                behind_optimizer(context),
                "\nclip_grad_norm = 1.0",
            );
    }
}

/// Where a further key of `[train]` can stand: behind the optimizer, if that is a value and not a
/// table of its own.
fn behind_optimizer(context: &Context<'_>) -> Option<Span> {
    let span = context.run.train.optimizer.span?;
    let text = context.spec.document.source_text(span);
    text.starts_with(['{', '"', '\'']).then_some(Span {
        start: span.end,
        ..span
    })
}
