//! `memory/dropout-masks`: see its page.

use crate::diag::Level;
use crate::graph::NodeId;
use crate::quantity::Bytes;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/dropout-masks",
    summary: "Masks of dropout take a good part of what is kept for the backward pass.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/dropout-masks.md"),
};

/// The least share of what is kept that is worth a word.
const SHARE: f64 = 0.05;
/// Below this much, nobody cares.
const LEAST: Bytes = Bytes::mib(64);

const DROPOUTS: [&str; 6] = [
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (facts, graph) = (context.facts, context.graph);
    let calls = facts.index().calls_of(&DROPOUTS);
    // A mask takes no more than what the call writes.
    let written: Bytes = calls
        .map(|id| Bytes(graph.ty(graph.node(id).first_output).bytes()))
        .sum();
    if !graph.training || written < LEAST {
        return;
    }
    let saved = facts.saved();
    let is_mask = |id: NodeId| DROPOUTS.contains(&graph.node(id).op.name);
    let masks = saved.kept.iter();
    let masks = masks.filter(|kept| kept.tensor.is_none() && is_mask(kept.node));
    let (mut sum, mut count, mut largest) = (Bytes::ZERO, 0u64, None::<(u64, NodeId)>);
    for mask in masks {
        sum += Bytes(mask.bytes);
        count += 1;
        if largest.is_none_or(|(bytes, _)| mask.bytes > bytes) {
            largest = Some((mask.bytes, mask.node));
        }
    }
    let all = Bytes(saved.total());
    let Some((bytes, node)) = largest else { return };
    if sum < LEAST || sum.as_f64() < SHARE * all.as_f64() {
        return;
    }
    let share = 100.0 * sum.as_f64() / all.as_f64();
    let message = format!(
        "{count} masks of dropout are kept for the backward pass: {sum}, {share:.1} % of what is \
         kept; the largest is {}",
        Bytes(bytes)
    );
    let place = context.model.node_place(context.spec, node);
    reporter.at(place, message).label("the largest").help(
        "models that see their data once or twice do without dropout; where it is needed on the \
         weights of attention, fused attention (`dropout_p`) keeps a seed instead of a mask, and a \
         recomputed block (`checkpoint`) keeps none",
    );
}
