//! `hyperparameter/momentum-out-of-range`: see its page.

use crate::diag::Level;
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/momentum-out-of-range",
    summary: "The momentum never forgets, is negative, or is missing where Nesterov needs it.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/momentum-out-of-range.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let optimizer = &context.run.train.optimizer;
    let momentum = optimizer.momentum.or(0.0);
    let (path, span) = ("train.optimizer.momentum", optimizer.momentum.span);
    if momentum < 0.0 {
        let message =
            format!("the momentum is {momentum}; torch.optim raises a ValueError below 0");
        reporter.setting(path, span, message).help("0.9 is usual");
    } else if momentum >= 1.0 {
        let message = format!(
            "with a momentum of {momentum} the velocity never forgets: after n equal gradients it \
             is n times the gradient or more, and the run diverges"
        );
        reporter.setting(path, span, message).help("0.9 is usual");
    } else if momentum > 0.995 {
        let message = format!(
            "a momentum of {momentum} sums the last 1/(1 − {momentum}) = {sum} gradients: the \
             effective learning rate is {sum}× `lr`",
            sum = figure(1.0 / (1.0 - momentum)),
        );
        reporter
            .setting(path, span, message)
            .level(Level::Info)
            .help("0.9 is usual");
    }
    if optimizer.nesterov.or(false) && momentum == 0.0 {
        reporter
            .setting(
                "train.optimizer.nesterov",
                optimizer.nesterov.span,
                "Nesterov's step looks ahead along the momentum, and there is none: torch.optim.SGD \
                 raises a ValueError",
            )
            .help("set momentum = 0.9, or nesterov = false");
    }
}
