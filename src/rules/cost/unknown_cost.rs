//! `cost/unknown-cost`: see its page.

use std::collections::BTreeMap;

use crate::diag::Level;
use crate::graph::{NodeId, Runs};
use crate::ops::foreign::OPAQUE;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "cost/unknown-cost",
    summary: "What a part of the model costs is not known.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/cost/unknown-cost.md"),
};

/// How many names are listed.
const LISTED: usize = 8;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    opaque(context, reporter);
    loops(context, reporter);
    branches(context, reporter);
}

/// Ops that are not known, all in one finding at the first of them.
fn opaque(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let calls = || context.facts.index().calls_of(&[OPAQUE]);
    let Some(first) = calls().next() else {
        return;
    };
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for id in calls() {
        let name = context
            .graph
            .with_call(context.graph.node(id), |call| call.text("target"));
        *names
            .entry(name.unwrap_or_else(|| OPAQUE.into()).to_string())
            .or_default() += 1;
    }
    let count: usize = names.values().sum();
    let mut listed: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|(name, times)| match times {
            1 => format!("`{name}`"),
            times => format!("`{name}` ({times} times)"),
        })
        .collect();
    if names.len() > LISTED {
        listed.push(format!("{} more", names.len() - LISTED));
    }
    let calls = if count == 1 { "call is" } else { "calls are" };
    let message = format!(
        "{count} {calls} not known, and all figures leave out what they cost: {}",
        listed.join(", ")
    );
    reporter
        .at(context.model.node_place(context.spec, first), message)
        .help("the shapes around them are known, so everything else is counted");
}

/// Loops that run as often as the values say.
fn loops(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let regions = context.graph.regions.iter();
    for region in regions.filter(|region| region.runs == Runs::Loop) {
        let calls = region.nodes.len();
        let message = format!(
            "how often this loop runs depends on the values: its {calls} calls are counted once"
        );
        let place = context
            .model
            .node_place(context.spec, NodeId(region.nodes.start));
        if calls > 0 {
            reporter
                .at(place, message)
                .level(Level::Info)
                .help("multiply by the number of passes that you expect");
        }
    }
}

/// Branches that are taken as the values say.
fn branches(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let regions = context.graph.regions.iter();
    for region in regions.filter(|region| region.runs == Runs::Branch && !region.nodes.is_empty()) {
        let place = context
            .model
            .node_place(context.spec, NodeId(region.nodes.start));
        let message =
            "which branch is taken depends on the values: the dearer one of the two is counted";
        reporter.at(place, message).level(Level::Info);
    }
}
