//! `range/exp-overflow`: see its page.

use crate::diag::Level;
use crate::rules::range::shared_forms::{has_better_form, is_harmless, origins};
use crate::rules::shared_numeric::{Evidence, float_of, name, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/exp-overflow",
    summary: "An exponential passes the greatest number of its element type.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/exp-overflow.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for (id, range) in origins(context, &["exp", "exp2", "expm1", "sinh", "cosh"], 0) {
        let node = context.graph.node(id);
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        if has_better_form(context, id) || is_harmless(context, id) {
            continue;
        }
        let evidence = Evidence::of(context, id, node.arguments[0], |_, value| {
            value.is_infinite()
        });
        let far = match node.op.name {
            "sinh" | "cosh" => range.magnitude(),
            _ => range.high,
        };
        let (limit, power) = match node.op.name {
            "exp2" => (format.overflow.log2(), format!("2^{}", number(far))),
            "sinh" | "cosh" => {
                let limit = format.overflow.ln() + std::f64::consts::LN_2;
                (limit, format!("e^{} / 2", number(far)))
            }
            _ => (format.overflow.ln(), format!("e^{}", number(far))),
        };
        let exact = context
            .graph
            .with_call(node, |call| {
                node.op.element.map(|element| element(call, &[far]))
            })
            .filter(|value| value.is_finite())
            .map_or(String::new(), |value| format!(" = {}", number(value)));
        let message = format!(
            "`{}` of{} up to {} reaches {power}{exact}, but {dtype} ends at {}{}",
            node.op.name,
            name(context, node.arguments[0], id),
            number(far),
            number(format.max),
            evidence.sentence(context)
        );
        let help = format!(
            "bound the operand below {} in {dtype}, or stay in logarithms",
            number((limit * 100.0).floor() / 100.0)
        );
        let place = context.model.node_place(context.spec, id);
        evidence.grade(reporter.at(place, message).help(help).label("overflows"));
    }
}
