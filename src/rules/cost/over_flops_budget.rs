//! `cost/over-flops-budget`: see its page.

use crate::diag::Level;
use crate::graph::LayerId;
use crate::quantity::{Flops, si};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "cost/over-flops-budget",
    summary: "A forward pass takes more product FLOPs than the budget allows.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/cost/over-flops-budget.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let budget = &context.run.budget.forward_flops;
    let Some(limit) = budget.get() else { return };
    let cost = context.facts.cost();
    if cost.forward.as_f64() <= limit {
        return;
    }
    let message = format!(
        "a forward pass takes {}, but the budget is {}",
        cost.forward,
        si(limit, "FLOP")
    );
    // The layers by what all their repetitions take.
    let graph = context.graph;
    let mut sums = rustc_hash::FxHashMap::default();
    for (id, node) in graph.nodes() {
        let definition = graph.layer(node.layer).definition;
        let entry: &mut (LayerId, Flops) =
            sums.entry(definition).or_insert((node.layer, Flops::ZERO));
        entry.1 += Flops(cost.node(id).forward);
    }
    let largest = sums
        .into_values()
        .max_by_key(|&(layer, flops)| (flops, std::cmp::Reverse(layer)));
    let help = largest.map(|(layer, flops)| {
        format!(
            "`{}` and its repetitions take most: {flops}, {:.1} % of it",
            graph.layer_path(layer),
            100.0 * flops.as_f64() / cost.forward.as_f64()
        )
    });
    reporter
        .setting("budget.forward_flops", budget.span, message)
        .label(format!(
            "{:.2} times the budget",
            cost.forward.as_f64() / limit
        ))
        .maybe_help(help);
}
