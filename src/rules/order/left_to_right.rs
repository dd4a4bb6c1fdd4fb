//! `order/left-to-right`: see its page.

use super::shared_saving::{remarks, report, savings, times};
use crate::diag::Level;
use crate::facts::order::Parenthesisation;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "order/left-to-right",
    summary: "Another order of the same product takes fewer FLOPs.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Safe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/order/left-to-right.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let found = savings(context, |chain| {
        !chain.is_linear_layers(context.graph) && chain.scores().is_none()
    });
    for saving in found {
        let chain = saving.chain;
        let [written, best] = chain.texts(context.spec, context.graph);
        let left = Parenthesisation::left_to_right(chain.operands.len());
        let how = match chain.written.tree == left {
            true => "from left to right",
            false => "as it is grouped",
        };
        let (before, after) = (chain.written.flops(), chain.best.flops());
        let ratio = times(chain.ratio());
        let (message, help) = match (written, best) {
            (Some(written), Some(best)) => (
                format!(
                    "`{written}` takes {before} {how}; `{best}` takes {after}, {ratio} times less"
                ),
                format!("multiply as in `{best}`"),
            ),
            _ => (
                format!(
                    "a product of {} factors takes {before} {how}; its best order takes {after}, \
                     {ratio} times less",
                    chain.operands.len()
                ),
                match chain
                    .operands
                    .iter()
                    .all(|operand| operand.batch.rank() == 0)
                {
                    true => "group the factors, or multiply them with `torch.linalg.multi_dot`",
                    false => "group the factors",
                }
                .to_owned(),
            ),
        };
        let help = help + &remarks(chain);
        let root = chain.root();
        report(context, reporter, saving, root, message, help);
    }
}
