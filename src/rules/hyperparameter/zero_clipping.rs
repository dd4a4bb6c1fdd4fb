//! `hyperparameter/zero-clipping`: see its page.

use crate::diag::Level;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/zero-clipping",
    summary: "Clipping sets every gradient to zero.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/zero-clipping.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let train = &context.run.train;
    for (name, field) in [
        ("clip_grad_norm", &train.clip_grad_norm),
        ("clip_grad_value", &train.clip_grad_value),
    ] {
        let Some(bound) = field.get().filter(|&bound| bound <= 0.0) else {
            continue;
        };
        let message = match name {
            _ if bound < 0.0 => {
                format!("{name} = {bound}: gradients scaled by a negative number climb the loss")
            }
            "clip_grad_norm" => {
                "clip_grad_norm = 0 scales all gradients by 0/‖g‖: nothing is trained".to_owned()
            }
            _ => {
                "clip_grad_value = 0 clamps all gradients to [0, 0]: nothing is trained".to_owned()
            }
        };
        reporter
            .setting(&format!("train.{name}"), field.span, message)
            .help("leave it out to not clip; 1.0 is usual");
    }
}
