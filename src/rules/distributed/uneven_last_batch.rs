//! `distributed/uneven-last-batch`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/uneven-last-batch",
    summary: "The last batch of an epoch is smaller, and its samples count for more.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/uneven-last-batch.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (data, batch) = (&context.run.data, context.facts.batch());
    let (Some(samples), Some(global)) = (data.samples.get(), batch.global) else {
        return;
    };
    if batch.data_ranks < 2
        || data.drop_last.get() != Some(false)
        || global == 0
        || samples.is_multiple_of(global)
    {
        return;
    }
    let (steps, rest) = (samples / global, samples % global);
    if steps > 1000 {
        return;
    }
    let message = format!(
        "{samples} samples are {steps} steps of {global} and one of {rest}: averaging over {} ranks weighs each of the last samples {:.1}× as much",
        batch.data_ranks,
        global as f64 / rest as f64
    );
    reporter
        .setting("data.drop_last", data.drop_last.span, message)
        .help("drop the last batch of a training epoch")
        .fix(
            "drop the last batch",
            Safety::Unsafe,
            data.drop_last.span,
            "true",
        );
}
