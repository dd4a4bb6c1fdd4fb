//! `precision/half-moving-average`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::rules::precision::shared_policy::{narrow, origin, set_key, shown, simulate};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/half-moving-average",
    summary: "The moving average of the weights does not move in its type.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/half-moving-average.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let (policy, train) = (context.facts.policy(), &context.run.train);
    let (Some(dtype), Some(decay)) = (policy.ema.value, train.ema_decay.get()) else {
        return;
    };
    let Some(format) = narrow(dtype) else {
        return;
    };
    if !context.run.trains() || !(0.0..1.0).contains(&decay) || policy.stochastic_rounding.value {
        return;
    }
    // The average starts at 1 while the weight moves to 1.25, a quarter more.
    let target = 1.25;
    let steps = (10.0 / (1.0 - decay)).clamp(10.0, 1e6) as u32;
    let exact = target - (target - 1.0) * decay.powf(f64::from(steps));
    let reached = simulate(format, 1.0, steps, |e| decay * e + (1.0 - decay) * target);
    if reached - 1.0 > 0.5 * (exact - 1.0) {
        return;
    }
    let message = format!(
        "the average is kept in {dtype}, where {decay} · 1 + {} · {target} rounds to {}: {steps} \
         steps after a weight has gone from 1 to {target}, its average is {}, and not {}",
        shown(1.0 - decay),
        shown(format.round(decay + (1.0 - decay) * target)),
        shown(reached),
        shown(exact)
    );
    let span = policy.ema.span.or(origin(context, &policy.params));
    let edit = set_key(context, &train.precision.ema, "ema", "\"float32\"");
    reporter
        .setting("train.precision.ema", span, message)
        .confidence(Confidence::Proved)
        .also(
            train
                .ema_decay
                .span
                .filter(|_| span != train.ema_decay.span),
            "the decay",
        )
        .help("keep the average in float32 (ema = \"float32\")")
        .fix_edits(
            "average in float32",
            Safety::Unsafe,
            edit.into_iter().collect(),
        );
}
