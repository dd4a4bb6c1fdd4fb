//! `distributed/batch-norm-batch-changed`: see its page.

use crate::diag::Level;
use crate::facts::batch;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/batch-norm-batch-changed",
    summary: "BatchNorm sees another batch than it did in the baseline.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/batch-norm-batch-changed.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (batch, baseline) = (context.facts.batch(), &context.run.baseline);
    let (Some(global), Some(norm)) = (baseline.global_batch.get(), batch.smallest_norm()) else {
        return;
    };
    let reference = global / baseline.devices.or(1).max(1);
    let samples = batch.samples_normalised(norm);
    // Below 16 the other rule speaks; above 64 the difference hardly shows.
    if samples < 16 || reference == 0 || samples.min(reference) >= 64 {
        return;
    }
    let factor = samples as f64 / reference as f64;
    if (0.5..=2.0).contains(&factor) && factor != 0.5 && factor != 2.0 {
        return;
    }
    let message = format!(
        "BatchNorm normalises over {samples} samples, the baseline over {reference}: the mean is off by {:.2} standard deviations, then {:.2}",
        batch::standard_error(samples),
        batch::standard_error(reference),
    );
    let level = if samples < 32 {
        Level::Warning
    } else {
        Level::Info
    };
    let place = context.model.node_place(context.spec, norm.node);
    reporter
        .at(place, message)
        .level(level)
        .help("synchronise over as many devices as make up the baseline's batch");
}
