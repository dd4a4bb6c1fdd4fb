//! `memory/over-parameter-budget`: see its page.

use crate::diag::Level;
use crate::graph::{Graph, Parameter};
use crate::quantity::Elements;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/over-parameter-budget",
    summary: "The model has more parameters than the budget allows.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/over-parameter-budget.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let budget = &context.run.budget.parameters;
    let Some(limit) = budget.get().map(Elements) else {
        return;
    };
    let count = context.facts.cost().parameters;
    if count <= limit {
        return;
    }
    let graph = context.graph;
    let elements = |p: &&Parameter| graph.ty(p.tensor).shape.elements();
    let largest = graph
        .parameters
        .iter()
        .filter(|parameter| !parameter.buffer)
        .max_by_key(elements);
    let over = 100.0 * (count.as_f64() / limit.as_f64() - 1.0);
    let message = match limit {
        Elements(0) => format!("the model has {count} parameters, but the budget allows none"),
        limit => {
            format!("the model has {count} parameters, {over:.1} % over the budget of {limit}")
        }
    };
    let help = largest.map(|parameter| describe(graph, parameter, count));
    reporter
        .setting("budget.parameters", budget.span, message)
        .label(format!("{} too many", count - limit))
        .maybe_help(help);
}

fn describe(graph: &Graph, parameter: &Parameter, count: Elements) -> String {
    let ty = graph.ty(parameter.tensor);
    let elements = Elements(ty.shape.elements());
    format!(
        "the largest is `{}` {}: {elements}, {:.1} % of them",
        graph.parameter_path(parameter),
        ty.shape,
        100.0 * elements.as_f64() / count.as_f64()
    )
}
