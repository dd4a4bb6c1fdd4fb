//! `range/square-overflow`: see its page.

use crate::diag::Level;
use crate::rules::range::shared_forms::{is_harmless, origins};
use crate::rules::shared_numeric::{Evidence, float_of, name, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/square-overflow",
    summary: "A square or higher power passes the greatest number of its element type.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/square-overflow.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for (id, _) in origins(context, &["square", "mul", "pow"], 0) {
        let idioms = context.facts.idioms();
        let node = context.graph.node(id);
        let (base, power) = match (idioms.square(node.first_output), node.op.name) {
            (Some(base), _) => (base, 2.0),
            (None, "pow") => match idioms.constant(node.arguments[1]) {
                Some(power) if power > 1.0 => (node.arguments[0], power),
                _ => continue,
            },
            _ => continue,
        };
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        let range = context.facts.ranges().known(base).assuming_finite();
        // What is negative has no fractional power, which is another matter.
        if (power.fract() != 0.0 && range.low < 0.0) || is_harmless(context, id) {
            continue;
        }
        let far = range.magnitude();
        if far.powf(power) < format.overflow {
            continue;
        }
        let evidence = Evidence::of(context, id, base, |_, value| value.is_infinite());
        let message = format!(
            "the operand{} reaches {}, and {}^{} = {} lies beyond {dtype}, which ends at {}{}",
            name(context, base, id),
            number(far),
            number(far),
            number(power),
            number(far.powf(power)),
            number(format.max),
            evidence.sentence(context)
        );
        let help = format!(
            "keep it below {} = {} in {dtype}: scale it first, or compute this in float32",
            match power {
                2.0 => "√max".to_owned(),
                power => format!("max^(1/{})", number(power)),
            },
            number(format.max.powf(1.0 / power))
        );
        let place = context.model.node_place(context.spec, id);
        evidence.grade(reporter.at(place, message).help(help).label("overflows"));
    }
}
