//! `distributed/zero-with-pipeline`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/zero-with-pipeline",
    summary: "ZeRO stage 2 or 3 is combined with a pipeline.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/zero-with-pipeline.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let parallel = &context.run.parallel;
    let (Some(stage), Some(stages)) = (parallel.zero.get(), parallel.pipeline.get()) else {
        return;
    };
    if stage < 2 || stages < 2 {
        return;
    }
    let message = format!(
        "ZeRO stage {stage} shards gradients that a pipeline of {stages} stages accumulates over its micro-batches: each micro-batch would reduce them anew, and DeepSpeed refuses it"
    );
    reporter
        .setting("parallel.zero", parallel.zero.span, message)
        .help("use stage 1, which shards the optimizer's state only")
        .fix("use stage 1", Safety::Unsafe, parallel.zero.span, "1");
}
