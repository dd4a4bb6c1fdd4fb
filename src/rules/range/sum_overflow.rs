//! `range/sum-overflow`: see its page.

use crate::diag::Level;
use crate::rules::range::shared_forms::origins;
use crate::rules::shared_numeric::{Evidence, float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/sum-overflow",
    summary: "A sum or product of matrices passes the greatest number of its element type.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/sum-overflow.md"),
};

const SUMS: [&str; 10] = [
    "sum", "cumsum", "norm", "matmul", "mm", "bmm", "mv", "dot", "einsum", "prod",
];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for (id, range) in origins(context, &SUMS, 0) {
        let node = context.graph.node(id);
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        let terms = context.graph.with_call(node, |call| {
            let work = (call.op.work)(call);
            let output = call.output_elements().max(1) as f64;
            match work.products {
                0 => call.elements(0) as f64 / output,
                products => products as f64 / (2.0 * output),
            }
        });
        let other = node
            .arguments
            .get(1)
            .map(|&other| context.facts.ranges().known(other).assuming_finite());
        let sum = match (node.op.name, other) {
            ("prod", _) => format!(
                "a product of {} factors of up to {}",
                number(terms),
                number(range.magnitude())
            ),
            ("norm", _) => format!(
                "the norm of {} elements of up to {}",
                number(terms),
                number(range.magnitude())
            ),
            (_, Some(other)) => format!(
                "a sum of {} products of up to {} · {}",
                number(terms),
                number(range.magnitude()),
                number(other.magnitude())
            ),
            _ => format!(
                "a sum of {} terms of up to {}",
                number(terms),
                number(range.magnitude())
            ),
        };
        let operand = node.arguments[0];
        let evidence = Evidence::of(context, id, operand, |_, value| value.is_infinite());
        let message = format!(
            "{sum} passes the end of {dtype}, {}{}",
            number(format.max),
            evidence.sentence(context)
        );
        let help = match node.op.name {
            "prod" => "sum logarithms instead",
            _ => "scale the operands first, take the mean, or compute this in float32",
        };
        let place = context.model.node_place(context.spec, id);
        evidence.grade(reporter.at(place, message).help(help).label("overflows"));
    }
}
