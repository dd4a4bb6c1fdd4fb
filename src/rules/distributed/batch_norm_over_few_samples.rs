//! `distributed/batch-norm-over-few-samples`: see its page.

use crate::diag::{Level, Safety};
use crate::facts::batch;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::source::Span;

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/batch-norm-over-few-samples",
    summary: "BatchNorm takes its statistics over few samples.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/batch-norm-over-few-samples.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let batch = context.facts.batch();
    let Some(norm) = batch.smallest_norm() else {
        return;
    };
    let samples = batch.samples_normalised(norm);
    if samples >= 16 || samples.saturating_mul(norm.positions) <= 1 {
        return;
    }
    let ranks = batch.data_ranks;
    let count = batch
        .norms
        .iter()
        .filter(|norm| batch.samples_normalised(norm) < 16)
        .count();
    let who = match (ranks, norm.synchronised) {
        (1, _) => "each BatchNorm normalises".to_owned(),
        (ranks, true) => format!("BatchNorm normalises, over all {ranks} data ranks together,"),
        (ranks, false) => format!("each of the {ranks} data ranks normalises by itself,"),
    };
    let error = batch::standard_error(samples);
    let mut message = format!(
        "{who} over {samples} samples: the mean is off by {error:.2} standard deviations (16 samples: 0.25)"
    );
    if batch.accumulation > 1 {
        message.push_str(", and accumulation does not enlarge what BatchNorm sees");
    }
    if count > 1 {
        message.push_str(&format!(" ({count} layers)"));
    }
    let place = context.model.node_place(context.spec, norm.node);
    // A map of many nearly independent positions steadies the statistics (dense prediction).
    let dense = norm.positions >= 100_000;
    let level = match (samples, ranks) {
        (..8, 2..) if !dense => Level::Error,
        _ if dense => Level::Info,
        _ => Level::Warning,
    };
    let mut finding = reporter.at(place, message).level(level);
    let joined = norm.samples.saturating_mul(ranks);
    if !norm.synchronised && ranks > 1 {
        finding = finding.help(format!(
            "synchronise the statistics (sync_batch_norm = true): {} × {ranks} = {joined} samples; or use group_norm",
            norm.samples
        ));
        let header = context.run.train.span.filter(|&span| {
            context
                .spec
                .document
                .source_text(span)
                .starts_with("[train]")
        });
        let end = header.map(|span| Span {
            start: span.end,
            ..span
        });
        if context.run.train.sync_batch_norm.is_given() {
            let span = context.run.train.sync_batch_norm.span;
            finding.fix("synchronise BatchNorm", Safety::Unsafe, span, "true");
        } else {
            finding.fix(
                "synchronise BatchNorm",
                Safety::Unsafe,
                end,
                "\nsync_batch_norm = true",
            );
        }
    } else {
        finding.help(
            "use group_norm, whose statistics do not depend on the batch, or a larger micro-batch",
        );
    }
}
