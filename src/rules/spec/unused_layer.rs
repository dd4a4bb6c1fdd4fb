//! `spec/unused-layer`: see its page.

use crate::diag::Level;
use crate::graph::{LayerId, LayerKind};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "spec/unused-layer",
    summary: "No output of the model depends on the layer.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/spec/unused-layer.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (graph, liveness) = (context.graph, context.facts.liveness());
    // Nothing is unused where nothing is known to be used.
    if !graph
        .outputs
        .iter()
        .any(|&output| graph.producer(output).is_some())
    {
        return;
    }
    let mut next = 0;
    for (index, layer) in graph.layers.iter().enumerate() {
        // A layer inside of one that has been reported says nothing new.
        if layer.first_node < next || layer.first_node == layer.end_node {
            continue;
        }
        let nodes = (layer.first_node..layer.end_node).map(crate::graph::NodeId);
        let dead = nodes.clone().all(|node| !liveness.is_live(node));
        let known = nodes.clone().all(|node| graph.is_known(graph.node(node)));
        // What the layer gives is not known: the error that is why has been reported.
        let faulty = layer.outputs.is_empty()
            || layer
                .outputs
                .iter()
                .any(|&output| !graph.tensor(output).known);
        if !dead || !known || faulty {
            continue;
        }
        // What tracing leaves behind, some sum of positions, is nobody's to mend.
        let is_trace = context.model.blueprint.is_some();
        let matters = |node| {
            let reads = graph.node(node).arguments.iter();
            reads
                .filter(|id| id.is_present())
                .any(|&id| graph.parameter(id).is_some())
                || context.facts.cost().node(node).forward > 0
        };
        if is_trace && !nodes.clone().any(matters) {
            continue;
        }
        next = layer.end_node;
        let id = LayerId(index as u32);
        let what = if layer.kind == LayerKind::Formula {
            "formula"
        } else {
            "layer"
        };
        let message = format!("no output depends on the {what} `{}`", graph.layer_path(id));
        reporter
            .at(context.model.layer_place(context.spec, id), message)
            .help("use it, remove it, or name it in `[model] outputs`");
    }
}
