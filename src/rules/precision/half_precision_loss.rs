//! `precision/half-precision-loss`: see its page.

use crate::diag::{Confidence, Level};
use crate::quantity::figure;
use crate::rules::precision::shared_policy::narrow;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/half-precision-loss",
    summary: "The loss is a number of a narrow type.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/half-precision-loss.md"),
};

/// The spacing of the loss from which on it hides progress: late in training an epoch gains less.
const COARSE: f64 = 0.03;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    if !context.run.trains() {
        return;
    }
    for id in context
        .facts
        .index()
        .calls_of(&["cross_entropy", "nll_loss"])
    {
        let node = graph.node(id);
        let dtype = context.facts.dtypes().tensor(graph, node.first_output);
        let Some(format) = narrow(dtype) else {
            continue;
        };
        let (logits, target) = (graph.ty(node.arguments[0]), graph.ty(node.arguments[1]));
        let targets = match target.dtype.is_float() {
            true => continue,
            false => target.shape.elements().max(1),
        };
        let classes = (logits.shape.elements() / targets).max(2);
        // A model that knows nothing starts at the logarithm of the number of classes.
        let start = (classes as f64).ln();
        let spacing = (start.log2().floor() - f64::from(format.precision) + 1.0).exp2();
        if spacing < COARSE {
            continue;
        }
        let message = format!(
            "the loss is a {dtype}: near ln {classes} = {}, where it starts, it is a multiple of {}, \
             and what an epoch gains may be less",
            figure(start),
            figure(spacing)
        );
        reporter
            .at(context.model.node_place(context.spec, id), message)
            .confidence(Confidence::Likely)
            .help("cast the logits before the loss: cross_entropy(logits.float(), targets); under autocast that is done");
    }
}
