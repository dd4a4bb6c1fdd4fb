//! `distributed/unsharded-data`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::Sampler;

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/unsharded-data",
    summary: "Every device reads the same samples.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/unsharded-data.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (data, batch) = (&context.run.data, context.facts.batch());
    if batch.data_ranks < 2 || data.sampler.get() != Some(Sampler::Replicated) {
        return;
    }
    let ranks = batch.data_ranks;
    let useful = batch.global.map_or(String::new(), |global| {
        format!(
            ": of {global} samples per step {} are different",
            global / ranks
        )
    });
    let message = format!(
        "{ranks} data ranks read the same samples in the same order{useful}, and an epoch costs {ranks}×"
    );
    reporter
        .setting("data.sampler", data.sampler.span, message)
        .help("deal the samples out: sampler = \"distributed\"")
        .fix(
            "deal the samples out",
            Safety::Unsafe,
            data.sampler.span,
            "\"distributed\"",
        );
}
