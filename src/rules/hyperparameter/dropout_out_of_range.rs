//! `hyperparameter/dropout-out-of-range`: see its page.

use crate::diag::Level;
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/dropout-out-of-range",
    summary: "A dropout keeps nothing, or next to nothing.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/dropout-out-of-range.md"),
};

/// From here on less than one element in five is kept.
const HIGH: f64 = 0.8;

const OPS: [&str; 8] = [
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "scaled_dot_product_attention",
    "lstm",
];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    if !graph.training {
        return;
    }
    for id in context.facts.index().calls_of(&OPS) {
        let node = graph.node(id);
        let Some((name, p)) = graph.with_call(node, |call| {
            ["p", "dropout_p", "dropout"]
                .into_iter()
                .find_map(|name| Some((name, call.float(name)?)))
        }) else {
            continue;
        };
        if p < HIGH {
            continue;
        }
        let place = context.model.attribute_place(context.spec, id, name);
        if p >= 1.0 {
            reporter
                .at(
                    place,
                    format!("{name} = {p} drops every element: the output is 0, and so is every gradient"),
                )
                .level(Level::Error)
                .help("p is the probability of dropping, not of keeping");
            continue;
        }
        let message = format!(
            "{name} = {p} keeps {} of 100 elements and scales them by {scale}: the second moment \
             is {scale}× that of inference",
            figure(100.0 * (1.0 - p)),
            scale = figure(1.0 / (1.0 - p)),
        );
        reporter
            .at(place, message)
            .help("p is the probability of dropping, not of keeping; 0.1 to 0.5 is usual");
    }
}
