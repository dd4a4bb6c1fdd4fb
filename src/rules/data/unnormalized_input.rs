//! `data/unnormalized-input`: see its page.

use crate::diag::{Confidence, Level};
use crate::graph::{Graph, NodeId, TensorId};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::Moments;

/// The rule.
pub static RULE: Rule = Rule {
    name: "data/unnormalized-input",
    summary: "Raw values of large scale go straight into a weight.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/data/unnormalized-input.md"),
};

/// From which root mean square on an input counts as raw. Standardised data has 1, pixels scaled
/// to 0…1 have 0.6, pixels as they are 147.
const LARGE: f64 = 10.0;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    if context.run.data.normalized.or(false) || !graph.training {
        return;
    }
    for (definition, (name, tensor)) in context.spec.inputs.iter().zip(&graph.inputs) {
        let Some(range) = definition.range else {
            continue;
        };
        let moments = Moments::uniform(range.low, range.high);
        let scale = moments.square().sqrt();
        if !graph.tensor(*tensor).known || scale < LARGE {
            continue;
        }
        let Some(id) = first_weight(graph, *tensor) else {
            continue;
        };
        let path = graph.layer_path(graph.node(id).layer);
        let mean = match moments.mean.abs() > moments.variance.sqrt() {
            true => format!(" and a mean of {}", figure(moments.mean)),
            false => String::new(),
        };
        let message = format!(
            "`{name}` runs from {} to {}, with a root mean square of about {scale}{mean}, straight into \
             `{path}`: its outputs, and the gradients of its weights, are {scale}× those that the \
             initialisation is made for",
            figure(range.low),
            figure(range.high),
            scale = figure(scale),
        );
        reporter
            .setting(
                &format!("inputs.{name}.range"),
                definition.range_span,
                message,
            )
            .confidence(Confidence::Likely)
            .also(
                context.model.node_place(context.spec, id).span,
                "the first weight",
            )
            .help("standardise the data, (x - mean) / std, in the loader or as the first layer; if that is done already, give the range behind it, or set [data] normalized = true");
    }
}

/// The first call with a weight that a tensor reaches through nothing but casts, views and padding.
fn first_weight(graph: &Graph, input: TensorId) -> Option<NodeId> {
    const PASSING: [&str; 9] = [
        "to",
        "reshape",
        "flatten",
        "transpose",
        "permute",
        "pad",
        "contiguous",
        "unsqueeze",
        "squeeze",
    ];
    const WEIGHTED: [&str; 7] = ["linear", "conv1d", "conv2d", "conv3d", "rnn", "lstm", "gru"];
    let mut at = input;
    for _ in 0..8 {
        // Users of an input are no edges of the graph.
        let (id, node) = graph
            .nodes()
            .find(|(_, node)| node.arguments.contains(&at))?;
        if WEIGHTED.contains(&node.op.name) && node.arguments[0] == at {
            return Some(id);
        }
        if !PASSING.contains(&node.op.name) {
            return None;
        }
        at = node.first_output;
    }
    None
}
