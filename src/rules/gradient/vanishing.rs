//! `gradient/vanishing`: see its page.

use super::shared_flow::{DECADES, Flow, activation, init_name, is_rectifier, saturates};
use crate::diag::{Confidence, Edit, Level, Safety};
use crate::graph::{DefinitionId, NodeId};
use crate::ops::Init;
use crate::quantity::figure;
use crate::rules::shared_edit::add_key;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "gradient/vanishing",
    summary: "The gradient dies out on its way to the first layers.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/gradient/vanishing.md"),
};

/// The most places that one edit changes.
const MOST_EDITS: usize = 200;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let Some(flow) = Flow::of(context).filter(|flow| flow.early < -DECADES) else {
        return;
    };
    let (graph, signal) = (context.graph, context.facts.signal());
    let layer = |node: NodeId| graph.layer_path(graph.node(node).layer);
    let crossing = signal
        .weights()
        .iter()
        .filter(|weight| weight.norm < flow.last.norm - DECADES)
        .max_by_key(|weight| weight.depth);
    let (first, last) = (layer(flow.first.node), layer(flow.last.node));
    let message = format!(
        "at initialisation each layer leaves {} of the gradient: at `{first}`, {} layers before \
         `{last}`, it is 10^{:.0} of what it is there",
        figure(flow.factor()),
        flow.last.depth - flow.first.depth,
        flow.decades,
    );
    let weight = graph.parameter(flow.first.weight);
    let init = weight
        .map(|weight| init_name(weight.init))
        .unwrap_or_default();
    let behind = activation(graph, flow.first.node).map(|(_, node)| node);
    let help = match behind {
        Some(node) if saturates(node) => format!(
            "the slope of {} is below 1 nearly everywhere: use relu with init = \"kaiming_normal\", \
             a norm before each activation, or residual connections",
            node.op.name
        ),
        Some(node) if is_rectifier(node) => format!(
            "{} passes half of the gradient's square, and {init} does not make up \
             for it: init = \"kaiming_normal\" does, and so do norms and residual connections",
            node.op.name
        ),
        _ => format!(
            "the weights are too small ({init}): each layer should keep the variance, as \
             init = \"kaiming_normal\" does before ReLU and \"xavier_normal\" elsewhere; norms and \
             residual connections help too"
        ),
    };
    let definition = |node: NodeId| graph.layer(graph.node(node).layer).definition;
    let apart = definition(flow.first.node) != definition(flow.last.node);
    let crossed = crossed(crossing.map(|weight| layer(weight.node)), &first);
    let edits = match behind {
        Some(node) if is_rectifier(node) => kaiming(context),
        _ => Vec::new(),
    };
    reporter
        .at(
            context.model.node_place(context.spec, flow.first.node),
            message,
        )
        .confidence(Confidence::Likely)
        .label(crossed)
        .also(
            context
                .model
                .node_place(context.spec, flow.last.node)
                .span
                .filter(|_| apart),
            "measured against the gradient here",
        )
        .help(help)
        .fix_edits("initialise for ReLU", Safety::Unsafe, edits);
}

fn crossed(layer: Option<String>, first: &str) -> String {
    match layer {
        Some(layer) if layer != first => {
            format!("below 10^-{DECADES} from `{layer}` on")
        }
        _ => String::new(),
    }
}

/// Kaiming's initialisation for all layers before a rectifier that have none of their own.
fn kaiming(context: &Context<'_>) -> Vec<Edit> {
    let graph = context.graph;
    let mut done: FxHashSet<DefinitionId> = FxHashSet::default();
    let mut edits = Vec::new();
    for weight in context.facts.signal().weights() {
        let node = graph.node(weight.node);
        let definition = graph.layer(node.layer).definition;
        let defaulted = graph
            .parameter(weight.weight)
            .is_some_and(|weight| matches!(weight.init, Init::FanIn(_)));
        if !defaulted || node.span.is_some() || done.contains(&definition) {
            continue;
        }
        if activation(graph, weight.node).is_some_and(|(_, node)| is_rectifier(node)) {
            done.insert(definition);
            let value = "\"kaiming_normal\"";
            edits.extend(add_key(context.spec, definition, "init", value));
            // Nobody reads an edit of more places; such a spec is generated, and so is its cure.
            if edits.len() > MOST_EDITS {
                return Vec::new();
            }
        }
    }
    edits
}
