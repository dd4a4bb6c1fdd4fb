//! `distributed/batch-differs-from-baseline`: see its page.

use crate::diag::Level;
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/batch-differs-from-baseline",
    summary: "The global batch is not the baseline's, and the baseline does not say at what rate it ran.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/batch-differs-from-baseline.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (batch, baseline) = (context.facts.batch(), &context.run.baseline);
    let (Some(growth), Some(global)) = (batch.growth, batch.global) else {
        return;
    };
    if baseline.lr.is_given() || growth.log2().abs() < 0.5 {
        return;
    }
    let growth_text = figure(growth);
    let message = format!(
        "the global batch is {global}, {growth_text}× the baseline's {}; whether the learning rate follows cannot be told without `lr` in [baseline]",
        baseline.global_batch.or(0)
    );
    reporter
        .setting("baseline", baseline.global_batch.entry, message)
        .help("add the baseline's lr");
}
