//! `range/log-of-softmax`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/log-of-softmax",
    summary: "The logarithm of a softmax is -∞ where the softmax is 0 in its element type.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/log-of-softmax.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    if context.facts.index().calls("softmax").is_empty() {
        return;
    }
    for id in context.facts.index().calls_of(&["log", "log2", "log10"]) {
        let idioms = context.facts.idioms();
        let operand = context.graph.node(id).arguments[0];
        let Some(softmax) = idioms.call(idioms.content(operand), "softmax") else {
            continue;
        };
        let probability = context.facts.ranges().known(softmax.first_output);
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        if probability.assuming_finite().low > 0.0 {
            continue;
        }
        let message = format!(
            "softmax(x) is 0 in {dtype} for an x that lies {} below the greatest, and its \
             logarithm -∞; log_softmax(x) is finite for all x",
            number(-(format.min_subnormal / 2.0).ln())
        );
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help("call log_softmax, or a loss that takes logits")
            .label("-∞ where the softmax is 0")
            .also(
                context
                    .graph
                    .producer(softmax.first_output)
                    .and_then(|node| context.model.node_place(context.spec, node).span),
                "the softmax",
            )
            .confidence(Confidence::Likely);
        let direct = idioms.values.same(operand, softmax.first_output);
        let edit = Part::of(context, id)
            .filter(|_| direct && context.graph.node(id).op.name == "log")
            .and_then(|part| {
                let text = part.operand(0)?.text();
                let once = text.matches("softmax(").count() == 1;
                let call = text.replacen("softmax(", "log_softmax(", 1);
                once.then(|| part.replace(call)).flatten()
            });
        if let Some(edit) = edit {
            finding.fix_edits("call log_softmax", Safety::Safe, vec![edit]);
        }
    }
}
