//! `range/log-of-sum-of-exp`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::range::shared_forms::{self, keepdim, log_of_sum};
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{float_of, number};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/log-of-sum-of-exp",
    summary: "log(sum(exp(x))) is written out without taking the maximum off first.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/log-of-sum-of-exp.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    if context.facts.index().calls("exp").is_empty() {
        return;
    }
    for &id in context.facts.index().calls("log") {
        let (Some(form), Some((dtype, format))) = (log_of_sum(context, id), float_of(context, id))
        else {
            continue;
        };
        if form.are_safe(context, format) {
            continue;
        }
        let evidence = form.evidence(context);
        let message = format!(
            "log(Σ exp(x)) is ∞ where x passes {} in {dtype}, and -∞ where all x lie below {}, \
             though it is never far from the greatest x{}",
            number(format.overflow.ln()),
            number((format.min_subnormal / 2.0).ln()),
            evidence
                .sentence(context)
                .replace("it gives", "exp(x) gives")
        );
        let place = shared_forms::place(context, id, form.exponential(context));
        let finding = reporter
            .at(place, message)
            .help("call logsumexp")
            .label("a logsumexp written out");
        let edit = Part::of(context, id).and_then(|part| {
            let exponent = part.operand(0)?.operand(0)?.operand(0)?;
            let dim = form.dim(context);
            let keepdim = keepdim(&form.sum, context);
            part.replace(format!("logsumexp({}, {dim}{keepdim})", exponent.text()))
        });
        let finding = match edit {
            Some(edit) => finding.fix_edits("call logsumexp", Safety::Safe, vec![edit]),
            None => finding,
        };
        evidence.grade(finding);
    }
}
