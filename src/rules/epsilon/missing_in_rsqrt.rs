//! `epsilon/missing-in-rsqrt`: see its page.

use crate::diag::{Level, Safety};
use crate::facts::zero::zero;
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{Evidence, epsilon, float_of, name, reason};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "epsilon/missing-in-rsqrt",
    summary: "The operand of a reciprocal square root can be 0.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/epsilon/missing-in-rsqrt.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&["rsqrt", "pow"]) {
        let node = context.graph.node(id);
        let (idioms, ranges) = (context.facts.idioms(), context.facts.ranges());
        let power = node.op.name == "pow";
        if power && idioms.constant(node.arguments[1]) != Some(-0.5) {
            continue;
        }
        let operand = node.arguments[0];
        let Some((dtype, _)) = float_of(context, id) else {
            continue;
        };
        let known = ranges.known(operand);
        // What may be negative is `range/outside-domain`'s.
        if !known.assuming_finite().contains(0.0) || known.assuming_finite().low < 0.0 {
            continue;
        }
        let evidence = Evidence::of(context, id, operand, |operands, _| operands[0] == 0.0);
        let because = match (zero(&idioms, operand), &evidence) {
            (Some(why), _) => reason(context, why, id),
            (None, Evidence::Assumed) => continue,
            (None, _) => format!("it ranges over {}", known.assuming_finite()),
        };
        let message = format!(
            "the operand{} of 1/√v can be 0: {because}; 1/√0 is infinite, and 0 · ∞ is NaN{}",
            name(context, operand, id),
            evidence.sentence(context)
        );
        let help = format!("add a small number inside: rsqrt(v + {})", epsilon(dtype));
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help(help)
            .label("infinite at 0");
        let part = Part::of(context, id).and_then(|part| part.operand(0));
        let edit = part.and_then(|part| {
            let sum = format!("{} + {}", part.term(), epsilon(dtype));
            part.replace(if power { format!("({sum})") } else { sum })
        });
        let finding = match edit {
            Some(edit) => {
                finding.fix_edits("add a small number inside", Safety::Unsafe, vec![edit])
            }
            None => finding,
        };
        evidence.grade(finding);
    }
}
