//! `hyperparameter/weight-decay-with-plain-adam`: see its page.

use crate::diag::{Level, Safety};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::OptimizerKind;

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/weight-decay-with-plain-adam",
    summary: "Weight decay goes through the moments of Adam.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/weight-decay-with-plain-adam.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let optimizer = &context.run.train.optimizer;
    let decay = optimizer.weight_decay.or(0.0);
    let name = match optimizer.name.get() {
        Some(OptimizerKind::Adam) => "Adam",
        Some(OptimizerKind::NAdam) => "NAdam",
        Some(OptimizerKind::RAdam) => "RAdam",
        _ => return,
    };
    if decay <= 0.0 {
        return;
    }
    let decoupled = optimizer.name.get() == Some(OptimizerKind::Adam);
    let message = format!(
        "{name} adds {} · w to the gradient and divides it by √v like the rest: weights with large \
         gradients hardly decay, and the strength depends on the loss's scale",
        figure(decay)
    );
    let span = optimizer.name.span;
    let spelt = span.is_some_and(|span| {
        context
            .spec
            .document
            .source_text(span)
            .trim_matches(['"', '\''])
            == "adam"
    });
    reporter
        .setting(
            "train.optimizer.weight_decay",
            optimizer.weight_decay.span,
            message,
        )
        .help("adamw takes lr · weight_decay · w off the weight itself; its usual values are larger, 0.01 to 0.1")
        .fix(
            "use adamw",
            Safety::Unsafe,
            span.filter(|_| decoupled && spelt),
            "\"adamw\"",
        );
}
