//! `hyperparameter/adam-betas`: see its page.

use crate::diag::{Level, Safety};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::OptimizerKind;

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/adam-betas",
    summary: "The decay rates of the moments are out of range or exchanged.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/adam-betas.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let optimizer = &context.run.train.optimizer;
    let (Some(kind), Some(betas)) = (optimizer.name.get(), optimizer.betas.get()) else {
        return;
    };
    let (path, span) = ("train.optimizer.betas", optimizer.betas.span);
    let [first, second] = betas[..] else {
        let message = format!("{kind} has two betas, but {} are given", betas.len());
        reporter
            .setting(path, span, message)
            .help("write betas = [0.9, 0.999]");
        return;
    };
    for (beta, which) in [(first, "first"), (second, "second")] {
        if !(0.0..1.0).contains(&beta) {
            let message = format!(
                "the {which} beta is {beta}, but a decay rate lies in [0, 1): the average keeps \
                 {beta} of itself and takes 1 − {beta} = {} of the new gradient",
                1.0 - beta
            );
            reporter
                .setting(path, span, message)
                .help("write betas = [0.9, 0.999]");
            return;
        }
    }
    // Lion's moments have no quotient, so the condition below is not its own.
    let has_quotient = kind != OptimizerKind::Lion;
    let bound = first * first / second.sqrt();
    if !has_quotient || first <= second || bound < 1.0 {
        return;
    }
    let message = format!(
        "β₁ = {first} is above β₂ = {second}, as if they were exchanged: convergence of Adam is \
         shown for β₁²/√β₂ < 1, and here it is {bound:.3}"
    );
    reporter
        .setting(path, span, message)
        .level(Level::Warning)
        .help("the first decay rate is of the mean (0.9), the second of the square (0.999)")
        .fix(
            "exchange them",
            Safety::Unsafe,
            span,
            format!("[{second}, {first}]"),
        );
}
