//! `distributed/stage-imbalance`: see its page.

use crate::diag::{Confidence, Level};
use crate::facts::memory::{repeated, stage_work};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "distributed/stage-imbalance",
    summary: "One pipeline stage computes much more than the others.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/distributed/stage-imbalance.md"),
};

/// How much more than the mean the fullest stage may compute.
const MOST: f64 = 1.15;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let parallel = &context.run.parallel;
    if parallel.pipeline.or(1) < 2 {
        return;
    }
    let degrees = context.facts.memory().degrees;
    // Repetitions that cannot be dealt evenly have a rule of their own.
    let even = repeated(context.graph)
        .is_some_and(|group| (group.len() as u64).is_multiple_of(degrees.chunks()));
    if !even {
        return;
    }
    let work = stage_work(context.graph, context.facts.cost(), &degrees);
    let whole: f64 = work.iter().map(|flops| flops.as_f64()).sum();
    let Some((stage, most)) = (0..).zip(&work).max_by_key(|(_, flops)| **flops) else {
        return;
    };
    let mean = whole / work.len() as f64;
    let excess = most.as_f64() / mean;
    if excess.is_nan() || excess <= MOST {
        return;
    }
    let stage: usize = stage;
    let message = format!(
        "stage {stage} of {} computes {:.2} times the mean, {most} of {whole} forward, and the others wait for it",
        work.len(),
        excess,
        whole = crate::quantity::Flops(whole as u128),
    );
    reporter
        .setting("parallel.pipeline", parallel.pipeline.span, message)
        .confidence(Confidence::Likely)
        .help(
            "give that stage fewer layers: embedding and logits may count as a layer each, as in \
             models of 126 layers on 8 stages of 16",
        );
}
