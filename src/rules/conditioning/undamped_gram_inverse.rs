//! `conditioning/undamped-gram-inverse`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::facts::idiom::Idioms;
use crate::graph::{Node, TensorId};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "conditioning/undamped-gram-inverse",
    summary: "A product XᵀX is inverted or factored with nothing added to its diagonal.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/conditioning/undamped-gram-inverse.md"),
};

const SOLVERS: [&str; 5] = ["inverse", "solve", "cholesky", "logdet", "slogdet"];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&SOLVERS) {
        let idioms = context.facts.idioms();
        let node = context.graph.node(id);
        let Some((x, inner)) = gram(&idioms, node.arguments[0]) else {
            continue;
        };
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        let Some(&n) = context.graph.ty(node.arguments[0]).shape.sizes().last() else {
            continue;
        };
        let limit = number((1.0 / format.unit_roundoff()).sqrt());
        let singular = inner < n;
        let message = match singular {
            true => format!(
                "XᵀX is {n}×{n} but a sum of {inner} products, so that its rank is at most \
                 {inner}: it is singular whatever X is"
            ),
            false => format!(
                "the condition of XᵀX is that of X squared: from a condition of {limit} of X on, \
                 it is singular in {dtype}, and so it is where two columns of X are equal"
            ),
        };
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help(
                "add λ to the diagonal (XᵀX + λI, λ of about 1e-6 of its mean), or solve the \
                 least squares of X itself: lstsq(X, y)",
            )
            .label("nothing on the diagonal");
        let finding = match singular {
            true => finding.level(Level::Error),
            false => finding.confidence(Confidence::Likely),
        };
        let of = context
            .graph
            .producer(x)
            .and_then(|node| context.model.node_place(context.spec, node).span);
        let finding = finding.also(of, "X");
        let edit = Part::of(context, id)
            .and_then(|part| part.operand(0))
            .and_then(|part| part.replace(format!("{} + 1e-6 * eye({n})", part.term())));
        if let Some(edit) = edit {
            finding.fix_edits("add to the diagonal", Safety::Unsafe, vec![edit]);
        }
    }
}

/// What a matrix is the product of with its own transpose, and over how many terms each entry is
/// summed.
fn gram(idioms: &Idioms<'_>, matrix: TensorId) -> Option<(TensorId, u64)> {
    let (inner, _) = idioms.unscaled(matrix);
    let node = idioms.any_call(inner, &["matmul", "mm", "bmm", "einsum"])?;
    let [a, b] = node.arguments[..] else {
        return None;
    };
    let terms = idioms.graph.with_call(node, |call| {
        let products = (call.op.work)(call).products / 2;
        products / u128::from(call.output_elements().max(1))
    });
    let transposed = |whole: TensorId, other: TensorId| {
        idioms
            .any_call(whole, &["transpose", "permute", "t"])
            .is_some_and(|node| idioms.values.same(node.arguments[0], other))
    };
    let x = match node.op.name {
        "einsum" => (idioms.values.same(a, b) && is_gram_equation(idioms, node)).then_some(a),
        _ if transposed(a, b) => Some(b),
        _ => transposed(b, a).then_some(a),
    }?;
    Some((x, u64::try_from(terms).ok()?))
}

/// Whether an equation of one tensor with itself makes its Gram matrix: `ni,nj->ij`, where the
/// labels differ at one axis and meet at all others.
fn is_gram_equation(idioms: &Idioms<'_>, node: &Node) -> bool {
    let equation = idioms.graph.with_call(node, |call| call.text("equation"));
    equation.is_some_and(|equation| {
        let letters: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let operands = letters.split("->").next().unwrap_or_default();
        let Some((a, b)) = operands.split_once(',') else {
            return false;
        };
        let differing = a.chars().zip(b.chars()).filter(|(a, b)| a != b).count();
        a.len() == b.len() && differing == 1
    })
}
