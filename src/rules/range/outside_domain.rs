//! `range/outside-domain`: see its page.

use crate::diag::Level;
use crate::rules::range::shared_forms::{is_harmless, origins};
use crate::rules::shared_numeric::{Evidence, name, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::tensor::Interval;

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/outside-domain",
    summary: "The operand of a root, logarithm or inverse function can leave its domain.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/outside-domain.md"),
};

const FUNCTIONS: [&str; 9] = [
    "sqrt", "rsqrt", "log", "log2", "log10", "log1p", "acosh", "atanh", "logit",
];

/// Where the function is defined, in words, and whether the range leaves that.
fn domain(function: &str, range: Interval) -> (&'static str, bool) {
    match function {
        "log1p" => ("above -1", range.low <= -1.0),
        "acosh" => ("from 1 on", range.low < 1.0),
        "atanh" => ("between -1 and 1", range.magnitude() >= 1.0),
        "logit" => ("between 0 and 1", range.low <= 0.0 || range.high >= 1.0),
        "sqrt" => ("from 0 on", range.low < 0.0),
        // 0 itself is `epsilon/missing-in-log`'s and `epsilon/missing-in-rsqrt`'s.
        _ => ("above 0", range.low < 0.0),
    }
}

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for (id, range) in origins(context, &FUNCTIONS, 0) {
        let node = context.graph.node(id);
        let (defined, leaves) = domain(node.op.name, range);
        if !leaves || is_harmless(context, id) {
            continue;
        }
        let operand = node.arguments[0];
        let evidence = Evidence::of(context, id, operand, |_, value| !value.is_finite());
        let message = format!(
            "the operand{} ranges over {range}, but `{}` is defined {defined}{}",
            name(context, operand, id),
            node.op.name,
            evidence.sentence(context)
        );
        let low = match node.op.name {
            "log1p" => number(-1.0),
            "acosh" => number(1.0),
            _ => number(0.0),
        };
        let help = match node.op.name {
            "atanh" | "logit" => "clamp the operand to the inside of the domain".to_owned(),
            _ => format!("bound the operand above {low}, or mend its declared range"),
        };
        let place = context.model.node_place(context.spec, id);
        evidence.grade(
            reporter
                .at(place, message)
                .help(help)
                .label("NaN or infinite outside"),
        );
    }
}
