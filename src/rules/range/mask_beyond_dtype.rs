//! `range/mask-beyond-dtype`: see its page.

use crate::diag::{Edit, Level, Safety};
use crate::graph::NodeId;
use crate::rules::shared_edit::{Part, set_attribute};
use crate::rules::shared_numeric::{float_of, number, written};
use crate::rules::{Check, Context, FixKind, Reporter, Rule};

/// The rule.
pub static RULE: Rule = Rule {
    name: "range/mask-beyond-dtype",
    summary: "A mask's number lies beyond the element type that it is put in.",
    level: Level::Warning,
    since: "0.1.0",
    fix: FixKind::Unsafe,
    check: Check::Facts(check),
    page: include_str!("../../../specs/rules/range/mask-beyond-dtype.md"),
};

fn check(context: &Context<'_>, reporter: &mut Reporter<'_>) {
    for id in context
        .facts
        .index()
        .calls_of(&["masked_fill", "where", "add", "sub", "mul", "full"])
    {
        let Some((dtype, format)) = float_of(context, id) else {
            continue;
        };
        let Some((value, position)) = mask_number(context, id) else {
            continue;
        };
        let beyond = value.is_finite() && value.abs() >= format.overflow;
        if !beyond || !is_mask(context, id, position) {
            continue;
        }
        // What `finfo(x.dtype).min` was where a program was traced is another number in another type.
        let is_limit = [f64::from(f32::MAX), f64::MAX].contains(&value.abs());
        if is_limit && context.model.blueprint.is_some() {
            continue;
        }
        let raises = matches!(context.graph.node(id).op.name, "masked_fill" | "full");
        let becomes = match raises {
            true => "which PyTorch refuses to put in it".to_owned(),
            false => format!(
                "where it becomes {}, and a row that is masked throughout NaN",
                if value < 0.0 { "-∞" } else { "∞" }
            ),
        };
        let message = format!(
            "{} lies beyond {dtype}, which ends at {}, {becomes}",
            written(value),
            number(format.max.copysign(value))
        );
        let limit = format!("{:?}", format.max.copysign(value));
        let place = context.model.node_place(context.spec, id);
        let finding = reporter
            .at(place, message)
            .level(if raises { Level::Error } else { Level::Warning })
            .help(format!(
                "use finfo({dtype}).{} = {limit}",
                if value < 0.0 { "min" } else { "max" }
            ))
            .label("too large for its type");
        if let Some(edit) = edit(context, id, position, &limit) {
            finding.fix_edits(format!("use {limit}"), Safety::Unsafe, vec![edit]);
        }
    }
}

/// The number that a call puts where a mask says so, and its position as an operand.
fn mask_number(context: &Context<'_>, id: NodeId) -> Option<(f64, usize)> {
    let graph = context.graph;
    let node = graph.node(id);
    let constants = |from: usize| {
        (from..node.arguments.len()).find_map(|at| Some((graph.constant(node.arguments[at])?, at)))
    };
    match node.op.name {
        "masked_fill" => Some((graph.with_call(node, |call| call.float("value"))?, 2)),
        "full" => Some((graph.with_call(node, |call| call.float("fill_value"))?, 1)),
        "where" => constants(1),
        _ => constants(0),
    }
}

/// Whether a factor scales a mask, as in `(1 - mask) * -1e9`; what is put in or added is one.
fn is_mask(context: &Context<'_>, id: NodeId, position: usize) -> bool {
    let node = context.graph.node(id);
    if node.op.name != "mul" {
        return true;
    }
    let other = node.arguments[1 - position.min(1)];
    let range = context.facts.ranges().known(other).assuming_finite();
    range.low >= -1.0 && range.high <= 1.0
}

fn edit(context: &Context<'_>, id: NodeId, position: usize, limit: &str) -> Option<Edit> {
    let node = context.graph.node(id);
    if node.span.is_none() {
        let definition = context.graph.layer(node.layer).definition;
        return set_attribute(context.spec, definition, "value", limit);
    }
    Part::of(context, id)?
        .operand(position)?
        .replace(limit.to_owned())
}
