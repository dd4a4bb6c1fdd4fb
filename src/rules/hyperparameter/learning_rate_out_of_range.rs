//! `hyperparameter/learning-rate-out-of-range`: see its page.

use crate::diag::{Confidence, Level};
use crate::graph::{Graph, Parameter};
use crate::quantity::{figure, group};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::OptimizerKind;

/// The rule.
pub static RULE: Rule = Rule {
    name: "hyperparameter/learning-rate-out-of-range",
    summary: "The learning rate is far from anything that trains.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::None,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/hyperparameter/learning-rate-out-of-range.md"),
};

/// Above it SGD without normalisation of the gradient is taken to diverge. Goyal et al. train with
/// 3.2 at a batch of 8,192; a batch of 65,536 at the same ratio would have 25.6.
const SGD: f64 = 30.0;

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    use OptimizerKind as O;
    let (train, graph) = (&context.run.train, context.graph);
    let (Some(kind), Some(lr)) = (train.optimizer.name.get(), train.optimizer.lr.get()) else {
        return;
    };
    if lr <= 0.0 {
        return;
    }
    let (path, span) = ("train.optimizer.lr", train.optimizer.lr.span);
    // How far one step moves a weight: the first update of Adam is lr · g/|g|, that of RMSprop is
    // lr · g/√((1 − α)·g²).
    let step = match kind {
        O::Adam | O::AdamW | O::Adamax | O::NAdam | O::Adam8bit | O::Lion | O::Adagrad => lr,
        O::RmsProp => lr / (1.0 - train.optimizer.alpha.or(0.99)).max(1e-6).sqrt(),
        O::Sgd if lr > SGD => {
            let message = format!(
                "a learning rate of {} for SGD: 0.1 is usual at a batch of 256, and grows in \
                 proportion up to a few units at a batch of 8,192",
                figure(lr)
            );
            reporter
                .setting(path, span, message)
                .confidence(Confidence::Likely)
                .help("the rate at which SGD diverges is 2 over the largest curvature of the loss");
            return;
        }
        _ => return,
    };
    let widest = graph
        .parameters
        .iter()
        .filter_map(|parameter| Some((spread(graph, parameter)?, parameter)))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let Some((spread, parameter)) = widest else {
        return;
    };
    let name = graph.parameter_path(parameter);
    if step > spread {
        let message = format!(
            "the first step of {kind} moves every weight by about {}, and the most widely spread \
             ones, `{name}`, start with a standard deviation of {}: what was drawn is gone after \
             one step",
            figure(step),
            figure(spread)
        );
        reporter
            .setting(path, span, message)
            .confidence(Confidence::Likely)
            .help("1e-4 to 1e-3 is usual; a step is a hundredth of the weights or less");
        return;
    }
    let Some(steps) = train.steps.get().or(train.schedule.total_steps.get()) else {
        return;
    };
    let reach = step * steps as f64;
    if reach < 0.01 * spread {
        let message = format!(
            "{} steps of at most {} move a weight by {} in all, which is {} % of the standard \
             deviation {} with which `{name}` starts: nothing is learnt",
            group(steps.into()),
            figure(step),
            figure(reach),
            figure(100.0 * reach / spread),
            figure(spread)
        );
        reporter
            .setting(path, span, message)
            .confidence(Confidence::Likely)
            .help("1e-4 to 1e-3 is usual for training, 1e-5 for fine-tuning");
    }
}

/// The standard deviation with which a trained matrix or kernel starts; `None` where it is 0.
fn spread(graph: &Graph, parameter: &Parameter) -> Option<f64> {
    let shape = &graph.ty(parameter.tensor).shape;
    if !parameter.trainable || shape.rank() < 2 {
        return None;
    }
    let spread = parameter.init.moments(shape)?.variance.sqrt();
    (spread > 0.0).then_some(spread)
}
