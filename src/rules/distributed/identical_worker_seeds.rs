//! `distributed/identical-worker-seeds`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/identical-worker-seeds",
    summary: "Workers and ranks draw the same random numbers.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/identical-worker-seeds.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (data, batch) = (&context.run.data, context.facts.batch());
    if data.seed_per_worker.get() != Some(false) {
        return;
    }
    let streams = batch.data_ranks.saturating_mul(data.workers.or(1).max(1));
    if streams < 2 {
        return;
    }
    let message = format!(
        "{streams} workers augment with the same random numbers: the same crops and flips, {streams} times over"
    );
    reporter
        .setting("data.seed_per_worker", data.seed_per_worker.span, message)
        .help("seed each worker from the seed, its rank and its number (worker_init_fn)")
        .fix(
            "seed each worker by itself",
            Safety::Unsafe,
            data.seed_per_worker.span,
            "true",
        );
}
