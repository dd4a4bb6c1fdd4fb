//! `range/naive-softplus`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::range::shared_forms::{self, softplus_by_hand};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{Evidence, float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/naive-softplus",
    summary: "A softplus is written out as log(1 + exp(x)).",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/naive-softplus.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    if context.facts.index().calls("exp").is_empty() {
        return;
    }
    for id in context.facts.index().calls_of(&["log", "log1p"]) {
        let (Some((x, exponential)), Some((dtype, format))) =
            (softplus_by_hand(context, id), float_of(context, id))
        else {
            continue;
        };
        let range = context.facts.ranges().known(x).assuming_finite();
        let (most, least) = (format.overflow.ln(), format.unit_roundoff().ln());
        // `log1p` keeps what is small beside 1.
        let keeps_tail = context.graph.node(id).op.name == "log1p" || range.low >= least;
        if range.high < most {
            continue;
        }
        let evidence = Evidence::of(context, exponential, x, |_, value| value.is_infinite());
        let tail = match keeps_tail {
            true => String::new(),
            false => format!(", and 0 where x lies below {}, beside 1", number(least)),
        };
        let message = format!(
            "log(1 + exp(x)) is ∞ where x passes {} in {dtype}, though it is nearly x there{tail}{}",
            number(most),
            evidence
                .sentence(context)
                .replace("it gives", "exp(x) gives")
        );
        let place = shared_forms::place(context, id, Some(exponential));
        let finding = reporter
            .at(place, message)
            .help("call softplus")
            .label("a softplus written out");
        let edit = Part::of(context, id).and_then(|part| {
            let exponent = Part::of(context, exponential)?.operand(0)?;
            part.replace(format!("softplus({})", exponent.text()))
        });
        let finding = match edit {
            Some(edit) => finding.fix_edits("call softplus", Safety::Safe, vec![edit]),
            None => finding,
        };
        evidence.grade(finding);
    }
}
