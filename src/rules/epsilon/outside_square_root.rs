//! `epsilon/outside-square-root`: see its page.

use crate::diag::{Confidence, Edit, Level, Safety};
use crate::facts::zero::zero;
use crate::graph::NodeId;
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{epsilon, float_of, reason, trains, written};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "epsilon/outside-square-root",
    summary: "A small number is added behind a square root, whose gradient needs it inside.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/epsilon/outside-square-root.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let index = context.facts.index();
    if index.calls_of(&["sqrt", "pow"]).next().is_none() {
        return;
    }
    for (division, position) in [("div", 1), ("reciprocal", 0)] {
        for &id in index.calls(division) {
            let (idioms, ranges) = (context.facts.idioms(), context.facts.ranges());
            let divisor = context.graph.node(id).arguments[position];
            let Some((root, number)) = idioms.plus_number(divisor) else {
                continue;
            };
            let Some(operand) = idioms.root(root) else {
                continue;
            };
            let range = ranges.known(operand).assuming_finite();
            let (Some(why), Some((dtype, _)), Some((sum, _))) = (
                zero(&idioms, operand),
                float_of(context, id),
                idioms.producer(divisor),
            ) else {
                continue;
            };
            if number <= 0.0 || !trains(context, operand) || !range.contains(0.0) {
                continue;
            }
            let message = format!(
                "√v + {} keeps the quotient finite but not its gradient: the derivative of √v, \
                 1 / (2√v), is infinite where v is 0, and {}",
                written(number),
                reason(context, why, id)
            );
            let place = context.model.node_place(context.spec, sum);
            let finding = reporter
                .at(place, message)
                .help(format!("add it inside: sqrt(v + {})", epsilon(dtype)))
                .label("behind the root")
                .confidence(Confidence::Likely);
            if let Some(edit) = edit(context, sum, epsilon(dtype)) {
                finding.fix_edits("move it inside the root", Safety::Unsafe, vec![edit]);
            }
        }
    }
}

fn edit(context: &Context<'_>, sum: NodeId, epsilon: &str) -> Option<Edit> {
    let whole = Part::of(context, sum)?;
    let call = context.graph.node(sum);
    let position = usize::from(context.graph.constant(call.arguments[0]).is_some());
    let root = context.graph.producer(call.arguments[position])?;
    let inside = Part::of(context, root)?.operand(0)?;
    let replacement = match context.graph.node(root).op.name {
        "pow" => format!("({} + {epsilon}) ** 0.5", inside.term()),
        _ => format!("sqrt({} + {epsilon})", inside.term()),
    };
    whole.replace(format!("({replacement})"))
}
