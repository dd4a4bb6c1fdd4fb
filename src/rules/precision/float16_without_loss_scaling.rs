//! `precision/float16-without-loss-scaling`: see its page.

use crate::diag::{Level, Safety};
use crate::quantity::figure;
use crate::rules::precision::shared_policy::{origin, set_key};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::LossScale;
use crate::tensor::Dtype;

/// The rule.
pub static RULE: Rule = Rule {
    name: "precision/float16-without-loss-scaling",
    summary: "float16 gradients are not scaled.",
    level: Level::Error,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/precision/float16-without-loss-scaling.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let policy = context.facts.policy();
    if !context.run.trains() || policy.loss_scale.value != LossScale::None {
        return;
    }
    let settings = [
        ("train.precision.grads", policy.grads),
        ("train.precision.compute", policy.compute),
    ];
    let Some((path, chosen)) = settings
        .into_iter()
        .find(|(_, chosen)| chosen.value == Dtype::Float16)
    else {
        return;
    };
    // The gradient of a mean over N targets is at most 1/N at each logit.
    let targets = context
        .facts
        .index()
        .calls_of(&["cross_entropy", "nll_loss"])
        .filter_map(|id| {
            let node = context.graph.node(id);
            let reduced = context.graph.with_call(node, |call| call.text("reduction"));
            (reduced.as_deref() == Some("mean"))
                .then(|| context.graph.ty(node.arguments[1]).shape.elements())
        })
        .max();
    let mean = match targets {
        Some(count) if count > 1 => format!(
            "; the loss is a mean over {count} targets, so no logit's gradient is above 1/{count} = \
             {}, and those of the weights before are sums of products of it",
            figure(1.0 / count as f64)
        ),
        _ => String::new(),
    };
    let message = format!(
        "gradients are float16 and not scaled: below 3e-8 they are 0, and below 6.1e-5 they lose \
         digits{mean}"
    );
    let precision = &context.run.train.precision;
    let edit = set_key(context, &precision.loss_scale, "loss_scale", "\"dynamic\"");
    reporter
        .setting(path, precision.loss_scale.span.or(origin(context, &chosen)), message)
        .help("set loss_scale = \"dynamic\" (torch.amp.GradScaler), or use bfloat16, which has the exponents of float32")
        .fix_edits(
            "scale the loss",
            Safety::Unsafe,
            edit.into_iter().collect(),
        );
}
