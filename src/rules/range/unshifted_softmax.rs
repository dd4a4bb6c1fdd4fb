//! `range/unshifted-softmax`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::range::shared_forms::{self, softmax_by_hand};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/unshifted-softmax",
    summary: "A softmax is written out without taking the maximum off first.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/unshifted-softmax.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    if context.facts.index().calls("exp").is_empty() {
        return;
    }
    for &id in context.facts.index().calls("div") {
        let (Some(form), Some((dtype, format))) =
            (softmax_by_hand(context, id), float_of(context, id))
        else {
            continue;
        };
        if form.are_safe(context, format) {
            continue;
        }
        let evidence = form.evidence(context);
        let message = format!(
            "exp(x) / Σ exp(x) is ∞ / ∞ = NaN where x passes {} in {dtype}, and 0 / 0 where all x \
             lie below {}; softmax(x) takes the greatest x off first and is the same function{}",
            number(format.overflow.ln()),
            number((format.min_subnormal / 2.0).ln()),
            evidence
                .sentence(context)
                .replace("it gives", "exp(x) gives")
        );
        let place = shared_forms::place(context, id, form.exponential(context));
        let finding = reporter
            .at(place, message)
            .help("call softmax")
            .label("a softmax written out");
        let text = Part::of(context, id)
            .and_then(|part| part.operand(0)?.operand(0))
            .map(|part| part.text());
        let edit = text.filter(|_| form.sum.axes.len() == 1).and_then(|text| {
            let call = format!("softmax({text}, {})", form.dim(context));
            Part::of(context, id)?.replace(call)
        });
        let finding = match edit {
            Some(edit) => finding.fix_edits("call softmax", Safety::Safe, vec![edit]),
            None => finding,
        };
        evidence.grade(finding);
    }
}
