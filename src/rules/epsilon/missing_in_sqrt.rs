//! `epsilon/missing-in-sqrt`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::facts::idiom::Idioms;
use crate::facts::zero::zero;
use crate::graph::{NodeId, TensorId};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{epsilon, float_of, reason, trains};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "epsilon/missing-in-sqrt",
    summary: "A square root is trained through where its operand can be 0.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/epsilon/missing-in-sqrt.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&["sqrt", "pow"]) {
        let (idioms, ranges) = (context.facts.idioms(), context.facts.ranges());
        let root = context.graph.node(id).first_output;
        let (Some(operand), Some((dtype, _))) = (idioms.root(root), float_of(context, id)) else {
            continue;
        };
        let range = ranges.known(operand).assuming_finite();
        if !trains(context, operand) || range.low < 0.0 || !range.contains(0.0) {
            continue;
        }
        let Some(why) = zero(&idioms, operand) else {
            continue;
        };
        if is_divisor(context, &idioms, root) {
            continue;
        }
        let message = format!(
            "the gradient of √v is 1 / (2√v), infinite where v is 0, and {}; times the gradient \
             0 of v it is NaN, which spreads to every weight",
            reason(context, why, id)
        );
        let help = format!("add a small number inside: sqrt(v + {})", epsilon(dtype));
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help(help)
            .label("no finite gradient at 0")
            .confidence(Confidence::Likely);
        let part = Part::of(context, id).and_then(|part| part.operand(0));
        let edit = part.and_then(|part| {
            let sum = format!("{} + {}", part.term(), epsilon(dtype));
            let power = context.graph.node(id).op.name == "pow";
            part.replace(if power { format!("({sum})") } else { sum })
        });
        if let Some(edit) = edit {
            finding.fix_edits("add a small number inside", Safety::Unsafe, vec![edit]);
        }
    }
}

/// Whether the root divides, by itself or with something added: other rules speak of that.
fn is_divisor(context: &Context<'_>, idioms: &Idioms<'_>, root: TensorId) -> bool {
    let divides = |tensor: TensorId, node: NodeId| {
        let call = context.graph.node(node);
        call.op.name == "reciprocal"
            || call.op.name == "div" && call.arguments.get(1) == Some(&tensor)
    };
    let users = |tensor: TensorId| {
        let producer = context.graph.producer(tensor);
        producer
            .into_iter()
            .flat_map(|node| context.graph.uses_of(node))
            .map(|(user, _)| user)
    };
    users(root).any(|user| {
        let output = context.graph.node(user).first_output;
        divides(root, user)
            || idioms.plus_number(output).is_some()
                && users(output).any(|next| divides(output, next))
    })
}
