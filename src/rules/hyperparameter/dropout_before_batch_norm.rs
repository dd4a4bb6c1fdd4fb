//! `hyperparameter/dropout-before-batch-norm`: see its page.

use crate::diag::{Confidence, Level};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use rustc_hash::FxHashSet;

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/dropout-before-batch-norm",
    summary: "Dropout changes the variance that a later batch norm has measured.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/dropout-before-batch-norm.md"),
};

/// How many calls may stand between the two.
const REACH: usize = 4;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    if !graph.training || context.facts.index().calls("batch_norm").is_empty() {
        return;
    }
    let mut reported = FxHashSet::default();
    for &id in context.facts.index().calls("dropout") {
        let node = graph.node(id);
        let p = graph.with_call(node, |call| call.float("p")).unwrap_or(0.5);
        let definition = graph.layer(node.layer).definition;
        if p <= 0.0 || p >= 1.0 || reported.contains(&definition) {
            continue;
        }
        let mut at = id;
        let mut norm = None;
        for _ in 0..REACH {
            let Some(next) = graph.only_user(at) else {
                break;
            };
            at = next;
            match graph.node(at).op.name {
                "batch_norm" => {
                    norm = Some(at);
                    break;
                }
                name if name == "linear" || name.starts_with("conv") => {}
                name if name.contains("pool") || name == "flatten" || name == "reshape" => {}
                _ if graph.node(at).op.element.is_some() => {}
                _ => break,
            }
        }
        let Some(norm) = norm else { continue };
        reported.insert(definition);
        let message = format!(
            "dropout of p = {p} makes the second moment 1/(1 − p) = {:.2}× as large while training, \
             so the batch norm behind it learns running variances that are too large for \
             inference, where nothing is dropped",
            1.0 / (1.0 - p)
        );
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .confidence(Confidence::Likely)
            .also(
                context.model.node_place(context.spec, norm).span,
                "learns its statistics here",
            )
            .help("put the dropout behind the last batch norm, or leave it out");
    }
}
