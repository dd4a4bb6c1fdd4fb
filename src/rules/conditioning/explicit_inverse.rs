//! `conditioning/explicit-inverse`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::shared_edit::Part;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "conditioning/explicit-inverse",
    summary: "A matrix is inverted only to be multiplied by something.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/conditioning/explicit-inverse.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&["inverse", "pinverse"]) {
        let graph = context.graph;
        let node = graph.node(id);
        let Some(product) = graph.only_user(id) else {
            continue;
        };
        let user = graph.node(product);
        if !["matmul", "mm", "bmm", "mv"].contains(&user.op.name) {
            continue;
        }
        let left = user.arguments[0] == node.first_output;
        let solver = match node.op.name {
            "inverse" => "solve",
            _ => "lstsq",
        };
        let help = match left {
            true => format!("call {solver}(A, B) for A⁻¹ @ B"),
            false => format!("call {solver}(A.mT, B.mT).mT for B @ A⁻¹"),
        };
        let message = format!(
            "A⁻¹ is computed only to be multiplied: for n×n matrices that is 2n³ operations and \
             the product, where `{solver}` factors A in 2n³/3, and the residual of the product is \
             larger by up to the condition of A"
        );
        let place = context.model.node_place(context.spec, product);
        let other = context.model.node_place(context.spec, id).span;
        let finding = reporter
            .at(place, message)
            .help(help)
            .label("the inverse meets its only use")
            .also(other, "inverted here");
        let inverse = Part::of(context, id).and_then(|part| part.operand(0));
        let edit = Part::of(context, product).and_then(|part| {
            let a = inverse.filter(|_| node.op.name == "inverse")?;
            let b = part.operand(1)?;
            // The inverse must stand in this formula, not behind a name.
            let here = part.operand(0)?.range() == Part::of(context, id)?.range();
            (left && here)
                .then(|| part.replace(format!("solve({}, {})", a.text(), b.text())))
                .flatten()
        });
        if let Some(edit) = edit {
            finding.fix_edits("call solve", Safety::Safe, vec![edit]);
        }
    }
}
