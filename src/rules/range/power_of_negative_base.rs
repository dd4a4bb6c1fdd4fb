//! `range/power-of-negative-base`: see its page.

use crate::diag::Level;
use crate::rules::range::shared_forms::is_harmless;
use crate::rules::shared_numeric::{Evidence, float_of, name, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/power-of-negative-base",
    summary: "A fractional power is taken of what can be negative.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/power-of-negative-base.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for &id in context.facts.index().calls("pow") {
        let node = context.graph.node(id);
        let [base, exponent] = node.arguments[..] else {
            continue;
        };
        let ranges = context.facts.ranges();
        let range = ranges.known(base).assuming_finite();
        let fractional = match context.graph.constant(exponent) {
            Some(power) => power.fract() != 0.0,
            // An exponent that is computed is whole only in an integer type.
            None => context.graph.ty(exponent).dtype.is_float(),
        };
        if !fractional
            || range.low >= 0.0
            || float_of(context, id).is_none()
            || is_harmless(context, id)
        {
            continue;
        }
        let evidence = Evidence::of(context, id, base, |_, value| value.is_nan());
        if evidence == Evidence::Assumed {
            continue;
        }
        let power = match context.graph.constant(exponent) {
            Some(power) => format!("to the power of {}", number(power)),
            None => "to a power that is not whole".to_owned(),
        };
        let message = format!(
            "the base{} goes down to {}, and a negative number {power} is NaN{}",
            name(context, base, id),
            number(range.low),
            evidence.sentence(context)
        );
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .help("bound the base from below by a positive number, or take abs(x) and put the sign back")
            .label("NaN for a negative base");
        evidence.grade(finding);
    }
}
