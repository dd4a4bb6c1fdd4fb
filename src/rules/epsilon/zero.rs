//! `epsilon/zero`: see its page.

use crate::diag::{Level, Safety};
use crate::graph::NodeId;
use crate::ops::AttributeValue;
use crate::rules::shared_edit::set_attribute;
use crate::rules::shared_numeric::written;
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "epsilon/zero",
    summary: "An epsilon is 0 or negative.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/epsilon/zero.md"),
};

/// The ops that divide by something plus, or at least, `eps`, and what it keeps from 0.
pub(super) const WITH_EPSILON: [(&str, &str); 8] = [
    ("batch_norm", "the variance of a channel"),
    ("layer_norm", "the variance of a row"),
    ("group_norm", "the variance of a group"),
    ("instance_norm", "the variance of an instance"),
    ("rms_norm", "the mean square of a row"),
    ("normalize", "the norm of a vector"),
    ("cosine_similarity", "the product of the norms"),
    ("pairwise_distance", "the distance"),
];

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for (op, what) in WITH_EPSILON {
        for &id in context.facts.index().calls(op) {
            check_node(context, id, what, reporter);
        }
    }
    let eps = &context.run.train.optimizer.eps;
    if let Some(value) = eps.get()
        && value <= 0.0
    {
        let message = format!(
            "the optimizer's eps is {}: a weight whose gradients are all 0 has 0 / 0 for its \
             update, which is NaN",
            written(value)
        );
        reporter
            .setting("train.optimizer.eps", eps.span, message)
            .help("use PyTorch's default, 1e-8")
            .label("no guard against 0 / 0")
            .fix("use 1e-8", Safety::Unsafe, eps.span, "1e-8");
    }
}

fn check_node(context: &Context<'_>, id: NodeId, what: &str, reporter: &mut Reporter<'_>) {
    let node = context.graph.node(id);
    let Some(position) = node.op.attribute_position("eps") else {
        return;
    };
    let given = match node.attributes.get(position) {
        Some(AttributeValue::Float(value)) => *value,
        Some(AttributeValue::Integer(value)) => *value as f64,
        _ => return,
    };
    if given > 0.0 {
        return;
    }
    let default = match node.op.attributes[position].default_value() {
        Some(AttributeValue::Float(value)) if value > 0.0 => value,
        _ => 1e-6,
    };
    let message = format!(
        "`eps` of `{}` is {}: {what} can be 0, and 0 / 0 is NaN",
        node.op.name,
        written(given)
    );
    let place = context.model.attribute_place(context.spec, id, "eps");
    let finding = reporter
        .at(place, message)
        .help(format!("leave it out, or write eps = {}", written(default)))
        .label("no guard against 0 / 0");
    let definition = context.graph.layer(node.layer).definition;
    if node.span.is_none()
        && let Some(edit) = set_attribute(context.spec, definition, "eps", &written(default))
    {
        let title = format!("write eps = {}", written(default));
        finding.fix_edits(title, Safety::Unsafe, vec![edit]);
    }
}
