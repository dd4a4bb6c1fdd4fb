//! `epsilon/missing-in-division`: see its page.

use crate::diag::{Edit, Level, Safety};
use crate::facts::idiom::Idioms;
use crate::facts::zero::{Zero, zero};
use crate::graph::{NodeId, TensorId};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{Evidence, epsilon, float_of, name, reason};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "epsilon/missing-in-division",
    summary: "A divisor can be 0.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/epsilon/missing-in-division.md"),
};

/// The ops that divide, and the position of the divisor.
const DIVISIONS: [(&str, usize); 4] = [("div", 1), ("reciprocal", 0), ("addcdiv", 2), ("pow", 0)];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for (op, position) in DIVISIONS {
        for &id in context.facts.index().calls(op) {
            check_division(context, id, position, reporter);
        }
    }
}

fn check_division(context: &Context<'_>, id: NodeId, position: usize, reporter: &mut Reporter<'_>) {
    let node = context.graph.node(id);
    let divisor = node.arguments[position];
    let Some((dtype, _)) = float_of(context, id) else {
        return;
    };
    if context.graph.constant(divisor).is_some() {
        return;
    }
    let idioms = context.facts.idioms();
    if node.op.name == "pow" {
        // A root in the divisor is `missing-in-rsqrt`'s.
        let power = idioms.constant(node.arguments[1]);
        if !power.is_some_and(|power| power < 0.0 && power != -0.5) {
            return;
        }
    }
    let known = context.facts.ranges().known(divisor);
    if !known.assuming_finite().contains(0.0) || is_others(&idioms, divisor) {
        return;
    }
    let evidence = Evidence::of(context, id, divisor, |operands, _| {
        operands[position] == 0.0
    });
    let why = zero(&idioms, divisor);
    let because = match (why, &evidence) {
        (Some(why), _) => reason(context, why, id),
        (None, Evidence::Assumed) => return,
        (None, _) => format!("it ranges over {}", known.assuming_finite()),
    };
    let message = format!(
        "the divisor{} can be 0: {because}; x / 0 is infinite, and 0 / 0 is NaN{}",
        name(context, divisor, id),
        evidence.sentence(context),
    );
    let counts = matches!(why, Some(Zero::OfCount(_)));
    let help = match counts {
        true => "divide by at least 1: clamp(count, min=1)".to_owned(),
        false => format!(
            "add a small number to it, such as {} in {dtype}",
            epsilon(dtype)
        ),
    };
    let place = context.model.node_place(context.spec, id);
    let finding = reporter
        .at(place, message)
        .help(help)
        .label("divides by what can be 0");
    let finding = match edit(context, &idioms, id, position, counts) {
        Some(edit) => finding.fix_edits("keep the divisor from 0", Safety::Unsafe, vec![edit]),
        None => finding,
    };
    evidence.grade(finding);
}

/// Whether another rule speaks of the divisor: a norm, a sum of exponentials.
fn is_others(idioms: &Idioms<'_>, divisor: TensorId) -> bool {
    idioms.norm(divisor).is_some() || idioms.sum_of_exponentials(divisor).is_some()
}

fn edit(
    context: &Context<'_>,
    idioms: &Idioms<'_>,
    id: NodeId,
    position: usize,
    counts: bool,
) -> Option<Edit> {
    let (dtype, _) = float_of(context, id)?;
    let divisor = context.graph.node(id).arguments[position];
    // Under a root the small number belongs inside, where the gradient needs it too.
    if let Some(inside) = idioms.root(divisor)
        && let Some((root, _)) = idioms.producer(divisor)
        && let Some(part) = Part::of(context, root)?.operand(0)
        && context.graph.producer(inside).is_some()
    {
        return part.replace(format!("{} + {}", part.term(), epsilon(dtype)));
    }
    let part = Part::of(context, id)?.operand(position)?;
    part.replace(match counts {
        true => format!("clamp({}, min=1)", part.text()),
        false => format!("({} + {})", part.term(), epsilon(dtype)),
    })
}
