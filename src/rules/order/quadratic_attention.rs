//! `order/quadratic-attention`: see its page.

use super::shared_saving::{remarks, report, savings, times};
use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "order/quadratic-attention",
    summary: "Attention without a softmax computes scores that it does not need.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/order/quadratic-attention.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let found = savings(context, |chain| chain.scores().is_some());
    for saving in found {
        let chain = saving.chain;
        let Some(scores) = chain.scores() else {
            continue;
        };
        let [written, best] = chain.texts(context.spec, context.graph);
        let (before, after) = (chain.written.flops(), chain.best.flops());
        let written = written.map_or_else(String::new, |text| format!(" of `{text}`"));
        let message = format!(
            "no softmax needs the {} × {} scores{written}: as written it takes {before}, without \
             scores {after}, {} times less",
            scores.rows,
            scores.columns,
            times(chain.ratio())
        );
        let order = best.map_or_else(
            || "multiply keys with values first".to_owned(),
            |text| format!("multiply as in `{text}`"),
        );
        let help = format!("{order}, which grows linearly with the sequence");
        let help = help + &remarks(chain);
        report(context, reporter, saving, scores.user, message, help);
    }
}
