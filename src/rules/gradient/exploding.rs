//! `gradient/exploding`: see its page.

use super::shared_flow::{DECADES, Flow, init_name};
use crate::diag::{Confidence, Level};
use crate::facts::signal::WeightSignal;
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "gradient/exploding",
    summary: "Signal or gradient grows out of bounds through the layers.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/gradient/exploding.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let Some(flow) = Flow::of(context) else {
        return;
    };
    let (graph, signal) = (context.graph, context.facts.signal());
    let layer = |weight: &WeightSignal| graph.layer_path(graph.node(weight.node).layer);
    let deviation = |weight: &WeightSignal| weight.output.map_or(0.0, |m| m.square().sqrt());
    let start = deviation(&flow.first);
    let strongest = signal
        .weights()
        .iter()
        .filter(|weight| weight.depth > flow.first.depth)
        .max_by(|a, b| deviation(a).total_cmp(&deviation(b)));
    let message = match strongest {
        Some(weight) if start > 0.0 && deviation(weight) > start * 10f64.powf(DECADES) => {
            let layers = weight.depth - flow.first.depth;
            let growth = deviation(weight) / start;
            format!(
                "at initialisation each layer makes the signal {}× as large: from `{}` to `{}` its \
                 standard deviation grows from {} to {}",
                figure(growth.powf(1.0 / f64::from(layers))),
                layer(&flow.first),
                layer(weight),
                figure(start),
                figure(deviation(weight)),
            )
        }
        _ if flow.decades > DECADES && flow.early > DECADES => format!(
            "at initialisation each layer makes the gradient {}× as large on its way back: at \
             `{}`, {} layers before `{}`, it is 10^{:.0} of what it is there",
            figure(flow.factor()),
            layer(&flow.first),
            flow.last.depth - flow.first.depth,
            layer(&flow.last),
            flow.decades,
        ),
        _ => return,
    };
    let init = graph
        .parameter(flow.first.weight)
        .map(|weight| init_name(weight.init))
        .unwrap_or_default();
    reporter
        .at(
            context.model.node_place(context.spec, flow.first.node),
            message,
        )
        .confidence(Confidence::Likely)
        .help(format!(
            "the weights have {init}; a layer keeps the variance with 2/fan_in before ReLU \
             (\"kaiming_normal\") and 1/fan_in elsewhere; where residual branches add up, normalise \
             them or start them at 0"
        ));
}
