//! `precision/half-optimizer-state`: see its page.

use crate::diag::{Confidence, Level, Safety};
use crate::quantity::figure;
use crate::rules::precision::shared_policy::{narrow, origin, set_key, shown, simulate};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::OptimizerKind;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/half-optimizer-state",
    summary: "The second moment of the optimizer cannot decay, or is zero, in its type.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/half-optimizer-state.md"),
};

/// Steps without a gradient after which the second moment should have decayed.
const STEPS: u32 = 1000;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    use OptimizerKind as O;
    let (policy, train) = (context.facts.policy(), &context.run.train);
    let dtype = policy.optimizer.value;
    let Some(format) = narrow(dtype) else {
        return;
    };
    let optimizer = &train.optimizer;
    let beta = match optimizer.name.get() {
        Some(O::Adam | O::AdamW | O::NAdam | O::RAdam | O::Adamax | O::Lamb) => {
            let given = optimizer
                .betas
                .get()
                .and_then(|betas| betas.get(1).copied());
            given.unwrap_or(0.999)
        }
        Some(O::RmsProp) => optimizer.alpha.or(0.99),
        Some(O::Adadelta) => 0.9,
        _ => return,
    };
    if !context.run.trains() || policy.stochastic_rounding.value || !(0.0..1.0).contains(&beta) {
        return;
    }
    let exact = beta.powi(STEPS as i32);
    let kept = simulate(format, 1.0, STEPS, |v| beta * v);
    // The least gradient whose square, times 1 − β, is not rounded to 0.
    let least = (format.min_subnormal / 2.0 / (1.0 - beta)).sqrt();
    let message = if kept > 2.0 * exact && kept > 0.5 {
        format!(
            "the second moment is kept in {dtype}, where {beta} · v rounds to v: after {STEPS} \
             steps without a gradient a v of 1 is {}, and not {}; every large gradient slows its \
             weight for good",
            shown(kept),
            shown(exact)
        )
    } else if least > 1e-4 {
        format!(
            "the second moment is kept in {dtype}, where (1 − {beta}) · g² rounds to 0 for gradients \
             below {}: their v is 0, and the update is divided by ε alone",
            figure(least)
        )
    } else {
        return;
    };
    let span = policy.optimizer.span.or(origin(context, &policy.params));
    let edit = set_key(
        context,
        &train.precision.optimizer,
        "optimizer",
        "\"float32\"",
    );
    reporter
        .setting("train.precision.optimizer", span, message)
        .confidence(Confidence::Proved)
        .also(optimizer.betas.span.or(optimizer.alpha.span), "the decay rate")
        .help("keep the optimizer's state in float32, or in 8-bit blocks that are computed in float32 (adam8bit)")
        .fix_edits(
            "keep the state in float32",
            Safety::Unsafe,
            edit.into_iter().collect(),
        );
}
