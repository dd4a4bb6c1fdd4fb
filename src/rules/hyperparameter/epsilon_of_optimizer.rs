//! `hyperparameter/epsilon-of-optimizer`: see its page.

use crate::diag::{Level, Safety};
use crate::quantity::figure;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::OptimizerKind;

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/epsilon-of-optimizer",
    summary: "The epsilon of the optimizer swamps the gradients.",
    level: Level::Info,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/epsilon-of-optimizer.md"),
};

/// The least epsilon that is taken to swamp gradients. TensorFlow's recipes for Inception and
/// MobileNet use RMSprop with 1.0 and 0.002 on purpose, so only Adam and its kin count.
const SWAMPING: f64 = 1e-2;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    use OptimizerKind as O;
    let optimizer = &context.run.train.optimizer;
    let (Some(kind), Some(eps)) = (optimizer.name.get(), optimizer.eps.get()) else {
        return;
    };
    let is_adam = matches!(
        kind,
        O::Adam | O::AdamW | O::NAdam | O::RAdam | O::Adamax | O::Lamb | O::Adam8bit
    );
    if !is_adam || eps < SWAMPING {
        return;
    }
    let message = format!(
        "epsilon is {}: where gradients are smaller, the update is lr · m/ε, which is SGD with \
         momentum and not {kind}",
        figure(eps)
    );
    let span = optimizer.eps.span;
    reporter
        .setting("train.optimizer.eps", span, message)
        .help("PyTorch's default is 1e-8; 1e-6 to 1e-4 steadies half-precision training")
        .fix("write the default", Safety::Unsafe, span, "1e-8");
}
