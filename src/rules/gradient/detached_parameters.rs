//! `gradient/detached-parameters`: see its page.

use crate::diag::{Confidence, Level};
use crate::graph::{Graph, LayerId, NodeId, Parameter, TensorId};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "gradient/detached-parameters",
    summary: "No gradient reaches parameters that are to be trained.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/gradient/detached-parameters.md"),
};

/// Ops with a derivative that is 0 wherever there is one.
const FLAT: [&str; 6] = ["round", "floor", "ceil", "trunc", "sign", "heaviside"];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    if !context.run.trains() || !graph.training {
        return;
    }
    // Only where something is cut can anything be detached.
    let cuts = |id: NodeId| cuts(graph, id);
    if !graph.node_ids().any(cuts) {
        return;
    }
    let mut reached = vec![false; graph.tensors.len()];
    for &output in &graph.outputs {
        if output.is_present() && graph.tensor(output).requires_grad {
            reached[output.0 as usize] = true;
        }
    }
    if !reached.contains(&true) {
        return;
    }
    for index in (0..graph.dag.node_count() as u32).rev() {
        let node = graph.node(NodeId(index));
        if !node.outputs().any(|output| reached[output.0 as usize]) || cuts(NodeId(index)) {
            continue;
        }
        for argument in node.arguments.iter().filter(|id| id.is_present()) {
            reached[argument.0 as usize] = true;
        }
    }
    let mut users: Vec<Option<NodeId>> = vec![None; graph.parameters.len()];
    for (id, node) in graph.nodes() {
        for &argument in &node.arguments {
            if argument.is_present()
                && let crate::graph::TensorKind::Parameter(number) = graph.tensor(argument).kind
                && let Some(user) = users.get_mut(number as usize)
                && (user.is_none() || context.facts.liveness().is_live(id))
            {
                *user = Some(id);
            }
        }
    }
    let mut reported: FxHashSet<LayerId> = FxHashSet::default();
    for (parameter, user) in graph.parameters.iter().zip(users) {
        let Some(user) = user.filter(|&user| context.facts.liveness().is_live(user)) else {
            continue;
        };
        let layer = graph.node(user).layer;
        if !parameter.trainable || reached[parameter.tensor.0 as usize] || reported.contains(&layer)
        {
            continue;
        }
        reported.insert(layer);
        report(context, reporter, parameter, user);
    }
}

fn cuts(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let differentiated =
        |tensor: TensorId| tensor.is_present() && graph.tensor(tensor).requires_grad;
    node.arguments.iter().copied().any(differentiated)
        && (!node.op.differentiable
            || FLAT.contains(&node.op.name)
            || !node.outputs().any(differentiated))
}

fn report(context: &Context<'_>, reporter: &mut Reporter<'_>, parameter: &Parameter, user: NodeId) {
    let graph = context.graph;
    // The first op behind it through which no gradient comes.
    let mut at = Some(user);
    let mut steps = 0;
    while let Some(node) = at
        && !cuts(graph, node)
        && steps < 1000
    {
        at = graph
            .uses_of(node)
            .map(|(user, _)| user)
            .find(|&user| context.facts.liveness().is_live(user));
        steps += 1;
    }
    let (what, why) = match at.map(|node| graph.node(node)) {
        Some(node) if FLAT.contains(&node.op.name) => (
            format!("the derivative of `{}` is 0", node.op.name),
            "its derivative is 0",
        ),
        Some(node) => (
            format!("`{}` passes no gradient", node.op.name),
            "no gradient passes here",
        ),
        None => ("all its ways to the loss are cut".to_owned(), ""),
    };
    let name = graph.parameter_path(parameter);
    let cut = at.and_then(|node| context.model.node_place(context.spec, node).span);
    reporter
        .at(
            context.model.node_place(context.spec, user),
            format!("`{name}` is used and trained, but gets no gradient: {what}"),
        )
        .confidence(Confidence::Certain)
        .also(cut, why)
        .help("freeze it (frozen = true) if that is meant; or use a smooth form: softmax for argmax, x + (round(x) - x).detach() for round");
}
