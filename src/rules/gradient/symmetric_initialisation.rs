//! `gradient/symmetric-initialisation`: see its page.

use crate::diag::{Confidence, Level};
use crate::ops::Init;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "gradient/symmetric-initialisation",
    summary: "All units of a layer start the same.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/gradient/symmetric-initialisation.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    let constant = |init: Init| matches!(init, Init::Constant(value) if value != 0.0);
    let any = graph.parameters.iter().any(|parameter| {
        parameter.trainable
            && constant(parameter.init)
            && graph.ty(parameter.tensor).shape.rank() >= 2
    });
    if !graph.training || !any {
        return;
    }
    let mut reported = FxHashSet::default();
    for weight in context.facts.signal().weights() {
        let Some(parameter) = graph.parameter(weight.weight) else {
            continue;
        };
        let shape = &graph.ty(weight.weight).shape;
        let node = graph.node(weight.node);
        let definition = graph.layer(node.layer).definition;
        // With one unit there is nothing to be the same as; with one input each (a depthwise
        // convolution) every unit sees something else.
        let (units, inputs) = (shape.size(0).unwrap_or(0), shape.size(1).unwrap_or(0));
        let many = units > 1 && inputs > 1;
        if !constant(parameter.init) || !many || reported.contains(&definition) {
            continue;
        }
        reported.insert(definition);
        let Init::Constant(value) = parameter.init else {
            continue;
        };
        let message = format!(
            "all {units} units of `{}` start with the same weights, {value}: they compute the same \
             thing, a matrix of rank 1",
            graph.tensor_name(weight.weight)
        );
        reporter
            .at(context.model.node_place(context.spec, weight.node), message)
            .confidence(Confidence::Likely)
            .help("draw the weights at random, init = \"kaiming_normal\" before ReLU, \"xavier_normal\" elsewhere");
    }
}
