//! `gradient/initialisation-of-another-activation`: see its page.

use super::shared_flow::{activation, is_rectifier};
use crate::diag::{Confidence, Level};
use crate::graph::DefinitionId;
use crate::ops::Init;
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

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
    // By definition: how many layers, and what is wrong.
    let mut found: Vec<(DefinitionId, crate::graph::NodeId, &'static str, f64, u32)> = Vec::new();
    for weight in context.facts.signal().weights() {
        let Some(parameter) = graph.parameter(weight.weight) else {
            continue;
        };
        let Some((_, behind)) = activation(graph, weight.node) else {
            continue;
        };
        let name = behind.op.name;
        // By how much each layer changes the second moment of what passes.
        let factor = match parameter.init {
            Init::Xavier if matches!(name, "relu" | "leaky_relu") => 0.5,
            Init::Kaiming if matches!(name, "tanh" | "sigmoid" | "selu" | "softsign") => 2.0,
            _ => continue,
        };
        let node = graph.node(weight.node);
        let definition = graph.layer(node.layer).definition;
        match found.iter_mut().find(|(known, ..)| *known == definition) {
            Some((.., count)) => *count += 1,
            None => found.push((definition, weight.node, name, factor, 1)),
        }
    }
    let total: u32 = found.iter().map(|(.., count)| count).sum();
    if total < MANY {
        return;
    }
    for (_, node, name, factor, _) in found {
        let rectified = is_rectifier(graph.node(node)) || factor < 1.0;
        let (has, effect, help) = match rectified {
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
