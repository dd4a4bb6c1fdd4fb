//! `distributed/indivisible-heads`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/indivisible-heads",
    summary: "Attention heads cannot be split over the tensor-parallel ranks.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/indivisible-heads.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let Some(tensor) = context
        .run
        .parallel
        .tensor
        .get()
        .filter(|&tensor| tensor > 1)
    else {
        return;
    };
    let Some(attention) = crate::ops::find("scaled_dot_product_attention") else {
        return;
    };
    let graph = context.graph;
    for (id, node) in graph.nodes() {
        if !std::ptr::eq(node.op, attention) || !graph.is_known(node) {
            continue;
        }
        let Some(heads) = graph.ty(node.arguments[0]).shape.size(-3) else {
            continue;
        };
        if heads.is_multiple_of(tensor) {
            continue;
        }
        let legal: Vec<String> = (2..=heads.min(64))
            .filter(|degree| heads.is_multiple_of(*degree))
            .map(|degree| degree.to_string())
            .collect();
        let message = format!(
            "{heads} heads cannot be split over {tensor} tensor-parallel ranks: {heads} / {tensor} leaves {}",
            heads % tensor
        );
        let finding = reporter
            .at(context.model.node_place(context.spec, id), message)
            .also(context.run.parallel.tensor.span, "the degree");
        if !legal.is_empty() {
            finding.help(format!("a degree of {} would do", legal.join(", ")));
        }
    }
}
