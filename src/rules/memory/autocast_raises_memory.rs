//! `memory/autocast-raises-memory`: see its page.

use crate::diag::Level;
use crate::facts::memory::KeptKind;
use crate::quantity::Bytes;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "memory/autocast-raises-memory",
    summary: "Under autocast more is kept for the backward pass than in float32.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/memory/autocast-raises-memory.md"),
};

/// Below this much, nobody cares.
const LEAST: Bytes = Bytes::mib(16);

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let facts = context.facts;
    let copied = facts.cost().written + facts.cost().parameter_bytes;
    if facts.policy().autocast.is_none() || !context.graph.training || copied < LEAST {
        return;
    }
    let (saved, plain) = (facts.saved(), facts.saved_without_autocast());
    let (with, without) = (Bytes(saved.total()), Bytes(plain.total()));
    if with <= without || with - without < LEAST {
        return;
    }
    let weights = Bytes(saved.bytes(KeptKind::WeightCast));
    let message = format!(
        "autocast keeps {with} for the backward pass, where float32 would keep {without}: {} more, \
         of which copies of weights take {weights}",
        with - without
    );
    let precision = &context.run.train.precision;
    reporter
        .setting("train.precision", precision.preset.span, message)
        .help(
            "keep the weights in the lower type (`precision = \"bf16\"`), so that nothing is copied, or \
             run float32 where norms and copies outweigh the products",
        );
}
