//! `gradient/initialisation-of-another-activation`: see its page.

use super::shared_flow::activation;
use crate::diag::{Confidence, Level};
use crate::graph::{DefinitionId, NodeId};
use crate::ops::Init;
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "gradient/initialisation-of-another-activation",
    summary: "The weights are initialised for another activation.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/gradient/initialisation-of-another-activation.md"),
};

/// From how many layers on it matters: four layers that halve the variance leave a quarter of the
/// deviation.
const MANY: u32 = 4;

/// A layer whose initialisation does not fit.
struct Found {
    node: NodeId,
    activation: &'static str,
    /// Whether it halves the second moment, and not doubles it.
    halves: bool,
}

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    let suspicious = |init: Init| matches!(init, Init::Xavier | Init::Kaiming);
    let many = graph
        .parameters
        .iter()
        .filter(|p| p.trainable && suspicious(p.init));
    if !graph.training || many.count() < MANY as usize {
        return;
    }
    let mut total = 0;
    let mut found: Vec<Found> = Vec::new();
    let mut seen: FxHashSet<DefinitionId> = FxHashSet::default();
    for weight in context.facts.signal().weights() {
        let Some(parameter) = graph.parameter(weight.weight) else {
            continue;
        };
        let Some((_, behind)) = activation(graph, weight.node) else {
            continue;
        };
        let name = behind.op.name;
        let halves = match parameter.init {
            Init::Xavier if matches!(name, "relu" | "leaky_relu") => true,
            Init::Kaiming if matches!(name, "tanh" | "sigmoid" | "selu" | "softsign") => false,
            _ => continue,
        };
        let node = graph.node(weight.node);
        let definition = graph.layer(node.layer).definition;
        total += 1;
        if seen.insert(definition) {
            found.push(Found {
                node: weight.node,
                activation: name,
                halves,
            });
        }
    }
    if total < MANY {
        return;
    }
    for Found {
        node,
        activation: name,
        halves,
    } in found
    {
        let (has, effect, help) = match halves {
            true => (
                "Xavier's",
                format!(
                    "halves the variance at each of {total} layers, to {} in all",
                    figure(0.5f64.powf(f64::from(total)))
                ),
                "init = \"kaiming_normal\" draws with 2/fan_in, which ReLU needs",
            ),
            false => (
                "Kaiming's",
                format!(
                    "draws twice the variance that {name} needs at {total} layers, and saturates it"
                ),
                "init = \"xavier_normal\" draws with 1/fan, which keeps the variance where the slope at 0 is 1",
            ),
        };
        reporter
            .at(
                context.model.node_place(context.spec, node),
                format!("{has} initialisation before {name}, without a norm between, {effect}"),
            )
            .confidence(Confidence::Likely)
            .help(help);
    }
}
