//! `memory/checkpoint-without-effect`: see its page.

use rustc_hash::FxHashSet;

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/checkpoint-without-effect",
    summary: "A layer is recomputed although it keeps nothing but its inputs.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/checkpoint-without-effect.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let wanted = &context.run.train.checkpoint;
    if !wanted.is_given() {
        return;
    }
    let (graph, cost) = (context.graph, context.facts.cost());
    let recomputed = &context.facts.saved().recomputed;
    let definition = |layer| graph.layer(layer).definition;
    let useful: FxHashSet<_> = recomputed
        .iter()
        .filter(|region| region.bytes() > 0)
        .map(|region| definition(region.layer))
        .collect();
    let mut reported = FxHashSet::default();
    for region in recomputed {
        let own = definition(region.layer);
        if useful.contains(&own) || !reported.insert(own) {
            continue;
        }
        let instances = recomputed
            .iter()
            .filter(|other| definition(other.layer) == own)
            .count();
        let work = graph
            .layer_nodes(region.layer)
            .map(|node| cost.node(crate::graph::NodeId(node)))
            .fold(0u128, |sum, one| {
                sum.saturating_add(one.forward).saturating_add(one.other)
            });
        let work = crate::quantity::Flops(work) * instances as u128;
        let message = format!(
            "recomputing `{}` frees nothing: without it, its inputs are all that is kept, and they \
             are kept all the same; it costs {work} a step",
            graph.layer_path(region.layer)
        );
        let place = context.model.layer_place(context.spec, region.layer);
        reporter
            .setting("train.checkpoint", wanted.span, message)
            .also(place.span, "recomputed")
            .help("recompute a block of several layers, or leave this one out");
    }
}
