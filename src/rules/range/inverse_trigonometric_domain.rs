//! `range/inverse-trigonometric-domain`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::facts::idiom::Idioms;
use crate::graph::TensorId;
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{Evidence, float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/inverse-trigonometric-domain",
    summary: "The operand of an inverse sine or cosine can leave [-1, 1].",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/inverse-trigonometric-domain.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&["acos", "asin"]) {
        let node = context.graph.node(id);
        let operand = node.arguments[0];
        let (idioms, known) = (
            context.facts.idioms(),
            context.facts.ranges().known(operand),
        );
        let range = known.assuming_finite();
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        if range.magnitude() <= 1.0 {
            continue;
        }
        let evidence = Evidence::of(context, id, operand, |_, value| value.is_nan());
        let because = if is_cosine(&idioms, operand) {
            format!(
                "a product of unit vectors is 1 only up to rounding: two equal ones give up to \
                 1 + {} in {dtype}",
                number(2.0 * format.unit_roundoff())
            )
        } else if evidence == Evidence::Assumed {
            continue;
        } else {
            format!("the operand ranges over {range}")
        };
        let message = format!(
            "`{}` is defined on [-1, 1], and {because}; beyond it is NaN{}",
            node.op.name,
            evidence.sentence(context)
        );
        let limit = number_below_one(format.unit_roundoff());
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help(format!(
                "clamp the operand to ±{limit}, inside of ±1, where the gradient is infinite; \
                 atan2(norm(cross), dot) is exact for small angles too"
            ))
            .label("NaN outside [-1, 1]")
            .confidence(Confidence::Likely);
        let edit = Part::of(context, id)
            .and_then(|part| part.operand(0))
            .and_then(|part| {
                part.replace(format!("clamp({}, min=-{limit}, max={limit})", part.text()))
            });
        let finding = match edit {
            Some(edit) => finding.fix_edits("clamp the operand", Safety::Unsafe, vec![edit]),
            None => finding,
        };
        evidence.grade(finding);
    }
}

/// A decimal number a little below 1 that the format tells from 1.
fn number_below_one(unit_roundoff: f64) -> &'static str {
    match unit_roundoff {
        unit if unit < 1e-12 => "0.999999999999",
        unit if unit < 1e-6 => "0.999999",
        unit if unit < 1e-3 => "0.999",
        _ => "0.99",
    }
}

/// A dot product of two vectors, each over its norm, or their dot product over both norms.
fn is_cosine(idioms: &Idioms<'_>, id: TensorId) -> bool {
    const PRODUCTS: [&str; 5] = ["matmul", "bmm", "mm", "dot", "einsum"];
    let unit = |side: TensorId| {
        let side = idioms.content(side);
        idioms.call(side, "normalize").is_some()
            || idioms
                .call(side, "div")
                .is_some_and(|node| idioms.norm(node.arguments[1]).is_some())
    };
    let id = idioms.bare(id);
    let Some((_, node)) = idioms.producer(id) else {
        return false;
    };
    let pair = |node: &crate::graph::Node| match node.arguments[..] {
        [a, b] => Some((a, b)),
        _ => None,
    };
    match node.op.name {
        "cosine_similarity" => true,
        "sum" => idioms
            .call(node.arguments[0], "mul")
            .and_then(pair)
            .is_some_and(|(a, b)| unit(a) && unit(b)),
        "div" => pair(node).is_some_and(|(_, divisor)| {
            let (divisor, _) = idioms.plus_number(divisor).unwrap_or((divisor, 0.0));
            idioms.norm(divisor).is_some()
                || idioms
                    .call(idioms.bare(divisor), "mul")
                    .and_then(pair)
                    .is_some_and(|(a, b)| idioms.norm(a).is_some() && idioms.norm(b).is_some())
        }),
        name if PRODUCTS.contains(&name) => pair(node).is_some_and(|(a, b)| unit(a) && unit(b)),
        _ => false,
    }
}
