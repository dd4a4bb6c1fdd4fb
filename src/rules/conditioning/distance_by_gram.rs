//! `conditioning/distance-by-gram`: see its page.

use smallvec::SmallVec;

use crate::diag::{Confidence, Level, Safety};
use crate::facts::idiom::Idioms;
use crate::graph::TensorId;
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{epsilon, float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "conditioning/distance-by-gram",
    summary: "The root is taken of a squared distance that cancels: |a|² + |b|² - 2ab.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/conditioning/distance-by-gram.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&["sqrt", "pow"]) {
        let idioms = context.facts.idioms();
        let Some(square) = idioms.root(context.graph.node(id).first_output) else {
            continue;
        };
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        if !is_expanded(&idioms, square) {
            continue;
        }
        let limit = (0.25 / format.unit_roundoff()).sqrt();
        let message = format!(
            "|a|² + |b|² - 2ab cancels: where a and b lie {} times closer to each other than to 0, \
             rounding in {dtype} leaves nothing of the distance or makes its square negative, and \
             the root NaN",
            number(limit)
        );
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help("call cdist(a, b), or bound the square from below before the root")
            .label("may be the root of a negative number")
            .confidence(Confidence::Likely);
        let edit = Part::of(context, id)
            .and_then(|part| part.operand(0))
            .and_then(|part| {
                part.replace(format!("clamp({}, min={})", part.text(), epsilon(dtype)))
            });
        if let Some(edit) = edit {
            finding.fix_edits("bound the square from below", Safety::Unsafe, vec![edit]);
        }
    }
}

/// Whether a tensor is the sum of two sums of squares less twice a product.
fn is_expanded(idioms: &Idioms<'_>, square: TensorId) -> bool {
    let mut terms: SmallVec<[(TensorId, f64); 8]> = smallvec::smallvec![(square, 1.0)];
    let (mut squares, mut products) = (0, 0);
    while let Some((term, sign)) = terms.pop() {
        let (inner, factor) = idioms.unscaled(term);
        let factor = factor * sign;
        let Some((_, node)) = idioms.producer(inner) else {
            return false;
        };
        // The order matters: a `dot` of a vector with itself is a sum of squares too.
        if factor == 1.0 && idioms.sum_of_squares(idioms.content(inner)).is_some() {
            squares += 1;
            continue;
        }
        match node.op.name {
            "add" | "sub" if terms.len() < 6 => {
                let [a, b] = node.arguments[..] else {
                    return false;
                };
                let second = if node.op.name == "sub" {
                    -factor
                } else {
                    factor
                };
                terms.extend([(a, factor), (b, second)]);
            }
            "matmul" | "mm" | "bmm" | "einsum" | "dot" => {
                // `2 * a @ b.T` doubles a side.
                let sides = node.arguments.iter().map(|&side| idioms.unscaled(side).1);
                if factor * sides.product::<f64>() != -2.0 {
                    return false;
                }
                products += 1;
            }
            "sum" if factor == -2.0 => products += 1,
            _ => return false,
        }
    }
    squares == 2 && products == 1
}
