//! `precision/weight-decay-underflow`: see its page.

use crate::diag::{Confidence, Level};
use crate::quantity::figure;
use crate::rules::precision::shared_policy::shown;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::OptimizerKind;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/weight-decay-underflow",
    summary: "Weight decay is rounded away.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/weight-decay-underflow.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    use OptimizerKind as O;
    let (policy, optimizer) = (context.facts.policy(), &context.run.train.optimizer);
    let (Some(kind), Some(lr)) = (optimizer.name.get(), optimizer.lr.get()) else {
        return;
    };
    let decay = optimizer.weight_decay.or(0.0);
    let dtype = policy.updated();
    let Some(format) = dtype.float_format() else {
        return;
    };
    // These multiply the weight by 1 − lr · weight_decay; the others add to the gradient.
    let decoupled = matches!(kind, O::AdamW | O::Lion);
    let factor = 1.0 - lr * decay;
    if !context.run.trains()
        || !decoupled
        || lr <= 0.0
        || decay <= 0.0
        || policy.stochastic_rounding.value
    {
        return;
    }
    // Just below a power of two numbers lie closest to each other, relative to their size: if that
    // one does not move, none does.
    let weight = 2.0 - 4.0 * format.unit_roundoff();
    if format.round(weight * factor) != weight {
        return;
    }
    let message = format!(
        "{kind} shrinks each weight by lr · weight_decay = {} of itself, but {dtype} keeps only 2^-{} \
         = {}: {} · (1 − {}) rounds to itself, and no weight decays",
        figure(lr * decay),
        format.precision,
        figure(format.unit_roundoff()),
        shown(weight),
        figure(lr * decay)
    );
    reporter
        .setting(
            "train.optimizer.weight_decay",
            optimizer.weight_decay.span,
            message,
        )
        .confidence(Confidence::Proved)
        .also(optimizer.lr.span, "the rate")
        .help("keep a float32 copy of the weights (master = \"float32\"), or leave the decay out");
}
