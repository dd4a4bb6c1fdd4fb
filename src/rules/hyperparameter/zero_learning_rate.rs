//! `hyperparameter/zero-learning-rate`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/zero-learning-rate",
    summary: "The learning rate is zero or negative.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/zero-learning-rate.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let optimizer = &context.run.train.optimizer;
    let Some(lr) = optimizer.lr.get().filter(|&lr| lr <= 0.0) else {
        return;
    };
    let message = match lr == 0.0 {
        true => "the learning rate is 0: nothing is trained".to_owned(),
        false => format!("the learning rate is {lr}; torch.optim raises a ValueError below 0"),
    };
    reporter
        .setting("train.optimizer.lr", optimizer.lr.span, message)
        .help("1e-3 is usual for Adam, 0.1 for SGD; a schedule's warm-up starts at 0 by itself");
}
