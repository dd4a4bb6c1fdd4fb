//! `gradient/zero-initialised-weight`: see its page.

use crate::diag::Level;
use crate::facts::signal::WeightSignal;
use crate::ops::Init;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "gradient/zero-initialised-weight",
    summary: "A weight starts at zero and can never leave it.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/gradient/zero-initialised-weight.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    let starts_at_zero = graph.parameters.iter().any(|parameter| {
        parameter.trainable
            && parameter.init == Init::Constant(0.0)
            && graph.ty(parameter.tensor).shape.rank() >= 2
    });
    if !graph.training || !starts_at_zero {
        return;
    }
    let signal = context.facts.signal();
    let mut reported = FxHashSet::default();
    for weight in signal.stuck_weights(context.spec, graph) {
        let node = graph.node(weight.node);
        let definition = graph.layer(node.layer).definition;
        if reported.contains(&definition) {
            continue;
        }
        reported.insert(definition);
        let name = graph.tensor_name(weight.weight);
        let message = format!(
            "`{name}` starts at 0 and stays there: {}",
            reason(context, &weight)
        );
        reporter
            .at(context.model.node_place(context.spec, weight.node), message)
            .help("draw it at random (init = \"kaiming_normal\"); only the last layer of a residual branch, or of the model, may start at 0");
    }
}

/// Which factor of the weight's gradient is 0.
fn reason(context: &Context<'_>, weight: &WeightSignal) -> &'static str {
    let (graph, signal) = (context.graph, context.facts.signal());
    let node = graph.node(weight.node);
    let input = node
        .arguments
        .iter()
        .find(|&&argument| argument != weight.weight)
        .and_then(|&input| signal.moments(input));
    let dead = signal.gradient(node.first_output).log2 == f64::NEG_INFINITY;
    match input {
        Some(input) if input.square() == 0.0 => {
            "its input is 0, so its gradient is, and what is before it gets none through it either"
        }
        _ if dead => "no gradient comes back to it, since what follows is flat or 0 at 0",
        _ => "its gradient is 0 in every step",
    }
}
