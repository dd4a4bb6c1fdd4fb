//! `distributed/batch-norm-with-one-sample`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/batch-norm-with-one-sample",
    summary: "BatchNorm has one value per channel.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/batch-norm-with-one-sample.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let batch = context.facts.batch();
    let one = batch.norms.iter().find(|norm| {
        batch
            .samples_normalised(norm)
            .saturating_mul(norm.positions)
            == 1
    });
    let Some(norm) = one else { return };
    let place = context.model.node_place(context.spec, norm.node);
    reporter
        .at(place, "BatchNorm has 1 sample × 1 position per channel: its variance is 0, and PyTorch refuses to train it")
        .help("use a larger batch, synchronise over devices, or use layer_norm");
}
