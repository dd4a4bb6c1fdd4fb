//! `epsilon/missing-in-log`: see its page.

use crate::diag::{Level, Safety};
use crate::facts::zero::zero;
use crate::graph::NodeId;
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{Evidence, epsilon, float_of, name, reason};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "epsilon/missing-in-log",
    summary: "The operand of a logarithm can be 0.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/epsilon/missing-in-log.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&["log", "log2", "log10"]) {
        let node = context.graph.node(id);
        let (idioms, ranges) = (context.facts.idioms(), context.facts.ranges());
        let operand = node.arguments[0];
        let known = ranges.known(operand);
        let range = known.assuming_finite();
        let Some((dtype, _)) = float_of(context, id) else {
            continue;
        };
        // What may be negative is `range/outside-domain`'s; logarithms of what was an exponential
        // have better forms, and rules of their own.
        let of = idioms.bare(operand);
        let bare = idioms.one_minus(of).map_or(of, |p| idioms.bare(p));
        let better = idioms
            .any_call(bare, &["softmax", "sigmoid", "exp"])
            .is_some()
            || idioms.sum_of_exponentials(of).is_some();
        if !range.contains(0.0) || range.low < 0.0 || better {
            continue;
        }
        // Where no gradient flows and the infinity is cast or chosen away, as in positions that are
        // sorted into buckets, no harm is done.
        if !context.graph.tensor(node.first_output).requires_grad && is_chosen_away(context, id) {
            continue;
        }
        let evidence = Evidence::of(context, id, operand, |operands, _| operands[0] == 0.0);
        let because = match (zero(&idioms, operand), &evidence) {
            (Some(why), _) => reason(context, why, id),
            (None, Evidence::Assumed) => continue,
            (None, _) => format!("it ranges over {range}"),
        };
        let message = format!(
            "the operand{} of the logarithm can be 0: {because}; log 0 is -∞{}",
            name(context, operand, id),
            evidence.sentence(context)
        );
        let help = format!("bound it from below: log(v + {})", epsilon(dtype));
        let place = context.model.node_place(context.spec, id);
        let finding = reporter.at(place, message).help(help).label("-∞ at 0");
        let part = Part::of(context, id).and_then(|part| part.operand(0));
        let edit =
            part.and_then(|part| part.replace(format!("{} + {}", part.term(), epsilon(dtype))));
        let finding = match edit {
            Some(edit) => {
                finding.fix_edits("add a small number inside", Safety::Unsafe, vec![edit])
            }
            None => finding,
        };
        evidence.grade(finding);
    }
}

/// How many calls are looked through.
const MOST_STEPS: usize = 8;

/// Whether all that becomes of the call goes, by calls that make one element of one, into integers
/// or into a choice.
fn is_chosen_away(context: &Context<'_>, id: NodeId) -> bool {
    let mut at = id;
    for _ in 0..MOST_STEPS {
        let Some(user) = context.graph.only_user(at) else {
            return false;
        };
        let node = context.graph.node(user);
        let output = context.graph.ty(node.first_output);
        match node.op.name {
            "where" | "masked_fill" => return true,
            "to" if !output.dtype.is_float() => return true,
            _ if node.op.element.is_some() => at = user,
            _ => return false,
        }
    }
    false
}
