//! `epsilon/vanishing`: see its page.

use crate::diag::{Level, Safety};
use crate::facts::ranges::opmath;
use crate::graph::{NodeId, TensorId};
use crate::rules::epsilon::zero::WITH_EPSILON;
use crate::rules::shared_edit::Part;
use crate::rules::shared_numeric::{epsilon, float_of, number, written};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};
use crate::spec::run::OptimizerKind;
use crate::tensor::{Dtype, FloatFormat};

/// The rule.
pub static RULE: Rule = Rule {
    name: "epsilon/vanishing",
    summary: "A small number is 0, or nothing beside 1, in the element type that it is used in.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/epsilon/vanishing.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context.facts.index().calls_of(&["add", "sub", "maximum"]) {
        check_operands(context, id, reporter);
    }
    for &id in context.facts.index().calls("clamp") {
        check_bounds(context, id, reporter);
    }
    for (op, _) in WITH_EPSILON {
        for &id in context.facts.index().calls(op) {
            check_attribute(context, id, reporter);
        }
    }
    check_optimizer(context, reporter);
}

/// The ops that need their operand, or divisor, kept from 0.
fn needs_guard(context: &Context<'_>, tensor: TensorId) -> bool {
    let uses = context.graph.producer(tensor);
    uses.into_iter()
        .flat_map(|node| context.graph.uses_of(node))
        .any(|(user, used)| match context.graph.node(user).op.name {
            "div" => used.position == 1,
            "log" | "log2" | "log10" | "sqrt" | "rsqrt" | "reciprocal" | "pow" => {
                used.position == 0
            }
            _ => false,
        })
}

fn check_operands(context: &Context<'_>, id: NodeId, reporter: &mut Reporter<'_>) {
    let graph = context.graph;
    let node = graph.node(id);
    let [a, b] = node.arguments[..] else { return };
    let (position, value) = match (graph.constant(a), graph.constant(b)) {
        (Some(value), None) => (0, value),
        (None, Some(value)) => (1, value),
        _ => return,
    };
    let Some((dtype, format)) = float_of(context, id) else {
        return;
    };
    let edit_at = |replacement: &str| {
        let part = Part::of(context, id)?.operand(position)?;
        part.replace(replacement.to_owned())
    };
    let place = context.model.node_place(context.spec, id);
    if is_lost(value, format) && needs_guard(context, node.first_output) {
        let finding = reporter
            .at(place, lost(value, dtype, format))
            .help(format!(
                "use at least {} in {dtype}, or compute this in float32",
                epsilon(dtype)
            ))
            .label("adds nothing");
        if let Some(edit) = edit_at(epsilon(dtype)) {
            let title = format!("use {}", epsilon(dtype));
            finding.fix_edits(title, Safety::Unsafe, vec![edit]);
        }
    } else if let Some(wide) = opmath(dtype)
        && is_one(value, wide)
    {
        reporter
            .at(place, one(value, dtype, wide))
            .help("clamp the result from below instead: the small number is lost beside 1")
            .label("the same as 1");
    }
}

fn check_bounds(context: &Context<'_>, id: NodeId, reporter: &mut Reporter<'_>) {
    let node = context.graph.node(id);
    let Some((dtype, format)) = float_of(context, id) else {
        return;
    };
    let bound = |name| context.graph.with_call(node, |call| call.float(name));
    let place = context.model.node_place(context.spec, id);
    if let Some(low) = bound("min")
        && is_lost(low, format)
        && needs_guard(context, node.first_output)
    {
        reporter
            .at(place.clone(), lost(low, dtype, format))
            .help(format!(
                "use at least {} in {dtype}, or compute this in float32",
                epsilon(dtype)
            ))
            .label("bounds by 0");
    }
    if let Some(high) = bound("max")
        && is_one(high, format)
    {
        reporter
            .at(place, one(high, dtype, format))
            .help(format!(
                "the greatest {dtype} below 1 is {}; a loss that takes logits needs no bound",
                1.0 - format.unit_roundoff()
            ))
            .label("bounds by 1");
    }
}

fn check_attribute(context: &Context<'_>, id: NodeId, reporter: &mut Reporter<'_>) {
    let node = context.graph.node(id);
    let Some((dtype, own)) = float_of(context, id) else {
        return;
    };
    let Some(value) = context.graph.with_call(node, |call| call.float("eps")) else {
        return;
    };
    // The kernels of the norm layers compute in float32; these two are made of simple ops, each of
    // which rounds to the element type.
    let composed = matches!(node.op.name, "normalize" | "cosine_similarity");
    let Some(format) = (if composed { Some(own) } else { opmath(dtype) }) else {
        return;
    };
    if !is_lost(value, format) {
        return;
    }
    let place = context.model.attribute_place(context.spec, id, "eps");
    reporter
        .at(place, lost(value, dtype, format))
        .help(format!(
            "give eps = {}, or compute this in float32",
            epsilon(dtype)
        ))
        .label("guards nothing");
}

/// Adam's kind divides by √v + eps in the type of its state.
fn check_optimizer(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    let train = &context.run.train;
    let adaptive = matches!(
        train.optimizer.name.get(),
        Some(
            OptimizerKind::Adam
                | OptimizerKind::AdamW
                | OptimizerKind::Adamax
                | OptimizerKind::NAdam
                | OptimizerKind::RAdam
                | OptimizerKind::RmsProp
                | OptimizerKind::Lamb
        )
    );
    let dtype = context.facts.policy().optimizer.value;
    let Some(format) = dtype.float_format() else {
        return;
    };
    let eps = &train.optimizer.eps;
    let value = eps.get().unwrap_or(1e-8);
    if !adaptive || !is_lost(value, format) {
        return;
    }
    let whose = if eps.is_given() {
        "the optimizer's eps"
    } else {
        "the optimizer's default eps"
    };
    let message = format!(
        "{whose} {} is 0 in {dtype}, whose least positive number is {}, and so is √v for \
         gradients below {}: the update of such a weight is 0 / 0, NaN",
        written(value),
        number(format.min_subnormal),
        number((format.min_subnormal / 2.0).sqrt())
    );
    let finding = reporter
        .setting(
            "train.optimizer.eps",
            eps.span.or(train.optimizer.name.span),
            message,
        )
        .level(Level::Error)
        .help("keep the optimizer's state in float32: precision = { optimizer = \"float32\" }")
        .label("0 in the optimizer's type");
    if eps.is_given() {
        finding.fix("use 1e-4", Safety::Unsafe, eps.span, "1e-4");
    }
}

/// Whether a positive number is 0 on the grid of a format.
fn is_lost(value: f64, format: &FloatFormat) -> bool {
    value != 0.0 && format.round(value) == 0.0
}

/// Whether a number near 1, but not 1, is 1 on the grid of a format.
fn is_one(value: f64, format: &FloatFormat) -> bool {
    value != 1.0 && (value - 1.0).abs() < 1e-2 && format.round(value) == 1.0
}

fn lost(value: f64, dtype: Dtype, format: &FloatFormat) -> String {
    format!(
        "{} is 0 in {dtype}, whose least positive number is {}, so it guards nothing",
        written(value),
        number(format.min_subnormal)
    )
}

fn one(value: f64, dtype: Dtype, format: &FloatFormat) -> String {
    let next = match value < 1.0 {
        true => format!(
            "the greatest number below 1 is 1 - {}",
            number(format.unit_roundoff())
        ),
        false => {
            format!(
                "the least number above 1 is 1 + {}",
                number(2.0 * format.unit_roundoff())
            )
        }
    };
    format!(
        "{} is 1 in the arithmetic of {dtype}: {next}",
        written(value)
    )
}
